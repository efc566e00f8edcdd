package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/tensor"
)

// TestFits: what a pass may have is the same asked again, within the limit, and kept of a bounded
// number of shapes.
func TestFits(t *testing.T) {
	net := tiny.Random(16, 1).Net
	pass := func(n, h, w int) int64 {
		floats, err := net.Chain().InferenceFloats(n, h, w)
		if err != nil {
			t.Fatal(err)
		}
		return 4 * int64(floats)
	}
	b := newBatcher(net, Limits{Pass: pass(3, 32, 40)}, 8, 0, make(chan struct{}, 1), nil, nil)
	defer b.close()
	for range 2 {
		for _, shape := range [][2]int{{32, 40}, {32, 32}, {40, 32}} {
			got, err := b.fits(shape[0], shape[1])
			if err != nil || got < 1 || pass(got, shape[0], shape[1]) > b.limits.Pass {
				t.Fatalf("%v: %d images, %v", shape, got, err)
			}
			if got < b.most && pass(got+1, shape[0], shape[1]) <= b.limits.Pass {
				t.Errorf("%v: %d images, but one more fits", shape, got)
			}
		}
		if _, err := b.fits(640, 640); statusOf(err) != http.StatusRequestEntityTooLarge {
			t.Errorf("an image that doesn't fit: %v", err)
		}
		if _, err := b.fits(3, 3); statusOf(err) != http.StatusBadRequest {
			t.Errorf("an image that is too small: %v", err)
		}
	}
	side := net.Options().Input
	for i := range mostFit {
		b.fit[[2]int{-1, i}] = 1
	}
	if _, err := b.fits(side, side+1); err != nil || len(b.fit) > 1 {
		t.Errorf("the answers of %d shapes are kept, %v", len(b.fit), err)
	}
}

// TestWaitsForDecoding: an image waits for another whose picture is being decoded, and goes
// alone when that gives its place back or when nothing tells how long a pass takes.
func TestWaitsForDecoding(t *testing.T) {
	net := tiny.Random(16, 1).Net
	side := net.Options().Input
	for _, c := range []struct {
		name    string
		latest  time.Duration
		decoded bool // else the picture turns out to be none
		batch   int
	}{{"two", time.Hour, true, 2}, {"the other is no picture", time.Hour, false, 1}, {"the first pass of all", 0, true, 1}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBatcher(net, DefaultLimits(), 8, 0, make(chan struct{}, 1), func(pass) {}, nil)
			defer b.close()
			b.latest = c.latest
			var places []*place
			for range 2 {
				p, err := b.enter(1)
				if err != nil {
					t.Fatal(err)
				}
				places = append(places, p)
			}
			done := make(chan *job)
			send := func(p *place) {
				j, err := b.forward(t.Context(), p, tensor.New(1, 3, side, side))
				if err != nil {
					t.Error(err)
				}
				done <- j
			}
			go send(places[0])
			switch {
			case c.latest == 0:
				if j := <-done; j.batch != c.batch {
					t.Errorf("%d images in the first pass, want %d", j.batch, c.batch)
				}
				places[1].leave()
				return
			case c.decoded:
				go send(places[1])
			default:
				places[1].leave()
			}
			for range c.batch {
				if j := <-done; j.batch != c.batch {
					t.Errorf("%d images in a pass, want %d", j.batch, c.batch)
				}
			}
			if b.images != 0 {
				t.Errorf("%d images still have a place", b.images)
			}
		})
	}
}

// statusOf is the status of an error that is an answer, else 0.
func statusOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return 0
}

// TestTogether: the pictures of a request go through the network in one pass, beside one that
// can't be read, and have the answers that each has alone.
func TestTogether(t *testing.T) {
	m := tiny.Random(16, 1)
	_, alone := serve(t, Options{}, m)
	pictures := [][]byte{vggtest.PNG(40, 50, vggtest.Noise(1)), vggtest.PNG(60, 30, vggtest.Noise(2)), []byte("no picture"), vggtest.PNG(33, 33, vggtest.Noise(3))}
	readable := len(pictures) - 1
	// The first one waits for the others, however slow the machine is.
	s, h := serve(t, Options{MaxBatch: readable, MaxDelay: time.Minute, Limits: Limits{Queue: 1}}, m)
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for i, p := range pictures {
		part, err := w.CreateFormFile("image", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		part.Write(p)
	}
	w.Close()
	code, body, _ := ask(t, "POST", h.URL+"/v1/classify", form.Bytes(), "Content-Type", w.FormDataContentType())
	var got []json.RawMessage
	if err := json.Unmarshal(body, &got); code != 200 || err != nil || len(got) != len(pictures) {
		t.Fatalf("code %d: %s", code, body)
	}
	for i, p := range pictures {
		if i == 2 {
			if !strings.Contains(string(got[i]), `"error":`) {
				t.Errorf("what is no picture has the answer %s", got[i])
			}
			continue
		}
		_, want, _ := ask(t, "PUT", fmt.Sprintf("%s/v1/classify/%d", alone.URL, i), p)
		if string(got[i]) != strings.TrimSpace(string(want)) {
			t.Errorf("picture %d: %s, alone %s", i, got[i], want)
		}
	}
	stats := s.models.models["tiny"].stats.of("tiny", "1")
	if stats.Executions != 1 || stats.Inferences != int64(readable) {
		t.Errorf("%d passes of %d images, want one of %d", stats.Executions, stats.Inferences, readable)
	}
}
