package kernel

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// ISA is one implementation of every kernel: an instruction set, or the Go twins.
type ISA struct {
	name string

	gemmRows  [2]int        // most rows of a gemm tile, by column blocks − 1
	gemmDepth int           // steps done for all rows before the next
	gemm      [2][]gemmFunc // by column blocks − 1, then rows
	gemmRGB   [2][]gemmFunc // the same, with 3 channels a step

	wgradRows   int
	wgradBlocks int
	wgrad       [2]wgradFunc // by column blocks − 1

	maxPool     func(n int, x0, x1, y *float32)
	maxPoolGrad func(n int, x0, x1, y, dy, dx0, dx1 *float32)
	reluGrad    func(n int, y, dy, sum *float32)
	sumPixels   func(n int, x, sum *float32)
	sgd         func(n int, w, v, g *float32, rate, momentum, decay float32)
	transpose   func(dst *float32, dstStride int, src *float32, srcStride int)

	scaleShift          func(n int, x, y, scale, shift *float32, lo float32)
	normSums            func(n int, x, ref *float32, sum, sq *float64)
	normDots            func(n int, x, ref, dy *float32, sum, dot *float64)
	normGrad            func(n int, x, dy, dx, ref, a, b, c *float32)
	squares             func(n int, x, sq *float32, stride int)
	lrn                 func(n, size int, x, sq *float32, stride int, y *float32, k, alpha float32)
	lrnGrad             func(n, size int, x, dy, sq, rest *float32, stride int, dx *float32, k, alpha float32)
	lrnSpread           func(n, size int, x, rest *float32, stride int, dx *float32, c float32)
	widenF16, widenBF16 func(n int, src *uint16, dst *float32)
	mixedDot            func(n int, x *float32, w, sum *float64)
	mixedAdd            func(n int, a float64, x *float32, w *float64)

	// Winograd transforms, in the order of forms, and of tiles' rows and columns
	winoInputs      [4][3][3]winoInputFunc
	winoOutputs     [4][3][3]winoOutputFunc
	winoOutputPools [4][3][3]winoOutputFunc
	winoWeight      [4]func(n int, g *float32, gStride int, u *float32, uStride int)
	winoGrad4       func(tiles int, dy *float32, dyRow int, v *float32, vStride int)
	winoWeightGrad4 func(n int, du *float32, duStride int, dw *float32, dwStride int)

	training trainingKernels
}

type (
	gemmFunc       func(steps int, offs *int, a, b, c *float32, cStride int, bias *float32, flags int)
	winoInputFunc  func(tiles int, x *float32, xRow int, v *float32, vStride int)
	winoOutputFunc func(tiles int, m *float32, mStride int, y *float32, yRow int, bias *float32, lo float32)
	wgradFunc      func(h, w int, x *float32, xRow int, dy *float32, dyRow, dyPlane int, dw *float32, flags int)
)

// portable runs the twins; its function fields stay nil.
var portable = &ISA{name: "go", gemmRows: [2]int{8, 8}, gemmDepth: 16, wgradRows: Block, wgradBlocks: 2}

// Name is how the instruction set is called in flags and output: "avx512", "avx2", "go".
func (s *ISA) Name() string { return s.name }

// ISAs lists what this machine can run, best first; the last is the portable "go".
func ISAs() []*ISA { return append(native(), portable) }

var (
	current atomic.Pointer[ISA]
	best    = sync.OnceValue(func() *ISA { return ISAs()[0] })
)

// Current is the instruction set in use: the best of [ISAs] unless [Use] chose.
func Current() *ISA {
	if s := current.Load(); s != nil {
		return s
	}
	return best()
}

// Use makes the instruction set called name the one in use; "" returns to the best.
// It is a switch for tests and measurements, not to be thrown while a network runs.
func Use(name string) error {
	if name == "" {
		current.Store(nil)
		return nil
	}
	var have []string
	for _, s := range ISAs() {
		if s.name == name {
			current.Store(s)
			return nil
		}
		have = append(have, s.name)
	}
	return fmt.Errorf("kernel: instruction set %q: want one of %s", name, strings.Join(have, ", "))
}

// tile computes rows × 16·nb outputs; rows is at most s.gemmRows[nb−1]. A step
// reduces over 16 channels, or 3 if rgb.
func (s *ISA) tile(rows, nb int, rgb bool, offs []int, a, b, c []float32, cStride int, bias []float32, flags int) {
	gemm, channels := &s.gemm, Block
	if rgb {
		gemm, channels = &s.gemmRGB, rgbChannels
	}
	if gemm[0] == nil {
		gemmTwin(rows, nb*Block, channels, len(offs), offs, a, b, c, cStride, bias, flags)
		return
	}
	var bp *float32
	if flags&addBias != 0 {
		bp = &bias[0]
	}
	gemm[nb-1][rows](len(offs), &offs[0], &a[0], &b[0], &c[0], cStride, bp, flags)
}

// product computes m × 16·nb outputs, cutting m into tiles as even as possible. If they
// are several, so is the reduction: its steps go through all of them gemmDepth at a time,
// so that b and a tile's rows of a stay in the first-level cache from tile to tile.
func (s *ISA) product(m, nb int, offs []int, a, b, c []float32, cStride int, bias []float32, flags int) {
	depth := len(offs)
	if m > s.gemmRows[nb-1] {
		cuts := (depth + s.gemmDepth - 1) / s.gemmDepth
		depth = (depth + cuts - 1) / cuts
	}
	last := flags &^ accumulate
	for flags &= accumulate; len(offs) > depth; flags = accumulate {
		s.rows(m, nb, false, offs[:depth], a, b, c, cStride, nil, flags)
		offs, b = offs[depth:], b[depth*Block*Panel:]
	}
	s.rows(m, nb, false, offs, a, b, c, cStride, bias, flags|last)
}

