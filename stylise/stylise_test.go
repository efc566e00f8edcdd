package stylise_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/stylise"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// crop returns 80×64 pixels of a photograph of the embedded sample.
func crop(t *testing.T, file string) *preprocess.Image {
	t.Helper()
	return tiny.Crop(t, file, 20, 10, 80, 64)
}

// TestOracle compares the terms of the loss over the iterations with PyTorch's, by
// tools/oracle/stylise.py, within 1 % of the loss. Rounding takes some unit to the other
// side of its ReLU's kink, and the steps of L-BFGS build on all before them: after a dozen PyTorch's own
// curves in float32 differ by some percent (stylise.py rounding), and these are within 4 %.
func TestOracle(t *testing.T) {
	text, err := os.ReadFile("testdata/oracle.json")
	if err != nil {
		t.Fatal(err)
	}
	var curves map[string]json.RawMessage
	if err := json.Unmarshal(text, &curves); err != nil {
		t.Fatal(err)
	}
	var files []string
	if err := json.Unmarshal(curves["files"], &files); err != nil {
		t.Fatal(err)
	}
	m, content, style := tiny.Hashed(), crop(t, files[0]), crop(t, files[1])
	for _, optimiser := range []stylise.Optimiser{stylise.Adam, stylise.LBFGS} {
		for _, pooling := range []string{"average", "max"} {
			var want [][3]float64
			if err := json.Unmarshal(curves[string(optimiser)+" "+pooling], &want); err != nil || len(want) < 25 {
				t.Fatal(err, len(want))
			}
			if optimiser == stylise.LBFGS && pooling == "max" {
				want = want[:20] // later the rounding of float32 shows, where maxima change places
			}
			o := stylise.DefaultOptions()
			o.Style, o.Variation = 20, 0.1 // of the script
			o.Size, o.Iterations, o.Optimiser, o.AveragePooling = 80, len(want), optimiser, pooling == "average"
			r, err := stylise.Run(t.Context(), m, content, style, o)
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range want {
				got, total, share := r.Losses[i], w[0]+w[1]+w[2], 0.01
				if optimiser == stylise.LBFGS && i >= 12 {
					share = 0.04
				}
				for j, v := range []float64{got.Content, got.Style, got.Variation} {
					if math.Abs(v-w[j]) > share*total {
						t.Fatalf("%s, %s pooling, iteration %d: %+v, want %v", optimiser, pooling, i, got, w)
					}
				}
				if math.Abs(got.Total-total) > share*total {
					t.Fatalf("%s, %s pooling, iteration %d: %v, want %v", optimiser, pooling, i, got.Total, total)
				}
			}
		}
	}
}

// TestStart: a run that stops has the picture so far, and one that starts from it goes on
// where it ended; the same pictures give the same bits with any number of threads.
func TestStart(t *testing.T) {
	m := tiny.Random(16, 1)
	picture := func(w, h int, seed int) *preprocess.Image {
		im := &preprocess.Image{W: w, H: h, Pix: make([]uint8, 3*w*h)}
		for i := range im.Pix {
			im.Pix[i] = uint8(i * i * seed >> 4)
		}
		return im
	}
	content, style := picture(40, 30, 7), picture(50, 64, 13)
	o := stylise.DefaultOptions()
	o.Size, o.Iterations, o.ContentLayers, o.StyleLayers = 48, 12, []string{"conv2_1"}, []string{"conv1_1", "conv2_1"}
	whole, err := stylise.Run(t.Context(), m, content, style, o)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Picture.W != 48 || whole.Picture.H != 36 || len(whole.Losses) != 12 || !(whole.Losses[11].Total < 0.5*whole.Losses[0].Total) {
		t.Fatalf("%d×%d, %+v", whole.Picture.W, whole.Picture.H, whole.Losses)
	}
	m.Net.SetThreads(3)
	ctx, cancel := context.WithCancel(t.Context())
	o.OnIteration = func(i stylise.Iteration) error {
		if i.Done == 8 {
			cancel()
		}
		return nil
	}
	part, err := stylise.Run(ctx, m, content, style, o)
	if !errors.Is(err, context.Canceled) || len(part.Losses) != 8 || !slices.Equal(part.Losses, whole.Losses[:8]) {
		t.Fatalf("%v, %+v, want %+v", err, part.Losses, whole.Losses[:8])
	}
	o.OnIteration, o.Start, o.Iterations = nil, part.Picture, 1
	next, err := stylise.Run(t.Context(), m, content, style, o)
	if err != nil || math.Abs(next.Losses[0].Total-part.Loss.Total) > 0.05*part.Loss.Total || part.Loss != least(part.Losses) {
		t.Errorf("goes on at %+v, want about %+v: %v", next.Losses, part.Loss, err)
	}
	if !(whole.Loss.Total < whole.Losses[11].Total) {
		t.Errorf("%v after the last iteration, %v before it", whole.Loss, whole.Losses[11])
	}
}

