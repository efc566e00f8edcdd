package perceptual_test

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/perceptual"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// Of tools/oracle/perceptual.py.
const cropH, cropW, step = 64, 80, 8

type distances struct {
	Total  float64
	Layers []float64
}

type pair struct {
	Files         []string
	At            [][2]int
	LPIPS, Plain  distances
	Gradient, Map []float32
}

// hashedHead returns the n weights that tools/oracle/perceptual.py computes.
func hashedHead(name string, n int) []float32 {
	h := fnv.New64a()
	h.Write([]byte(name))
	v := make([]float32, n)
	for i := range v {
		z := h.Sum64() + uint64(i+1)*0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		v[i] = float32(math.Abs(float64(z>>40)/(1<<23) - 1))
	}
	return v
}

// narrow returns LPIPS's layers on a network of an eighth of D's channels.
func narrow(weighted bool) []perceptual.Layer {
	var layers []perceptual.Layer
	for i, l := range perceptual.LPIPS() {
		w := []float32(nil)
		if weighted {
			w = hashedHead("lin"+string(rune('0'+i)), len(l.Weights)/8)
		}
		layers = append(layers, perceptual.Layer{Name: l.Name, Weights: w})
	}
	return layers
}

// crops returns the pictures of a pair, (2,3,H,W).
func crops(t *testing.T, m *vgg.Model, p pair) *tensor.Tensor {
	t.Helper()
	x := tensor.New(2, 3, cropH, cropW)
	for i, file := range p.Files {
		crop := tiny.Crop(t, file, p.At[i][0], p.At[i][1], cropW, cropH)
		m.Preprocess.Tensor(x.Data[i*len(x.Data)/2:][:len(x.Data)/2], crop, [3]float32{})
	}
	return x
}

// TestOracle compares distances by layer, maps and gradients with those of the package lpips
// 0.1.4 on the same network in float64, by tools/oracle/perceptual.py: distances within 1e-5.
func TestOracle(t *testing.T) {
	text, err := os.ReadFile("testdata/oracle.json")
	if err != nil {
		t.Fatal(err)
	}
	var fixture struct {
		Pairs  []pair
		Scaled []float32
	}
	if err := json.Unmarshal(text, &fixture); err != nil || len(fixture.Pairs) != 3 {
		t.Fatal(err, len(fixture.Pairs))
	}
	m := tiny.Hashed()
	for i, p := range fixture.Pairs {
		x := crops(t, m, p)
		// Twice in one batch, the second time in the other order.
		batch := tensor.New(4, 3, cropH, cropW)
		half := len(x.Data) / 2
		copy(batch.Data, x.Data)
		copy(batch.Data[2*half:], x.Data[half:])
		copy(batch.Data[3*half:], x.Data[:half])
		for _, weighted := range []bool{true, false} {
			metric, err := perceptual.New(m, narrow(weighted))
			if err != nil {
				t.Fatal(err)
			}
			want := p.Plain
			if weighted {
				want = p.LPIPS
			}
			got, err := metric.Compare(t.Context(), batch, true)
			if err != nil || len(got) != 2 {
				t.Fatal(err, len(got))
			}
			for _, d := range got {
				if math.Abs(d.Total-want.Total) > 1e-5 || len(d.Layers) != len(want.Layers) {
					t.Errorf("pair %d: %v, want %v", i, d.Total, want.Total)
				}
				for l, v := range want.Layers {
					if math.Abs(d.Layers[l]-v) > 1e-5 {
						t.Errorf("pair %d, layer %d: %v, want %v", i, l, d.Layers[l], v)
					}
				}
				if weighted && p.Map != nil {
					var some []float32
					for y := 0; y < cropH; y += step {
						for x := 0; x < cropW; x += step {
							some = append(some, d.Map[y*cropW+x])
						}
					}
					compare(t, "map", some, p.Map, 1e-4)
				}
			}
			if weighted && p.Gradient != nil {
				checkGradient(t, metric, x, p)
			}
		}
	}
	// The input of LPIPS: what its scaling layer makes of pixels, and torchvision's preprocessing.
	spec, err := preprocess.Preset("torchvision")
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range []uint8{0, 128, 255} {
		got := make([]float32, 3)
		spec.Tensor(got, &preprocess.Image{W: 1, H: 1, Pix: []uint8{v, v, v}}, [3]float32{})
		for c, g := range got {
			if want := fixture.Scaled[3*i+c]; math.Abs(float64(g-want)) > 1e-6 {
				t.Errorf("channel %d of a pixel of %d: %v, want %v", c, v, g, want)
			}
		}
	}
}

