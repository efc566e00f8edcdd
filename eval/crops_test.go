package eval_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/preprocess"
)

func TestGridByHand(t *testing.T) {
	// 256×341: offsets 0, 8, 16, 24, 32 down and 0, 29.25, 58.5, 87.75, 117 across.
	got := eval.Grid(341, 256, 224)
	var want []eval.Corner
	for _, y := range []int{0, 8, 16, 24, 32} {
		for _, x := range []int{0, 29, 58, 88, 117} {
			want = append(want, eval.Corner{X: x, Y: y})
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("grid %v, want %v", got, want)
	}
	// As torchvision.transforms.functional.five_crop places them.
	five := []eval.Corner{{0, 0}, {117, 0}, {0, 32}, {117, 32}, {58, 16}}
	if got := eval.FiveCrops(341, 256, 224); !slices.Equal(got, five) {
		t.Errorf("five crops %v, want %v", got, five)
	}
}

func TestGridProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 300).Draw(t, "side")
		w, h := side+rapid.IntRange(0, 700).Draw(t, "wider"), side+rapid.IntRange(0, 700).Draw(t, "taller")
		grid := eval.Grid(w, h, side)
		if len(grid) != 25 || grid[0] != (eval.Corner{}) || grid[24] != (eval.Corner{X: w - side, Y: h - side}) {
			t.Fatalf("%d×%d: %v", w, h, grid)
		}
		x, y := preprocess.CentreCrop(w, h, side)
		if grid[12] != (eval.Corner{X: x, Y: y}) {
			t.Fatalf("%d×%d: middle crop at %v, want the central crop at %d,%d", w, h, grid[12], x, y)
		}
		for i, c := range grid {
			if c.X < 0 || c.Y < 0 || c.X+side > w || c.Y+side > h {
				t.Fatalf("%d×%d: crop %d at %v is outside", w, h, i, c)
			}
			// regular: within a pixel of evenly spaced
			if d := 4*c.X - (i%5)*(w-side); d < -2 || d > 2 {
				t.Fatalf("%d×%d: crop %d at %v", w, h, i, c)
			}
		}
	})
}

func TestTrainScale(t *testing.T) {
	for text, want := range map[string]struct{ single, multi []int }{
		"256":     {[]int{256}, []int{224, 256, 288}},
		"384":     {[]int{384}, []int{352, 384, 416}},
		"256-512": {[]int{384}, []int{256, 384, 512}},
		"64-97":   {[]int{80}, []int{64, 80, 97}},
	} {
		s, err := eval.ParseTrainScale(text)
		if err != nil || s.String() != text || !slices.Equal(s.SingleScale(), want.single) || !slices.Equal(s.MultiScale(), want.multi) {
			t.Errorf("%s: %v, %v: Q %v and %v, want %v and %v", text, s, err, s.SingleScale(), s.MultiScale(), want.single, want.multi)
		}
	}
	for _, text := range []string{"", "x", "512-256", "0", "-5", "256-", "1000000"} {
		if s, err := eval.ParseTrainScale(text); err == nil {
			t.Errorf("%q: no error but %v", text, s)
		}
	}
}
