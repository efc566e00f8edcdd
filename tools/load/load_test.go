package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/server"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// TestLoad runs each measurement with small numbers: what it finds is right, whatever the time.
// VGG_LOAD_REQUESTS is the number of requests after which neither memory nor goroutines may
// have grown, 500 without it.
func TestLoad(t *testing.T) {
	vggtest.SkipShort(t, "takes seconds of load")
	dir := t.TempDir()
	served, other, picture := filepath.Join(dir, "served.safetensors"), filepath.Join(dir, "other.safetensors"), filepath.Join(dir, "noise.png")
	for path, seed := range map[string]uint64{served: 1, other: 2} {
		if err := tiny.Random(16, seed).Save(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(picture, vggtest.PNG(60, 50, vggtest.Noise(1)), 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{Limits: server.Limits{Answers: -1, Queue: 8, Requests: 100}, MaxBatch: 4})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Add(t.Context(), server.Source{
		Name: "tiny",
		Open: func(ctx context.Context) (*vgg.Model, error) { return vgg.Open(ctx, served, vgg.OpenOptions{}) },
		Stamp: func() (string, error) {
			info, err := os.Stat(served)
			if err != nil {
				return "", err
			}
			return info.ModTime().String(), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		client.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		h.Close()
		s.Close()
	})
	requests := cmp.Or(os.Getenv("VGG_LOAD_REQUESTS"), "500")
	for name, args := range map[string][]string{
		"throughput": {"throughput", "-time", "300ms", "-concurrency", "1,4", h.URL, picture},
		"tensors":    {"throughput", "-time", "300ms", "-concurrency", "4", "-tensor", "32", h.URL + "/v2/models/tiny/infer"},
		"overload":   {"overload", "-time", "1s", "-rate", "1000", h.URL, picture},
		"slow":       {"slow", "-time", "1s", "-clients", "200", h.URL, picture},
		"many":       {"many", "-requests", requests, h.URL, picture},
		"reload":     {"reload", "-reloads", "2", h.URL, picture, served, other},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), args, &out); err != nil {
				t.Errorf("%v: %s", err, &out)
			}
			var m struct {
				Codes map[string]int `json:"codes"`
			}
			if err := json.NewDecoder(&out).Decode(&m); err != nil || m.Codes["200"] == 0 {
				t.Errorf("%v, %+v, want answers", err, m)
			}
		})
	}
	if err := run(t.Context(), []string{"nothing"}, &bytes.Buffer{}); err == nil {
		t.Error("an unknown measurement is no error")
	}
}
