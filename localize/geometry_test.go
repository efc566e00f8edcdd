package localize

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

func anyView(t *rapid.T) dataset.View {
	v := dataset.View{ImageW: rapid.IntRange(1, 3000).Draw(t, "width"), ImageH: rapid.IntRange(1, 3000).Draw(t, "height"), Side: rapid.IntRange(1, 300).Draw(t, "side"), Flip: rapid.Bool().Draw(t, "flip")}
	v.W, v.H = preprocess.ShortSide(v.ImageW, v.ImageH, v.Side+rapid.IntRange(0, 100).Draw(t, "larger"))
	v.X, v.Y = rapid.IntRange(0, v.W-v.Side).Draw(t, "x"), rapid.IntRange(0, v.H-v.Side).Draw(t, "y")
	return v
}

func anyBox(t *rapid.T, w, h float64) corners {
	draw := func(name string, from, to float64) float64 { return rapid.Float64Range(from, to).Draw(t, name) }
	x0, y0 := draw("x0", 0, w*0.9), draw("y0", 0, h*0.9)
	return corners{x0, y0, draw("x1", x0+w/1000, w), draw("y1", y0+h/1000, h)}
}

func closeTo(a, b corners, eps float64) bool {
	for i := range a {
		if !(math.Abs(a[i]-b[i]) <= eps) {
			return false
		}
	}
	return true
}

// TestCropAndBack: a box goes into any crop and back, and its form of centre and size
// too.
func TestCropAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyView(t)
		b := anyBox(t, float64(v.ImageW), float64(v.ImageH))
		c := toCrop(v, b)
		eps := 1e-9 * float64(v.ImageW+v.ImageH)
		if back := toImage(v, decode(encode(c))); !closeTo(back, b, eps) {
			t.Fatalf("%v in %+v comes back as %v", b, v, back)
		}
		if !(c[0] < c[2] && c[1] < c[3]) {
			t.Fatalf("%v in %+v is %v: corners have changed places", b, v, c)
		}
	})
}

// TestFlipTwice: mirrored twice, image and box are what they were; mirrored once, the box
// frames the mirror image of what it framed.
func TestFlipTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyView(t)
		v.Flip = false
		b := anyBox(t, float64(v.ImageW), float64(v.ImageH))
		c := toCrop(v, b)
		mirrored := v
		mirrored.Flip = true
		once := toCrop(mirrored, b)
		if twice := (corners{1 - once[2], once[1], 1 - once[0], once[3]}); !closeTo(twice, c, 1e-9*(1+math.Abs(c[0])+math.Abs(c[2]))) {
			t.Fatalf("%v mirrored twice is %v", c, twice)
		}
	})
	// A square of white pixels is where its box says, before and after.
	im := preprocess.NewImage(9, 5)
	for y := 1; y < 4; y++ {
		for x := 2; x < 4; x++ {
			im.Pix[3*(y*im.W+x)] = 255
		}
	}
	v := dataset.View{ImageW: 9, ImageH: 5, W: 9, H: 5, Side: 5, X: 1}
	crop, err := preprocess.Crop(im, 1, 0, 6, 5)
	if err != nil {
		t.Fatal(err)
	}
	for _, flip := range []bool{false, true} {
		v.Flip = flip
		seen := crop
		if flip {
			seen = preprocess.FlipH(crop)
		}
		b := toCrop(v, corners{2, 1, 4, 4})
		for y := range 5 {
			for x := range 5 {
				px, py := (float64(x)+0.5)/5, (float64(y)+0.5)/5
				inside := px > b[0] && px < b[2] && py > b[1] && py < b[3]
				if inside != (seen.Pix[3*(y*5+x)] == 255) {
					t.Errorf("flip %v: pixel (%d,%d) inside the box: %v", flip, x, y, inside)
				}
			}
		}
	}
	if twice := preprocess.FlipH(preprocess.FlipH(crop)); string(twice.Pix) != string(crop.Pix) {
		t.Error("an image mirrored twice is another")
	}
}

// TestDenseWindows: the box of a place of the map is the one that the network gives of
// the window's crop by itself, put back to where the window lies. With 1×1 filters no
// window sees beyond its border, so the two are equal.
func TestDenseWindows(t *testing.T) {
	for _, r := range []vgg.Regression{vgg.SCR, vgg.PCR} {
		m := tinyModel(t, r, 5, "1x16 M 1x16 M 1x16 M FC16 FC")
		side := m.Net.Options().Input
		im := preprocess.NewImage(77, 50)
		for i := range im.Pix {
			im.Pix[i] = uint8(i * 40503 >> 4)
		}
		l := &Locator{Nets: []Net{{Model: m, Scales: []int{44, 57}}}, Threshold: MergeThreshold}
		a, err := l.Dense(t.Context(), im)
		if err != nil {
			t.Fatal(err)
		}
		const stride = 8 // three poolings
		next := 0
		for _, q := range []int{44, 57} {
			w, h := preprocess.ShortSide(im.W, im.H, q)
			rescaled, err := preprocess.Resize(im, w, h, m.Preprocess.Filter)
			if err != nil {
				t.Fatal(err)
			}
			for y := 0; y+side <= h; y += stride {
				for x := 0; x+side <= w; x += stride {
					crop, err := preprocess.Crop(rescaled, x, y, x+side, y+side)
					if err != nil {
						t.Fatal(err)
					}
					in := tensor.New(1, 3, side, side)
					m.Preprocess.Tensor(in.Data, crop, [3]float32{})
					out, err := m.Net.Forward(in)
					if err != nil {
						t.Fatal(err)
					}
					for class := range 2 {
						at := slot(r, class)
						var o [4]float64
						for k := range o {
							o[k] = float64(out.Data[at+k]) * float64(side) // pixels of the crop
						}
						o[2], o[3] = max(o[2], 0), max(o[3], 0)
						want := corners{o[0] - o[2]/2, o[1] - o[3]/2, o[0] + o[2]/2, o[1] + o[3]/2}
						for k := range want {
							from, size, full := []int{x, y}[k%2], []int{w, h}[k%2], []int{im.W, im.H}[k%2]
							want[k] = min(max((want[k]+float64(from))*float64(full)/float64(size), 0), float64(full))
						}
						win := a.windows[next]
						if got := predicted(win.view, win.outputs[at:at+4]); !closeTo(got, want, 1e-3) {
							t.Errorf("%s, scale %d, window at (%d,%d), class %d: box %v, want %v", r, q, x, y, class, got, want)
						}
					}
					next++
				}
			}
		}
		if next != len(a.windows) || next < 12 {
			t.Errorf("%d windows, want %d", len(a.windows), next)
		}
		total := 0
		for _, b := range a.Boxes(0) {
			total += b.Windows
			if b.Score != float64(b.Windows) {
				t.Errorf("without a classifier: score %v of %d windows", b.Score, b.Windows)
			}
		}
		if n := len(a.Unmerged(0)); n != total {
			t.Errorf("%d boxes before merging, those merged are from %d windows", n, total)
		}
	}
}
