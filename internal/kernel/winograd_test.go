package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// tiles lists the whole tile of the form, and the narrow ones.
func (f Form) tiles() []tile {
	all := []tile{{f, f.M, f.M}}
	if f.R != 3 {
		return all
	}
	for rows := f.M; rows > 0; rows -= 2 {
		for cols := f.M; cols > 0; cols -= 2 {
			if rows < f.M || cols < f.M {
				all = append(all, tile{f, rows, cols})
			}
		}
	}
	return all
}

func TestWinogradTransformsAgainstTheirTwins(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, f := range forms {
			for _, tiles := range []int{1, 2, 5} {
				t.Run(fmt.Sprintf("%v/tiles%d", f, tiles), func(t *testing.T) { transformsAgainstTwins(t, Current(), f, tiles) })
			}
		}
	})
}

// transformsAgainstTwins compares a form's transforms of the given number of tiles with
// their twins.
func transformsAgainstTwins(t *testing.T, s *ISA, f Form, tiles int) {
	rng := rand.New(rand.NewPCG(3, 3))
	m, n := f.M, f.side()
	row, stride := (tiles*m+f.R+2)*Block, (tiles+1)*Block
	compare := func(what string, size int, want, got func(dst []float32)) {
		t.Helper()
		init := randoms(rng, size)
		a, b := append([]float32(nil), init...), append([]float32(nil), init...)
		want(a)
		got(b)
		var diff, most float64
		for i := range a {
			diff = max(diff, math.Abs(float64(a[i])-float64(b[i])))
			most = max(most, math.Abs(float64(a[i])))
		}
		if !(diff <= 2e-6*most) {
			t.Errorf("%v, %s: differs by %g of %g", f, what, diff, most)
		}
	}
	x := randoms(rng, n*row)
	p, bias := randoms(rng, n*n*stride), randoms(rng, Block)
	for _, tile := range f.tiles() {
		what := fmt.Sprintf("%d×%d outputs: ", tile.rows, tile.cols)
		compare(what+"input", n*n*stride, func(d []float32) { winoInputTwin(tile, tiles, x, row, d, stride) },
			func(d []float32) { s.winoInput(tile, tiles, x, row, d, stride) })
		for _, pool := range []bool{false, true} {
			for _, lo := range []float32{0, float32(math.Inf(-1))} {
				compare(what+"output", m*row, func(d []float32) { winoOutputTwin(tile, pool, tiles, p, stride, d, row, bias, lo) },
					func(d []float32) { s.winoOutput(tile, pool, tiles, p, stride, d, row, bias, lo) })
			}
		}
	}
	g := randoms(rng, f.R*f.R*stride)
	compare("weights", n*n*stride, func(d []float32) { winoWeightsTwin(f, tiles, g, stride, d, stride) },
		func(d []float32) { s.winoWeights(f, false, tiles, g, stride, d, stride) })
	if !f.trains() {
		return
	}
	for _, tile := range f.tiles() {
		compare(fmt.Sprintf("%d×%d outputs: grad", tile.rows, tile.cols), n*n*stride, func(d []float32) { winoGradTwin(tile, tiles, x, row, d, stride) },
			func(d []float32) { s.winoGrad(tile, tiles, x, row, d, stride) })
	}
	compare("weights grad", 9*stride, func(d []float32) { winoWeightsGradTwin(f, tiles, p, stride, d, stride) },
		func(d []float32) { s.winoWeightsGrad(f, tiles, p, stride, d, stride) })
}

var winoCases = []convCase{
	{Conv{16, 32, 3, 1}, 1, 4, 4},
	{Conv{16, 32, 3, 1}, 2, 12, 12},
	{Conv{20, 40, 3, 1}, 2, 5, 29},
	{Conv{33, 70, 3, 1}, 1, 8, 43},
	{Conv{17, 16, 3, 1}, 3, 1, 7},
	{Conv{64, 20, 3, 1}, 5, 2, 2},
	{Conv{40, 50, 3, 1}, 1, 25, 13},
	{Conv{24, 40, 3, 1}, 2, 10, 14},
	{Conv{16, 16, 3, 1}, 3, 14, 21},
}

var wino5Cases = []convCase{
	{Conv{16, 32, 5, 2}, 1, 4, 4},
	{Conv{20, 40, 5, 2}, 2, 5, 29},
	{Conv{33, 40, 5, 2}, 1, 8, 13},
	{Conv{17, 16, 5, 2}, 3, 1, 7},
}

var wino7Cases = []convCase{
	{Conv{16, 32, 7, 0}, 1, 8, 8},
	{Conv{20, 40, 7, 0}, 2, 9, 20},
	{Conv{33, 40, 7, 0}, 1, 7, 11},
	{Conv{17, 16, 7, 0}, 3, 10, 7},
}

