package kernel

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// ISA is one implementation of every kernel: the assembly of an instruction set, and the
// portable Go twin of each kernel that has no assembly there.
type ISA struct {
	name string
	asm  kernels
}

// Name is how flags and output call the instruction set: "avx512", "avx2", "neon", "go".
func (s *ISA) Name() string { return s.name }

// portable runs the twins only.
var portable = newISA("go", kernels{})

// newISA returns the instruction set with the given assembly. Kernels whose results must
// have the same bits are taken together or not at all; see [gemmTiles] and
// [kernels.matchOutputs].
func newISA(name string, asm kernels) *ISA {
	for _, tiles := range []*gemmTiles{&asm.gemm, &asm.gemmRGB} {
		if !tiles.whole() {
			*tiles = portableTiles
		}
	}
	asm.matchOutputs()
	return &ISA{name, asm}
}

// ISAs lists the instruction sets that this machine can run, best first; the last is
// the portable "go".
func ISAs() []*ISA { return append(native(), portable) }

var (
	current atomic.Pointer[ISA]
	best    = sync.OnceValue(func() *ISA { return ISAs()[0] })
)

// Current is the instruction set in use: the best of [ISAs] unless [Use] chose another.
func Current() *ISA {
	if s := current.Load(); s != nil {
		return s
	}
	return best()
}

// Use selects the instruction set called name; "" selects the best again. Kernels to
// leave out may follow the name, each after a minus sign: "avx2-gemm-wgrad" is avx2 with
// the Go twins of these two (see ISA.without).
//
// Use is a switch for tests and measurements. It must not be called while a network runs.
func Use(name string) error {
	if name == "" {
		current.Store(nil)
		return nil
	}
	set, without, partial := strings.Cut(name, "-")
	var have []string
	for _, s := range ISAs() {
		if s.name != set {
			have = append(have, s.name)
			continue
		}
		if partial {
			var err error
			if s, err = s.without(strings.Split(without, "-")...); err != nil {
				return err
			}
		}
		current.Store(s)
		return nil
	}
	return fmt.Errorf("kernel: instruction set %q: want one of %s", name, strings.Join(have, ", "))
}

// product computes m × 16·nb outputs, cutting m into tiles as even as possible. With
// several tiles the reduction is cut too: all tiles go through the same depth steps
// before the next, so that b and a tile's rows of a stay in the first-level cache.
func (s *ISA) product(m, nb int, offs []int, a, b, c []float32, cStride int, bias []float32, flags int) {
	depth := len(offs)
	if tiles := &s.asm.gemm; m > tiles.rows[nb-1] {
		cuts := (depth + tiles.depth - 1) / tiles.depth
		depth = (depth + cuts - 1) / cuts
	}
	last := flags &^ accumulate
	for flags &= accumulate; len(offs) > depth; flags = accumulate {
		s.rows(m, nb, false, offs[:depth], a, b, c, cStride, nil, flags)
		offs, b = offs[depth:], b[depth*Block*Panel:]
	}
	s.rows(m, nb, false, offs, a, b, c, cStride, bias, flags|last)
}

// rows computes m × 16·nb outputs, in tiles as even as possible. A step reduces over 16
// channels, or 3 if rgb.
func (s *ISA) rows(m, nb int, rgb bool, offs []int, a, b, c []float32, cStride int, bias []float32, flags int) {
	tiles, channels := &s.asm.gemm, Block
	if rgb {
		tiles, channels = &s.asm.gemmRGB, rgbChannels
	}
	if tiles.funcs[0] == nil {
		gemmTwin(m, nb*Block, channels, len(offs), offs, a, b, c, cStride, bias, flags)
		return
	}
	var bp *float32
	if flags&addBias != 0 {
		bp = &bias[0]
	}
	count := (m + tiles.rows[nb-1] - 1) / tiles.rows[nb-1]
	rows, more := m/count, m%count
	funcs := tiles.funcs[nb-1]
	for t, r := 0, 0; t < count; t++ {
		n := rows
		if t >= count-more {
			n++
		}
		funcs[n](len(offs), &offs[0], &a[r*Block], &b[0], &c[r*Block], cStride, bp, flags)
		r += n
	}
}

// weightGrad adds to the 16 × 16·nb tile dw the products of a block of in-channels
// x with nb blocks of out-channels dy over h rows of w pixels.
func (s *ISA) weightGrad(nb, h, w int, x []float32, xRow int, dy []float32, dyRow, dyPlane int, dw []float32, flags int) {
	tiles := &s.asm.wgrad
	one, whole := tiles.funcs[0], tiles.funcs[nb-1]
	if one == nil && whole == nil {
		wgradTwin(Block, nb*Block, h, w, x, xRow, dy, dyRow, dyPlane, dw, flags)
		return
	}
	for r := 0; r < Block; r += tiles.rows {
		if whole != nil {
			whole(h, w, &x[r], xRow, &dy[0], dyRow, dyPlane, &dw[r*Panel], flags)
			continue
		}
		one(h, w, &x[r], xRow, &dy[0], dyRow, dyPlane, &dw[r*Panel], flags)
		one(h, w, &x[r], xRow, &dy[dyPlane], dyRow, dyPlane, &dw[r*Panel+Block], flags)
	}
}

