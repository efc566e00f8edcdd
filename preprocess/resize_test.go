package preprocess

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// resizeSlowly rescales by the definition, in floating point and with 8 bits between the
// passes. The fixed-point passes are compared with it.
func resizeSlowly(im *Image, w, h int, f Filter) *Image {
	axis := func(in, out int, at func(i, j int) float64, set func(i int, v float64)) {
		scale := float64(in) / float64(out)
		stretch := math.Max(scale, 1)
		for i := range out {
			centre := (float64(i) + 0.5) * scale
			var sum, norm float64
			for j := range in {
				weight := f.at((float64(j) + 0.5 - centre) / stretch)
				sum += weight * at(i, j)
				norm += weight
			}
			set(i, sum/norm)
		}
	}
	round := func(v float64) uint8 { return uint8(math.Round(math.Min(math.Max(v, 0), 255))) }
	mid, out := NewImage(w, im.H), NewImage(w, h)
	for c := range 3 {
		for y := range im.H {
			axis(im.W, w,
				func(_, j int) float64 { return float64(im.Pix[3*(y*im.W+j)+c]) },
				func(i int, v float64) { mid.Pix[3*(y*w+i)+c] = round(v) })
		}
		for x := range w {
			axis(im.H, h,
				func(_, j int) float64 { return float64(mid.Pix[3*(j*w+x)+c]) },
				func(i int, v float64) { out.Pix[3*(i*w+x)+c] = round(v) })
		}
	}
	return out
}

func drawSize(t *rapid.T, name string) int { return rapid.IntRange(1, 40).Draw(t, name) }

func drawImage(t *rapid.T) *Image {
	w, h := drawSize(t, "image width"), drawSize(t, "image height")
	im := noise(w, h, rapid.Uint64().Draw(t, "seed"))
	if rapid.Bool().Draw(t, "saturated") {
		for i, v := range im.Pix {
			im.Pix[i] = uint8(int8(v) >> 7)
		}
	}
	return im
}

func drawFilter(t *rapid.T) Filter {
	return rapid.SampledFrom([]Filter{Bilinear, Bicubic}).Draw(t, "filter")
}

func TestResizeIsItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im, f := drawImage(t), drawFilter(t)
		w, h := drawSize(t, "w"), drawSize(t, "h")
		got, err := Resize(im, w, h, f)
		if err != nil {
			t.Fatal(err)
		}
		want := resizeSlowly(im, w, h, f)
		for i := range want.Pix {
			// One level for a rounding that went the other way, one more for
			// what such a rounding in the first pass can do.
			if d := int(got.Pix[i]) - int(want.Pix[i]); d < -2 || d > 2 {
				t.Fatalf("byte %d: %d, want %d", i, got.Pix[i], want.Pix[i])
			}
		}
	})
}

func TestResizeRegionIsCropOfWhole(t *testing.T) {
	var r Resizer
	var dst Image
	rapid.Check(t, func(t *rapid.T) {
		im, f := drawImage(t), drawFilter(t)
		w, h := drawSize(t, "w"), drawSize(t, "h")
		if rapid.Bool().Draw(t, "same width") {
			w = im.W
		}
		if rapid.Bool().Draw(t, "same height") {
			h = im.H
		}
		x0, y0 := rapid.IntRange(0, w-1).Draw(t, "x0"), rapid.IntRange(0, h-1).Draw(t, "y0")
		x1, y1 := rapid.IntRange(x0+1, w).Draw(t, "x1"), rapid.IntRange(y0+1, h).Draw(t, "y1")
		whole, err := Resize(im, w, h, f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Crop(whole, x0, y0, x1, y1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ResizeRegion(im, w, h, f, x0, y0, x1, y1)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.ResizeRegion(&dst, im, w, h, f, x0, y0, x1, y1); err != nil {
			t.Fatal(err)
		}
		for _, g := range []*Image{got, &dst} {
			if g.W != want.W || g.H != want.H || !bytes.Equal(g.Pix, want.Pix) {
				t.Fatalf("the region differs from the crop of the whole")
			}
		}
	})
}

func TestResizeToSameSizeIsIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im := drawImage(t)
		before := bytes.Clone(im.Pix)
		got, err := Resize(im, im.W, im.H, drawFilter(t))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Pix, before) || !bytes.Equal(im.Pix, before) {
			t.Fatal("pixels changed")
		}
		got.Pix[0]++
		if !bytes.Equal(im.Pix, before) {
			t.Fatal("the result shares its pixels with the source")
		}
	})
}

