package kernel

import "unsafe"

// winoGradTask computes the weight gradient in the Winograd domain: the gradient of a
// position is the product of the transformed input and the transformed dy over all tiles.
type winoGradTask struct {
	isa   *ISA
	p     Winograd
	g     Conv
	x, dy *Act
	v, d  []float32 // transformed x and dy of the tile block
	du    []float32
	grid  tileGrid
	tiles tileBlock
	fresh bool // du holds nothing yet
	db    []float32
	sums  []float32 // of dy, over the image that the tiles are in

	multiply bool // V and Ŷ are computed
	halves   bool // a part computes all stages for half of the in-channels
}

// gradHalves reports whether each of two threads computes all stages for half of the
// in-channels, and transforms dy for itself. What a thread reads and writes is then never
// in the other's cache; where the two have no cache in common, fetching it costs more than
// the second transform. It isn't done for a large gradient, whose blocks of tiles no cache
// holds anyway.
func (p Winograd) gradHalves(g Conv, threads int) bool {
	_, large := p.gradient(g)
	return threads == 2 && blocks(g.C)%2 == 0 && !large
}

// gradient is the length, in floats, of the gradient of all positions. A large one takes
// half of the third-level cache, or more.
func (p Winograd) gradient(g Conv) (n int, large bool) {
	l3 := machineCaches().l3 / 4
	n = p.positions() * blocks(g.C) * blocks(g.K) * Block * Block
	return n, n >= l3/2
}

// gradTiles is the number of tiles that are transformed before they are multiplied. With
// more of them, the gradient of all positions is read and written less often; with fewer,
// products find what the transforms wrote in a nearer cache. The transformed tiles take
// twice the threads' second-level caches, or, where the gradient is large and comes from
// memory each time, as much memory as the gradient. The number doesn't change the result,
// as each sum goes on from tile to tile.
func (p Winograd) gradTiles(g Conv, total, threads int) int {
	l2 := machineCaches().l2 / 4
	tile := p.positions() * (blocks(g.C) + blocks(g.K)) * Block // floats
	most := 2 * threads * l2 / tile
	if gradient, large := p.gradient(g); large {
		most = max(most, gradient/tile)
	}
	most = min(total, max(56, most))
	count := (total + most - 1) / most // as even as possible
	return (total + count - 1) / count
}

// gradLen is the length of Ŷ in floats, twice that if each of two threads has its own.
func (p Winograd) gradLen(g Conv, tiles, threads int) int {
	n := p.positions() * p.inputStride(Conv{C: g.K}, tiles)
	if p.gradHalves(g, threads) {
		n *= 2
	}
	return n
}

// gradScratch is the scratch of [Work.WinogradBackwardWeights] on n images of h × w.
func (p Winograd) gradScratch(g Conv, n, h, w, threads int) Scratch {
	th, tw := p.grid(g, h, w)
	tiles := p.gradTiles(g, n*th*tw, threads)
	return Scratch{Shared: p.positions() * p.inputStride(g, tiles), Shared2: p.gradLen(g, tiles, threads) + blocks(g.K)*Block}
}

// WinogradBackwardWeights adds the gradient of the transformed weights to du, of length
// [Winograd.FilterLen]; with fresh, it replaces what du holds. The sum goes on in image
// order. It also adds the gradient of the bias to db, unless db is nil. x and dy have the
// borders of [Work.WinogradForward]'s input, and p is of 3×3 filters.
func (w *Work) WinogradBackwardWeights(p Winograd, g Conv, x, dy *Act, fresh bool, du, db []float32) {
	t := &w.winoGradT
	*t = winoGradTask{isa: Current(), p: p, g: g, x: x, dy: dy, fresh: fresh, du: du, db: db}
	t.grid = p.tileGrid(g, x.H, x.W)
	total := x.N * t.grid.h * t.grid.w
	tiles := p.gradTiles(g, total, w.Team.Threads())
	t.v = grow(&w.shared, p.positions()*p.inputStride(g, tiles))
	t.halves = p.gradHalves(g, w.Team.Threads())
	d := p.gradLen(g, tiles, w.Team.Threads())
	t.d = grow(&w.shared2, d+blocks(g.K)*Block)
	t.d, t.sums = t.d[:d], t.d[d:]
	for t0 := 0; t0 < total; t0 = t.tiles.t1 {
		t.tiles = t.grid.block(t0, min(t0+tiles, total), w.runsAll)
		w.runsAll = t.tiles.runs
		if t.halves {
			w.Team.Run(2, t)
			continue
		}
		t.multiply = false
		w.Team.Run(blocks(g.C)+blocks(g.K), t)
		t.multiply = true
		w.Team.Run(panels(g.K)*p.positions(), t)
	}
}

