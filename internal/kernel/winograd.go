package kernel

import (
	"math"
	"slices"
)

// Form is the algorithm F(M×M,R×R): the M×M outputs of a tile take (M+R−1)²
// multiplications for each pair of channels instead of R²·M².
type Form struct{ M, R int }

// forms lists the forms that have kernels.
var forms = [...]Form{{4, 3}, {6, 3}, {4, 5}, {2, 7}}

// trains reports whether the form has kernels of training.
func (f Form) trains() bool { return f.R == 3 }

// index is the form's index in forms.
func (f Form) index() int { return slices.Index(forms[:], f) }

// side is the side of an input tile, and of the grid of products.
func (f Form) side() int { return f.M + f.R - 1 }

// Winograd is a plan: how F(M×M,R×R) computes a convolution with R×R filters.
type Winograd struct {
	Form
	Tiles int // tiles that go through the three stages together
	Order Order
	Trim  bool // the last tiles of a row or column are narrow where the image ends within them
}

// Order is the nesting of the loops, and what is split over threads.
type Order int

const (
	// byPanel: a thread takes a block of tiles through panel after panel, and within a
	// panel position after position. V is read once a panel, M is small.
	byPanel Order = iota
	// byPosition: a thread takes a block of tiles through position after position, and
	// within a position panel after panel. V is read once, M holds all panels.
	byPosition
	// sharedV: V is shared by the threads, and panels are split over them.
	sharedV
)

// String returns the order as plans print it.
func (o Order) String() string { return [...]string{"by panel", "by position", "shared"}[o] }

// positions is the number of products of a tile.
func (p Winograd) positions() int { return p.side() * p.side() }

// grid is the number of tile rows and columns of the output of an image of h × w.
func (p Winograd) grid(g Conv, h, w int) (th, tw int) {
	oh, ow := g.Out(h, w)
	return (oh + p.M - 1) / p.M, (ow + p.M - 1) / p.M
}

// End is the border of zeros below and right of an input of h × w: the last tiles
// reach beyond the image.
func (p Winograd) End(g Conv, h, w int) int {
	oh, ow := g.Out(h, w)
	th, tw := p.grid(g, h, w)
	return max((th-1)*p.M+p.last(oh)-h, (tw-1)*p.M+p.last(ow)-w) + p.R - 1 - g.Pad
}

// FilterLen is the number of floats of the transformed weights.
func (p Winograd) FilterLen(g Conv) int {
	return panels(g.K) * p.positions() * blocks(g.C) * Block * Panel
}

// The strides between positions are a cache line longer than their contents. Otherwise the
// positions of one tile could fall into one set of the cache.
func (p Winograd) inputStride(g Conv, tiles int) int { return blocks(g.C)*tiles*Block + Block }
func (p Winograd) outputStride(tiles int) int        { return 2*tiles*Block + Block }

// localLen is the scratch of a thread, in floats: products of one panel or of all, outputs
// of tiles at the edge, and the transformed input unless it is shared.
func (p Winograd) localLen(g Conv) int {
	products := p.positions() * p.outputStride(p.Tiles)
	if p.Order == byPosition {
		products *= panels(g.K)
	}
	n := products + p.M*p.Tiles*p.M*Block
	if p.Order != sharedV {
		n += p.positions() * p.inputStride(g, p.Tiles)
	}
	return n
}

// Scratch is the scratch of [Work.WinogradForward] on n images of h × w.
func (p Winograd) Scratch(g Conv, n, h, w int) Scratch {
	th, tw := p.grid(g, h, w)
	p.Tiles = min(p.Tiles, n*th*tw)
	s := Scratch{Local: p.localLen(g)}
	if p.Order == sharedV {
		s.Shared = p.positions() * p.inputStride(g, p.Tiles)
	}
	return s
}

// canWinograd reports whether some form computes the layer: 3×3 or 5×5 filters with an
// output as large as the input, or 7×7 filters without a border, which is VGG's first fully
// connected layer on images larger than a crop.
func (g Conv) canWinograd() bool {
	switch g.R {
	case 3, 5:
		return g.Pad == g.R/2 && !g.patched()
	case 7:
		return g.Pad == 0
	}
	return false
}

// pays reports whether the form, with whole tiles, saves enough multiplications on h × w to
// be worth its transforms and, for 7×7 filters, the memory of its transformed weights.
func (p Winograd) pays(g Conv, h, w int) bool {
	oh, ow := g.Out(h, w)
	th, tw := p.grid(g, h, w)
	if p.R == 7 && th*tw < minTiles7 {
		return false
	}
	return float64(th*tw*p.positions())*minGain < float64(p.R*p.R*oh*ow)
}

// pastCaches is the length, in floats, of transformed weights that are written past the caches:
// those that the third-level cache couldn't hold until they are read.
func pastCaches() int { return machineCaches().l3 / 8 }

