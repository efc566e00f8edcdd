package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

const least = 0x1p-126 // the least float32 that isn't denormal

func denormal(v float32) bool { return v != 0 && math.Abs(float64(v)) < least }

// flushed returns x with zeros of its sign for denormal numbers.
func flushed(x []float32) []float32 {
	y := slices.Clone(x)
	for i, v := range y {
		if denormal(v) {
			y[i] = float32(math.Copysign(0, float64(v)))
		}
	}
	return y
}

// smalls returns denormal numbers and numbers up to 8 times the least that isn't.
func smalls(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Copysign(least*math.Exp2(7*rng.Float64()-4), rng.Float64()-0.5))
	}
	return x
}

func scaled(x []float32, by float32) []float32 {
	y := slices.Clone(x)
	for i := range y {
		y[i] *= by
	}
	return y
}

// smallLayer computes a layer of numbers around the least one, with factors so large that
// denormal numbers count if they aren't flushed.
type smallLayer struct {
	name string
	run  func(rng *rand.Rand, small func(n int) []float32) [][]float32
	rest bool // moves numbers without arithmetic: denormal ones pass
}

func smallLayers() []smallLayer {
	var layers []smallLayer
	add := func(name string, rest bool, run func(rng *rand.Rand, small func(n int) []float32) [][]float32) {
		layers = append(layers, smallLayer{name, run, rest})
	}
	team := NewTeam(2)
	for _, c := range []convCase{
		{Conv{3, 33, 3, 1}, 2, 9, 11}, {Conv{20, 40, 3, 1}, 2, 12, 12}, {Conv{17, 19, 5, 2}, 1, 9, 10},
		{Conv{18, 33, 1, 0}, 2, 9, 14}, {Conv{32, 50, 7, 0}, 3, 7, 7}, {Conv{5, 34, 3, 0}, 5, 3, 3},
	} {
		g := c.g
		oh, ow := g.Out(c.h, c.w)
		add(fmt.Sprint("convolution ", c), false, func(rng *rand.Rand, small func(n int) []float32) [][]float32 {
			wk := NewWork(team)
			xs, dys := small(c.n*g.C*c.h*c.w), small(c.n*g.K*oh*ow)
			weights, bias := make([]float32, g.WeightLen()), make([]float32, g.BiasLen())
			g.pack(weights, scaled(randoms(rng, g.K*g.C*g.R*g.R), 1e30))
			x, y := newAct(xs, c.n, g.C, c.h, c.w, g.Pad), newAct(nil, c.n, g.K, oh, ow, 1)
			large := newAct(scaled(randoms(rng, len(xs)), 1e30), c.n, g.C, c.h, c.w, g.Pad)
			dy, dx := newAct(dys, c.n, g.K, oh, ow, g.GradPad(c.h, c.w)), newAct(nil, c.n, g.C, c.h, c.w, 0)
			dw, db := make([]float32, g.WeightLen()), make([]float32, g.BiasLen())
			wk.ConvForward(g, x, weights, bias, false, y)
			wk.ConvBackwardData(g, dy, weights, dx)
			wk.ConvBackwardWeights(g, large, dy, dw)
			wk.BiasGrad(y, dy, false, db)
			return [][]float32{planar(y), planar(dx), dw, db}
		})
	}
	g := Conv{20, 40, 3, 1}
	for _, p := range winoPlans(3) {
		add(fmt.Sprintf("winograd %+v", p), false, func(rng *rand.Rand, small func(n int) []float32) [][]float32 {
			const n, h, w = 2, 12, 14
			wk := NewWork(team)
			weights, bias, u := make([]float32, g.WeightLen()), make([]float32, g.BiasLen()), make([]float32, p.FilterLen(g))
			g.pack(weights, scaled(randoms(rng, g.K*g.C*9), 1e30))
			wk.WinogradFilter(p, g, weights, u)
			x := borderedAct(small(n*g.C*h*w), n, g.C, h, w, 1, p.End(g, h, w))
			y, pooled := newAct(nil, n, g.K, h, w, 1), newAct(nil, n, g.K, h/2, w/2, 1)
			y.ClearBorder()
			pooled.ClearBorder()
			wk.WinogradForward(p, g, x, u, bias, false, false, y)
			wk.WinogradForward(p, g, x, u, bias, true, true, pooled)
			return [][]float32{planar(y), planar(pooled)}
		})
	}
	add("pool", true, func(rng *rand.Rand, small func(n int) []float32) [][]float32 {
		wk := NewWork(team)
		x, y := newAct(small(2*20*6*8), 2, 20, 6, 8, 1), newAct(nil, 2, 20, 3, 4, 1)
		wk.MaxPool(x, y)
		return [][]float32{planar(y)}
	})
	add("batch normalisation", false, func(rng *rand.Rand, small func(n int) []float32) [][]float32 {
		wk := NewWork(team)
		nm := Norm{Eps: 1e-5, Gamma: scaled(padded(randoms(rng, 20)), 1e30), Beta: make([]float32, 32), Mean: make([]float32, 32), Var: make([]float32, 32)}
		x, y := newAct(small(2*20*3*3), 2, 20, 3, 3, 0), newAct(nil, 2, 20, 3, 3, 0)
		dy, dx := newAct(small(2*20*3*3), 2, 20, 3, 3, 0), newAct(nil, 2, 20, 3, 3, 0)
		dGamma, dBeta := make([]float32, 32), make([]float32, 32)
		wk.NormForward(nm, x, y, false, false)
		wk.NormBackward(nm, x, y, dy, dx, dGamma, dBeta, false)
		return [][]float32{planar(y), planar(dx), dBeta}
	})
	add("descent", false, func(rng *rand.Rand, small func(n int) []float32) [][]float32 {
		wk := NewWork(team)
		w, v := make([]float32, 64*Block), small(64*Block)
		wk.SGD(w, v, small(64*Block), 1e30, 0.9, 0)
		return [][]float32{w, v}
	})
	return layers
}

