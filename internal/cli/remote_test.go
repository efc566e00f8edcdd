package cli_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/internal/vggtest"
)

// run runs the command line and returns its exit code and all that it writes.
func run(ctx context.Context, args ...string) (code int, text string) {
	var out bytes.Buffer
	code = cli.Main(ctx, args, strings.NewReader(""), &out, &out, environment)
	return code, out.String()
}

// trainedOn trains with a set of images, and returns the weights, without the header that has
// the name of the set, and the output.
func trainedOn(t *testing.T, set string) ([]byte, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	args := append([]string{"train", "--data", set, "--out", dir, "--width=0.05", "--fc=8", "--seed=3"}, tinyRecipe...)
	args = append(args, "--epochs=2")
	code, text := run(t.Context(), args...)
	if code != 0 {
		t.Fatalf("%s: exit code %d\n%s", set, code, text)
	}
	data, err := os.ReadFile(filepath.Join(dir, "last.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return data[8+binary.LittleEndian.Uint64(data):], text
}

// Training on shards on a slow server that fails now and then gives the bits of the files. The
// command that indexes shards makes what is needed for it.
func TestTrainingFromAServer(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	shards := filepath.Join(t.TempDir(), "shards")
	if code, text := run(t.Context(), "shard", trainFolder(t), "--out", shards, "--size=4KB"); code != 0 {
		t.Fatal(text)
	}
	want, _ := trainedOn(t, shards)
	indices, err := filepath.Glob(filepath.Join(shards, "*.index"))
	if err != nil || len(indices) < 2 {
		t.Fatal(indices, err)
	}
	before, err := os.ReadFile(indices[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range indices {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if code, text := run(t.Context(), "shard", shards, "--reindex"); code != 0 {
		t.Fatal(text)
	}
	if after, err := os.ReadFile(indices[0]); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the index made anew is %q, want %q (%v)", after, before, err)
	}
	faulty := &vggtest.Faulty{Handler: http.FileServer(http.Dir(shards)), Latency: 50 * time.Millisecond, Errors: 7, Resets: 11, Cuts: 5}
	s := httptest.NewServer(faulty)
	defer s.Close()
	var names []string
	for _, f := range indices {
		names = append(names, s.URL+"/"+strings.TrimSuffix(filepath.Base(f), ".index"))
	}
	got, text := trainedOn(t, strings.Join(names, "::"))
	if !bytes.Equal(got, want) {
		t.Error("other weights than from the files")
	}
	if !regexp.MustCompile(`waiting for images`).MatchString(text) {
		t.Errorf("no word of the waiting:\n%s", text)
	}
	if _, failed, _ := faulty.Requests(); failed == 0 {
		t.Error("no request failed")
	}
}

// A server that stays silent ends the command with the code for what may succeed later; an
// interruption ends it at once.
func TestServerThatDoesNotAnswer(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	asked := make(chan struct{}, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer s.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		cancel(errors.New("signal"))
	}()
	done := make(chan int, 1)
	go func() {
		code, _ := run(ctx, "stats", "--data", s.URL+"/shard-{0..3}.tar")
		done <- code
	}()
	select {
	case code := <-done:
		if code != 130 {
			t.Errorf("exit code %d, want 130", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the command goes on")
	}
}
