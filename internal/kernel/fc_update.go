package kernel

// fcUpdateTask computes the backward pass of a fully connected layer and a step of gradient
// descent together. The weights are far larger than all else, so memory's bandwidth is the
// limit. Every weight therefore comes from memory once: it adds its share to dx, gets its
// gradient, which is never stored, and is updated. A part does that for some in-units and
// all out-channels, two channel blocks of in-units at a time, in the first-level cache.
type fcUpdateTask struct {
	isa    *ISA
	w      *Work
	g      Conv
	dx     *Act // nil where it isn't needed
	m, kb  int
	a, d   []float32 // x as [step][N][16], dy as [K/16][N][16]
	offs   []int     // of dy's blocks
	update Update
	steps  int // blocks of in-units of a part
}

// Update is a step of gradient descent on packed weights; see [Work.SGD].
type Update struct {
	Weights, Velocity     []float32
	Rate, Momentum, Decay float32
}

const (
	fcTile     = 2 * Block * Panel // weights of two blocks of in-units and a panel
	fcMostStep = 16                // blocks of in-units of a part
)

// fcUpdateLocal is the scratch of a thread, in floats, that [Work.FCUpdate] takes for n
// images: turned weights, gradients, and dx.
func fcUpdateLocal(n int) int { return 2*fcTile + fcMostStep*n*Block }

// FCUpdate computes dx of a fully connected layer, unless it is nil, and the gradient of
// its weights, and updates the weights by that gradient.
func (w *Work) FCUpdate(g Conv, x, dy *Act, u Update, dx *Act) {
	n, kb := x.N, dy.Blocks()
	blocks := g.depth() / Block
	a, d := w.gatherConnected(g, x, dy)
	w.growLocal(fcUpdateLocal(n))
	// Eight parts for each thread, of an even number of blocks.
	steps := min(fcMostStep, max(2, blocks/(8*w.Team.Threads())&^1))
	w.fcUpdateT = fcUpdateTask{isa: Current(), w: w, g: g, dx: dx, m: n, kb: kb, a: a, d: d,
		offs: strides(&w.offs2, kb, n*Block), update: u, steps: steps}
	w.Team.Run((blocks+steps-1)/steps, &w.fcUpdateT)
}

func (t *fcUpdateTask) Part(slot, i int) {
	depth := t.g.depth()
	from, to := i*t.steps, min((i+1)*t.steps, depth/Block)
	local := t.w.local[slot]
	turned, dw, c := local[:fcTile], local[fcTile:][:fcTile], local[2*fcTile:]
	for p := range panels(t.g.K) {
		nb := min(2, t.kb-2*p)
		if nb == 1 {
			clear(dw) // the panel's second half is not written
		}
		for s := from; s < to; s += 2 {
			rows := min(2, to-s)
			at, length := (p*depth+s*Block)*Panel, rows*Block*Panel
			w := t.update.Weights[at:][:length]
			next := t.next(p, s, from, to)
			if t.dx != nil {
				t.prefetch(next, 0)
				t.data(w, turned, c[(s-from)*t.m*Block:], p, nb, rows)
			}
			for j := range rows {
				t.prefetch(next, 1+j)
				t.isa.weightGrad(nb, 1, t.m, t.a[(s+j)*t.m*Block:], 0, t.d[2*p*t.m*Block:], 0, t.m*Block, dw[j*Block*Panel:], overwrite)
			}
			u := &t.update
			t.prefetch(next, 3)
			t.isa.sgdBlocks(length/Block, w, u.Velocity[at:][:length], dw[:length], u.Rate, u.Momentum, u.Decay)
		}
	}
	if t.dx == nil {
		return
	}
	for s := from; s < to; s++ {
		scatterConnected(t.g, t.dx, s, c[(s-from)*t.m*Block:])
	}
}

// next is the offset of the tile of weights after the one at step s of panel p.
func (t *fcUpdateTask) next(p, s, from, to int) int {
	if s += 2; s >= to {
		p, s = p+1, from
	}
	return (p*t.g.depth() + s*Block) * Panel
}

// prefetch prefetches a quarter of the tile of weights and momentum at next, while the tile
// before it is computed.
func (t *fcUpdateTask) prefetch(next, quarter int) {
	const lines = fcTile / Block / 4
	if next += quarter * lines * Block; next+lines*Block <= len(t.update.Weights) {
		t.isa.prefetchLines(lines, t.update.Weights[next:])
		t.isa.prefetchLines(lines, t.update.Velocity[next:])
	}
}

// data adds the share of a panel of out-channels to c, two blocks of dx.
func (t *fcUpdateTask) data(w, turned, c []float32, p, nb, rows int) {
	for k := range nb {
		for j := range rows {
			t.isa.transpose16(turned[k*Block*Panel+j*Block:], Panel, w[j*Block*Panel+k*Block:], Panel)
		}
	}
	flags := 0
	if p > 0 {
		flags = accumulate
	}
	t.isa.product(t.m, rows, t.offs[2*p:2*p+nb], t.d, turned, c, t.m*Block, nil, flags)
}

// gatherConnected gathers x as [step][N][16] and dy as [K/16][N][16] into scratch.
func (w *Work) gatherConnected(g Conv, x, dy *Act) (a, d []float32) {
	n, kb := x.N, dy.Blocks()
	a = grow(&w.shared, g.depth()*n)
	w.gatherT = gatherTask{x: x, oh: 1, ow: 1, offs: steps(&w.offs, g, x), m: n, dst: a}
	w.gather(&w.gatherT)
	d = grow(&w.shared2, kb*n*Block)
	w.gather2T = gatherTask{x: dy, oh: 1, ow: 1, offs: strides(&w.offs2, kb, dy.planeLen()), m: n, dst: d}
	w.gather(&w.gather2T)
	return a, d
}

// scatterConnected writes block s of the in-units, [N][16], to dx.
func scatterConnected(g Conv, dx *Act, s int, c []float32) {
	tap, block := s/blocks(g.C), s%blocks(g.C)
	for m := range dx.N {
		copy(dx.Data[dx.At(m, block, tap/g.R, tap%g.R):][:Block], c[m*Block:])
	}
}
