package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// scratchCases are convCases and shapes of configuration D, small enough to run.
var scratchCases = append([]convCase{
	{Conv{3, 64, 3, 1}, 2, 70, 66},
	{Conv{128, 256, 3, 1}, 2, 4, 4},
	{Conv{64, 300, 7, 0}, 2, 7, 7},
	{Conv{256, 10, 1, 0}, 4, 1, 1},
	{Conv{8, 8, 3, 1}, 2, 9, 9}, // patched both ways
}, convCases...)

// TestScratch: after a call, a fresh Work has grown to the estimate, which doesn't depend
// on the instruction set.
func TestScratch(t *testing.T) {
	for _, c := range scratchCases {
		for _, threads := range []int{1, 3} {
			t.Run(fmt.Sprintf("%v/threads%d", c, threads), func(t *testing.T) { testScratch(t, c, threads) })
		}
	}
}

func testScratch(t *testing.T, c convCase, threads int) {
	g := c.g
	oh, ow := g.Out(c.h, c.w)
	x := newAct(make([]float32, c.n*g.C*c.h*c.w), c.n, g.C, c.h, c.w, g.Pad)
	y := newAct(nil, c.n, g.K, oh, ow, 0)
	dy := newAct(make([]float32, c.n*g.K*oh*ow), c.n, g.K, oh, ow, g.GradPad(c.h, c.w))
	dx := newAct(nil, c.n, g.C, c.h, c.w, 0)
	weights, dw := make([]float32, g.WeightLen()), make([]float32, g.WeightLen())
	forward := g.ForwardScratch(c.n, c.h, c.w, threads)
	check := func(what string, want Scratch, calls func(wk *Work)) *Work {
		t.Helper()
		wk := NewWork(NewTeam(threads))
		calls(wk)
		if wk.Floats() != want.Floats(threads) {
			t.Errorf("%s: Work holds %d floats, announced %d (%+v)", what, wk.Floats(), want.Floats(threads), want)
		}
		return wk
	}
	check("forward", forward, func(wk *Work) { wk.ConvForward(g, x, weights, nil, false, y) })
	check("dw", g.BackwardScratch(c.n, c.h, c.w, threads, false), func(wk *Work) {
		wk.ConvBackwardWeights(g, x, dy, dw)
	})
	check("backward", g.BackwardScratch(c.n, c.h, c.w, threads, true), func(wk *Work) {
		wk.ConvBackwardWeights(g, x, dy, dw)
		wk.ConvBackwardData(g, dy, weights, dx)
	})
	check("both", forward.Max(g.BackwardScratch(c.n, c.h, c.w, threads, true)), func(wk *Work) {
		for range 2 { // a second round takes nothing more
			wk.ConvForward(g, x, weights, nil, false, y)
			wk.ConvBackwardData(g, dy, weights, dx)
			wk.ConvBackwardWeights(g, x, dy, dw)
		}
	})
}

func TestLRNScratch(t *testing.T) {
	for _, l := range []LRN{{Size: 5, K: 2, Alpha: 1, Beta: 1}, {Size: 1, K: 2, Alpha: 1, Beta: 1}} {
		for _, c := range []int{1, 16, 40} {
			wk := NewWork(NewTeam(3))
			x := newAct(make([]float32, 2*c*3*4), 2, c, 3, 4, 0)
			wk.LRNForward(l, x, newAct(nil, 2, c, 3, 4, 0))
			wk.LRNBackward(l, x, x, newAct(nil, 2, c, 3, 4, 0))
			if want := LRNScratch(l, c, 4).Floats(3); wk.Floats() != want {
				t.Errorf("size %d, %d channels: Work holds %d floats, announced %d", l.Size, c, wk.Floats(), want)
			}
		}
	}
}

// TestPackedPasses: more gathered rows than the bound take several passes over the
// weights.
func TestPackedPasses(t *testing.T) {
	if testing.Short() {
		t.Skip("gathers 64 MiB")
	}
	g := Conv{C: 512, K: 3, R: 7}
	n := packedFloats/g.depth() + 20
	if g.packedChunk(n) >= n {
		t.Fatalf("%d images fit one pass", n)
	}
	rng := rand.New(rand.NewPCG(25, 26))
	xs, ws := randoms(rng, n*g.C*49), randoms(rng, g.K*g.C*49)
	x, y := newAct(xs, n, g.C, 7, 7, 0), newAct(nil, n, g.K, 1, 1, 0)
	weights := make([]float32, g.WeightLen())
	g.pack(weights, ws)
	wk := NewWork(NewTeam(2))
	wk.ConvForward(g, x, weights, nil, false, y)
	want, abs := convolve(g, n, 7, 7, xs, ws, make([]float32, g.K))
	checkBound(t, "y", planar(y), want, abs, g.C*49)
	if announced := g.ForwardScratch(n, 7, 7, 2).Floats(2); wk.Floats() != announced {
		t.Errorf("Work holds %d floats, announced %d", wk.Floats(), announced)
	}
}

func TestAlloc(t *testing.T) {
	for _, n := range []int{0, 1, hugePage - 1, hugePage, hugePage + 12345} {
		buf := Alloc(n)
		if len(buf) != n || cap(buf) < n {
			t.Errorf("Alloc(%d) has length %d", n, len(buf))
		}
		for i, v := range buf {
			if v != 0 {
				t.Fatalf("Alloc(%d): float %d is %g", n, i, v)
			}
		}
	}
}
