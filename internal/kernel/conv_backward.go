package kernel

// turnTask packs the weights of the transposed convolution: it transposes tiles of 16×16
// and reverses the taps.
type turnTask struct {
	isa      *ISA
	g, t     Conv
	src, dst []float32
}

func (w *Work) turn(g, t Conv, src, dst []float32) {
	if g.patched() || t.patched() {
		clear(dst)
		for k := range g.K {
			for c := range g.C {
				for r := range g.R {
					for s := range g.R {
						dst[t.index(c, k, g.R-1-r, g.R-1-s)] = src[g.index(k, c, r, s)]
					}
				}
			}
		}
		return
	}
	w.turnT = turnTask{isa: Current(), g: g, t: t, src: src, dst: dst}
	w.Team.Run(panels(g.C), &w.turnT)
}

func (t *turnTask) Part(_, p int) {
	taps, kb, cb := t.g.R*t.g.R, blocks(t.g.K), blocks(t.g.C)
	for half := range 2 {
		b := 2*p + half
		for tap := range taps {
			for k := range kb {
				dst := t.dst[((p*taps+taps-1-tap)*kb+k)*Block*Panel+half*Block:]
				if b >= cb {
					for r := range Block {
						clear(dst[r*Panel:][:Block])
					}
					continue
				}
				src := t.src[((k/2*taps+tap)*cb+b)*Block*Panel+k%2*Block:]
				t.isa.transpose16(dst, Panel, src, Panel)
			}
		}
	}
}

// fcDataTask computes dx of a fully connected layer. Its weights are far larger than its
// activations, so there is no transposed copy of them: each part transposes the columns
// that it needs into scratch, and multiplies all images with them.
type fcDataTask struct {
	isa     *ISA
	w       *Work
	g       Conv
	dx      *Act
	a       []float32 // dy as [K/16][N][16]
	offs    []int
	weights []float32
}

func (w *Work) fcBackwardData(g Conv, dy *Act, weights []float32, dx *Act) {
	kb := dy.Blocks()
	a := grow(&w.shared, kb*dy.N*Block)
	w.gatherT = gatherTask{x: dy, oh: 1, ow: 1, offs: strides(&w.offs, kb, dy.planeLen()), m: dy.N, dst: a}
	w.gather(&w.gatherT)
	w.growLocal(kb*Block*Panel + 2*dy.N*Block)
	w.fcDataT = fcDataTask{isa: Current(), w: w, g: g, dx: dx, a: a,
		offs: strides(&w.offs2, kb, dy.N*Block), weights: weights}
	w.Team.Run((g.depth()/Block+1)/2, &w.fcDataT)
}

func (t *fcDataTask) Part(slot, i int) {
	kb, depth, n := blocks(t.g.K), t.g.depth(), t.dx.N
	nb := min(2, depth/Block-2*i)
	b := t.w.local[slot][:kb*Block*Panel]
	c := t.w.local[slot][kb*Block*Panel:]
	for k := range kb {
		for j := range nb {
			src := t.weights[(k/2*depth+(2*i+j)*Block)*Panel+k%2*Block:]
			t.isa.transpose16(b[k*Block*Panel+j*Block:], Panel, src, Panel)
		}
	}
	t.isa.product(n, nb, t.offs, t.a, b, c, n*Block, nil, 0)
	for j := range nb {
		scatterConnected(t.g, t.dx, 2*i+j, c[j*n*Block:])
	}
}

// wgradTask reduces one channel block × panel × row of taps over all images.
type wgradTask struct {
	isa   *ISA
	g     Conv
	x, dy *Act
	dw    []float32
	rows  int
}

// gradPixels is about the number of pixels that are summed before their sum is added to
// dw: few enough for the first-level cache and for rounding, and independent of the
// threads.
const gradPixels = 192

func (w *Work) directBackwardWeights(g Conv, x, dy *Act, dw []float32) {
	w.wgradT = wgradTask{isa: Current(), g: g, x: x, dy: dy, dw: dw, rows: min(dy.H, max(1, gradPixels/dy.W))}
	w.Team.Run(panels(g.K)*x.Blocks()*g.R, &w.wgradT)
}

func (t *wgradTask) Part(_, i int) {
	g, cb := t.g, t.x.Blocks()
	p, b, r := i/(cb*g.R), i/g.R%cb, i%g.R
	nb := min(2, t.dy.Blocks()-2*p)
	for n := range t.dy.N {
		for y := 0; y < t.dy.H; y += t.rows {
			h := min(t.rows, t.dy.H-y)
			for s := range g.R {
				t.isa.weightGrad(nb, h, t.dy.W,
					t.x.Data[t.x.At(n, b, y+r-g.Pad, s-g.Pad):], t.x.rowLen(),
					t.dy.Data[t.dy.At(n, 2*p, y, 0):], t.dy.rowLen(), t.dy.planeLen(),
					t.dw[(p*g.depth()+((r*g.R+s)*cb+b)*Block)*Panel:], 0)
			}
		}
	}
}

// fcGradTask computes the weight gradient of a fully connected layer: outer products
// summed over images.
type fcGradTask struct {
	isa    *ISA
	g      Conv
	m, kb  int
	a, d   []float32 // x as [step][N][16], dy as [K/16][N][16]
	dw     []float32
	chunks int
}

// fcGradSteps is the number of 16-row blocks of a panel that a part computes.
const fcGradSteps = 64

func (w *Work) fcBackwardWeights(g Conv, x, dy *Act, dw []float32) {
	a, d := w.gatherConnected(g, x, dy)
	chunks := (g.depth()/Block + fcGradSteps - 1) / fcGradSteps
	w.fcGradT = fcGradTask{isa: Current(), g: g, m: x.N, kb: dy.Blocks(), a: a, d: d, dw: dw, chunks: chunks}
	w.Team.Run(panels(g.K)*chunks, &w.fcGradT)
}

