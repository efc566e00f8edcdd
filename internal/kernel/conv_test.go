package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// eachISA runs f once for every instruction set of this machine.
func eachISA(t *testing.T, f func(t *testing.T)) {
	for _, s := range setsUnderTest() {
		t.Run(s.Name(), func(t *testing.T) {
			old := current.Load()
			current.Store(s)
			t.Cleanup(func() { current.Store(old) })
			f(t)
		})
	}
}

func randoms(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// newAct returns an Act holding x, its border zero.
func newAct(x []float32, n, c, h, w, pad int) *Act {
	a := new(Act)
	buf := make([]float32, ActLen(n, c, h, w, pad))
	for i := range buf {
		buf[i] = float32(math.NaN()) // what is not written must not be read
	}
	a.Shape(n, c, h, w, pad, buf)
	if x != nil {
		a.FromNCHW(x)
	}
	return a
}

func planar(a *Act) []float32 {
	x := make([]float32, a.N*a.C*a.H*a.W)
	a.ToNCHW(x)
	return x
}

// convolve is the reference in float64, with Σ|w·x| for the error bound.
func convolve(g Conv, n, h, w int, x, wt, bias []float32) (y, abs []float64) {
	oh, ow := g.Out(h, w)
	y, abs = make([]float64, n*g.K*oh*ow), make([]float64, n*g.K*oh*ow)
	eachTerm(g, n, h, w, func(ix, iw, iy int) {
		p := float64(x[ix]) * float64(wt[iw])
		y[iy] += p
		abs[iy] += math.Abs(p)
	})
	for i := range y {
		y[i] += float64(bias[i/(oh*ow)%g.K])
	}
	return y, abs
}

// eachTerm calls f with the indices of every product of the convolution.
func eachTerm(g Conv, n, h, w int, f func(x, w, y int)) {
	oh, ow := g.Out(h, w)
	for i := range n {
		for k := range g.K {
			for c := range g.C {
				for r := range g.R {
					for s := range g.R {
						for oy := range oh {
							for ox := range ow {
								yy, xx := oy+r-g.Pad, ox+s-g.Pad
								if yy < 0 || yy >= h || xx < 0 || xx >= w {
									continue
								}
								f(((i*g.C+c)*h+yy)*w+xx, ((k*g.C+c)*g.R+r)*g.R+s, ((i*g.K+k)*oh+oy)*ow+ox)
							}
						}
					}
				}
			}
		}
	}
}

// checkBound fails where |got − want| exceeds 4·√terms·ε·Σ|a·b|: a sum of terms products
// in float32, whose rounding errors add up like a random walk.
func checkBound(t *testing.T, what string, got []float32, want, abs []float64, terms int) {
	t.Helper()
	for i := range want {
		bound := 4*math.Sqrt(float64(terms))*0x1p-24*abs[i] + 1e-30
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= bound) {
			t.Fatalf("%s: element %d is %g, want %g within %g", what, i, got[i], want[i], bound)
		}
	}
}

type convCase struct {
	g       Conv
	n, h, w int
}

func (c convCase) String() string {
	return fmt.Sprintf("%dx%d_r%dp%d_n%d_%dx%d", c.g.C, c.g.K, c.g.R, c.g.Pad, c.n, c.h, c.w)
}

