package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// kernels is the assembly of an instruction set. A kernel that is nil is computed by its
// portable Go twin, so a set may have any part of them; docs/kernels.md says what every
// set, a partial one too, must keep.
type kernels struct {
	gemm, gemmRGB gemmTiles       // gemmTwin with 16 channels a step, and with 3
	wgrad         wgradTiles      // wgradTwin
	rgbWgrad      [2]rgbWgradFunc // by column blocks − 1; without the second, the first runs twice

	maxPool     func(n int, x0, x1, y *float32)
	maxPoolGrad func(n int, x0, x1, y, dy, dx0, dx1 *float32)
	maxPoolHits func(n int, x0, x1, y *float32, hits *uint16, lo float32)
	unpool      func(n int, hits *uint16, dy, dx0, dx1 *float32)

	reluGrad       func(n int, y, dy, sum *float32)
	sumPixels      func(n int, x, sum *float32)
	addPixels      func(n int, x, sum *float32)
	addSquares     func(n int, x, sums *float32)
	addDifferences func(n int, a, b, p, q, w, sums *float32)
	sgd            func(n int, w, v, g *float32, rate, momentum, decay float32)
	transpose      func(dst *float32, dstStride int, src *float32, srcStride int)
	prefetch       func(n int, p *float32)

	scaleShift func(n int, x, y, scale, shift *float32, lo float32)
	normSums   func(n int, x, ref *float32, sum, sq *float64)
	normDots   func(n int, x, ref, dy *float32, sum, dot *float64)
	normGrad   func(n int, x, dy, dx, ref, a, b, c *float32)
	squares    func(n int, x, sq *float32, stride int)
	lrn        func(n, size int, x, sq *float32, stride int, y *float32, k, alpha float32)
	lrnGrad    func(n, size int, x, dy, sq, rest *float32, stride int, dx *float32, k, alpha float32)
	lrnSpread  func(n, size int, x, rest *float32, stride int, dx *float32, c float32)

	widenF16, widenBF16 func(n int, src *uint16, dst *float32)
	mixedDot            func(n int, x *float32, w, sum *float64)
	mixedAdd            func(n int, a float64, x *float32, w *float64)

	// Winograd's transforms. All but the first five are those of the forms that train.
	winoInput       winoFuncs[winoInputFunc]
	winoOutput      winoFuncs[winoOutputFunc]
	winoOutputPool  winoFuncs[winoOutputFunc]
	winoWeights     [len(forms)]winoWeightsFunc
	winoWeightsPast [len(forms)]winoWeightsFunc // the same, past the caches to whole cache lines
	winoGrad        winoFuncs[winoInputFunc]
	winoWeightsGrad [len(forms)]winoWeightsFunc
	winoOutputHits  winoFuncs[winoHitsFunc]
	winoOutputMask  winoFuncs[winoMaskFunc]
}

type (
	gemmFunc        func(steps int, offs *int, a, b, c *float32, cStride int, bias *float32, flags int)
	wgradFunc       func(h, w int, x *float32, xRow int, dy *float32, dyRow, dyPlane int, dw *float32, flags int)
	rgbWgradFunc    func(h, w int, x *float32, xRow int, dy *float32, dyRow, dyPlane int, dw *float32)
	winoInputFunc   func(tiles int, x *float32, xRow int, v *float32, vStride int)
	winoWeightsFunc func(n int, g *float32, gStride int, u *float32, uStride int)
	winoOutputFunc  func(tiles int, m *float32, mStride int, y *float32, yRow int, bias *float32, lo float32)
	winoHitsFunc    func(tiles int, m *float32, mStride int, y *float32, yRow int, hits *uint16, hitsRow int, bias *float32, lo float32)
	winoMaskFunc    func(tiles int, m *float32, mStride int, y *float32, yRow int, x *float32, xRow int)
)

// gemmTiles is the register tiles of the matrix product. They are a kernel as a whole:
// how many rows a tile has depends on the batch and the threads, and results must not.
// So with one of them missing, the twin computes all.
type gemmTiles struct {
	rows  [2]int        // most rows of a tile, by column blocks − 1
	depth int           // steps done for all rows of a product before the next ones
	funcs [2][]gemmFunc // by column blocks − 1, then rows; the first of each is nil
}

// portableTiles are the sizes that the twin runs with.
var portableTiles = gemmTiles{rows: [2]int{8, 8}, depth: 16}

// whole reports whether every tile of up to rows rows is there.
func (t *gemmTiles) whole() bool {
	for nb, rows := range t.rows {
		missing := func(f gemmFunc) bool { return f == nil }
		if rows < 1 || len(t.funcs[nb]) != rows+1 || slices.ContainsFunc(t.funcs[nb][1:], missing) {
			return false
		}
	}
	return t.depth > 0
}

// wgradTiles is the tiles of the weight gradient, of rows in-channels, by column
// blocks − 1. Without the second, the first runs twice.
type wgradTiles struct {
	rows  int // divides 16
	funcs [2]wgradFunc
}