// filterTask transforms the weights of a panel.
type filterTask struct {
	isa     *ISA
	p       Winograd
	g       Conv
	weights []float32
	u       []float32
}

// WinogradFilter transforms packed weights to u, [K/32][position][C][32].
func (w *Work) WinogradFilter(p Winograd, g Conv, weights, u []float32) {
	w.filterT = filterTask{Current(), p, g, weights, u}
	w.Team.Run(panels(g.K), &w.filterT)
}

func (t *filterTask) Part(_, panel int) {
	stride := blocks(t.g.C) * Block * Panel
	src := t.weights[panel*t.p.R*t.p.R*stride:]
	dst := t.u[panel*t.p.positions()*stride:]
	t.isa.winoWeights(t.p.Form, len(t.u) > pastCaches(), stride/Block, src, stride, dst, stride)
}

// winoTask computes the forward pass. It runs once over tile blocks, or, where threads share
// the input, twice for every tile block: over in-channel blocks, then over panels.
type winoTask struct {
	isa      *ISA
	w        *Work
	p        Winograd
	g        Conv
	x, y     *Act
	u, bias  []float32
	lo       float32
	pool     bool
	hits     *Hits // gets where pooled maxima came from, if not nil
	mask     *Act  // if not nil, y becomes zero where mask isn't positive
	grid     tileGrid
	total    int       // tiles of all images
	offs     []int     // of the steps of the products
	lastOffs []int     // the same for the last, smaller tile block
	tiles    tileBlock // shared: the tile block at hand
	multiply bool
	v        []float32
	zeros    [Panel]float32
}

// WinogradForward computes y = x ∗ w + bias, then max(0, ·) if relu, from transformed
// weights u; with pool, y is the 2×2 max-pooling of that. x has borders of g.Pad zeros
// above and left and of [Winograd.End] zeros below and right; the borders of y stay as
// they are.
func (w *Work) WinogradForward(p Winograd, g Conv, x *Act, u, bias []float32, relu, pool bool, y *Act) {
	w.winograd(p, g, x, u, y, winoTask{bias: bias, pool: pool}, relu)
}

// winograd is [Work.WinogradForward] with the fields of out that concern the output.
func (w *Work) winograd(p Winograd, g Conv, x *Act, u []float32, y *Act, out winoTask, relu bool) {
	if x.Pad < g.Pad || x.End < p.End(g, x.H, x.W) {
		panic("kernel: WinogradForward: the border of x is too narrow")
	}
	t := &w.winoT
	*t = out
	t.isa, t.w, t.p, t.g, t.x, t.y, t.u, t.lo = Current(), w, p, g, x, y, u, float32(math.Inf(-1))
	if relu {
		t.lo = 0
	}
	t.grid = p.tileGrid(g, x.H, x.W)
	t.total = x.N * t.grid.h * t.grid.w
	t.p.Tiles = min(p.Tiles, t.total)
	t.offs = strides(&w.offs, blocks(g.C), t.p.Tiles*Block)
	t.lastOffs = strides(&w.offs2, blocks(g.C), t.total%t.p.Tiles*Block)
	w.growLocal(t.p.localLen(g))
	if p.Order != sharedV {
		w.Team.Run((t.total+t.p.Tiles-1)/t.p.Tiles, t)
		return
	}
	t.v = grow(&w.shared, p.positions()*p.inputStride(g, t.p.Tiles))
	for t0 := 0; t0 < t.total; t0 = t.tiles.t1 {
		t.tiles = t.grid.block(t0, min(t0+t.p.Tiles, t.total), w.runsAll)
		w.runsAll = t.tiles.runs
		t.multiply = false
		w.Team.Run(blocks(g.C), t)
		t.multiply = true
		w.Team.Run(panels(g.K), t)
	}
}

func (t *winoTask) Part(slot, i int) {
	local := t.w.local[slot]
	switch {
	case t.p.Order != sharedV:
		tiles := t.grid.block(i*t.p.Tiles, min((i+1)*t.p.Tiles, t.total), t.w.runs[slot])
		t.w.runs[slot] = tiles.runs
		t.block(local, &tiles)
	case t.multiply:
		products, edge := t.cut(local, t.p.positions()*t.p.outputStride(t.p.Tiles))
		for pos := range t.p.positions() {
			t.product(t.v, products, i, pos, &t.tiles)
		}
		t.outputs(products, edge, i, &t.tiles)
	default:
		t.input(t.v, i, &t.tiles)
	}
}

// cut splits scratch memory after n floats.
func (t *winoTask) cut(buf []float32, n int) (head, tail []float32) { return buf[:n], buf[n:] }

