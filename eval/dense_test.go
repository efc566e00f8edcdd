package eval_test

import (
	"math"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// pooled returns a network of random weights whose head takes the whole map.
func pooled(head string) *vgg.Model { return tiny.WithHead(tiny.Random(16, 3), 5, head) }

// headOf returns the features that the head of pooled takes of an image of 50×40 pixels, and the
// weights and biases of its last layer.
func headOf(t *testing.T, m *vgg.Model, im *preprocess.Image) (f *tensor.Tensor, weights, biases []float32) {
	t.Helper()
	seen, err := preprocess.Resize(im, 50, 40, m.Preprocess.Filter)
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.New(1, 3, 40, 50)
	m.Preprocess.Tensor(x.Data, seen, [3]float32{})
	features, err := m.Net.Until("pool2", true)
	if err != nil {
		t.Fatal(err)
	}
	if f, err = features.Forward(x); err != nil {
		t.Fatal(err)
	}
	params := m.Net.Params()
	w, b := params[len(params)-2], params[len(params)-1]
	weights, biases = make([]float32, w.Len()), make([]float32, b.Len())
	if err := w.Get(weights); err != nil {
		t.Fatal(err)
	}
	if err := b.Get(biases); err != nil {
		t.Fatal(err)
	}
	return f, weights, biases
}

// TestMapOfPooledHead: a head that takes the whole map of an image gives a score for every
// window, which are those of plain loops over the activations, and one for the whole image,
// which is the network's.
func TestMapOfPooledHead(t *testing.T) {
	m := pooled("GAP L2 FC")
	im := preprocess.NewImage(60, 48)
	for i := range im.Pix {
		im.Pix[i] = uint8(i * i % 251)
	}
	maps, err := eval.OutputMaps(t.Context(), m, im, []int{40})
	if err != nil {
		t.Fatal(err)
	}
	got := maps[0]
	if got.W != 50 || got.H != 40 || got.Stride != 4 || got.OH != 3 || got.OW != 5 || got.Window != 32 {
		t.Fatalf("%d×%d pixels, %d×%d windows of %d, %d apart", got.W, got.H, got.OW, got.OH, got.Window, got.Stride)
	}
	f, weights, biases := headOf(t, m, im)
	score := func(top, left, h, w, class int) float64 {
		mean, norm := make([]float64, 16), 0.0
		for c := range mean {
			for y := top; y < top+h; y++ {
				for x := left; x < left+w; x++ {
					mean[c] += float64(f.Data[(c*f.Dim(2)+y)*f.Dim(3)+x]) / float64(h*w)
				}
			}
			norm += mean[c] * mean[c]
		}
		s := float64(biases[class])
		for c, v := range mean {
			s += v / math.Sqrt(norm) * float64(weights[class*16+c])
		}
		return s
	}
	for k := range 5 {
		for y := range got.OH {
			for x := range got.OW {
				if v, want := float64(got.Outputs[(k*got.OH+y)*got.OW+x]), score(y, x, 8, 8, k); math.Abs(v-want) > 1e-5 {
					t.Fatalf("class %d, window (%d,%d): %v, want %v", k, x, y, v, want)
				}
			}
		}
		if want := score(0, 0, 10, 12, k); math.Abs(float64(got.Whole[k])-want) > 1e-5 {
			t.Errorf("class %d of the whole image: %v, want %v", k, got.Whole[k], want)
		}
	}
	scores, err := eval.ScoreMaps(t.Context(), m, im, []int{40})
	if err != nil {
		t.Fatal(err)
	}
	whole := append([]float32(nil), got.Whole...)
	m.Net.Options().Posterior().Of(whole, whole)
	if scores[0].Posterior[0] != whole[0] {
		t.Errorf("posterior %v, want that of the whole image, %v", scores[0].Posterior, whole)
	}
}

// TestMapOfDividedHead: of a head that divides the whole map by its norm, the output of each
// window is what the head makes of the map there; there is none for the whole image.
func TestMapOfDividedHead(t *testing.T) {
	m := pooled("L2 FC")
	im := preprocess.NewImage(60, 48)
	for i := range im.Pix {
		im.Pix[i] = uint8(i * i % 251)
	}
	maps, err := eval.OutputMaps(t.Context(), m, im, []int{32, 40})
	if err != nil {
		t.Fatal(err)
	}
	got := maps[1]
	if got.W != 50 || got.H != 40 || got.Stride != 4 || got.OH != 3 || got.OW != 5 || got.Window != 32 || got.Whole != nil {
		t.Fatalf("%d×%d pixels, %d×%d windows of %d, %d apart, whole %v", got.W, got.H, got.OW, got.OH, got.Window, got.Stride, got.Whole)
	}
	f, weights, biases := headOf(t, m, im)
	const side, channels = 8, 16
	for k := range 5 {
		for top := range got.OH {
			for left := range got.OW {
				sum, norm := 0.0, 0.0
				for c := range channels {
					for y := range side {
						for x := range side {
							v := float64(f.Data[(c*f.Dim(2)+top+y)*f.Dim(3)+left+x])
							norm += v * v
							sum += v * float64(weights[((k*channels+c)*side+y)*side+x])
						}
					}
				}
				want := float64(biases[k]) + sum/math.Sqrt(norm)
				if v := float64(got.Outputs[(k*got.OH+top)*got.OW+left]); math.Abs(v-want) > 1e-5 {
					t.Fatalf("output %d, window (%d,%d): %v, want %v", k, left, top, v, want)
				}
			}
		}
	}
	if need, err := eval.MapBytes(m, 50, 40); err != nil || need < 4*16*10*12 {
		t.Errorf("%d bytes, %v", need, err)
	}
}