func TestResizeKeepsConstantImages(t *testing.T) {
	im := NewImage(23, 17)
	for i := range im.Pix {
		im.Pix[i] = []uint8{255, 0, 131}[i%3]
	}
	for _, f := range []Filter{Bilinear, Bicubic} {
		for _, size := range [][2]int{{5, 40}, {100, 3}, {22, 18}, {1, 1}} {
			got, err := Resize(im, size[0], size[1], f)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range got.Pix {
				if v != im.Pix[i%3] {
					t.Fatalf("%v to %v: byte %d is %d, want %d", f, size, i, v, im.Pix[i%3])
				}
			}
		}
	}
}

func TestResizeExtremes(t *testing.T) {
	strip := noise(1, 20000, 3)
	_, err := ResizeShort(strip, 256, Bilinear)
	var size *SizeError
	if !errors.As(err, &size) {
		t.Fatalf("1×20000 to smallest side 256: error %v, want a SizeError", err)
	}
	if want := "preprocess: 1×20000 image rescaled to 256×5120000 pixels, want at most 178956970 in all"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	w, h := ShortSide(1, 20000, 256)
	x, y := CentreCrop(w, h, 224)
	got, err := ResizeRegion(strip, w, h, Bicubic, x, y, x+224, y+224)
	if err != nil {
		t.Fatalf("a crop of the same: %v", err)
	}
	if got.W != 224 || got.H != 224 {
		t.Errorf("%d×%d, want 224×224", got.W, got.H)
	}
	for _, c := range []struct{ w, h int }{{224, 224}, {1, 1}, {3, 20001}} {
		if _, err := Resize(strip, c.w, c.h, Bilinear); err != nil {
			t.Errorf("1×20000 to %d×%d: %v", c.w, c.h, err)
		}
	}
	if got, err := ResizeShort(noise(1, 1, 4), 64, Bicubic); err != nil || got.W != 64 || got.H != 64 {
		t.Errorf("1×1 to smallest side 64: %v, %v", got, err)
	}
	// Neither the source nor the result is large, but the image between the passes is.
	if _, err := Resize(noise(1, 20000, 5), 20000, 1, Bilinear); !errors.As(err, &size) {
		t.Errorf("1×20000 to 20000×1: error %v, want a SizeError", err)
	}
}

func TestResizeRefusesBadArguments(t *testing.T) {
	im := noise(4, 3, 1)
	for want, err := range map[string]error{
		"to 0×3 pixels":         second(Resize(im, 0, 3, Bilinear)),
		"to 4×-1 pixels":        second(Resize(im, 4, -1, Bilinear)),
		"Filter(7)":             second(Resize(im, 4, 3, Filter(7))),
		"smallest side 0":       second(ResizeShort(im, 0, Bilinear)),
		"[3,9)×[0,2)":           second(ResizeRegion(im, 8, 6, Bilinear, 3, 0, 9, 2)),
		"[2,2)×[0,2)":           second(ResizeRegion(im, 8, 6, Bilinear, 2, 0, 2, 2)),
		"[-1,2)×[0,2)":          second(Crop(im, -1, 0, 2, 2)),
		"2×2 pixels in 3 bytes": second(Resize(&Image{W: 2, H: 2, Pix: make([]uint8, 3)}, 1, 1, Bilinear)),
		"0×0 pixels in 0 bytes": second(ResizeShort(&Image{}, 1, Bilinear)),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "preprocess: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one of this package that says %s", err, want)
		}
	}
}

func second(_ *Image, err error) error { return err }

func TestResizerAllocatesNothingWhenWarm(t *testing.T) {
	im := noise(50, 37, 1)
	var r Resizer
	var dst Image
	if n := testing.AllocsPerRun(20, func() {
		if err := r.ResizeRegion(&dst, im, 34, 25, Bicubic, 2, 1, 26, 25); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// The central window has the bits of the whole rescaled image's central crop.
func TestCentreWindow(t *testing.T) {
	for _, size := range [][2]int{{50, 41}, {41, 50}, {48, 48}, {200, 33}} {
		im := noise(size[0], size[1], 3)
		for _, q := range []int{32, 47} {
			c := Spec{}.CentreWindow(im.W, im.H, q, 32)
			got, err := c.Cut(im, Bilinear)
			if err != nil {
				t.Fatal(err)
			}
			whole, err := ResizeShort(im, q, Bilinear)
			if err != nil {
				t.Fatal(err)
			}
			x, y := CentreCrop(whole.W, whole.H, 32)
			want, err := Crop(whole, x, y, x+32, y+32)
			if err != nil {
				t.Fatal(err)
			}
			if c != (Window{whole.W, whole.H, x, y, 32}) || !bytes.Equal(got.Pix, want.Pix) {
				t.Errorf("%v at Q %d: window %+v, want (%d,%d) of %d×%d, or other pixels", size, q, c, x, y, whole.W, whole.H)
			}
		}
	}
}
