package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestHalfValues: every 16-bit value survives widening and narrowing, and narrowing
// finds the nearest value, ties to even.
func TestHalfValues(t *testing.T) {
	for _, h := range []Half{F16, BF16} {
		var last float32
		for v := range 1 << 16 {
			x := h.widen(uint16(v))
			if x != x {
				if y := h.widen(h.narrow(x)); y == y {
					t.Fatalf("format %d: %#x is NaN, narrowed to %g", h, v, y)
				}
				continue
			}
			if got := h.narrow(x); got != uint16(v) {
				t.Fatalf("format %d: %#x is %g, narrowed to %#x", h, v, x, got)
			}
			if v > 0 && v < 0x8000 && !math.IsInf(float64(x), 0) {
				middle := float32((float64(last) + float64(x)) / 2)
				want := uint16(v)
				if v%2 == 1 {
					want--
				}
				if got := h.narrow(middle); got != want {
					t.Fatalf("format %d: %g, between %g and %g, is %#x, want %#x", h, middle, last, x, got, want)
				}
				if got := h.narrow(math.Nextafter32(middle, math.MaxFloat32)); got != uint16(v) {
					t.Fatalf("format %d: above %g is %#x, want %#x", h, middle, got, v)
				}
			}
			last = x
		}
	}
	if got := F16.narrow(65519); got != 0x7bff {
		t.Errorf("65519 is %#x, want 65504", got)
	}
	if got := F16.narrow(65520); got != 0x7c00 {
		t.Errorf("65520 is %#x, want infinity", got)
	}
}

func TestHalfForward(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, h := range []Half{F16, BF16} {
			for _, c := range []convCase{{Conv{32, 50, 7, 0}, 3, 7, 7}, {Conv{18, 37, 7, 0}, 1, 10, 13}, {Conv{40, 12, 1, 0}, 60, 1, 1}, {Conv{100, 1000, 1, 0}, 2, 3, 3}} {
				for _, threads := range []int{1, 3} {
					t.Run(fmt.Sprintf("%d/%v/threads%d", h, c, threads), func(t *testing.T) { testHalf(t, h, c, threads) })
				}
			}
		}
	})
}

// testHalf checks that 16-bit weights give the bits of the same weights, rounded, in 32.
func testHalf(t *testing.T, h Half, c convCase, threads int) {
	g := c.g
	rng := rand.New(rand.NewPCG(4, 4))
	oh, ow := g.Out(c.h, c.w)
	half := &HalfWeights{Format: h, Data: make([]uint16, g.WeightLen())}
	weights := make([]float32, g.WeightLen())
	packed := make([]float32, g.WeightLen())
	g.pack(packed, randoms(rng, g.K*g.C*g.R*g.R))
	for i, v := range packed {
		half.Data[i] = h.narrow(v)
		weights[i] = h.widen(half.Data[i])
	}
	bias := make([]float32, g.BiasLen())
	copy(bias, randoms(rng, g.K))
	x := newAct(randoms(rng, c.n*g.C*c.h*c.w), c.n, g.C, c.h, c.w, 0)
	got, want := newAct(nil, c.n, g.K, oh, ow, 0), newAct(nil, c.n, g.K, oh, ow, 0)
	wk := NewWork(NewTeam(threads))
	wk.HalfForward(g, x, half, bias, true, got)
	if n := wk.Floats(); n != g.HalfScratch(c.n, c.h, c.w, threads).Floats(threads) {
		t.Errorf("%d floats of scratch, want %d", n, g.HalfScratch(c.n, c.h, c.w, threads).Floats(threads))
	}
	NewWork(NewTeam(1)).packedForward(g, x, packedTask{weights: weights, bias: bias, flags: addBias | applyRelu}, want)
	for i, v := range got.Data {
		if math.Float32bits(v) != math.Float32bits(want.Data[i]) {
			t.Fatalf("element %d is %g, want %g", i, v, want.Data[i])
		}
	}
}