func (t *winoGradTask) Part(_, i int) {
	cb, kb := blocks(t.g.C), blocks(t.g.K)
	switch {
	case t.halves:
		d := t.d[i*len(t.d)/2:]
		c0, c1 := i*cb/2, (i+1)*cb/2
		for c := c0; c < c1; c++ {
			t.input(c)
		}
		for b := range kb {
			t.output(b, d, i == 0)
		}
		for pos := range t.p.positions() {
			for panel := range panels(t.g.K) {
				t.product(pos, panel, c0, c1, d)
			}
		}
	case t.multiply:
		// Panels are the inner loop: threads are at the same position, whose V stays cached.
		t.product(i/panels(t.g.K), i%panels(t.g.K), 0, cb, t.d)
	case i < cb:
		t.input(i)
	default:
		t.output(i-cb, t.d, true)
	}
}

// input transforms block b of x.
func (t *winoGradTask) input(b int) {
	m, tiles := t.p.M, t.tiles.count()
	stride := t.p.inputStride(t.g, tiles)
	for i := range t.tiles.runs {
		s := &t.tiles.runs[i]
		t.isa.winoInput(s.tile, s.count, t.x.Data[t.x.At(s.n, b, s.ty*m-1, s.tx*m-1):], t.x.rowLen(), t.v[(b*tiles+s.turn)*Block:], stride)
	}
}

// output transforms block b of dy to d and, with bias, sums it for db.
func (t *winoGradTask) output(b int, d []float32, bias bool) {
	m, tiles := t.p.M, t.tiles.count()
	stride := t.p.inputStride(Conv{C: t.g.K}, tiles)
	for i := range t.tiles.runs {
		s := &t.tiles.runs[i]
		d := d[(b*tiles+s.turn)*Block:]
		t.isa.winoGrad(s.tile, s.count, t.dy.Data[t.dy.At(s.n, b, s.ty*m, s.tx*m):], t.dy.rowLen(), d, stride)
		if bias && t.db != nil {
			t.biasGrad(s, b, d[t.p.ones()*stride:])
		}
	}
}

// product adds to du the products, in one position, of blocks c0 … c1−1 of V and a panel
// of d, which is Ŷ.
func (t *winoGradTask) product(pos, panel, c0, c1 int, d []float32) {
	g, tiles, cb := t.g, t.tiles.count(), blocks(t.g.C)
	nb := min(2, blocks(g.K)-2*panel)
	v := t.v[pos*t.p.inputStride(g, tiles):]
	d = d[pos*t.p.inputStride(Conv{C: g.K}, tiles)+2*panel*tiles*Block:]
	du := t.du[(panel*t.p.positions()+pos)*cb*Block*Panel:]
	flags := accumulate
	if t.fresh && t.tiles.t0 == 0 {
		flags = overwrite
	}
	t.tiles.rectangles(pos, gradRun, func(r rectangle) {
		row := r.stride * Block
		for b := c0; b < c1; b++ {
			t.isa.weightGrad(nb, r.rows, r.cols, v[(b*tiles+r.first)*Block:], row, d[r.first*Block:], row, tiles*Block, du[b*Block*Panel:], flags)
		}
		flags = accumulate
	})
	if flags == overwrite { // no tile of the block has the position
		clear(du[c0*Block*Panel : c1*Block*Panel])
	}
}

