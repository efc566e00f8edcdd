package kernel

// winoGradTask reduces the weight gradient in the Winograd domain: every position's
// gradient is the product of the transformed input and the transformed dy over all
// tiles.
type winoGradTask struct {
	isa    *ISA
	p      Winograd
	g      Conv
	x, dy  *Act
	v, d   []float32 // transformed x and dy of the tile block
	du     []float32
	th, tw int
	t0, t1 int
	fresh  bool // du holds nothing yet
	phase  int  // transform x and dy, multiply
}

// gradTiles is how many tiles are transformed before they are multiplied: a position's
// operands stay in the second-level cache. It has no influence on the result, each of
// whose sums runs on from tile to tile.
func (p Winograd) gradTiles(g Conv, total int) int {
	const floats = 1 << 17
	return min(total, max(64, floats/(blocks(g.C)*Block+blocks(g.K)*Block)))
}

// GradScratch is what [Work.WinogradBackwardWeights] takes for n images of h × w.
func (p Winograd) GradScratch(g Conv, n, h, w int) Scratch {
	th, tw := p.grid(h, w)
	tiles := p.gradTiles(g, n*th*tw)
	return Scratch{Shared: p.positions() * p.inputStride(g, tiles), Shared2: p.positions() * p.inputStride(Conv{C: g.K}, tiles)}
}

// WinogradBackwardWeights adds to du, of [Winograd.FilterLen], the gradient of the
// transformed weights, in image order from what du holds. x and dy have the borders of
// [Work.WinogradForward]'s input. p is F(4×4,3×3). With fresh, what du holds is not added to
// but replaced.
func (w *Work) WinogradBackwardWeights(p Winograd, g Conv, x, dy *Act, fresh bool, du []float32) {
	t := &w.winoGradT
	*t = winoGradTask{isa: Current(), p: p, g: g, x: x, dy: dy, fresh: fresh, du: du}
	t.th, t.tw = p.grid(x.H, x.W)
	total := x.N * t.th * t.tw
	tiles := p.gradTiles(g, total)
	t.v = grow(&w.shared, p.positions()*p.inputStride(g, tiles))
	t.d = grow(&w.shared2, p.positions()*p.inputStride(Conv{C: g.K}, tiles))
	for t.t0 = 0; t.t0 < total; t.t0 = t.t1 {
		t.t1 = min(t.t0+tiles, total)
		t.phase = 0
		w.Team.Run(blocks(g.C)+blocks(g.K), t)
		t.phase = 1
		w.Team.Run(panels(g.K)*p.positions(), t)
	}
}

func (t *winoGradTask) Part(_, i int) {
	g, tiles, cb := t.g, t.t1-t.t0, blocks(t.g.C)
	vStride, dStride := t.p.inputStride(g, tiles), t.p.inputStride(Conv{C: g.K}, tiles)
	m := t.p.M
	if t.phase == 0 {
		segments(t.t0, t.t1, t.th, t.tw, func(s segment) {
			if i < cb {
				t.isa.winoInput(t.p.Form, s.count, t.x.Data[t.x.At(s.n, i, s.ty*m-1, s.tx*m-1):], t.x.RowLen(), t.v[(i*tiles+s.off)*Block:], vStride)
				return
			}
			b := i - cb
			t.isa.winoGrad(s.count, t.dy.Data[t.dy.At(s.n, b, s.ty*m, s.tx*m):], t.dy.RowLen(), t.d[(b*tiles+s.off)*Block:], dStride)
		})
		return
	}
	panel, pos := i/t.p.positions(), i%t.p.positions()
	nb := min(2, blocks(g.K)-2*panel)
	d := t.d[pos*dStride+2*panel*tiles*Block:]
	flags := accumulate
	if t.fresh && t.t0 == 0 {
		flags = overwrite
	}
	for b := range cb {
		t.isa.weightGrad(nb, 1, tiles, t.v[pos*vStride+b*tiles*Block:], 0, d, 0, tiles*Block,
			t.du[((panel*t.p.positions()+pos)*cb+b)*Block*Panel:], flags)
	}
}

// foldTask brings the gradient of a panel back from the Winograd domain.
type foldTask struct {
	isa    *ISA
	p      Winograd
	g      Conv
	du, dw []float32
}

// WinogradFold sets dw to the gradient of the weights, given that of the transformed
// weights.
func (w *Work) WinogradFold(p Winograd, g Conv, du, dw []float32) {
	w.foldT = foldTask{Current(), p, g, du, dw}
	w.Team.Run(panels(g.K), &w.foldT)
}

func (t *foldTask) Part(_, panel int) {
	stride := blocks(t.g.C) * Block * Panel
	dw := t.dw[panel*9*stride:][:9*stride]
	clear(dw)
	t.isa.winoWeightsGrad(stride/Block, t.du[panel*t.p.positions()*stride:], stride, dw, stride)
}

// WinogradBackwardData computes dx from dy with packed weights: the forward pass with
// turned filters. dy has the borders of [Work.WinogradForward]'s input.
func (w *Work) WinogradBackwardData(p Winograd, g Conv, dy *Act, weights []float32, dx *Act) {
	t := g.transposed()
	turned := grow(&w.turned, t.WeightLen())
	w.turn(g, t, weights, turned)
	w.WinogradForward(p, t, dy, w.filter(p, t, turned), nil, false, false, dx)
}

// WinogradTraining is [Work.WinogradForward] from packed weights, which are transformed
// into scratch memory.
func (w *Work) WinogradTraining(p Winograd, g Conv, x *Act, weights, bias []float32, relu bool, y *Act) {
	w.WinogradForward(p, g, x, w.filter(p, g, weights), bias, relu, false, y)
}

func (w *Work) filter(p Winograd, g Conv, weights []float32) []float32 {
	u := grow(&w.filters, p.FilterLen(g))
	w.WinogradFilter(p, g, weights, u)
	return u
}
