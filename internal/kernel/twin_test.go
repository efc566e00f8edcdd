package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

var (
	nan     = float32(math.NaN())
	inf     = float32(math.Inf(1))
	negZero = float32(math.Copysign(0, -1))
)

// gemmOperands are the operands of one tile, no longer than the tile needs.
type gemmOperands struct {
	rows, nb, cStride int
	rgb               bool
	offs              []int
	a, b, c, bias     []float32
}

// channels is the number of channels of a step.
func (o gemmOperands) channels() int {
	if o.rgb {
		return rgbChannels
	}
	return Block
}

// newGemm makes operands whose steps are out of order and at odd offsets in a.
func newGemm(mem memory, rows, nb, steps, cStride int, rgb bool, values func(n int) []float32) gemmOperands {
	o := gemmOperands{rows: rows, nb: nb, cStride: cStride, rgb: rgb}
	channels := o.channels()
	offs := make([]int, steps)
	for i := range offs {
		offs[i] = (steps-1-i)*rows*Block + 3*i
	}
	o.offs = mem.ints(offs)
	o.a = mem.floats(values(max(offs[0], offs[steps-1]) + (rows-1)*Block + channels))
	o.b = mem.floats(values((steps*channels-1)*Panel + nb*Block))
	o.c = mem.floats(values((nb-1)*cStride + rows*Block))
	o.bias = mem.floats(values(nb * Block))
	return o
}

// run computes the tile on s and returns the result; c keeps its values.
func (o gemmOperands) run(s *ISA, flags int) []float32 {
	before := plain{}.floats(o.c)
	if o.rgb {
		s.rows(o.rows, o.nb, true, o.offs, o.a, o.b, o.c, o.cStride, o.bias, flags)
	} else {
		s.product(o.rows, o.nb, o.offs, o.a, o.b, o.c, o.cStride, o.bias, flags)
	}
	got := plain{}.floats(o.c)
	copy(o.c, before)
	return got
}

// reference is the tile in float64 with the Σ|a·b| of every output; where c belongs to
// no output it keeps its value and the sum is zero.
func (o gemmOperands) reference(flags int) (want, abs []float64) {
	want, abs = make([]float64, len(o.c)), make([]float64, len(o.c))
	for i, v := range o.c {
		want[i] = float64(v)
	}
	for r := range o.rows {
		for j := range o.nb * Block {
			var terms []float64
			at := j/Block*o.cStride + r*Block + j%Block
			if flags&accumulate != 0 {
				terms = append(terms, want[at])
			}
			for i, off := range o.offs {
				for k := range o.channels() {
					terms = append(terms, float64(o.a[off+r*Block+k])*float64(o.b[(i*o.channels()+k)*Panel+j]))
				}
			}
			if flags&addBias != 0 {
				terms = append(terms, float64(o.bias[j]))
			}
			want[at] = 0
			for _, v := range terms {
				want[at] += v
				abs[at] += math.Abs(v)
			}
			if flags&applyRelu != 0 {
				want[at] = max(0, want[at])
			}
		}
	}
	return want, abs
}

// eachGemm calls f with every tile of s, every number of steps up to most, dense and
// odd strides, and every combination of flags.
func eachGemm(s *ISA, most int, f func(rows, nb, steps, cStride, flags int, rgb bool)) {
	for rows := 1; rows <= slices.Max(s.asm.gemm.rows[:]); rows++ {
		for nb := 1; nb <= 2; nb++ {
			for steps := 1; steps <= most; steps++ {
				for _, cStride := range []int{rows * Block, rows*Block + 2*steps + 1} {
					for flags := range 8 {
						f(rows, nb, steps, cStride, flags, false)
						f(rows, nb, steps, cStride, flags, true)
					}
				}
			}
		}
	}
}

func gemmName(rows, nb, steps, cStride, flags int) string {
	return fmt.Sprintf("gemm %dx%d, %d steps, stride %d, flags %03b", rows, nb*Block, steps, cStride, flags)
}