// checkGradient compares the loss of the first picture from the second, and its gradient.
func checkGradient(t *testing.T, metric *perceptual.Metric, pictures *tensor.Tensor, p pair) {
	t.Helper()
	half := len(pictures.Data) / 2
	x := &tensor.Tensor{Shape: []int{1, 3, cropH, cropW}, Data: pictures.Data[:half]}
	loss, err := metric.NewLoss(t.Context(), &tensor.Tensor{Shape: x.Shape, Data: pictures.Data[half:]})
	if err != nil {
		t.Fatal(err)
	}
	dx := tensor.New(x.Shape...)
	got, err := loss.Gradient(t.Context(), x, dx)
	if err != nil || math.Abs(got-p.LPIPS.Total) > 1e-5 {
		t.Errorf("loss %v, want %v, %v", got, p.LPIPS.Total, err)
	}
	var some []float32
	for c := range 3 {
		for y := 0; y < cropH; y += step {
			for x := 0; x < cropW; x += step {
				some = append(some, dx.At(0, c, y, x))
			}
		}
	}
	compare(t, "gradient", some, p.Gradient, 5e-4)
}

// compare compares values, with a tolerance that is a share of the largest.
func compare(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	most, worst := 0.0, 0.0
	for i, w := range want {
		most, worst = math.Max(most, math.Abs(float64(w))), math.Max(worst, math.Abs(float64(got[i]-w)))
	}
	if !(worst <= tolerance*most) {
		t.Errorf("%s: differs by %.2g of its largest value, want at most %g", what, worst/most, tolerance)
	}
}

// TestLPIPS: the published heads are those of the five layers, none below zero, and come with
// their licence; they fit no narrow network.
func TestLPIPS(t *testing.T) {
	for i, l := range perceptual.LPIPS() {
		if len(l.Weights) != []int{64, 128, 256, 512, 512}[i] || slices.Min(l.Weights) < 0 || slices.Max(l.Weights) == 0 {
			t.Errorf("%s: %d weights from %v to %v", l.Name, len(l.Weights), slices.Min(l.Weights), slices.Max(l.Weights))
		}
	}
	if !strings.Contains(perceptual.LPIPSLicence(), "Richard Zhang") {
		t.Error("no licence")
	}
	_, err := perceptual.New(tiny.Hashed(), nil)
	if e, ok := errors.AsType[*perceptual.WeightsError](err); !ok || e.Layer != "conv1_2" || e.Weights != 64 || e.Channels != 8 {
		t.Errorf("a narrow network: %v", err)
	}
	for _, c := range []struct {
		release, pixels string
		want            bool
	}{{"torchvision D", "torchvision", true}, {"torchvision D-features", "torchvision", false}, {"", "torchvision", false}, {"torchvision D", "caffe", false}} {
		spec, err := preprocess.Preset(c.pixels)
		if err != nil {
			t.Fatal(err)
		}
		if got := perceptual.Comparable(&vgg.Model{Provenance: map[string]string{"release": c.release}, Preprocess: spec}); got != c.want {
			t.Errorf("release %q, pixels of %s: comparable %v", c.release, c.pixels, got)
		}
	}
	if perceptual.Comparable(nil) || perceptual.Comparable(tiny.Hashed()) {
		t.Error("no release is comparable")
	}
}