var convCases = []convCase{
	{Conv{3, 8, 3, 1}, 2, 9, 11},
	{Conv{3, 64, 3, 1}, 1, 34, 40},
	{Conv{5, 40, 5, 2}, 2, 7, 8},
	{Conv{1, 1, 3, 1}, 1, 1, 1},
	{Conv{16, 32, 3, 1}, 1, 7, 7},
	{Conv{16, 16, 3, 1}, 2, 3, 15},
	{Conv{20, 40, 3, 1}, 2, 5, 29},
	{Conv{33, 70, 3, 1}, 1, 8, 43},
	{Conv{17, 48, 3, 1}, 3, 4, 4},
	{Conv{64, 20, 3, 1}, 3, 2, 2},
	{Conv{18, 33, 1, 0}, 2, 9, 14},
	{Conv{18, 33, 1, 0}, 2, 3, 3},
	{Conv{18, 100, 1, 0}, 5, 1, 1},
	{Conv{17, 19, 5, 2}, 1, 9, 10},
	{Conv{32, 50, 7, 0}, 3, 7, 7},
	{Conv{5, 34, 3, 0}, 15, 3, 3},
	{Conv{6, 10, 7, 0}, 2, 8, 9},
	{Conv{18, 37, 7, 0}, 1, 10, 13},
	{Conv{40, 12, 2, 0}, 60, 2, 2},
}

func TestConvolution(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, c := range convCases {
			for _, threads := range []int{1, 3} {
				t.Run(fmt.Sprintf("%v/threads%d", c, threads), func(t *testing.T) { testConv(t, c, threads) })
			}
		}
	})
}

func testConv(t *testing.T, c convCase, threads int) {
	g := c.g
	rng := rand.New(rand.NewPCG(1, uint64(g.C*1000+g.K)))
	oh, ow := g.Out(c.h, c.w)
	xs, ws := randoms(rng, c.n*g.C*c.h*c.w), randoms(rng, g.K*g.C*g.R*g.R)
	bs, dys := randoms(rng, g.K), randoms(rng, c.n*g.K*oh*ow)
	wk := NewWork(NewTeam(threads))
	weights := make([]float32, g.WeightLen())
	g.pack(weights, ws)
	bias := make([]float32, g.BiasLen())
	copy(bias, bs)
	terms := g.C * g.R * g.R

	x := newAct(xs, c.n, g.C, c.h, c.w, g.Pad)
	y := newAct(nil, c.n, g.K, oh, ow, 1)
	wk.ConvForward(g, x, weights, bias, false, y)
	want, abs := convolve(g, c.n, c.h, c.w, xs, ws, bs)
	for i := range abs {
		abs[i] += math.Abs(want[i])
	}
	checkBound(t, "y", planar(y), want, abs, terms)
	wk.ConvForward(g, x, weights, bias, true, y)
	for i := range want {
		want[i] = max(0, want[i])
	}
	checkBound(t, "relu(y)", planar(y), want, abs, terms)
	checkPadding(t, y)

	dy := newAct(dys, c.n, g.K, oh, ow, g.GradPad(c.h, c.w))
	dx := newAct(nil, c.n, g.C, c.h, c.w, 0)
	wk.ConvBackwardData(g, dy, weights, dx)
	wantDx, absDx := make([]float64, len(xs)), make([]float64, len(xs))
	wantDw, absDw := make([]float64, len(ws)), make([]float64, len(ws))
	add := func(want, abs []float64, i int, p float64) { want[i] += p; abs[i] += math.Abs(p) }
	eachTerm(g, c.n, c.h, c.w, func(ix, iw, iy int) {
		add(wantDx, absDx, ix, float64(dys[iy])*float64(ws[iw]))
		add(wantDw, absDw, iw, float64(dys[iy])*float64(xs[ix]))
	})
	checkBound(t, "dx", planar(dx), wantDx, absDx, g.K*g.R*g.R)
	checkPadding(t, dx)

	before := randoms(rng, len(ws))
	dw := make([]float32, g.WeightLen())
	g.pack(dw, before)
	wk.ConvBackwardWeights(g, x, dy, dw)
	got := make([]float32, len(ws))
	g.unpack(got, dw)
	for i := range wantDw {
		wantDw[i] += float64(before[i])
		absDw[i] += math.Abs(float64(before[i]))
	}
	checkBound(t, "dw", got, wantDw, absDw, c.n*oh*ow)

	db := make([]float32, g.BiasLen())
	wantDb, absDb := make([]float64, g.K), make([]float64, g.K)
	for i, d := range dys {
		if planarY := want[i]; planarY > 0 {
			add(wantDb, absDb, i/(oh*ow)%g.K, float64(d))
		}
	}
	wk.BiasGrad(y, dy, true, db)
	checkBound(t, "db", db[:g.K], wantDb, absDb, c.n*oh*ow)
}