// gemmAgainstTwin compares the bits of sums that are exact.
func gemmAgainstTwin(t *testing.T, s *ISA, mem memory, most int) {
	rng := rand.New(rand.NewPCG(1, 2))
	eachGemm(s, most, func(rows, nb, steps, cStride, flags int, rgb bool) {
		o := newGemm(mem, rows, nb, steps, cStride, rgb, func(n int) []float32 { return integers(rng, n) })
		checkBits(t, gemmName(rows, nb, steps, cStride, flags), o.run(s, flags), o.run(portable, flags))
		mem.release()
	})
}

// TestProductDepth: cutting the reduction for several tiles doesn't change a bit, with all
// flags.
func TestProductDepth(t *testing.T) {
	for _, s := range setsUnderTest() {
		t.Run(s.Name(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, 8))
			for nb := 1; nb <= 2; nb++ {
				rows := s.asm.gemm.rows[nb-1] + 1
				for steps := 1; steps <= 2*s.asm.gemm.depth+1; steps++ {
					for flags := range 8 {
						o := newGemm(plain{}, rows, nb, steps, rows*Block, false, func(n int) []float32 { return randoms(rng, n) })
						want := plain{}.floats(o.c)
						s.rows(rows, nb, false, o.offs, o.a, o.b, want, o.cStride, o.bias, flags)
						checkBits(t, gemmName(rows, nb, steps, o.cStride, flags), o.run(s, flags), want)
					}
				}
			}
		})
	}
}

// TestGemmBound compares every set, the twin included, with float64.
func TestGemmBound(t *testing.T) {
	for _, s := range setsUnderTest() {
		t.Run(s.Name(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 4))
			eachGemm(s, 5, func(rows, nb, steps, cStride, flags int, rgb bool) {
				o := newGemm(unaligned{}, rows, nb, steps, cStride, rgb, func(n int) []float32 { return randoms(rng, n) })
				want, abs := o.reference(flags)
				checkBound(t, gemmName(rows, nb, steps, cStride, flags), o.run(s, flags), want, abs, steps*Block)
			})
		})
	}
}

// TestGemmSpecialValues: NaN and the infinities spread as in the twin, through ReLU
// too, which keeps NaN and −0.
func TestGemmSpecialValues(t *testing.T) {
	for _, s := range setsUnderTest() {
		t.Run(s.Name(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(5, 6))
			special := []float32{nan, inf, -inf, negZero}
			values := func(n int) []float32 {
				x := integers(rng, n)
				for range n/100 + 1 {
					x[rng.IntN(n)] = special[rng.IntN(len(special))]
				}
				return x
			}
			eachGemm(s, 2, func(rows, nb, steps, cStride, flags int, rgb bool) {
				o := newGemm(plain{}, rows, nb, steps, cStride, rgb, values)
				checkBits(t, gemmName(rows, nb, steps, cStride, flags), o.run(s, flags), o.run(portable, flags))
			})
			o := newGemm(plain{}, 2, 2, 1, 2*Block, false, func(n int) []float32 { return filled(n, negZero) })
			for i := range o.b {
				o.b[i] = 1
			}
			for flags := range 8 {
				want := float32(0)
				if flags&accumulate != 0 {
					want = negZero
				}
				checkBits(t, fmt.Sprintf("zeros, flags %03b", flags), o.run(s, flags), filled(len(o.c), want))
			}
			o.a[0] = nan
			got := o.run(s, applyRelu)
			for i, v := range got {
				if row := i / Block % 2; (v != v) != (row == 0) {
					t.Fatalf("NaN in row 0: ReLU gives %g in row %d", v, row)
				}
			}
		})
	}
}

// wgradOperands are the operands of one tile of the weight gradient.
type wgradOperands struct {
	nb, h, w, xRow, dyRow, dyPlane int
	x, dy, dw                      []float32
}

func newWgrad(mem memory, nb, h, w, gap int, values func(n int) []float32) wgradOperands {
	o := wgradOperands{nb: nb, h: h, w: w, xRow: w*Block + gap, dyRow: w*Block + 3*gap}
	o.dyPlane = h*o.dyRow + 5*gap
	o.x = mem.floats(values((h-1)*o.xRow + w*Block))
	o.dy = mem.floats(values((nb-1)*o.dyPlane + (h-1)*o.dyRow + w*Block))
	o.dw = mem.floats(values((Block-1)*Panel + nb*Block))
	return o
}