// TestDenormalsAreZero: with every instruction set and the twins in Go, a denormal number
// is a zero, as an operand and as a result.
func TestDenormalsAreZero(t *testing.T) {
	if !canFlush {
		t.Skip("this processor has no mode for it")
	}
	eachISA(t, func(t *testing.T) {
		for _, l := range smallLayers() {
			t.Run(l.name, func(t *testing.T) {
				compute := func(small func(*rand.Rand, int) []float32) [][]float32 {
					rng := rand.New(rand.NewPCG(71, 72))
					return l.run(rng, func(n int) []float32 { return small(rng, n) })
				}
				got := compute(smalls)
				want := compute(func(rng *rand.Rand, n int) []float32 { return flushed(smalls(rng, n)) })
				counted := 0
				for i := range want {
					checkBits(t, fmt.Sprint("result ", i), flushed(got[i]), flushed(want[i]))
					for _, v := range got[i] {
						if v != 0 {
							counted++
						}
						if denormal(v) && !l.rest {
							t.Fatalf("result %d has %g, which is denormal", i, v)
						}
					}
				}
				if counted == 0 {
					t.Error("all results are zero")
				}
				flushes = false
				defer func() { flushes = canFlush }()
				kept := compute(smalls)
				differs := slices.ContainsFunc(kept[0], denormal)
				for i := range kept {
					differs = differs || !slices.Equal(kept[i], got[i])
				}
				if !differs {
					t.Error("the mode makes no difference to these numbers")
				}
			})
		}
	})
}

// TestOnlyPartsFlush: the goroutine that calls Run, one that a part starts, and one that
// was there before all keep denormal numbers.
func TestOnlyPartsFlush(t *testing.T) {
	if !canFlush {
		t.Skip("this processor has no mode for it")
	}
	var tiny float32 = 0x1p-140
	keeps := func() bool { return tiny*2 == 0x1p-139 && tiny*2 != 0 }
	stop, before := make(chan struct{}), make(chan bool, 1)
	go func() { // on a thread of its own, or moved to those of the team
		all := true
		for {
			select {
			case <-stop:
				before <- all
				return
			default:
				all = all && keeps()
			}
		}
	}()
	var started sync.WaitGroup
	for _, threads := range []int{1, 2, 5} {
		for _, parts := range []int{1, 7, 64} {
			c := newCount(threads, parts)
			c.inside = func(i int) {
				if keeps() {
					t.Errorf("%d threads: part %d keeps denormal numbers", threads, i)
				}
				started.Go(func() {
					if !keeps() {
						t.Errorf("%d threads: a goroutine that part %d started flushes", threads, i)
					}
				})
			}
			NewTeam(threads).Run(parts, c)
			if !keeps() {
				t.Fatalf("%d threads: the caller flushes after Run", threads)
			}
		}
	}
	c := newCount(1, 1)
	c.inside = func(int) { panic("a part fails") }
	func() {
		defer func() { recover() }()
		NewTeam(1).Run(1, c)
	}()
	if !keeps() {
		t.Error("the caller flushes after a part's panic")
	}
	started.Wait()
	close(stop)
	if !<-before {
		t.Error("a goroutine that has nothing to do with the team flushed")
	}
}

// BenchmarkDenormals computes a layer of D, a descent step, and nothing, of ordinary and of
// denormal numbers, without the mode and with it.
func BenchmarkDenormals(b *testing.B) {
	const h, w = 28, 28
	g := Conv{128, 128, 3, 1}
	wk := NewWork(NewTeam(1))
	weights, bias := make([]float32, g.WeightLen()), make([]float32, g.BiasLen())
	rng := rand.New(rand.NewPCG(73, 74))
	g.pack(weights, scaled(randoms(rng, g.K*g.C*9), 0.05))
	y := newAct(nil, 1, g.K, h, w, 1)
	for _, c := range []struct {
		name  string
		by    float32
		flush bool
	}{{"ordinary/kept", 1, false}, {"ordinary/flushed", 1, canFlush}, {"denormal/kept", 0x1p-130, false}, {"denormal/flushed", 0x1p-130, canFlush}} {
		x := newAct(scaled(randoms(rng, g.C*h*w), c.by), 1, g.C, h, w, 1)
		n := 1 << 14
		values, v, dw := make([]float32, n), make([]float32, n), scaled(randoms(rng, n), c.by)
		for what, f := range map[string]func(){
			"convolution": func() { wk.ConvForward(g, x, weights, bias, false, y) },
			"descent":     func() { wk.SGD(values, v, dw, 0.01, 0, 0) },
			"nothing":     func() { wk.Team.Run(1, nothing{}) },
		} {
			b.Run(what+"/"+c.name, func(b *testing.B) {
				flushes = c.flush
				defer func() { flushes = canFlush }()
				for b.Loop() {
					f()
				}
			})
		}
	}
}