// gradRun is the number of tiles of a position and a panel that are multiplied with all
// in-channels before the next ones: their 14 KiB of Ŷ stay in the first-level cache.
const gradRun = 112

// ones is the position of the point 1 in both directions, where Ŷ is the sum of the tile.
func (f Form) ones() int { return f.side() + 1 }

// biasGrad sums a run of tiles, and adds the sum to db at the end of an image.
func (t *winoGradTask) biasGrad(s *segment, b int, ones []float32) {
	sum := t.sums[b*Block:][:Block]
	if s.ty == 0 && s.tx == 0 {
		clear(sum)
	}
	t.isa.addRow(s.count, ones, sum)
	if s.ty == t.grid.h-1 && s.tx+s.count == t.grid.w {
		for l, v := range sum {
			t.db[b*Block+l] += v
		}
	}
}

// foldTask transforms the gradient of a panel's weights back from the Winograd domain,
// foldRows in-channels a part. With an update the gradient is used in the cache and never
// stored.
type foldTask struct {
	isa    *ISA
	w      *Work
	p      Winograd
	g      Conv
	du, dw []float32
	update *Update
	chunks int
}

// foldRows is the number of in-channels of a part.
const foldRows = 64

// WinogradFold sets dw to the gradient of the weights, given du, the gradient of the
// transformed weights.
func (w *Work) WinogradFold(p Winograd, g Conv, du, dw []float32) { w.fold(p, g, du, dw, nil) }

// WinogradUpdate updates the weights, given du, the gradient of the transformed weights.
func (w *Work) WinogradUpdate(p Winograd, g Conv, du []float32, u Update) {
	w.growLocal(foldLocal)
	w.update = u
	w.fold(p, g, du, nil, &w.update)
}

// foldLocal is the scratch of a thread, in floats, that [Work.WinogradUpdate] takes.
const foldLocal = 9 * foldRows * Panel

func (w *Work) fold(p Winograd, g Conv, du, dw []float32, update *Update) {
	chunks := (blocks(g.C)*Block + foldRows - 1) / foldRows
	w.foldT = foldTask{isa: Current(), w: w, p: p, g: g, du: du, dw: dw, update: update, chunks: chunks}
	w.Team.Run(panels(g.K)*chunks, &w.foldT)
}

func (t *foldTask) Part(slot, i int) {
	rows := blocks(t.g.C) * Block
	panel, c0 := i/t.chunks, i%t.chunks*foldRows
	length, stride := min(foldRows, rows-c0)*Panel, rows*Panel
	du := t.du[panel*t.p.positions()*stride+c0*Panel:]
	at := panel*9*stride + c0*Panel
	if t.update == nil {
		for tap := range 9 {
			clear(t.dw[at+tap*stride:][:length])
		}
		t.isa.winoWeightsGrad(t.p.Form, length/Block, du, stride, t.dw[at:], stride)
		return
	}
	dw, u := t.w.local[slot][:9*length], t.update
	clear(dw)
	t.isa.winoWeightsGrad(t.p.Form, length/Block, du, stride, dw, length)
	for tap := range 9 {
		w, v := u.Weights[at+tap*stride:][:length], u.Velocity[at+tap*stride:][:length]
		t.isa.sgdBlocks(length/Block, w, v, dw[tap*length:][:length], u.Rate, u.Momentum, u.Decay)
	}
}

// turnFilterTask transforms the weights of the transposed convolution. A part turns the
// weights of turnBlocks blocks of its in-channels in the cache.
type turnFilterTask struct {
	isa        *ISA
	w          *Work
	p          Winograd
	g          Conv // not transposed
	weights, u []float32
	chunks     int
}

const (
	turnBlocks = 4
	turnLocal  = 9 * turnBlocks * Block * Panel // scratch of a thread
)