// rows computes m × 16·nb outputs tile by tile.
func (s *ISA) rows(m, nb int, rgb bool, offs []int, a, b, c []float32, cStride int, bias []float32, flags int) {
	most := s.gemmRows[nb-1]
	tiles := (m + most - 1) / most
	for t, r := 0, 0; t < tiles; t++ {
		next := m * (t + 1) / tiles
		s.tile(next-r, nb, rgb, offs, a[r*Block:], b, c[r*Block:], cStride, bias, flags)
		r = next
	}
}

// weightGrad adds to the 16 × 16·nb tile dw the products of a block of in-channels
// x with nb blocks of out-channels dy over h rows of w pixels.
func (s *ISA) weightGrad(nb, h, w int, x []float32, xRow int, dy []float32, dyRow, dyPlane int, dw []float32, flags int) {
	if s.wgrad[0] == nil {
		wgradTwin(Block, nb*Block, h, w, x, xRow, dy, dyRow, dyPlane, dw, flags)
		return
	}
	for r := 0; r < Block; r += s.wgradRows {
		if nb <= s.wgradBlocks {
			s.wgrad[nb-1](h, w, &x[r], xRow, &dy[0], dyRow, dyPlane, &dw[r*Panel], flags)
			continue
		}
		s.wgrad[0](h, w, &x[r], xRow, &dy[0], dyRow, dyPlane, &dw[r*Panel], flags)
		s.wgrad[0](h, w, &x[r], xRow, &dy[dyPlane], dyRow, dyPlane, &dw[r*Panel+Block], flags)
	}
}

func (s *ISA) maxPoolRow(n int, x0, x1, y []float32) {
	if s.maxPool == nil {
		maxPoolTwin(n, x0, x1, y)
		return
	}
	s.maxPool(n, &x0[0], &x1[0], &y[0])
}

func (s *ISA) maxPoolGradRow(n int, x0, x1, y, dy, dx0, dx1 []float32) {
	if s.maxPoolGrad == nil {
		maxPoolGradTwin(n, x0, x1, y, dy, dx0, dx1)
		return
	}
	s.maxPoolGrad(n, &x0[0], &x1[0], &y[0], &dy[0], &dx0[0], &dx1[0])
}

func (s *ISA) reluGradRow(n int, y, dy, sum []float32) {
	if s.reluGrad == nil {
		reluGradTwin(n, y, dy, sum)
		return
	}
	s.reluGrad(n, &y[0], &dy[0], &sum[0])
}

func (s *ISA) sumRow(n int, x, sum []float32) {
	if s.sumPixels == nil {
		sumPixelsTwin(n, x, sum)
		return
	}
	s.sumPixels(n, &x[0], &sum[0])
}

func (s *ISA) sgdBlocks(n int, w, v, g []float32, rate, momentum, decay float32) {
	if s.sgd == nil {
		sgdTwin(n, w, v, g, rate, momentum, decay)
		return
	}
	s.sgd(n, &w[0], &v[0], &g[0], rate, momentum, decay)
}

func (s *ISA) transpose16(dst []float32, dstStride int, src []float32, srcStride int) {
	if s.transpose == nil {
		transpose16Twin(dst, dstStride, src, srcStride)
		return
	}
	s.transpose(&dst[0], dstStride, &src[0], srcStride)
}

func (s *ISA) winoInput(f tile, tiles int, x []float32, xRow int, v []float32, vStride int) {
	if s.winoGrad4 == nil {
		winoInputTwin(f, tiles, x, xRow, v, vStride)
		return
	}
	i, r, c := f.index()
	s.winoInputs[i][r][c](tiles, &x[0], xRow, &v[0], vStride)
}

func (s *ISA) winoOutput(f tile, pool bool, tiles int, p []float32, pStride int, y []float32, yRow int, bias []float32, lo float32) {
	if s.winoGrad4 == nil {
		winoOutputTwin(f, pool, tiles, p, pStride, y, yRow, bias, lo)
		return
	}
	kernels := &s.winoOutputs
	if pool {
		kernels = &s.winoOutputPools
	}
	i, r, c := f.index()
	kernels[i][r][c](tiles, &p[0], pStride, &y[0], yRow, &bias[0], lo)
}

func (s *ISA) winoWeights(f Form, count int, g []float32, gStride int, u []float32, uStride int) {
	if s.winoGrad4 == nil {
		winoWeightsTwin(f, count, g, gStride, u, uStride)
		return
	}
	s.winoWeight[f.index()](count, &g[0], gStride, &u[0], uStride)
}

func (s *ISA) winoGrad(tiles int, dy []float32, dyRow int, v []float32, vStride int) {
	if s.winoGrad4 == nil {
		winoGradTwin(tiles, dy, dyRow, v, vStride)
		return
	}
	s.winoGrad4(tiles, &dy[0], dyRow, &v[0], vStride)
}

func (s *ISA) winoWeightsGrad(count int, du []float32, duStride int, dw []float32, dwStride int) {
	if s.winoGrad4 == nil {
		winoWeightsGradTwin(count, du, duStride, dw, dwStride)
		return
	}
	s.winoWeightGrad4(count, &du[0], duStride, &dw[0], dwStride)
}

func (s *ISA) widen(h Half, n int, src []uint16, dst []float32) {
	switch {
	case s.widenF16 == nil:
		widenTwin(h, n, src, dst)
	case h == F16:
		s.widenF16(n, &src[0], &dst[0])
	default:
		s.widenBF16(n, &src[0], &dst[0])
	}
}