// TestWinogradForward: the relative error of a form is bounded by the factor by which its
// transforms amplify rounding.
func TestWinogradForward(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for i, c := range slices.Concat(winoCases, wino5Cases, wino7Cases) {
			for k, p := range winoPlans(c.g.R) {
				for _, threads := range []int{1, 3} {
					if testing.Short() && (threads == 1 || (i+k)%2 != 0) {
						continue // emulated, a case takes a second: each plan on every other case
					}
					if !everyCase && (i+k+threads/2)%2 == 0 {
						continue // each plan on each case, with one number of threads
					}
					t.Run(fmt.Sprintf("%v/%+v/threads%d", c, p, threads), func(t *testing.T) { testWinogradForward(t, c, p, threads) })
				}
			}
		}
	})
}

// winoPlans are plans of every form for filters of side r, in every order.
func winoPlans(r int) []Winograd {
	if i := slices.Index([]int{5, 7}, r); i >= 0 {
		f := []Form{{4, 5}, {2, 7}}[i]
		return []Winograd{{f, 5, byPanel, false}, {f, 3, byPosition, false}, {f, 7, sharedV, false}}
	}
	f, six := Form{4, 3}, Form{6, 3}
	return []Winograd{
		{f, 5, byPanel, false}, {f, 1000, byPosition, true}, {f, 7, sharedV, true}, {f, 4, byPanel, true},
		{six, 3, byPosition, true}, {six, 2, byPanel, false}, {six, 5, byPanel, true}, {six, 1000, sharedV, true},
	}
}

// reference is random operands of a convolution and what they come to in float64. It is computed
// once for all plans, threads and instruction sets.
type reference struct {
	x, w, b, dy []float32
	y, dx, dw   []float64
}

var references, gradients = map[convCase]*reference{}, map[convCase]*reference{}

// reference returns the operands and the output of a case.
func (c convCase) reference() *reference {
	if r := references[c]; r != nil {
		return r
	}
	rng := rand.New(rand.NewPCG(1, uint64(c.g.C*1000+c.g.K)))
	r := &reference{x: randoms(rng, c.n*c.g.C*c.h*c.w), w: randoms(rng, c.g.K*c.g.C*c.g.R*c.g.R), b: randoms(rng, c.g.K)}
	r.y, _ = convolve(c.g, c.n, c.h, c.w, r.x, r.w, r.b)
	references[c] = r
	return r
}

// gradient returns the operands and the gradients of a case whose output is as large as its
// input.
func (c convCase) gradient() *reference {
	if r := gradients[c]; r != nil {
		return r
	}
	rng := rand.New(rand.NewPCG(2, uint64(c.g.C*1000+c.g.K)))
	r := &reference{x: randoms(rng, c.n*c.g.C*c.h*c.w), w: randoms(rng, c.g.K*c.g.C*c.g.R*c.g.R), dy: randoms(rng, c.n*c.g.K*c.h*c.w)}
	r.dx, r.dw = make([]float64, len(r.x)), make([]float64, len(r.w))
	eachTerm(c.g, c.n, c.h, c.w, func(ix, iw, iy int) {
		r.dx[ix] += float64(r.dy[iy]) * float64(r.w[iw])
		r.dw[iw] += float64(r.dy[iy]) * float64(r.x[ix])
	})
	gradients[c] = r
	return r
}

func testWinogradForward(t *testing.T, c convCase, p Winograd, threads int) {
	g := c.g
	r := c.reference()
	xs, ws, bs := r.x, r.w, r.b
	wk := NewWork(NewTeam(threads))
	weights, bias := make([]float32, g.WeightLen()), make([]float32, g.BiasLen())
	g.pack(weights, ws)
	copy(bias, bs)
	u := make([]float32, p.FilterLen(g))
	wk.WinogradFilter(p, g, weights, u)
	x := borderedAct(xs, c.n, g.C, c.h, c.w, g.Pad, p.End(g, c.h, c.w))
	want := slices.Clone(r.y)
	h, w := g.Out(c.h, c.w)
	for _, relu := range []bool{false, true} {
		y := newAct(nil, c.n, g.K, h, w, 1)
		y.ClearBorder()
		wk.WinogradForward(p, g, x, u, bias, relu, false, y)
		if relu {
			for i := range want {
				want[i] = max(0, want[i])
			}
		}
		checkRelative(t, "y", planar(y), want, 5e-6)
		checkPadding(t, y)
		checkBorder(t, y)
	}
	if h < 2 || w < 2 {
		return
	}
	full := newAct(nil, c.n, g.K, h, w, 0)
	wk.WinogradForward(p, g, x, u, bias, true, false, full)
	pooled, wantPooled := newAct(nil, c.n, g.K, h/2, w/2, 2), newAct(nil, c.n, g.K, h/2, w/2, 0)
	pooled.ClearBorder()
	wk.WinogradForward(p, g, x, u, bias, true, true, pooled)
	wk.MaxPool(full, wantPooled)
	a, b := planar(pooled), planar(wantPooled)
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("pooled: element %d is %g, want %g", i, a[i], b[i])
		}
	}
	checkBorder(t, pooled)
}

func borderedAct(x []float32, n, c, h, w, pad, end int) *Act {
	a := new(Act)
	buf := make([]float32, BorderedLen(n, c, h, w, pad, end))
	for i := range buf {
		buf[i] = float32(math.NaN())
	}
	a.Bordered(n, c, h, w, pad, end, buf)
	a.FromNCHW(x)
	return a
}