// winoFuncs is a transform of every form, by the tile's rows and columns.
type winoFuncs[F any] [len(forms)][3][3]F

// of returns the transform of a tile.
func (f *winoFuncs[F]) of(t tile) F {
	form, rows, cols := t.index()
	return f[form][rows][cols]
}

// matchOutputs leaves out the output transforms of a tile unless all are there. Pooling and
// masking within the transform must give the bits of pooling and masking its output, so
// the same arithmetic computes both.
func (k *kernels) matchOutputs() {
	for form := range k.winoOutput {
		for rows := range k.winoOutput[form] {
			for cols := range k.winoOutput[form][rows] {
				plain, pool := &k.winoOutput[form][rows][cols], &k.winoOutputPool[form][rows][cols]
				hits, mask := &k.winoOutputHits[form][rows][cols], &k.winoOutputMask[form][rows][cols]
				whole := *plain != nil && *pool != nil
				if forms[form].trains() {
					whole = whole && *hits != nil && *mask != nil
				}
				if !whole {
					*plain, *pool, *hits, *mask = nil, nil, nil, nil
				}
			}
		}
	}
}

// removals names every kernel, in the order of [kernels], and removes it.
var removals = []struct {
	name   string
	remove func(k *kernels)
}{
	{"gemm", func(k *kernels) { k.gemm = gemmTiles{} }},
	{"gemmRGB", func(k *kernels) { k.gemmRGB = gemmTiles{} }},
	{"wgrad", func(k *kernels) { k.wgrad = wgradTiles{} }},
	{"rgbWgrad", func(k *kernels) { clear(k.rgbWgrad[:]) }},
	{"maxPool", func(k *kernels) { k.maxPool = nil }},
	{"maxPoolGrad", func(k *kernels) { k.maxPoolGrad = nil }},
	{"maxPoolHits", func(k *kernels) { k.maxPoolHits = nil }},
	{"unpool", func(k *kernels) { k.unpool = nil }},
	{"reluGrad", func(k *kernels) { k.reluGrad = nil }},
	{"sumPixels", func(k *kernels) { k.sumPixels = nil }},
	{"addPixels", func(k *kernels) { k.addPixels = nil }},
	{"addSquares", func(k *kernels) { k.addSquares = nil }},
	{"addDifferences", func(k *kernels) { k.addDifferences = nil }},
	{"sgd", func(k *kernels) { k.sgd = nil }},
	{"transpose", func(k *kernels) { k.transpose = nil }},
	{"prefetch", func(k *kernels) { k.prefetch = nil }},
	{"scaleShift", func(k *kernels) { k.scaleShift = nil }},
	{"normSums", func(k *kernels) { k.normSums = nil }},
	{"normDots", func(k *kernels) { k.normDots = nil }},
	{"normGrad", func(k *kernels) { k.normGrad = nil }},
	{"squares", func(k *kernels) { k.squares = nil }},
	{"lrn", func(k *kernels) { k.lrn = nil }},
	{"lrnGrad", func(k *kernels) { k.lrnGrad = nil }},
	{"lrnSpread", func(k *kernels) { k.lrnSpread = nil }},
	{"widenF16", func(k *kernels) { k.widenF16 = nil }},
	{"widenBF16", func(k *kernels) { k.widenBF16 = nil }},
	{"mixedDot", func(k *kernels) { k.mixedDot = nil }},
	{"mixedAdd", func(k *kernels) { k.mixedAdd = nil }},
	{"winoInput", func(k *kernels) { clear(k.winoInput[:]) }},
	{"winoOutput", func(k *kernels) { clear(k.winoOutput[:]) }},
	{"winoOutputPool", func(k *kernels) { clear(k.winoOutputPool[:]) }},
	{"winoWeights", func(k *kernels) { clear(k.winoWeights[:]) }},
	{"winoWeightsPast", func(k *kernels) { clear(k.winoWeightsPast[:]) }},
	{"winoGrad", func(k *kernels) { clear(k.winoGrad[:]) }},
	{"winoWeightsGrad", func(k *kernels) { clear(k.winoWeightsGrad[:]) }},
	{"winoOutputHits", func(k *kernels) { clear(k.winoOutputHits[:]) }},
	{"winoOutputMask", func(k *kernels) { clear(k.winoOutputMask[:]) }},
}

// Kernels lists the names that ISA.without and [Use] know.
func Kernels() []string {
	names := make([]string, len(removals))
	for i, r := range removals {
		names[i] = r.name
	}
	return names
}

// without returns the instruction set with the Go twins of the named kernels instead of
// its own; its name is that of s with each kernel after a minus sign. A name that
// [Kernels] doesn't list is an error.
func (s *ISA) without(names ...string) (*ISA, error) {
	asm, name := s.asm, s.name
	for _, n := range names {
		i := slices.Index(Kernels(), n)
		if i < 0 {
			return nil, fmt.Errorf("kernel: kernel %q: want one of %s", n, strings.Join(Kernels(), ", "))
		}
		removals[i].remove(&asm)
		name += "-" + n
	}
	return newISA(name, asm), nil
}
