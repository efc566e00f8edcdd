package kernel

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// TestPropertySource: weights that stay in their source give the bits of the same weights in
// memory, in the scratch that was estimated.
func TestPropertySource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConv(t)
		g := c.g
		if g.patched() {
			g.Pad = 0
			c.h, c.w = max(c.h, g.R), max(c.w, g.R)
		}
		threads := rapid.IntRange(1, 3).Draw(t, "threads")
		rng := rand.New(rand.NewPCG(4, 5))
		oh, ow := g.Out(c.h, c.w)
		canonical := randoms(rng, g.K*g.rowLen())
		weights := make([]float32, g.WeightLen())
		g.pack(weights, canonical)
		bias := make([]float32, g.BiasLen())
		copy(bias, randoms(rng, g.K))
		x := newAct(randoms(rng, c.n*g.C*c.h*c.w), c.n, g.C, c.h, c.w, g.Pad)
		got, want := newAct(nil, c.n, g.K, oh, ow, 0), newAct(nil, c.n, g.K, oh, ow, 0)
		wk := NewWork(NewTeam(threads))
		wk.SourceForward(g, x, func(k0 int, dst []float32) error {
			copy(dst, canonical[k0*g.rowLen():][:len(dst)])
			return nil
		}, bias, true, got)
		if err := wk.Failed(); err != nil {
			t.Fatal(err)
		}
		if n, e := wk.Floats(), g.SourceScratch(c.n, c.h, c.w).Floats(threads); n != e {
			t.Errorf("%d floats of scratch, estimated %d", n, e)
		}
		NewWork(NewTeam(1)).packedForward(g, x, packedTask{weights: weights, bias: bias, flags: addBias | applyRelu}, want)
		for i, v := range got.Data {
			if math.Float32bits(v) != math.Float32bits(want.Data[i]) {
				t.Fatalf("%+v: element %d is %g, want %g", g, i, v, want.Data[i])
			}
		}
	})
}

// TestSourceFails: the first error of reading is the pass's, once.
func TestSourceFails(t *testing.T) {
	g := Conv{C: 16, K: 200, R: 1}
	var reads atomic.Int32
	broken := errors.New("broken")
	w := NewWork(NewTeam(2))
	w.SourceForward(g, newAct(nil, 1, 16, 1, 1, 0), func(int, []float32) error {
		if reads.Add(1) > 2 {
			return broken
		}
		return nil
	}, make([]float32, g.BiasLen()), false, newAct(nil, 1, 200, 1, 1, 0))
	if err := w.Failed(); err != broken {
		t.Errorf("error %v, want the source's", err)
	}
	if err := w.Failed(); err != nil {
		t.Errorf("error %v the second time, want none", err)
	}
}