// least returns the loss that is the least.
func least(losses []stylise.Loss) stylise.Loss {
	return slices.MinFunc(losses, func(a, b stylise.Loss) int { return cmp.Compare(a.Total, b.Total) })
}

// TestBest: steps that make the picture worse, or its features infinite, aren't in the result.
func TestBest(t *testing.T) {
	m := tiny.Random(16, 1)
	content, style := crop(t, "train/Leopards/image_0003.jpg"), crop(t, "train/butterfly/image_0003.jpg")
	o := stylise.DefaultOptions()
	o.Size, o.ContentLayers, o.StyleLayers, o.Optimiser = 48, []string{"conv2_1"}, []string{"conv1_1", "conv2_1"}, stylise.Adam
	for _, rate := range []float64{3000, 1e30} {
		o.Rate, o.Iterations, o.Start = rate, 3, nil
		var shown []*preprocess.Image
		o.OnIteration = func(i stylise.Iteration) error {
			shown = append(shown, i.Picture())
			return nil
		}
		r, err := stylise.Run(t.Context(), m, content, style, o)
		if err != nil {
			t.Fatalf("rate %v: %v", rate, err)
		}
		if len(r.Losses) != 3 || r.Loss != r.Losses[0] || r.Loss != least(r.Losses) {
			t.Errorf("rate %v: losses %+v of the iterations, %+v of the picture", rate, r.Losses, r.Loss)
		}
		for i, im := range append(shown, r.Picture) {
			if !slices.Equal(im.Pix, shown[0].Pix) {
				t.Errorf("rate %v: picture %d isn't the best", rate, i)
			}
		}
		o.Rate, o.Iterations, o.Start, o.OnIteration = 1, 1, r.Picture, nil
		again, err := stylise.Run(t.Context(), m, content, style, o)
		if err != nil || math.Abs(again.Losses[0].Total-r.Loss.Total) > 0.01*r.Loss.Total {
			t.Errorf("rate %v: the picture has loss %+v, want %+v: %v", rate, again.Losses, r.Loss, err)
		}
	}
}

func TestErrors(t *testing.T) {
	im := &preprocess.Image{W: 40, H: 40, Pix: make([]uint8, 3*40*40)}
	m := tiny.Random(16, 1)
	for want, change := range map[string]func(*stylise.Options){
		"size 2, want 16":                      func(o *stylise.Options) { o.Size = 2 },
		"0 iterations":                         func(o *stylise.Options) { o.Iterations = 0 },
		`optimiser "sgd", want lbfgs or adam`:  func(o *stylise.Options) { o.Optimiser = "sgd" },
		"weight -1 of the style":               func(o *stylise.Options) { o.Style = -1 },
		"no layers":                            func(o *stylise.Options) { o.ContentLayers, o.StyleLayers = nil, nil },
		`layer "conv9_9", want one of conv1_1`: func(o *stylise.Options) { o.StyleLayers = []string{"conv9_9"} },
	} {
		o := stylise.DefaultOptions()
		change(&o)
		if _, err := stylise.Run(t.Context(), m, im, im, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := stylise.Run(t.Context(), nil, im, im, stylise.DefaultOptions()); !errors.Is(err, vgg.ErrNoNetwork) {
		t.Errorf("no network: %v", err)
	}
	if _, err := stylise.Run(t.Context(), m, nil, im, stylise.DefaultOptions()); err == nil {
		t.Error("no content: no error")
	}
}