func (t *fcGradTask) Part(_, i int) {
	p, s0, depth := i/t.chunks, i%t.chunks*fcGradSteps, t.g.depth()
	dw := t.dw[(p*depth+s0*Block)*Panel:]
	for s := s0; s < min(s0+fcGradSteps, depth/Block); s++ {
		t.isa.weightGrad(min(2, t.kb-2*p), 1, t.m, t.a[s*t.m*Block:], 0, t.d[2*p*t.m*Block:], 0, t.m*Block, dw[(s-s0)*Block*Panel:], accumulate)
	}
}

// patchGradTask computes the weight gradient of a patched layer, which is too small to be
// split over cores. So every band of rows has a partial sum, and reduceTask adds these in
// order. The bands depend on the shape, not on the threads.
type patchGradTask struct {
	isa         *ISA
	w           *Work
	g           Conv
	x, dy       *Act
	partial     []float32 // [N·bands][WeightLen]
	rows, bands int
}

// patchGradPixels is about the number of pixels of a band.
const patchGradPixels = 4096

func (g Conv) patchBands(oh, ow int) (rows, bands int) {
	rows = min(oh, max(1, patchGradPixels/ow))
	return rows, (oh + rows - 1) / rows
}

func (w *Work) patchBackwardWeights(g Conv, x, dy *Act, dw []float32) {
	rows, bands := g.patchBands(dy.H, dy.W)
	partial := grow(&w.shared2, dy.N*bands*g.WeightLen())
	if !g.rgb() {
		w.growLocal(g.depth() * rows * dy.W)
	}
	w.pGradT = patchGradTask{isa: Current(), w: w, g: g, x: x, dy: dy, partial: partial, rows: rows, bands: bands}
	w.Team.Run(dy.N*bands, &w.pGradT)
	w.reduceT = reduceTask{partial: partial, n: dy.N * bands, dw: dw}
	w.Team.Run((len(dw)+reduceLen-1)/reduceLen, &w.reduceT)
}

func (t *patchGradTask) Part(slot, i int) {
	n, y := i/t.bands, i%t.bands*t.rows
	rows, ow := min(t.rows, t.dy.H-y), t.dy.W
	dw := t.partial[i*t.g.WeightLen():][:t.g.WeightLen()]
	clear(dw)
	if t.g.rgb() {
		t.rgb(n, y, rows, dw)
		return
	}
	a := t.w.local[slot]
	stride := t.rows * ow * Block
	gatherPatches(t.g, t.x, n, y, rows, ow, a, stride)
	for p := range panels(t.g.K) {
		nb := min(2, t.dy.Blocks()-2*p)
		for s := range t.g.depth() / Block {
			t.isa.weightGrad(nb, rows, ow, a[s*stride:], ow*Block,
				t.dy.Data[t.dy.At(n, 2*p, y, 0):], t.dy.rowLen(), t.dy.planeLen(),
				dw[(p*t.g.depth()+s*Block)*Panel:], 0)
		}
	}
}

// rgb reports whether the layer is a first layer of 3×3 filters: its weight gradient needs
// no patches.
func (g Conv) rgb() bool { return g.patched() && g.C == rgbChannels && g.R == 3 }

// rgb reduces a band of rows, one row of taps after another.
func (t *patchGradTask) rgb(n, y, rows int, dw []float32) {
	g, x, dy := t.g, t.x, t.dy
	for p := range panels(g.K) {
		nb := min(2, dy.Blocks()-2*p)
		for r := range g.R {
			t.isa.rgbGrad(nb, rows, dy.W, x.Data[x.At(n, 0, y+r-g.Pad, -g.Pad):], x.rowLen(),
				dy.Data[dy.At(n, 2*p, y, 0):], dy.rowLen(), dy.planeLen(), dw[(p*g.depth()+r*g.R*g.C)*Panel:])
		}
	}
}

// reduceTask adds n partial sums to dw in order.
type reduceTask struct {
	partial []float32
	n       int
	dw      []float32
}

const reduceLen = 512

func (t *reduceTask) Part(_, i int) {
	dw := t.dw[i*reduceLen : min(len(t.dw), (i+1)*reduceLen)]
	for j := range t.n {
		src := t.partial[j*len(t.dw)+i*reduceLen:][:len(dw)]
		for k, v := range src {
			dw[k] += v
		}
	}
}

// biasTask sums dy of one channel block over all pixels, behind the gradient of the ReLU
// if there is one.
type biasTask struct {
	isa   *ISA
	w     *Work
	y, dy *Act
	relu  bool
	db    []float32
}

// BiasGrad adds the gradient of the bias to db, padded to whole blocks. With relu, it
// first zeroes dy wherever the layer's output y is not positive; then db may be nil.
func (w *Work) BiasGrad(y, dy *Act, relu bool, db []float32) {
	if db == nil {
		w.growLocal(Block)
	}
	w.biasT = biasTask{isa: Current(), w: w, y: y, dy: dy, relu: relu, db: db}
	w.Team.Run(dy.Blocks(), &w.biasT)
}

func (t *biasTask) Part(slot, b int) {
	var sum []float32
	if t.db != nil {
		sum = t.db[b*Block:][:Block]
	} else {
		sum = t.w.local[slot][:Block]
	}
	for n := range t.dy.N {
		for y := range t.dy.H {
			row := t.dy.Data[t.dy.At(n, b, y, 0):]
			if t.relu {
				t.isa.reluGradRow(t.dy.W, t.y.Data[t.y.At(n, b, y, 0):], row, sum)
			} else {
				t.isa.sumRow(t.dy.W, row, sum)
			}
		}
	}
}
