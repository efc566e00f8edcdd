package preprocess

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFlipH(t *testing.T) {
	im := &Image{W: 3, H: 2, Pix: []uint8{
		1, 2, 3, 4, 5, 6, 7, 8, 9,
		10, 11, 12, 13, 14, 15, 16, 17, 18,
	}}
	want := []uint8{
		7, 8, 9, 4, 5, 6, 1, 2, 3,
		16, 17, 18, 13, 14, 15, 10, 11, 12,
	}
	if got := FlipH(im); got.W != 3 || got.H != 2 || !bytes.Equal(got.Pix, want) {
		t.Errorf("got %v, want %v", got.Pix, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		im := drawImage(t)
		if !bytes.Equal(FlipH(FlipH(im)).Pix, im.Pix) {
			t.Fatal("flipping twice is not the identity")
		}
	})
}

func TestOrientationsUndoThemselves(t *testing.T) {
	inverse := map[int]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
	im := noise(5, 3, 1)
	for o, back := range inverse {
		if got := Turn(Turn(im, o), back); got.W != im.W || !bytes.Equal(got.Pix, im.Pix) {
			t.Errorf("orientation %d, then %d: not the image again", o, back)
		}
	}
	if !bytes.Equal(Turn(im, 2).Pix, FlipH(im).Pix) {
		t.Error("orientation 2 is not the horizontal flip")
	}
}

// A box is turned as the pixels under it are.
func TestTurnBox(t *testing.T) {
	const w, h = 9, 5
	stored := [4]float64{2, 1, 5, 3}
	im := NewImage(w, h)
	for y := 1; y < 3; y++ {
		for x := 2; x < 5; x++ {
			im.Pix[3*(y*w+x)] = 255
		}
	}
	for o := 0; o <= 8; o++ {
		turned := Turn(im, o)
		if tw, th := TurnSize(w, h, o); tw != turned.W || th != turned.H {
			t.Errorf("orientation %d: %d×%d, want %d×%d", o, tw, th, turned.W, turned.H)
		}
		b := TurnBox(stored, w, h, o)
		for y := range turned.H {
			for x := range turned.W {
				inside := b[0] <= float64(x) && float64(x) < b[2] && b[1] <= float64(y) && float64(y) < b[3]
				if inside != (turned.Pix[3*(y*turned.W+x)] == 255) {
					t.Fatalf("orientation %d: box %v doesn't hold the pixels that %v held: (%d,%d)", o, b, stored, x, y)
				}
			}
		}
	}
}

// The sizes are those of torchvision.transforms.Resize.
func TestShortSide(t *testing.T) {
	for _, c := range []struct{ w, h, s, wantW, wantH int }{
		{500, 375, 256, 341, 256},
		{375, 500, 256, 256, 341},
		{500, 500, 256, 256, 256},
		{256, 300, 256, 256, 300},
		{100, 333, 224, 224, 745},
		{1, 20000, 256, 256, 5120000},
		{20000, 1, 256, 5120000, 256},
		{1, 1, 384, 384, 384},
		{4999, 5000, 1, 1, 1},
	} {
		if w, h := ShortSide(c.w, c.h, c.s); w != c.wantW || h != c.wantH {
			t.Errorf("%d×%d to %d: %d×%d, want %d×%d", c.w, c.h, c.s, w, h, c.wantW, c.wantH)
		}
	}
}

// The offsets are those of torchvision.transforms.CenterCrop: halves to even.
func TestCentreCrop(t *testing.T) {
	for _, c := range []struct{ w, h, crop, x, y int }{
		{256, 256, 224, 16, 16},
		{341, 256, 224, 58, 16}, // 58.5
		{343, 257, 224, 60, 16}, // 59.5, 16.5
		{224, 225, 224, 0, 0},   // 0.5
		{227, 224, 224, 2, 0},   // 1.5
	} {
		if x, y := CentreCrop(c.w, c.h, c.crop); x != c.x || y != c.y {
			t.Errorf("%d of %d×%d: (%d,%d), want (%d,%d)", c.crop, c.w, c.h, x, y, c.x, c.y)
		}
	}
}

// The offsets are those of transformers.image_transforms.center_crop (tools/oracle/centrecrop.py):
// halves rounded down.
func TestCentreFloor(t *testing.T) {
	for _, c := range []struct{ w, h, crop, x, y int }{
		{256, 256, 224, 16, 16},
		{341, 256, 224, 58, 16},
		{343, 257, 224, 59, 16},
		{224, 225, 224, 0, 0},
		{227, 224, 224, 1, 0},
		{301, 299, 224, 38, 37},
		{101, 224, 224, -62, 0}, // rounded down, not towards zero
	} {
		if x, y := Floor.Crop(c.w, c.h, c.crop); x != c.x || y != c.y {
			t.Errorf("%d of %d×%d: (%d,%d), want (%d,%d)", c.crop, c.w, c.h, x, y, c.x, c.y)
		}
	}
	for _, c := range []Centre{Round, Floor} {
		text, err := c.MarshalText()
		var again Centre
		if err == nil {
			err = again.UnmarshalText(text)
		}
		if err != nil || again != c {
			t.Errorf("%v: %v, %v", c, again, err)
		}
	}
	if err := new(Centre).UnmarshalText([]byte("ceil")); err == nil || !strings.Contains(err.Error(), "want round or floor") {
		t.Errorf("ceil: %v", err)
	}
}

func TestRandomCropIsUniform(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const draws = 6000
	var xs [3]int
	var ys [2]int
	for range draws {
		x, y := RandomCrop(10, 9, 8, rng)
		xs[x]++
		ys[y]++
	}
	for _, n := range xs {
		if n < draws/3-250 || n > draws/3+250 {
			t.Errorf("x: %v, want thirds of %d", xs, draws)
		}
	}
	for _, n := range ys {
		if n < draws/2-250 || n > draws/2+250 {
			t.Errorf("y: %v, want halves of %d", ys, draws)
		}
	}
	a, b := rand.New(rand.NewPCG(3, 4)), rand.New(rand.NewPCG(3, 4))
	RandomCrop(8, 8, 8, a)
	RandomCrop(800, 500, 8, b)
	if a.Uint64() != b.Uint64() {
		t.Error("how much is drawn depends on the image's size")
	}
}