// checkPadding fails where channels past C are not zero.
func checkPadding(t *testing.T, a *Act) {
	t.Helper()
	for n := range a.N {
		for y := range a.H {
			for x := range a.W {
				for c := a.C; c < a.Blocks()*Block; c++ {
					if v := a.Data[a.At(n, c/Block, y, x)+c%Block]; v != 0 {
						t.Fatalf("channel %d of %d is %g at (%d,%d,%d), want 0", c, a.C, v, n, y, x)
					}
				}
			}
		}
	}
}

func TestThreadsGiveTheSameBits(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, c := range convCases {
			var first []float32
			for _, threads := range []int{1, 2, 7, 16, 64} {
				got := convAll(c, threads)
				if first == nil {
					first = got
				}
				for i := range got {
					if math.Float32bits(got[i]) != math.Float32bits(first[i]) {
						t.Fatalf("%v: %d threads: value %d is %g, one thread gives %g", c, threads, i, got[i], first[i])
					}
				}
			}
		}
	})
}

// convAll returns y, dx and dw, concatenated.
func convAll(c convCase, threads int) []float32 {
	g := c.g
	rng := rand.New(rand.NewPCG(7, 7))
	oh, ow := g.Out(c.h, c.w)
	x := newAct(randoms(rng, c.n*g.C*c.h*c.w), c.n, g.C, c.h, c.w, g.Pad)
	dy := newAct(randoms(rng, c.n*g.K*oh*ow), c.n, g.K, oh, ow, g.GradPad(c.h, c.w))
	weights := make([]float32, g.WeightLen())
	g.pack(weights, randoms(rng, g.K*g.C*g.R*g.R))
	wk := NewWork(NewTeam(threads))
	y, dx := newAct(nil, c.n, g.K, oh, ow, 0), newAct(nil, c.n, g.C, c.h, c.w, 0)
	dw := make([]float32, g.WeightLen())
	wk.ConvForward(g, x, weights, nil, true, y)
	wk.ConvBackwardData(g, dy, weights, dx)
	wk.ConvBackwardWeights(g, x, dy, dw)
	return append(append(planar(y), planar(dx)...), dw...)
}

// TestMicroBatches: the weight gradient summed image by image has the bits of the
// whole batch.
func TestMicroBatches(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, c := range convCases {
			g := c.g
			rng := rand.New(rand.NewPCG(9, 9))
			oh, ow := g.Out(c.h, c.w)
			xs, dys := randoms(rng, c.n*g.C*c.h*c.w), randoms(rng, c.n*g.K*oh*ow)
			wk := NewWork(NewTeam(2))
			grad := func(n0, n int, dw []float32) {
				x := newAct(xs[n0*g.C*c.h*c.w:(n0+n)*g.C*c.h*c.w], n, g.C, c.h, c.w, g.Pad)
				dy := newAct(dys[n0*g.K*oh*ow:(n0+n)*g.K*oh*ow], n, g.K, oh, ow, g.GradPad(c.h, c.w))
				wk.ConvBackwardWeights(g, x, dy, dw)
			}
			whole, parts := make([]float32, g.WeightLen()), make([]float32, g.WeightLen())
			grad(0, c.n, whole)
			for n := range c.n {
				grad(n, 1, parts)
			}
			for i := range whole {
				if math.Float32bits(whole[i]) != math.Float32bits(parts[i]) {
					t.Fatalf("%v: dw[%d] is %g in micro-batches, %g at once", c, i, parts[i], whole[i])
				}
			}
		}
	})
}
