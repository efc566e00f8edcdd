package kernel

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// drawWinograd draws a convolution that some form computes, and a plan for it.
func drawWinograd(t *rapid.T) (convCase, Winograd) {
	p := Winograd{
		Form:  rapid.SampledFrom(forms[:]).Draw(t, "form"),
		Tiles: rapid.IntRange(1, 40).Draw(t, "tiles"),
		Order: rapid.SampledFrom(orders[:]).Draw(t, "order"),
		Trim:  rapid.Bool().Draw(t, "trim"),
	}
	channels := rapid.SampledFrom([]int{9, 15, 16, 17, 31, 32, 33, 48})
	g := Conv{C: channels.Draw(t, "C"), K: channels.Draw(t, "K"), R: p.R, Pad: p.R / 2}
	if p.R == 7 {
		g.Pad = 0
	}
	return drawSizes(t, g, 400_000, 15, 3), p
}

// near fails where |got − want| exceeds bound times the largest Σ|a·b|: a tile's outputs share
// the rounding of its largest.
func near(what string, got []float32, want, abs []float64, bound float64) error {
	most := 0.0
	for _, v := range abs {
		most = max(most, v)
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= bound*most) {
			return fmt.Errorf("%s: element %d is %g, want %g within %g", what, i, got[i], want[i], bound*most)
		}
	}
	return nil
}

// TestPropertyWinograd compares every form, order and kind of tile with a loop in float64.
func TestPropertyWinograd(t *testing.T) {
	property(t, func(t *rapid.T) {
		c, p := drawWinograd(t)
		bound := 5e-6
		if p.side() == 8 {
			bound = 2e-5
		}
		g := c.g
		v := drawValues(t, c, randoms)
		wk := NewWork(NewTeam(rapid.IntRange(1, 4).Draw(t, "threads")))
		weights, bias := make([]float32, g.WeightLen()), make([]float32, g.BiasLen())
		g.pack(weights, v.w)
		copy(bias, v.bias)
		u := make([]float32, p.FilterLen(g))
		wk.WinogradFilter(p, g, weights, u)
		x := borderedAct(v.x, c.n, g.C, c.h, c.w, g.Pad, p.End(g, c.h, c.w))
		oh, ow := g.Out(c.h, c.w)
		y := newAct(nil, c.n, g.K, oh, ow, 1)
		y.ClearBorder()
		wk.WinogradForward(p, g, x, u, bias, false, false, y)
		want, abs := convolve(g, c.n, c.h, c.w, v.x, v.w, v.bias)
		if err := near("y", planar(y), want, abs, bound); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(y.Data); i += y.planeLen() { // the rows above and below
			for _, row := range [][]float32{y.Data[i:][:y.rowLen()], y.Data[i+y.planeLen()-y.rowLen():][:y.rowLen()]} {
				for _, v := range row {
					if v != 0 {
						t.Fatalf("border pixel is %g, want 0", v)
					}
				}
			}
		}
		if !p.trains() {
			return
		}
		dy := borderedAct(v.dy, c.n, g.K, oh, ow, g.Pad, p.End(g, c.h, c.w))
		dx := newAct(nil, c.n, g.C, c.h, c.w, 0)
		wk.WinogradBackwardData(p, g, dy, weights, nil, dx)
		du, dw, packed := make([]float32, p.FilterLen(g)), make([]float32, len(v.w)), make([]float32, g.WeightLen())
		wk.WinogradBackwardWeights(p, g, x, dy, true, du, nil)
		wk.WinogradFold(p, g, du, packed)
		g.unpack(dw, packed)
		wantDx, absDx := make([]float64, len(v.x)), make([]float64, len(v.x))
		wantDw, absDw := make([]float64, len(dw)), make([]float64, len(dw))
		eachTerm(g, c.n, c.h, c.w, func(ix, iw, iy int) {
			p, q := float64(v.dy[iy])*float64(v.w[iw]), float64(v.dy[iy])*float64(v.x[ix])
			wantDx[ix] += p
			absDx[ix] += math.Abs(p)
			wantDw[iw] += q
			absDw[iw] += math.Abs(q)
		})
		for _, err := range []error{near("dx", planar(dx), wantDx, absDx, bound), near("dw", dw, wantDw, absDw, bound)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