// block computes the three stages of a block of tiles on one thread.
func (t *winoTask) block(local []float32, tiles *tileBlock) {
	v, local := t.cut(local, t.p.positions()*t.p.inputStride(t.g, t.p.Tiles))
	for b := range blocks(t.g.C) {
		t.input(v, b, tiles)
	}
	one := t.p.positions() * t.p.outputStride(t.p.Tiles)
	if t.p.Order == byPanel {
		products, edge := t.cut(local, one)
		for panel := range panels(t.g.K) {
			for pos := range t.p.positions() {
				t.product(v, products, panel, pos, tiles)
			}
			t.outputs(products, edge, panel, tiles)
		}
		return
	}
	products, edge := t.cut(local, one*panels(t.g.K))
	for pos := range t.p.positions() {
		for panel := range panels(t.g.K) {
			t.product(v, products[panel*one:], panel, pos, tiles)
		}
	}
	for panel := range panels(t.g.K) {
		t.outputs(products[panel*one:], edge, panel, tiles)
	}
}

// input transforms channel block b of the tiles.
func (t *winoTask) input(v []float32, b int, tiles *tileBlock) {
	m, pad, count := t.p.M, t.g.Pad, tiles.count()
	stride := t.p.inputStride(t.g, count)
	for i := range tiles.runs {
		s := &tiles.runs[i]
		t.isa.winoInput(s.tile, s.count, t.x.Data[t.x.At(s.n, b, s.ty*m-pad, s.tx*m-pad):], t.x.rowLen(),
			v[(b*count+s.off)*Block:], stride)
	}
}

// product multiplies one position of the tiles with one panel of weights.
func (t *winoTask) product(v, products []float32, panel, pos int, block *tileBlock) {
	first, count := block.with(pos)
	if count == 0 {
		return
	}
	cb, tiles := blocks(t.g.C), block.count()
	offs := t.offs
	if tiles < t.p.Tiles {
		offs = t.lastOffs
	}
	nb := min(2, blocks(t.g.K)-2*panel)
	in := v[pos*t.p.inputStride(t.g, tiles)+first*Block:]
	u := t.u[(panel*t.p.positions()+pos)*cb*Block*Panel:]
	out := products[pos*t.p.outputStride(tiles)+first*Block:]
	t.isa.product(count, nb, offs, in, u, out, tiles*Block, nil, 0)
}

// outputs transforms the products of a panel to outputs.
func (t *winoTask) outputs(products, edge []float32, panel int, block *tileBlock) {
	tiles := block.count()
	for j := range min(2, blocks(t.g.K)-2*panel) {
		b := 2*panel + j
		bias := t.zeros[:]
		if t.bias != nil {
			bias = t.bias[b*Block:]
		}
		for i := range block.runs {
			s := &block.runs[i]
			t.output(products[(j*tiles+s.off)*Block:], t.p.outputStride(tiles), s, b, bias, edge)
		}
	}
}

// output transforms the products of a run of tiles to channel block b of y. Tiles that
// reach beyond y go through scratch, so that the border of y stays zero.
func (t *winoTask) output(products []float32, pStride int, s *segment, b int, bias, edge []float32) {
	side, height, width := t.p.M, s.rows, s.cols
	if t.pool {
		side, height, width = side/2, height/2, width/2
	}
	y, y0, x0 := t.y, s.ty*side, s.tx*side
	whole := 0
	if y0+height <= y.H {
		whole = max(0, min(s.count, (y.W-x0)/width))
	}
	if whole > 0 {
		t.transform(whole, products, pStride, s, b, 0, bias, y.Data[y.At(s.n, b, y0, x0):], y.rowLen(), nil)
	}
	if whole == s.count {
		return
	}
	rest := s.count - whole
	row := rest * width * Block
	edge, masks := edge[:height*row], edge[height*row:]
	t.transform(rest, products[whole*Block:], pStride, s, b, whole, bias, edge, row, masks)
	x0 += whole * width
	inside := min(rest*width, y.W-x0)
	for r := 0; r < height && y0+r < y.H && inside > 0; r++ {
		copy(y.Data[y.At(s.n, b, y0+r, x0):][:inside*Block], edge[r*row:])
	}
}

// transform transforms the products of count tiles, from tile first of a run on, to y.
// Masks of maxima go to masks, if not nil, else to their places in t.hits.
func (t *winoTask) transform(count int, products []float32, pStride int, s *segment, b, first int, bias, y []float32, yRow int, masks []float32) {
	tx := s.tx + first
	switch {
	case t.hits != nil:
		t.transformHits(count, products, pStride, s, b, tx, bias, y, yRow, masks)
	case t.mask != nil:
		x := t.mask
		t.isa.winoOutputMask(s.tile, count, products, pStride, y, yRow, x.Data[x.At(s.n, b, s.ty*t.p.M, tx*t.p.M):], x.rowLen())
	default:
		t.isa.winoOutput(s.tile, t.pool, count, products, pStride, y, yRow, bias, t.lo)
	}
}
