package kernel

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// TestGuardsCatch: a kernel that reads one pixel too many is caught, so the tests below
// can fail.
func TestGuardsCatch(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("inaccessible pages are made on linux only")
	}
	for _, s := range native() {
		mem := &guarded{t: t, end: true}
		x, sum := mem.floats(make([]float32, 3*Block)), mem.floats(make([]float32, Block))
		if r := fault(func() { s.asm.sumPixels(3, &x[0], &sum[0]) }); r != nil {
			t.Errorf("%s: sum of 3 pixels of 3: %v", s.Name(), r)
		}
		if r := fault(func() { s.asm.sumPixels(4, &x[0], &sum[0]) }); r == nil {
			t.Errorf("%s: sum of 4 pixels of 3 went unnoticed", s.Name())
		}
		mem.release()
	}
	inner := &fakeTB{TB: t}
	mem := &guarded{t: inner, end: false}
	x := mem.floats(make([]float32, 1))
	mem.regions[0].mem[mem.regions[0].lo+1] = x[0]
	mem.release()
	if !inner.failed {
		t.Error("a write past the operand went unnoticed")
	}
}

// fakeTB records an error instead of reporting it.
type fakeTB struct {
	testing.TB
	failed bool
}

func (f *fakeTB) Helper()               {}
func (f *fakeTB) Errorf(string, ...any) { f.failed = true }

// TestKernelsStayInBounds: kernels touch nothing beyond operands of exactly the length that
// the twin needs.
func TestKernelsStayInBounds(t *testing.T) {
	for _, s := range setsUnderTest() {
		for _, k := range againstTwin {
			t.Run(s.Name()+"/"+k.name, func(t *testing.T) {
				eachSide(t, func(t *testing.T, mem memory) {
					if k.name == "gemm" {
						gemmAgainstTwin(t, s, mem, 2)
						return
					}
					k.run(t, s, mem)
				})
			})
		}
	}
}

// actIn returns an Act in mem with the planar values x, or NaN where x is nil.
func actIn(mem memory, x []float32, n, c, h, w, pad int) *Act {
	a := new(Act)
	a.Shape(n, c, h, w, pad, mem.floats(filled(ActLen(n, c, h, w, pad), nan)))
	if x != nil {
		a.FromNCHW(x)
	}
	return a
}

// workIn returns a Work whose scratch lies in mem, is exactly as long as s says and
// holds NaN.
func workIn(mem memory, threads int, s Scratch) *Work {
	w := NewWork(NewTeam(threads))
	nans := func(n int) []float32 {
		if n == 0 {
			return nil
		}
		return mem.floats(filled(n, nan))
	}
	w.shared, w.shared2, w.turned = nans(s.Shared), nans(s.Shared2), nans(s.Turned)
	for i := range w.local {
		w.local[i] = nans(s.Local)
	}
	return w
}

// layerIn runs a convolution forward and backward in mem and returns y, dx, dw, db and
// updated weights, concatenated.
func layerIn(t *testing.T, mem memory, c convCase, threads int) []float32 {
	g := c.g
	rng := rand.New(rand.NewPCG(21, 22))
	oh, ow := g.Out(c.h, c.w)
	s := g.ForwardScratch(c.n, c.h, c.w, threads).Max(g.BackwardScratch(c.n, c.h, c.w, threads, true))
	wk := workIn(mem, threads, s)
	held := wk.Floats()
	x := actIn(mem, randoms(rng, c.n*g.C*c.h*c.w), c.n, g.C, c.h, c.w, g.Pad)
	dy := actIn(mem, randoms(rng, c.n*g.K*oh*ow), c.n, g.K, oh, ow, g.GradPad(c.h, c.w))
	y, dx := actIn(mem, nil, c.n, g.K, oh, ow, 0), actIn(mem, nil, c.n, g.C, c.h, c.w, 0)
	weights, dw := mem.floats(make([]float32, g.WeightLen())), mem.floats(make([]float32, g.WeightLen()))
	g.pack(weights, randoms(rng, g.K*g.C*g.R*g.R))
	bias, db := mem.floats(make([]float32, g.BiasLen())), mem.floats(make([]float32, y.Blocks()*Block))
	copy(bias, randoms(rng, g.K))

	wk.ConvForward(g, x, weights, bias, true, y)
	wk.ConvBackwardData(g, dy, weights, dx)
	wk.ConvBackwardWeights(g, x, dy, dw)
	wk.BiasGrad(y, dy, true, db)
	wk.BiasGrad(y, dy, false, db)
	wk.SGD(weights, dw, weights, 0.1, 0.9, 0.01)
	if wk.Floats() != held {
		t.Errorf("scratch grew from %d to %d floats", held, wk.Floats())
	}
	var all []float32
	for _, v := range [][]float32{y.Data, dx.Data, dw, db, weights} {
		all = append(all, v...)
	}
	return all
}