func TestErrors(t *testing.T) {
	if _, err := perceptual.New(nil, nil); !errors.Is(err, vgg.ErrNoNetwork) {
		t.Errorf("no network: %v", err)
	}
	m := tiny.Random(16, 1)
	metric, err := perceptual.New(m, []perceptual.Layer{{Name: "conv1_1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := metric.Compare(t.Context(), tensor.New(3, 3, 32, 32), false); err == nil || !strings.Contains(err.Error(), "want [2N 3 H W]") {
		t.Errorf("three pictures: %v", err)
	}
	if _, err := metric.Compare(t.Context(), nil, false); err == nil || !strings.Contains(err.Error(), "no picture") {
		t.Errorf("a nil tensor: %v", err)
	}
	empty := func(context.Context, int) (a, b *preprocess.Image, err error) { return nil, nil, nil }
	err = metric.Pairs(t.Context(), 1, empty, perceptual.PairsOptions{}, func(c perceptual.Compared) error { return c.Err })
	if err == nil || !strings.Contains(err.Error(), "no picture") {
		t.Errorf("a pair of nil pictures: %v", err)
	}
	if _, err := metric.NewLoss(t.Context(), tensor.New(2, 3, 32, 32)); err == nil || !strings.Contains(err.Error(), "want [1 3 H W]") {
		t.Errorf("two references: %v", err)
	}
	loss, err := metric.NewLoss(t.Context(), tensor.New(1, 3, 32, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loss.Gradient(t.Context(), tensor.New(1, 3, 32, 40), tensor.New(1, 3, 32, 40)); err == nil || !strings.Contains(err.Error(), "want [1 3 32 32]") {
		t.Errorf("another size: %v", err)
	}
	broken := tensor.New(2, 3, 32, 32)
	broken.Data[7] = float32(math.NaN())
	if _, err := metric.Compare(t.Context(), broken, false); !errors.Is(err, vgg.ErrNotFinite) {
		t.Errorf("a NaN: %v", err)
	}
}

// TestPairs: pairs of several sizes and pairs that can't be loaded come in order, with the
// distances that Compare gives.
func TestPairs(t *testing.T) {
	m := tiny.Random(16, 1)
	metric, err := perceptual.New(m, []perceptual.Layer{{Name: "conv1_1"}, {Name: "conv2_1"}})
	if err != nil {
		t.Fatal(err)
	}
	picture := func(w, h, seed int) *preprocess.Image {
		im := &preprocess.Image{W: w, H: h, Pix: make([]uint8, 3*w*h)}
		for i := range im.Pix {
			im.Pix[i] = uint8((i*i*7 + seed*i*31) >> 3)
		}
		return im
	}
	broken := errors.New("broken")
	load := func(_ context.Context, i int) (a, b *preprocess.Image, err error) {
		switch i {
		case 3:
			return nil, nil, broken
		case 5:
			return picture(40, 40, 1), picture(40, 41, 1), nil
		case 7:
			return picture(40, 1, 1), picture(40, 1, 2), nil
		}
		w := 40 + 4*(i/4%2)
		return picture(w, 36, i), picture(w, 36, 2*i), nil
	}
	at := 0
	err = metric.Pairs(t.Context(), 12, load, perceptual.PairsOptions{Workers: 3}, func(c perceptual.Compared) error {
		if c.Index != at {
			t.Errorf("pair %d, want %d", c.Index, at)
		}
		at++
		if small, ok := errors.AsType[*perceptual.TooSmallError](c.Err); ok != (c.Index == 7) || ok && *small != (perceptual.TooSmallError{W: 40, H: 1, Least: 2}) {
			t.Errorf("pair %d: %v", c.Index, c.Err)
		}
		if c.Index == 7 {
			return nil
		}
		if c.Index == 3 || c.Index == 5 {
			_, sizes := errors.AsType[*perceptual.SizesError](c.Err)
			if sizes != (c.Index == 5) || errors.Is(c.Err, broken) != (c.Index == 3) {
				t.Errorf("pair %d: %v", c.Index, c.Err)
			}
			return nil
		}
		x := tensor.New(2, 3, c.A.H, c.A.W)
		m.Preprocess.Tensor(x.Data[:len(x.Data)/2], c.A, [3]float32{})
		m.Preprocess.Tensor(x.Data[len(x.Data)/2:], c.B, [3]float32{})
		want, err := metric.Compare(t.Context(), x, false)
		if err != nil || want[0].Total != c.Total || c.Total == 0 && c.Index > 0 {
			t.Errorf("pair %d: %v, want %v, %v", c.Index, c.Total, want, err)
		}
		return nil
	})
	if err != nil || at != 12 {
		t.Errorf("%d pairs, %v", at, err)
	}
	stop := errors.New("stop")
	if err := metric.Pairs(t.Context(), 12, load, perceptual.PairsOptions{}, func(perceptual.Compared) error { return stop }); err != stop {
		t.Errorf("%v, want %v", err, stop)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := metric.Pairs(ctx, 12, load, perceptual.PairsOptions{}, func(perceptual.Compared) error { return nil }); err != stop {
		t.Errorf("cancelled: %v", err)
	}
}
