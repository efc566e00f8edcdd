package eval_test

import (
	"image/color"
	"math"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/network"
)

// posterior is what an evaluation gives a picture for its own class, by its loss.
func posterior(t *testing.T, m *vgg.Model, picture []byte, class string, s eval.Setting) float64 {
	t.Helper()
	r := run(t, m, tiny.Set(t, []string{class}, tiny.Image(class, picture)), eval.Options{Protocol: s.Protocol, Scales: s.Scales, Flip: s.Flip})
	return math.Exp(-r.Loss)
}

// A picture in vertical stripes, so that what each crop of the grid sees can be read off.
func TestMultiCropByHand(t *testing.T) {
	m := tiny.Colours(1)
	// 64×32: crops at x = 0, 8, 16, 24, 32. Pixels 0 to 7 are red, the rest green but
	// for 56 to 63, which are blue. The crop at 0 sees red and green, those at 8, 16 and
	// 24 green alone, the one at 32 green and blue; of the mirror image the same in
	// blue and red.
	picture := vggtest.PNG(64, 32, func(x, _ int) color.RGBA {
		switch {
		case x < 8:
			return vggtest.Red
		case x >= 56:
			return vggtest.Blue
		}
		return color.RGBA{0, 255, 0, 255}
	})
	left, middle, right := softmax3(1, 1, 0), softmax3(0, 1, 0), softmax3(0, 1, 1)
	want := (left[0] + 3*middle[0] + right[0]) / 5
	multi := posterior(t, m, picture, "red", eval.Setting{Protocol: eval.MultiCrop})
	if !near(multi, (want+want)/2) { // the mirror image has the same five crops
		t.Errorf("multi-crop: %v, want %v", multi, want)
	}
	dense := posterior(t, m, picture, "red", eval.Setting{Protocol: eval.Dense})
	if want := softmax3(0.5, 1, 0.5)[0]; !near(dense, want) {
		t.Errorf("dense: %v, want %v", dense, want)
	}
	if both := posterior(t, m, picture, "red", eval.Setting{Protocol: eval.MultiCropDense}); !near(both, (multi+dense)/2) {
		t.Errorf("multi-crop and dense: %v, want the mean of %v and %v", both, multi, dense)
	}
	// The corners twice each, above and below, and the centre at x = 16.
	want = (2*left[0] + 2*right[0] + middle[0]) / 5
	if ten := posterior(t, m, picture, "red", eval.Setting{Protocol: eval.TenCrop}); !near(ten, want) {
		t.Errorf("ten-crop: %v, want %v", ten, want)
	}
}

// The order of averaging: the map over space before the soft-max, then mirror images,
// scales, protocols, networks.
func TestOrderOfAveraging(t *testing.T) {
	m := tiny.Random(32, 7)
	other := tiny.Random(32, 7)
	if err := other.Net.Init(network.Glorot, 9); err != nil {
		t.Fatal(err)
	}
	// The other one's classes in another order.
	other.Classes = []string{"e", "d", "c", "b", "a"}
	picture := vggtest.PNG(90, 70, vggtest.Noise(3))
	one := func(m *vgg.Model, p eval.Protocol, q int, flip bool) float64 {
		return posterior(t, m, picture, "b", eval.Setting{Protocol: p, Scales: []int{q}, Flip: flip})
	}
	mean := func(v ...float64) float64 {
		sum := 0.0
		for _, x := range v {
			sum += x
		}
		return sum / float64(len(v))
	}
	scales := []int{32, 41, 64}
	dense := mean(one(m, eval.Dense, 32, true), one(m, eval.Dense, 41, true), one(m, eval.Dense, 64, true))
	crops := mean(one(m, eval.MultiCrop, 32, false), one(m, eval.MultiCrop, 41, false), one(m, eval.MultiCrop, 64, false))
	first := posterior(t, m, picture, "b", eval.Setting{Protocol: eval.MultiCropDense, Scales: scales, Flip: true})
	if !near(first, (dense+crops)/2) || near(dense, crops) {
		t.Errorf("one network: %v, want the mean of %v and %v", first, dense, crops)
	}
	second := posterior(t, other, picture, "b", eval.Setting{Protocol: eval.Centre, Scales: []int{40}})
	nets := []eval.Net{
		{Weights: "first", Open: func() (*vgg.Model, error) { return m, nil }, Setting: eval.Setting{Protocol: eval.MultiCropDense, Scales: scales, Flip: true}},
		{Weights: "second", Open: func() (*vgg.Model, error) { return other, nil }},
	}
	r, err := eval.RunNets(t.Context(), nets, tiny.Set(t, []string{"b"}, tiny.Image("b", picture)), eval.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := math.Exp(-r.Loss); !near(got, (first+second)/2) || near(first, second) {
		t.Errorf("two networks: %v, want the mean of %v and %v", got, first, second)
	}
	if len(r.Nets) != 2 || r.Nets[1].Weights != "second" || r.Nets[1].Scales[0] != 40 {
		t.Errorf("networks %+v", r.Nets)
	}
}

// What the mirror image of a picture gets is what the picture gets, if both are shown.
func TestFlippingTwice(t *testing.T) {
	m := tiny.Random(32, 7)
	at := vggtest.Noise(5)
	var pixels [80][60]color.RGBA
	for x := range pixels {
		for y := range pixels[x] {
			pixels[x][y] = at(x, y)
		}
	}
	picture := vggtest.PNG(80, 60, func(x, y int) color.RGBA { return pixels[x][y] })
	mirrored := vggtest.PNG(80, 60, func(x, y int) color.RGBA { return pixels[79-x][y] })
	// Q is the picture's own, so that rescaling rounds nothing.
	for _, s := range []eval.Setting{
		{Protocol: eval.Dense, Scales: []int{60}, Flip: true},
		{Protocol: eval.Centre, Scales: []int{60}, Flip: true},
		{Protocol: eval.MultiCrop, Scales: []int{60}},
		{Protocol: eval.TenCrop, Scales: []int{60}},
	} {
		// by their logarithms, as they may be near 0
		a, b := math.Log(posterior(t, m, picture, "c", s)), math.Log(posterior(t, m, mirrored, "c", s))
		if math.Abs(a-b) > 1e-4 {
			t.Errorf("%v: log %v, mirrored %v", s, a, b)
		}
		s.Flip = false
		a, b = math.Log(posterior(t, m, picture, "c", s)), math.Log(posterior(t, m, mirrored, "c", s))
		if !s.Protocol.Mirrors() && math.Abs(a-b) < 1e-3 {
			t.Errorf("%v: log %v for the picture and its mirror image: the test tells nothing", s, a)
		}
	}
}

// On an image of exactly the crop's size every protocol sees the crop and its mirror
// image, and nothing else.
func TestOneCropImages(t *testing.T) {
	m := tiny.Random(32, 7)
	picture := vggtest.PNG(32, 32, vggtest.Noise(8))
	want := posterior(t, m, picture, "d", eval.Setting{Protocol: eval.Centre, Scales: []int{32}, Flip: true})
	for _, p := range []eval.Protocol{eval.Dense, eval.MultiCrop, eval.MultiCropDense, eval.TenCrop} {
		if got := posterior(t, m, picture, "d", eval.Setting{Protocol: p, Scales: []int{32}, Flip: true}); math.Abs(got-want) > 1e-6 {
			t.Errorf("%v: %v, want %v", p, got, want)
		}
	}
}