func (o wgradOperands) run(s *ISA, flags int) []float32 {
	before := plain{}.floats(o.dw)
	s.weightGrad(o.nb, o.h, o.w, o.x, o.xRow, o.dy, o.dyRow, o.dyPlane, o.dw, flags)
	got := plain{}.floats(o.dw)
	copy(o.dw, before)
	return got
}

func (o wgradOperands) reference() (want, abs []float64) {
	want, abs = make([]float64, len(o.dw)), make([]float64, len(o.dw))
	for i, v := range o.dw {
		want[i] = float64(v)
	}
	for r := range Block {
		for j := range o.nb * Block {
			at := r*Panel + j
			abs[at] = math.Abs(want[at])
			for y := range o.h {
				for m := range o.w {
					p := float64(o.x[y*o.xRow+m*Block+r]) * float64(o.dy[y*o.dyRow+j/Block*o.dyPlane+m*Block+j%Block])
					want[at] += p
					abs[at] += math.Abs(p)
				}
			}
		}
	}
	return want, abs
}

func eachWgrad(f func(name string, nb, h, w, gap, flags int)) {
	for nb := 1; nb <= 2; nb++ {
		for _, h := range []int{1, 2, 3, 7} {
			for _, w := range []int{1, 2, 3, 5, 16} {
				for _, gap := range []int{0, 1} {
					for _, flags := range []int{0, accumulate} {
						name := fmt.Sprintf("wgrad 16x%d, %dx%d pixels, gap %d, flags %d", nb*Block, h, w, gap, flags)
						f(name, nb, h, w, gap, flags)
					}
				}
			}
		}
	}
}

func wgradAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(7, 8))
	eachWgrad(func(name string, nb, h, w, gap, flags int) {
		o := newWgrad(mem, nb, h, w, gap, func(n int) []float32 { return integers(rng, n) })
		checkBits(t, name, o.run(s, flags), o.run(portable, flags))
		mem.release()
	})
}

func TestWgradBound(t *testing.T) {
	for _, s := range setsUnderTest() {
		t.Run(s.Name(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(9, 10))
			eachWgrad(func(name string, nb, h, w, gap, flags int) {
				o := newWgrad(unaligned{}, nb, h, w, gap, func(n int) []float32 { return randoms(rng, n) })
				want, abs := o.reference()
				checkBound(t, name, o.run(s, flags), want, abs, h*w+1)
			})
		})
	}
}

// TestWgradAccumulate: with the flag every term is rounded into dw, which loses ones
// added to 2²⁴; without it their sum is.
func TestWgradAccumulate(t *testing.T) {
	const big = 1 << 24
	for _, s := range setsUnderTest() {
		t.Run(s.Name(), func(t *testing.T) {
			o := newWgrad(plain{}, 2, 2, 3, 0, func(n int) []float32 { return filled(n, 1) })
			for i := range o.dw {
				o.dw[i] = big
			}
			checkBits(t, "term by term", o.run(s, accumulate), filled(len(o.dw), big))
			checkBits(t, "at once", o.run(s, 0), filled(len(o.dw), big+6))
		})
	}
}

// tied returns values with many equal neighbours, zeros of both signs, and a NaN or
// an infinity here and there.
func tied(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	choice := []float32{-2, -1, negZero, 0, 0, 1, 1, 1, 2, inf, -inf, nan}
	for i := range x {
		x[i] = choice[rng.IntN(len(choice))]
	}
	return x
}

func poolAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(11, 12))
	for n := 1; n <= 5; n++ {
		for range 20 {
			x0, x1 := mem.floats(tied(rng, 2*n*Block)), mem.floats(tied(rng, 2*n*Block))
			y, want := mem.floats(make([]float32, n*Block)), make([]float32, n*Block)
			s.maxPoolRow(n, x0, x1, y)
			maxPoolTwin(n, x0, x1, want)
			checkBits(t, fmt.Sprintf("maxPool, n %d", n), y, want)

			dy := mem.floats(randoms(rng, n*Block))
			dx0, dx1 := mem.floats(filled(2*n*Block, nan)), mem.floats(filled(2*n*Block, nan))
			want0, want1 := make([]float32, 2*n*Block), make([]float32, 2*n*Block)
			s.maxPoolGradRow(n, x0, x1, y, dy, dx0, dx1)
			maxPoolGradTwin(n, x0, x1, y, dy, want0, want1)
			checkBits(t, fmt.Sprintf("maxPoolGrad, n %d, first row", n), dx0, want0)
			checkBits(t, fmt.Sprintf("maxPoolGrad, n %d, second row", n), dx1, want1)
			mem.release()
		}
	}
}

func reluGradAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(13, 14))
	for n := 1; n <= 5; n++ {
		for range 5 {
			y, dy, sum := mem.floats(tied(rng, n*Block)), mem.floats(randoms(rng, n*Block)), mem.floats(randoms(rng, Block))
			wantDy, wantSum := plain{}.floats(dy), plain{}.floats(sum)
			wantPixels := plain{}.floats(sum)
			x, pixels := mem.floats(dy), mem.floats(sum)

			s.reluGradRow(n, y, dy, sum)
			reluGradTwin(n, y, wantDy, wantSum)
			checkBits(t, fmt.Sprintf("reluGrad, n %d", n), dy, wantDy)
			checkBits(t, fmt.Sprintf("reluGrad, n %d, sum", n), sum, wantSum)
			for i, v := range y {
				if !(v > 0) && math.Float32bits(dy[i]) != 0 {
					t.Fatalf("reluGrad: dy is %g where y is %g", dy[i], v)
				}
			}

			s.sumRow(n, x, pixels)
			sumPixelsTwin(n, x, wantPixels)
			checkBits(t, fmt.Sprintf("sumPixels, n %d", n), pixels, wantPixels)

			a, b, w := mem.floats(randoms(rng, n*Block)), mem.floats(randoms(rng, n*Block)), mem.floats(randoms(rng, Block))
			p, q := mem.floats(randoms(rng, n)), mem.floats(randoms(rng, n))
			sums := mem.floats(randoms(rng, n*Block))
			wantSums := plain{}.floats(sums)
			s.AddSquares(n, a, sums)
			addSquaresTwin(n, a, wantSums)
			checkBits(t, fmt.Sprintf("addSquares, n %d", n), sums, wantSums)
			s.AddDifferences(n, a, b, p, q, w, sums)
			addDifferencesTwin(n, a, b, p, q, w, wantSums)
			checkBits(t, fmt.Sprintf("addDifferences, n %d", n), sums, wantSums)
			mem.release()
		}
	}
}

// sgdAgainstTwin uses rates whose products with whole numbers are exact.
func sgdAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(15, 16))
	for n := 1; n <= 5; n++ {
		w, v, g := mem.floats(integers(rng, n*Block)), mem.floats(integers(rng, n*Block)), mem.floats(integers(rng, n*Block))
		wantW, wantV := plain{}.floats(w), plain{}.floats(v)
		s.sgdBlocks(n, w, v, g, 0.125, 0.5, 0.25)
		sgdTwin(n, wantW, wantV, g, 0.125, 0.5, 0.25)
		checkBits(t, fmt.Sprintf("sgd, n %d, w", n), w, wantW)
		checkBits(t, fmt.Sprintf("sgd, n %d, v", n), v, wantV)
		mem.release()
	}
}

func TestSGDBound(t *testing.T) {
	const rate, momentum, decay = float32(0.01), float32(0.9), float32(5e-4)
	for _, s := range setsUnderTest() {
		t.Run(s.Name(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(17, 18))
			for n := 1; n <= 5; n++ {
				w, v := unaligned{}.floats(randoms(rng, n*Block)), unaligned{}.floats(randoms(rng, n*Block))
				g := unaligned{}.floats(randoms(rng, n*Block))
				wantW, absW := make([]float64, len(w)), make([]float64, len(w))
				wantV, absV := make([]float64, len(w)), make([]float64, len(w))
				for i := range w {
					mv, dw := float64(momentum)*float64(v[i]), float64(decay)*float64(w[i])
					wantV[i] = mv + float64(g[i]) + dw
					absV[i] = math.Abs(mv) + math.Abs(float64(g[i])) + math.Abs(dw)
					wantW[i] = float64(w[i]) - float64(rate)*wantV[i]
					absW[i] = math.Abs(float64(w[i])) + float64(rate)*absV[i]
				}
				s.sgdBlocks(n, w, v, g, rate, momentum, decay)
				checkBound(t, "v", v, wantV, absV, 1)
				checkBound(t, "w", w, wantW, absW, 1)
			}
		})
	}
}

