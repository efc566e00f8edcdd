package stylise

import (
	"math"
	"slices"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/preprocess"
)

// TestStepThatFails: after a step to a picture with features that are not finite, each optimiser
// goes on from the best picture, and gets on; of the first picture it is an error.
func TestStepThatFails(t *testing.T) {
	picture := func(seed int) *preprocess.Image {
		im := &preprocess.Image{W: 40, H: 32, Pix: make([]uint8, 3*40*32)}
		for i := range im.Pix {
			im.Pix[i] = uint8(i * i * seed >> 4)
		}
		return im
	}
	o := DefaultOptions()
	o.Size, o.ContentLayers, o.StyleLayers = 40, []string{"conv2_1"}, []string{"conv1_1", "conv2_1"}
	for _, o.Optimiser = range []Optimiser{LBFGS, Adam} {
		r, err := newRun(t.Context(), tiny.Random(16, 1), picture(7), picture(13), o)
		if err != nil {
			t.Fatal(err)
		}
		step := r.adam()
		if o.Optimiser == LBFGS {
			step = r.lbfgs()
		}
		for range 4 {
			if _, err := step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range []float32{float32(math.Inf(1)), float32(math.NaN())} {
			before, best := r.bestLoss, slices.Clone(r.best)
			r.pixels[100] = v
			loss, err := step(t.Context())
			if err != nil || loss != before || r.bestLoss != before || !slices.Equal(r.best, best) {
				t.Fatalf("%s: a pixel of %v: loss %+v, want %+v of the best picture: %v", o.Optimiser, v, loss, before, err)
			}
			for range 8 {
				if _, err := step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if !(r.bestLoss.Total < before.Total) {
				t.Errorf("%s: a pixel of %v: loss %v after eight steps from %v", o.Optimiser, v, r.bestLoss, before)
			}
		}
		r.best, r.pixels[0] = nil, float32(math.NaN())
		if _, err := r.adam()(t.Context()); err == nil {
			t.Errorf("%s: the first picture is not finite: no error", o.Optimiser)
		}
	}
}