// checkNoNaN fails where a result came from memory that was never written.
func checkNoNaN(t *testing.T, x []float32) {
	t.Helper()
	for i, v := range x {
		if v != v {
			t.Fatalf("value %d is NaN", i)
		}
	}
}

func TestConvolutionStaysInBounds(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		if testing.Short() && Current() == portable && len(native()) > 0 {
			t.Skip("Go checks its own bounds")
		}
		for _, c := range convCases {
			for _, threads := range []int{1, 3} {
				want := layerIn(t, plain{}, c, threads)
				checkNoNaN(t, want)
				t.Run(fmt.Sprintf("%v/threads%d", c, threads), func(t *testing.T) {
					eachSide(t, func(t *testing.T, mem memory) {
						got := layerIn(t, mem, c, threads)
						mem.release()
						checkBits(t, "y, dx, dw, db, w", got, want)
					})
				})
			}
		}
	})
}

// otherLayersIn runs the other layers in mem and returns their results, concatenated.
func otherLayersIn(mem memory, c, h, w int) []float32 {
	const n = 2
	rng := rand.New(rand.NewPCG(23, 24))
	lrn := LRN{Size: 5, K: 2, Alpha: 1e-4, Beta: 0.75}
	wk := workIn(mem, 1, LRNScratch(lrn, c, w))
	var all []float32
	out := func(h, w int) *Act { return actIn(mem, nil, n, c, h, w, 0) }
	in := func(h, w int) *Act { return actIn(mem, randoms(rng, n*c*h*w), n, c, h, w, 0) }
	keep := func(a *Act) { all = append(all, a.Data...) }

	x, dx := in(h, w), out(h, w)
	y, dy := out(h/2, w/2), in(h/2, w/2)
	wk.MaxPool(x, y)
	wk.MaxPoolGrad(x, y, dy, dx)
	keep(y)
	keep(dx)

	d, e, z := in(h, w), out(h, w), out(h, w)
	wk.LRNForward(lrn, x, e)
	wk.LRNBackward(lrn, x, d, z)
	keep(e)
	keep(z)

	channels := func(v float32) []float32 { return mem.floats(filled(blocks(c)*Block, v)) }
	nm := Norm{Eps: 1e-5, Gamma: channels(1), Beta: channels(0), Mean: channels(nan), Var: channels(nan)}
	wk.NormForward(nm, x, e, true, true)
	wk.NormBackward(nm, x, e, d, z, channels(0), channels(0), true)
	keep(e)
	keep(z)

	wk.Relu(x, e)
	wk.ReluGrad(x, d, z)
	keep(e)
	keep(z)
	wk.Dropout(Mask{Key: 1, Ratio: 0.5}, x, e)
	keep(e)
	return all
}

func TestOtherLayersStayInBounds(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, s := range [][3]int{{1, 2, 2}, {16, 3, 5}, {20, 4, 6}, {33, 7, 2}} {
			c, h, w := s[0], s[1], s[2]
			want := otherLayersIn(plain{}, c, h, w)
			checkNoNaN(t, want)
			t.Run(fmt.Sprintf("%dx%dx%d", c, h, w), func(t *testing.T) {
				eachSide(t, func(t *testing.T, mem memory) {
					got := otherLayersIn(mem, c, h, w)
					mem.release()
					checkBits(t, "layers", got, want)
				})
			})
		}
	})
}