// transposeAgainstTwin moves bit patterns, NaNs with payloads among them, and also checks
// the gaps between the rows.
func transposeAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(19, 20))
	for _, dstStride := range []int{16, 17, 19, 32, 33} {
		for _, srcStride := range []int{16, 17, 23, 32} {
			dst, src := mem.floats(randoms(rng, 15*dstStride+16)), mem.floats(randoms(rng, 15*srcStride+16))
			for i := range src {
				src[i] = math.Float32frombits(rng.Uint32() | 1<<22) // no signalling NaN
			}
			want := plain{}.floats(dst)
			s.transpose16(dst, dstStride, src, srcStride)
			transpose16Twin(want, dstStride, src, srcStride)
			for i := range want {
				if math.Float32bits(dst[i]) != math.Float32bits(want[i]) {
					t.Fatalf("transpose16, strides %d and %d: float %d differs", dstStride, srcStride, i)
				}
			}
			mem.release()
		}
	}
}

// againstTwin runs every kernel of an instruction set and its twin on the same
// operands.
var againstTwin = []struct {
	name string
	run  func(t *testing.T, s *ISA, mem memory)
}{
	{"gemm", func(t *testing.T, s *ISA, mem memory) { gemmAgainstTwin(t, s, mem, 5) }},
	{"wgrad", wgradAgainstTwin},
	{"maxPool", poolAgainstTwin},
	{"reluGrad", reluGradAgainstTwin},
	{"sgd", sgdAgainstTwin},
	{"transpose", transposeAgainstTwin},
	{"norm", normsAgainstTwin},
	{"lrn", lrnsAgainstTwin},
	{"hits", hitsAgainstTwin},
	{"addPixels", addAgainstTwin},
	{"rgbGrad", rgbGradAgainstTwin},
	{"outputs", outputsAgainstTwin},
	{"mixed", mixedAgainstTwin},
}

func TestKernelsEqualTwins(t *testing.T) {
	for _, s := range setsUnderTest() {
		for _, k := range againstTwin {
			t.Run(s.Name()+"/"+k.name, func(t *testing.T) { k.run(t, s, unaligned{}) })
		}
	}
}

func TestTwinsByHand(t *testing.T) {
	x0 := make([]float32, 2*Block)
	x1 := make([]float32, 2*Block)
	x0[0], x0[Block], x1[0], x1[Block] = 1, 3, 3, 2
	y, dx0, dx1 := make([]float32, Block), make([]float32, 2*Block), make([]float32, 2*Block)
	maxPoolTwin(1, x0, x1, y)
	maxPoolGradTwin(1, x0, x1, y, filled(Block, 5), dx0, dx1)
	if y[0] != 3 || dx0[0] != 0 || dx0[Block] != 5 || dx1[0] != 0 || dx1[Block] != 0 {
		t.Errorf("max of 1 3 3 2 is %g, its gradient of 5 goes to %g %g %g %g", y[0], dx0[0], dx0[Block], dx1[0], dx1[Block])
	}
	if y[1] != 0 || dx0[1] != 5 || dx0[Block+1] != 0 || dx1[1] != 0 || dx1[Block+1] != 0 {
		t.Errorf("the gradient of four equal values goes to %g %g %g %g", dx0[1], dx0[Block+1], dx1[1], dx1[Block+1])
	}
	src, dst := make([]float32, 256), make([]float32, 256)
	for i := range src {
		src[i] = float32(i)
	}
	transpose16Twin(dst, Block, src, Block)
	if dst[1] != 16 || dst[16] != 1 || dst[255] != 255 {
		t.Errorf("transposed 0 … 255 has %g %g %g at 1, 16, 255", dst[1], dst[16], dst[255])
	}
}