// checkRelative fails where the error's L2 norm exceeds bound times that of want.
func checkRelative(t *testing.T, what string, got []float32, want []float64, bound float64) {
	t.Helper()
	var diff, size float64
	for i, w := range want {
		d := float64(got[i]) - w
		diff += d * d
		size += w * w
	}
	if e := math.Sqrt(diff / size); !(e <= bound) {
		t.Errorf("%s: relative error %.2g, want at most %.2g", what, e, bound)
	}
}

// checkBorder fails where the border is not zero.
func checkBorder(t *testing.T, a *Act) {
	t.Helper()
	for p := 0; p < len(a.Data); p += a.planeLen() {
		for i, v := range a.Data[p : p+a.planeLen()] {
			y, x := i/a.rowLen()-a.Pad, i%a.rowLen()/Block-a.Pad
			if (y < 0 || y >= a.H || x < 0 || x >= a.W) && v != 0 {
				t.Fatalf("border pixel (%d,%d) is %g, want 0", y, x, v)
			}
		}
	}
}

// TestWinogradBackward compares dx and dw with the float64 reference. Bit for bit, it
// compares dw summed image by image with dw of the batch, and dw and db with one thread's.
func TestWinogradBackward(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for i, c := range winoCases {
			for k, p := range trainingPlans() {
				for _, threads := range []int{1, 2, 3} { // two have an algorithm of their own
					if (testing.Short() || !everyCase) && (i+k+threads)%3 != 0 {
						continue // each plan on each case and with each number of threads
					}
					t.Run(fmt.Sprintf("%v/%v/threads%d", c, p, threads), func(t *testing.T) { testWinogradBackward(t, c, p, threads) })
				}
			}
		}
	})
}

func testWinogradBackward(t *testing.T, c convCase, p Winograd, threads int) {
	g := c.g
	r := c.gradient()
	xs, ws, dys := r.x, r.w, r.dy
	weights := make([]float32, g.WeightLen())
	g.pack(weights, ws)
	wk := NewWork(NewTeam(threads))
	end := p.End(g, c.h, c.w)
	x, dy := borderedAct(xs, c.n, g.C, c.h, c.w, 1, end), borderedAct(dys, c.n, g.K, c.h, c.w, 1, end)
	dx := newAct(nil, c.n, g.C, c.h, c.w, 0)
	wk.WinogradBackwardData(p, g, dy, weights, nil, dx)
	checkRelative(t, "dx", planar(dx), r.dx, 5e-6)
	checkPadding(t, dx)

	du := make([]float32, p.FilterLen(g))
	wk.WinogradBackwardWeights(p, g, x, dy, true, du, nil)
	for i := range du {
		du[i] *= 2 // what fresh must replace
	}
	dw := randoms(rand.New(rand.NewPCG(3, 1)), g.WeightLen())
	db, alone, db1 := make([]float32, g.BiasLen()), make([]float32, len(du)), make([]float32, g.BiasLen())
	wk.WinogradBackwardWeights(p, g, x, dy, true, du, db)
	NewWork(NewTeam(1)).WinogradBackwardWeights(p, g, x, dy, true, alone, db1)
	checkBits(t, "du", du, alone)
	checkBits(t, "db", db, db1)
	wk.WinogradFold(p, g, du, dw)
	got := make([]float32, len(ws))
	g.unpack(got, dw)
	checkRelative(t, "dw", got, r.dw, 5e-6)

	parts := make([]float32, len(du))
	imageX, imageDy := g.C*c.h*c.w, g.K*c.h*c.w
	for n := range c.n {
		x := borderedAct(xs[n*imageX:][:imageX], 1, g.C, c.h, c.w, 1, end)
		dy := borderedAct(dys[n*imageDy:][:imageDy], 1, g.K, c.h, c.w, 1, end)
		wk.WinogradBackwardWeights(p, g, x, dy, n == 0, parts, nil)
	}
	for i := range du {
		if math.Float32bits(du[i]) != math.Float32bits(parts[i]) {
			t.Fatalf("du[%d] is %g in micro-batches, %g at once", i, parts[i], du[i])
		}
	}
}

// TestWeightsPastTheCaches: transformed weights that go past the caches have the bits of those
// that don't, and so have those at addresses where they can't.
func TestWeightsPastTheCaches(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		s := Current()
		rng := rand.New(rand.NewPCG(9, 9))
		for _, f := range forms {
			for _, blocks := range []int{1, 2, 7} {
				stride := (blocks + 1) * Block
				g, length := randoms(rng, f.R*f.R*stride), f.side()*f.side()*stride
				want := Alloc(length)
				s.winoWeights(f, false, blocks, g, stride, want, stride)
				for _, at := range []int{0, 1} { // whole cache lines, and none
					got := Alloc(length + 1)[at:][:length]
					s.winoWeights(f, true, blocks, g, stride, got, stride)
					checkBits(t, fmt.Sprintf("%v, %d blocks, from float %d on", f, blocks, at), got, want)
				}
			}
		}
	})
}