func (s *ISA) maxPoolRow(n int, x0, x1, y []float32) {
	if s.asm.maxPool == nil {
		maxPoolTwin(n, x0, x1, y)
		return
	}
	s.asm.maxPool(n, &x0[0], &x1[0], &y[0])
}

func (s *ISA) maxPoolGradRow(n int, x0, x1, y, dy, dx0, dx1 []float32) {
	if s.asm.maxPoolGrad == nil {
		maxPoolGradTwin(n, x0, x1, y, dy, dx0, dx1)
		return
	}
	s.asm.maxPoolGrad(n, &x0[0], &x1[0], &y[0], &dy[0], &dx0[0], &dx1[0])
}

func (s *ISA) reluGradRow(n int, y, dy, sum []float32) {
	if s.asm.reluGrad == nil {
		reluGradTwin(n, y, dy, sum)
		return
	}
	s.asm.reluGrad(n, &y[0], &dy[0], &sum[0])
}

func (s *ISA) sumRow(n int, x, sum []float32) {
	if s.asm.sumPixels == nil {
		sumPixelsTwin(n, x, sum)
		return
	}
	s.asm.sumPixels(n, &x[0], &sum[0])
}

// AddSquares adds the squares of x over n pixels of a block to sums.
func (s *ISA) AddSquares(n int, x, sums []float32) {
	if s.asm.addSquares == nil {
		addSquaresTwin(n, x, sums)
		return
	}
	s.asm.addSquares(n, &x[0], &sums[0])
}

// AddDifferences adds w·(a·p − b·q)² to sums over n pixels of a block; p and q are a factor for
// each pixel, w one for each channel.
func (s *ISA) AddDifferences(n int, a, b, p, q, w, sums []float32) {
	if s.asm.addDifferences == nil {
		addDifferencesTwin(n, a, b, p, q, w, sums)
		return
	}
	s.asm.addDifferences(n, &a[0], &b[0], &p[0], &q[0], &w[0], &sums[0])
}

func (s *ISA) sgdBlocks(n int, w, v, g []float32, rate, momentum, decay float32) {
	if s.asm.sgd == nil {
		sgdTwin(n, w, v, g, rate, momentum, decay)
		return
	}
	s.asm.sgd(n, &w[0], &v[0], &g[0], rate, momentum, decay)
}

func (s *ISA) transpose16(dst []float32, dstStride int, src []float32, srcStride int) {
	if s.asm.transpose == nil {
		transpose16Twin(dst, dstStride, src, srcStride)
		return
	}
	s.asm.transpose(&dst[0], dstStride, &src[0], srcStride)
}

func (s *ISA) winoInput(t tile, tiles int, x []float32, xRow int, v []float32, vStride int) {
	f := s.asm.winoInput.of(t)
	if f == nil {
		winoInputTwin(t, tiles, x, xRow, v, vStride)
		return
	}
	f(tiles, &x[0], xRow, &v[0], vStride)
}

func (s *ISA) winoOutput(t tile, pool bool, tiles int, p []float32, pStride int, y []float32, yRow int, bias []float32, lo float32) {
	funcs := &s.asm.winoOutput
	if pool {
		funcs = &s.asm.winoOutputPool
	}
	f := funcs.of(t)
	if f == nil {
		winoOutputTwin(t, pool, tiles, p, pStride, y, yRow, bias, lo)
		return
	}
	f(tiles, &p[0], pStride, &y[0], yRow, &bias[0], lo)
}

// winoWeights transforms weights. Where past is set, no cache will hold all of what it writes.
func (s *ISA) winoWeights(f Form, past bool, count int, g []float32, gStride int, u []float32, uStride int) {
	transform := s.asm.winoWeights[f.index()]
	if lines := uintptr(unsafe.Pointer(&u[0]))%64 == 0 && uStride%Block == 0; past && lines && s.asm.winoWeightsPast[f.index()] != nil {
		transform = s.asm.winoWeightsPast[f.index()]
	}
	if transform == nil {
		winoWeightsTwin(f, count, g, gStride, u, uStride)
		return
	}
	transform(count, &g[0], gStride, &u[0], uStride)
}

func (s *ISA) winoGrad(t tile, tiles int, dy []float32, dyRow int, v []float32, vStride int) {
	f := s.asm.winoGrad.of(t)
	if f == nil {
		winoGradTwin(t, tiles, dy, dyRow, v, vStride)
		return
	}
	f(tiles, &dy[0], dyRow, &v[0], vStride)
}

func (s *ISA) winoWeightsGrad(f Form, count int, du []float32, duStride int, dw []float32, dwStride int) {
	transform := s.asm.winoWeightsGrad[f.index()]
	if transform == nil {
		winoWeightsGradTwin(f, count, du, duStride, dw, dwStride)
		return
	}
	transform(count, &du[0], duStride, &dw[0], dwStride)
}

func (s *ISA) widen(h Half, n int, src []uint16, dst []float32) {
	f := s.asm.widenF16
	if h == BF16 {
		f = s.asm.widenBF16
	}
	if f == nil {
		widenTwin(h, n, src, dst)
		return
	}
	f(n, &src[0], &dst[0])
}
