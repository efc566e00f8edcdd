package metrics

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestIoU(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		a, b [4]float64
		want float64
	}{
		{[4]float64{0, 0, 2, 2}, [4]float64{0, 0, 2, 2}, 1},
		{[4]float64{0, 0, 2, 2}, [4]float64{1, 0, 3, 2}, 1.0 / 3},
		{[4]float64{0, 0, 4, 4}, [4]float64{1, 1, 3, 3}, 0.25},
		{[4]float64{0, 0, 1, 1}, [4]float64{1, 0, 2, 1}, 0}, // side by side
		{[4]float64{0, 0, 1, 1}, [4]float64{5, 5, 6, 6}, 0},
		{[4]float64{1, 1, 1, 5}, [4]float64{1, 1, 1, 5}, 0}, // no area
		{[4]float64{0, 0, 2, 2}, [4]float64{1, 1, 1, 1}, 0},
		{[4]float64{0, 0, nan, 2}, [4]float64{0, 0, 2, 2}, 0},
		{[4]float64{-inf, -inf, inf, inf}, [4]float64{-inf, -inf, inf, inf}, 0},
		{[4]float64{2, 2, 0, 0}, [4]float64{0, 0, 2, 2}, 0}, // corners exchanged
	} {
		if got, other := IoU(c.a, c.b), IoU(c.b, c.a); math.Abs(got-c.want) > 1e-15 || got != other {
			t.Errorf("%v and %v: %v and %v, want %v", c.a, c.b, got, other, c.want)
		}
	}
	if Located(0.5) || !Located(math.Nextafter(0.5, 1)) {
		t.Error("one half is too little")
	}
}

// TestIoUCountsCells compares boxes of whole numbers with a count of cells.
func TestIoUCountsCells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b [2][4]float64
		for i := range b {
			x, y := rapid.IntRange(0, 8).Draw(t, "x"), rapid.IntRange(0, 8).Draw(t, "y")
			b[i] = [4]float64{float64(x), float64(y), float64(x + rapid.IntRange(1, 8).Draw(t, "w")), float64(y + rapid.IntRange(1, 8).Draw(t, "h"))}
		}
		both, either := 0, 0
		for y := range 16 {
			for x := range 16 {
				n := 0
				for _, c := range b {
					if px, py := float64(x)+0.5, float64(y)+0.5; px > c[0] && px < c[2] && py > c[1] && py < c[3] {
						n++
					}
				}
				if n > 0 {
					either++
				}
				both += n / 2
			}
		}
		if got, want := IoU(b[0], b[1]), float64(both)/float64(either); math.Abs(got-want) > 1e-12 {
			t.Fatalf("%v: %v, want %v", b, got, want)
		}
	})
}
