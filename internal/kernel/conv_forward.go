package kernel

// cacheWeights is the size, in floats, up to which a layer's weights are expected to stay
// in a core's cache while all pixels of an image are computed.
const cacheWeights = 1 << 17

// directTask computes output rows in place: a tile is up to 14 pixels of one row by
// 32 out-channels.
type directTask struct {
	isa           *ISA
	g             Conv
	rgb           bool
	x, y          *Act
	weights, bias []float32
	offs          []int
	flags         int
	rows, bands   int // output rows of a band, bands of an image
	panels        int
}

func (w *Work) directForward(g Conv, x *Act, weights, bias []float32, flags int, y *Act) {
	t := &w.directT
	*t = directTask{isa: Current(), g: g, rgb: g.patched(), x: x, y: y, weights: weights, bias: bias,
		offs: steps(&w.offs, g, x), flags: flags, panels: panels(g.K)}
	// A part is at least a million multiplications, so that handing it out costs nothing.
	t.rows = max(1, (1<<20)/(y.W*Panel*g.depth()))
	t.bands = (y.H + t.rows - 1) / t.rows
	w.Team.Run(y.N*t.bands*t.panels, t)
}

func (t *directTask) Part(_, i int) {
	var p int
	if t.g.WeightLen() > cacheWeights { // all bands of all images by one panel, then the next
		p, i = i/(t.y.N*t.bands), i%(t.y.N*t.bands)
	} else { // a band by all panels, then the next
		i, p = i/t.panels, i%t.panels
	}
	n, band := i/t.bands, i%t.bands
	nb := min(2, t.y.Blocks()-2*p)
	wp := t.weights[p*t.g.depth()*Panel:]
	var bias []float32
	if t.bias != nil {
		bias = t.bias[p*Panel:]
	}
	for y := band * t.rows; y < min(t.y.H, (band+1)*t.rows); y++ {
		src, dst := t.x.Data[t.x.At(n, 0, y-t.g.Pad, -t.g.Pad):], t.y.Data[t.y.At(n, 2*p, y, 0):]
		if t.rgb {
			t.isa.rows(t.y.W, nb, true, t.offs, src, wp, dst, t.y.planeLen(), bias, t.flags)
		} else {
			t.isa.product(t.y.W, nb, t.offs, src, wp, dst, t.y.planeLen(), bias, t.flags)
		}
	}
}

// gatherTask copies the pixels that output pixels m0 … m0+m−1 read, counted over images,
// rows and columns, into [step][m][16]: the operand of a plain matrix product.
type gatherTask struct {
	x      *Act
	pad    int
	oh, ow int
	offs   []int
	m0, m  int
	dst    []float32
}

// gatherRows is the number of pixels that a part gathers.
const gatherRows = 4

func (w *Work) gather(t *gatherTask) { w.Team.Run((t.m+gatherRows-1)/gatherRows, t) }

func (t *gatherTask) Part(_, i int) {
	for j := i * gatherRows; j < min(t.m, (i+1)*gatherRows); j++ {
		n, y, x := pixel(t.m0+j, t.oh, t.ow)
		src := t.x.Data[t.x.At(n, 0, y-t.pad, x-t.pad):]
		for s, o := range t.offs {
			copy(t.dst[(s*t.m+j)*Block:][:Block], src[o:])
		}
	}
}

// pixel splits an index over (N,H,W).
func pixel(m, h, w int) (n, y, x int) { return m / (h * w), m / w % h, m % w }

// packedTask multiplies gathered rows by the panels.
type packedTask struct {
	isa           *ISA
	w             *Work
	g             Conv
	y             *Act
	a             []float32 // [step][m][16]
	weights, bias []float32
	half          *HalfWeights // instead of weights, if not nil
	source        Source       // instead of both, if not nil
	offs          []int
	flags         int
	m0, m         int
	rows, parts   int // rows of a part, parts of a panel
}

const (
	// packedFloats bounds the gathered operand. A longer one takes several passes over the
	// weights.
	packedFloats = 8 << 20
	packedRows   = 56
)

func (g Conv) packedChunk(m int) int {
	return min(m, max(packedRows, packedFloats/g.depth()))
}

// HalfForward is [Work.ConvForward] of a fully connected layer whose weights are stored in
// 16 bits: a product of gathered rows.
func (w *Work) HalfForward(g Conv, x *Act, weights *HalfWeights, bias []float32, relu bool, y *Act) {
	flags := addBias
	if relu {
		flags |= applyRelu
	}
	w.packedForward(g, x, packedTask{half: weights, bias: bias, flags: flags}, y)
}

// packedForward computes a convolution as a product of gathered rows. of has the weights, the
// bias and the flags.
func (w *Work) packedForward(g Conv, x *Act, of packedTask, y *Act) {
	m := y.N * y.H * y.W
	chunk := g.packedChunk(m)
	offs := steps(&w.offs, g, x)
	for m0 := 0; m0 < m; m0 += chunk {
		n := min(chunk, m-m0)
		a := grow(&w.shared, g.depth()*n)
		w.gatherT = gatherTask{x: x, pad: g.Pad, oh: y.H, ow: y.W, offs: offs, m0: m0, m: n, dst: a}
		w.gather(&w.gatherT)
		t := &w.packedT
		*t = of
		t.isa, t.w, t.g, t.y, t.a = Current(), w, g, y, a
		t.offs, t.m0, t.m, t.rows = strides(&w.offs2, len(offs), n*Block), m0, n, n
		if panels(g.K) < 4*w.Team.Threads() && t.source == nil {
			t.rows = min(n, packedRows)
		}
		t.parts = (n + t.rows - 1) / t.rows
		w.growLocal(packedLocal(t.rows, t.half != nil) + t.sourceLocal())
		w.Team.Run(panels(g.K)*t.parts, t)
	}
}

