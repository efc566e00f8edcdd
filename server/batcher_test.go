package server

import (
	"errors"
	"net/http"
	"testing"
	"time"

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
	b := newBatcher(net, Limits{Pass: pass(3, 32, 40)}, 8, 0, make(chan struct{}, 1), nil)
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
			b := newBatcher(net, DefaultLimits(), 8, 0, make(chan struct{}, 1), func(pass) {})
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