// turnedFilter transforms the weights of the transposed convolution into scratch.
func (w *Work) turnedFilter(p Winograd, g Conv, weights []float32) []float32 {
	u := grow(&w.filters, p.FilterLen(g.transposed()))
	w.growLocal(turnLocal)
	chunks := (blocks(g.K) + turnBlocks - 1) / turnBlocks
	w.turnFiltT = turnFilterTask{Current(), w, p, g, weights, u, chunks}
	w.Team.Run(panels(g.C)*chunks, &w.turnFiltT)
	return u
}

func (t *turnFilterTask) Part(slot, i int) {
	const taps, tile = 9, Block * Panel
	panel, k0 := i/t.chunks, i%t.chunks*turnBlocks
	kb, cb := blocks(t.g.K), blocks(t.g.C)
	n := min(turnBlocks, kb-k0)
	local := t.w.local[slot][:taps*n*tile]
	for half := range 2 {
		b := 2*panel + half
		for tap := range taps {
			for k := range n {
				dst := local[((taps-1-tap)*n+k)*tile+half*Block:]
				if b >= cb {
					for r := range Block {
						clear(dst[r*Panel:][:Block])
					}
					continue
				}
				t.isa.transpose16(dst, Panel, t.weights[(((k0+k)/2*taps+tap)*cb+b)*tile+(k0+k)%2*Block:], Panel)
			}
		}
	}
	t.isa.winoWeights(t.p.Form, len(t.u) > pastCaches(), n*tile/Block, local, n*tile, t.u[(panel*t.p.positions()*kb+k0)*tile:], kb*tile)
}

// WinogradBackwardData computes dx from dy with packed weights: the forward pass with
// turned filters. dy has the borders of [Work.WinogradForward]'s input. If mask isn't nil,
// it is the output of the rectification before the layer, with the borders of the layer's
// input, and dx is zero where mask isn't positive.
func (w *Work) WinogradBackwardData(p Winograd, g Conv, dy *Act, weights []float32, mask, dx *Act) {
	w.winograd(p, g.transposed(), dy, w.turnedFilter(p, g, weights), dx, winoTask{mask: mask}, false)
}

// WinogradTraining is [Work.WinogradForward] from packed weights, which it transforms into
// scratch memory. With hits, y is the 2×2 max-pooling, and hits gets where the maxima came
// from.
func (w *Work) WinogradTraining(p Winograd, g Conv, x *Act, weights, bias []float32, relu bool, y *Act, hits *Hits) {
	w.winograd(p, g, x, w.filter(p, g, weights), y, winoTask{bias: bias, pool: hits != nil, hits: hits}, relu)
}

// FiltersOf returns scratch memory for a gradient of the transformed weights. It is the
// memory that holds the transformed weights in the passes that need them.
func (w *Work) FiltersOf(p Winograd, g Conv) []float32 { return grow(&w.filters, p.FilterLen(g)) }

func (w *Work) filter(p Winograd, g Conv, weights []float32) []float32 {
	u := grow(&w.filters, p.FilterLen(g))
	w.WinogradFilter(p, g, weights, u)
	return u
}

// transformHits is transform with pooling that records where the maxima came from. Masks
// of tiles that reach beyond y go through scratch, as the outputs do.
func (t *winoTask) transformHits(count int, products []float32, pStride int, s *segment, b, tx int, bias, y []float32, yRow int, scratch []float32) {
	h := t.hits
	y0, x0, height, width := s.ty*t.p.M/2, tx*t.p.M/2, s.rows/2, s.cols/2
	if scratch == nil {
		t.isa.winoOutputHits(s.tile, count, products, pStride, y, yRow, h.Data[h.At(s.n, b, y0, x0):], 4*h.W, bias, t.lo)
		return
	}
	row := 4 * width * count
	masks := unsafe.Slice((*uint16)(unsafe.Pointer(&scratch[0])), height*row)
	t.isa.winoOutputHits(s.tile, count, products, pStride, y, yRow, masks, row, bias, t.lo)
	inside := min(width*count, h.W-x0)
	for r := 0; r < height && y0+r < h.H && inside > 0; r++ {
		copy(h.Data[h.At(s.n, b, y0+r, x0):][:4*inside], masks[r*row:])
	}
}