// packedLocal is the scratch of a thread, in floats: products, and widened weights.
func packedLocal(rows int, half bool) int {
	n := 2 * rows * Block
	if half {
		n += halfSteps * Block * Panel
	}
	return n
}

func (t *packedTask) Part(slot, i int) {
	p, r0 := i/t.parts, i%t.parts*t.rows
	rows := min(t.rows, t.m-r0)
	nb := min(2, t.y.Blocks()-2*p)
	c := t.w.local[slot]
	var bias []float32
	if t.bias != nil {
		bias = t.bias[p*Panel:]
	}
	switch {
	case t.source != nil:
		if !t.fromSource(rows, nb, p, c, bias) {
			return
		}
	case t.half == nil:
		t.isa.product(rows, nb, t.offs, t.a[r0*Block:], t.weights[p*t.g.depth()*Panel:], c, rows*Block, bias, t.flags)
	default:
		t.widened(rows, nb, p, r0, c, bias)
	}
	for j := range rows {
		n, y, x := pixel(t.m0+r0+j, t.y.H, t.y.W)
		for b := range nb {
			copy(t.y.Data[t.y.At(n, 2*p+b, y, x):][:Block], c[(b*rows+j)*Block:])
		}
	}
}

// widened multiplies rows by weights of 16 bits, a few steps of the reduction at a time.
func (t *packedTask) widened(rows, nb, p, r0 int, c, bias []float32) {
	weights := c[2*t.rows*Block:]
	for k, flags := 0, 0; k < len(t.offs); k += halfSteps {
		end := min(k+halfSteps, len(t.offs))
		if end == len(t.offs) {
			flags |= t.flags
		}
		b := t.half.widen(t.isa, t.g, p, k, end, weights)
		t.isa.product(rows, nb, t.offs[k:end], t.a[r0*Block:], b, c, rows*Block, bias, flags)
		flags = accumulate
	}
}

// patchTask gathers the patches of a band of output rows, [R·R·C/16][pixel][16], and
// multiplies them by every panel while they are in the cache.
type patchTask struct {
	isa           *ISA
	w             *Work
	g             Conv
	x, y          *Act
	weights, bias []float32
	offs          []int
	flags         int
	rows, bands   int
}

// patchPixels is about the number of pixels of a band.
const patchPixels = 1024

func (w *Work) patchForward(g Conv, x *Act, weights, bias []float32, flags int, y *Act) {
	t := &w.patchT
	*t = patchTask{isa: Current(), w: w, g: g, x: x, y: y, weights: weights, bias: bias, flags: flags}
	t.rows = min(y.H, max(1, patchPixels/y.W))
	t.bands = (y.H + t.rows - 1) / t.rows
	t.offs = strides(&w.offs, g.depth()/Block, t.rows*y.W*Block)
	w.growLocal(g.depth() * t.rows * y.W)
	w.Team.Run(y.N*t.bands, t)
}

func (t *patchTask) Part(slot, i int) {
	n, y0 := i/t.bands, i%t.bands*t.rows
	rows := min(t.rows, t.y.H-y0)
	a := t.w.local[slot]
	gatherPatches(t.g, t.x, n, y0, rows, t.y.W, a, t.rows*t.y.W*Block)
	for p := range panels(t.g.K) {
		nb := min(2, t.y.Blocks()-2*p)
		var bias []float32
		if t.bias != nil {
			bias = t.bias[p*Panel:]
		}
		for r := range rows {
			t.isa.product(t.y.W, nb, t.offs, a[r*t.y.W*Block:], t.weights[p*t.g.depth()*Panel:],
				t.y.Data[t.y.At(n, 2*p, y0+r, 0):], t.y.planeLen(), bias, t.flags)
		}
	}
}

// gatherPatches writes, for each output pixel of rows y0 …, its R·R·C inputs, lane j
// of block b being input 16b+j; blocks are stride floats apart.
func gatherPatches(g Conv, x *Act, n, y0, rows, ow int, dst []float32, stride int) {
	used := g.C * g.R * g.R
	for j := used; j < g.depth(); j++ {
		lane := dst[j/Block*stride+j%Block:]
		for m := range rows * ow {
			lane[m*Block] = 0
		}
	}
	for j := range used {
		c, r, s := j%g.C, j/g.C/g.R, j/g.C%g.R
		for y := range rows {
			lane := dst[j/Block*stride+y*ow*Block+j%Block:][:(ow-1)*Block+1]
			src := x.Data[x.At(n, 0, y0+y+r-g.Pad, s-g.Pad)+c:][:len(lane)]
			for m := 0; m < len(lane); m += Block {
				lane[m] = src[m]
			}
		}
	}
}
