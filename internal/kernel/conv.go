package kernel

// Conv is the geometry of a convolution with stride 1: x is (N,C,H,W), w is
// (K,C,R,R), y is (N,K,H+2·Pad−R+1,W+2·Pad−R+1). A fully connected layer is one whose
// R is the side of its input.
//
// Packed weights are [K/32][R·R][C][32], C rounded up to 16 and K to 32, filled with
// zeros: a panel holds, for every tap and in-channel, the 32 scalars that one
// broadcast input is multiplied with. A layer of few in-channels (the first) is
// instead packed as a 1×1 convolution over patches, [K/32][R·R·C][32]: rounding 3
// channels up to 16 would waste four fifths of the work.
type Conv struct {
	C, K, R, Pad int
}

// patched reports whether the layer runs over gathered patches.
func (g Conv) patched() bool { return g.C <= Block/2 && g.Pad > 0 }

// depth is the length of the reduction in packed weights, a multiple of 16.
func (g Conv) depth() int {
	if g.patched() {
		return blocks(g.C*g.R*g.R) * Block
	}
	return g.R * g.R * blocks(g.C) * Block
}

// WeightLen is the number of floats of the packed weights.
func (g Conv) WeightLen() int { return panels(g.K) * g.depth() * Panel }

// BiasLen is the number of floats of the padded bias.
func (g Conv) BiasLen() int { return panels(g.K) * Panel }

// Out is the size of the output for an input of h × w.
func (g Conv) Out(h, w int) (oh, ow int) { return h + 2*g.Pad - g.R + 1, w + 2*g.Pad - g.R + 1 }

// index is the offset of weight (k,c,r,s) in packed weights.
func (g Conv) index(k, c, r, s int) int {
	row := (r*g.R+s)*blocks(g.C)*Block + c
	if g.patched() {
		row = (r*g.R+s)*g.C + c
	}
	return (k/Panel*g.depth()+row)*Panel + k%Panel
}

// pack fills packed weights from src of shape (K,C,R,R).
func (g Conv) pack(dst, src []float32) {
	clear(dst)
	g.PackRows(dst, src, 0)
}

// PackRows writes the out-channels from k0 on of packed weights, as many as src holds.
func (g Conv) PackRows(dst, src []float32, k0 int) {
	row := g.C * g.R * g.R
	isa := Current()
	var offsets [packTile]int
	var turned [packTile * Panel]float32
	for len(src) > 0 {
		lanes := min(Panel-k0%Panel, len(src)/row)
		first := g.index(k0, 0, 0, 0)
		for i := 0; i < row; i += packTile {
			at := offsets[:min(packTile, row-i)]
			g.packedOffsets(at, first, i)
			if lanes == Panel && len(at) == packTile {
				for k := 0; k < Panel; k += Block {
					isa.transpose16(turned[k:], Panel, src[k*row+i:], row)
				}
				for j, p := range at {
					*(*[Panel]float32)(dst[p:]) = *(*[Panel]float32)(turned[j*Panel:])
				}
				continue
			}
			for k := range lanes {
				for j, p := range at {
					dst[p+k] = src[k*row+i+j]
				}
			}
		}
		src = src[lanes*row:]
		k0 += lanes
	}
}

// packTile is the number of weights of each of a panel's 32 rows that are packed together:
// they are turned in the first-level cache, so that whole cache lines go to memory.
const packTile = Block

// packedOffsets sets at to the packed offsets of weights i, i+1, … of a row whose first
// weight is at offset first.
func (g Conv) packedOffsets(at []int, first, i int) {
	channel, tap := Panel, blocks(g.C)*Block*Panel // strides
	if g.patched() {
		tap = g.C * Panel
	}
	taps := g.R * g.R
	c, t := i/taps, i%taps
	for j := range at {
		at[j] = first + c*channel + t*tap
		if t++; t == taps {
			c, t = c+1, 0
		}
	}
}

// PackInput writes the weights of in-channel c at the tap (r,s); src has one for each
// out-channel.
func (g Conv) PackInput(dst, src []float32, c, r, s int) {
	at := g.index(0, c, r, s)
	for k := 0; k < g.K; k += Panel {
		copy(dst[at:at+Panel], src[k:min(k+Panel, g.K)])
		at += g.depth() * Panel
	}
}

// UnpackInput is the inverse of [Conv.PackInput].
func (g Conv) UnpackInput(dst, src []float32, c, r, s int) {
	at := g.index(0, c, r, s)
	for k := 0; k < g.K; k += Panel {
		copy(dst[k:min(k+Panel, g.K)], src[at:])
		at += g.depth() * Panel
	}
}

// unpack fills dst of shape (K,C,R,R) from packed weights.
func (g Conv) unpack(dst, src []float32) { g.UnpackRows(dst, src, 0) }

// UnpackRows reads the out-channels from k0 on of packed weights, as many as dst holds.
func (g Conv) UnpackRows(dst, src []float32, k0 int) {
	g.each(k0, len(dst), func(packed, canonical int) { dst[canonical] = src[packed] })
}

// each calls f with the two offsets of n weights, from the first of out-channel k0 on.
func (g Conv) each(k0, n int, f func(packed, canonical int)) {
	channel, tap := Panel, blocks(g.C)*Block*Panel // strides
	if g.patched() {
		channel, tap = Panel, g.C*Panel
	}
	i := 0
	for k := k0; i < n; k++ {
		first := g.index(k, 0, 0, 0)
		for c := range g.C {
			at := first + c*channel
			for range g.R * g.R {
				f(at, i)
				at += tap
				i++
			}
		}
	}
}

// eachLane calls f with the offsets of n weights, from the first of out-channel k0 on.
// The weights of one in-channel and tap for the out-channels of one panel come in one
// call: they are adjacent when packed, and stride apart in canonical order. In this order
// every cache line is written once; fc6's weights don't stay in a cache for a second time.
func (g Conv) eachLane(k0, n int, f func(packed, canonical, n, stride int)) {
	channel, tap := Panel, blocks(g.C)*Block*Panel // strides
	if g.patched() {
		tap = g.C * Panel
	}
	row := g.C * g.R * g.R
	for i := 0; i < n; {
		lanes := min(Panel-k0%Panel, (n-i)/row)
		first := g.index(k0, 0, 0, 0)
		at := i
		for c := range g.C {
			packed := first + c*channel
			for range g.R * g.R {
				f(packed, at, lanes, row)
				packed += tap
				at++
			}
		}
		i += lanes * row
		k0 += lanes
	}
}

// transposed is the convolution that carries dy back to dx: filters turned by 180°,
// in- and out-channels exchanged.
func (g Conv) transposed() Conv { return Conv{C: g.K, K: g.C, R: g.R, Pad: g.R - 1 - g.Pad} }

// GradPad is the width of the border that [Work.ConvBackwardData] reads around dy.
func (g Conv) GradPad(h, w int) int {
	if oh, ow := g.Out(h, w); g.connected(oh, ow) {
		return 0
	}
	return g.R - 1 - g.Pad
}

// connected reports whether the layer is fully connected: it has one output pixel.
func (g Conv) connected(oh, ow int) bool { return g.Pad == 0 && oh == 1 && ow == 1 }

// algorithm is how a convolution is computed.
type algorithm int

const (
	direct algorithm = iota // tiles are pixels of one output row, read in place
	packed                  // pixels of all rows and images are gathered into rows of a matrix
	patch                   // patches of all taps and channels are gathered
	rgb                     // direct, 3 channels a step: the first layer
)

// rgbChannels is the number of channels of an image.
const rgbChannels = 3

// minDirectRow is the least output width, in pixels, of the direct algorithm: with less,
// tiles of one row would leave most accumulators idle.
const minDirectRow = 7

func (g Conv) algorithm(ow int) algorithm {
	switch {
	case g.patched() && g.C == rgbChannels:
		return rgb
	case g.patched():
		return patch
	case ow < minDirectRow || g.R > 5:
		return packed
	default:
		return direct
	}
}

// Work holds what layer calls run with: a team of threads, and scratch memory that grows
// to what the largest call needs and is then reused. Only one goroutine at a time may use
// a Work.
type Work struct {
	Team *Team

	shared  []float32   // gathered input
	shared2 []float32   // gathered gradient, partial sums
	turned  []float32   // transposed weights
	filters []float32   // transformed weights, or their gradient
	local   [][]float32 // of each slot
	failed  failure     // of reading weights
	offs    []int       // input offsets of the steps
	offs2   []int
	runs    [][]segment // of each slot's block of tiles
	runsAll []segment   // of the block that all threads share

	inputT     inputTask
	directT    directTask
	gatherT    gatherTask
	gather2T   gatherTask
	packedT    packedTask
	patchT     patchTask
	turnT      turnTask
	fcDataT    fcDataTask
	wgradT     wgradTask
	fcGradT    fcGradTask
	fcUpdateT  fcUpdateTask
	factorT    factorTask
	factoredT  factoredTask
	update     Update
	pGradT     patchGradTask
	reduceT    reduceTask
	biasT      biasTask
	poolT      poolTask
	poolGT     poolGradTask
	hitsT      hitsTask
	turnFiltT  turnFilterTask
	filterT    filterTask
	winoT      winoTask
	winoGradT  winoGradTask
	foldT      foldTask
	lrnT       lrnTask
	normT      normTask
	normFixedT normFixedTask
	normLocal  []normScratch
	maskT      maskTask
	reluT      reluTask
	sgdT       sgdTask
}

// NewWork returns an empty Work for the team.
func NewWork(t *Team) *Work {
	return &Work{Team: t, local: make([][]float32, t.Threads()), runs: make([][]segment, t.Threads())}
}

// grow returns buf with length n, reallocated when it is too short.
func grow(buf *[]float32, n int) []float32 {
	if cap(*buf) < n {
		*buf = Alloc(n)
	}
	*buf = (*buf)[:n]
	return *buf
}

func (w *Work) growLocal(n int) {
	for i := range w.local {
		grow(&w.local[i], n)
	}
}

// steps lists the steps of the reduction: the offset of each block of 16 channels from the
// first pixel that an output pixel reads, taps in row order, channel blocks inside.
func steps(dst *[]int, g Conv, x *Act) []int {
	o := (*dst)[:0]
	for r := range g.R {
		for s := range g.R {
			for b := range x.Blocks() {
				o = append(o, b*x.planeLen()+r*x.rowLen()+s*Block)
			}
		}
	}
	*dst = o
	return o
}

// strides lists n multiples of stride.
func strides(dst *[]int, n, stride int) []int {
	o := (*dst)[:0]
	for i := range n {
		o = append(o, i*stride)
	}
	*dst = o
	return o
}

// ConvForward computes y = x ∗ weights + bias, then max(0, ·) if relu. bias is padded
// to [Conv.BiasLen] or nil. x has a border of at least g.Pad zeros. The border of y stays
// as it is.
func (w *Work) ConvForward(g Conv, x *Act, weights, bias []float32, relu bool, y *Act) {
	flags := 0
	if bias != nil {
		flags |= addBias
	}
	if relu {
		flags |= applyRelu
	}
	switch g.algorithm(y.W) {
	case patch:
		w.patchForward(g, x, weights, bias, flags, y)
	case packed:
		w.packedForward(g, x, packedTask{weights: weights, bias: bias, flags: flags}, y)
	default: // direct, rgb
		w.directForward(g, x, weights, bias, flags, y)
	}
}

// ConvBackwardData computes dx from dy. dy has a border of at least
// [Conv.GradPad] zeros; the border of dx stays as it is.
func (w *Work) ConvBackwardData(g Conv, dy *Act, weights []float32, dx *Act) {
	if g.connected(dy.H, dy.W) {
		w.fcBackwardData(g, dy, weights, dx)
		return
	}
	t := g.transposed()
	turned := grow(&w.turned, t.WeightLen())
	w.turn(g, t, weights, turned)
	w.ConvForward(t, dy, turned, nil, false, dx)
}

// ConvBackwardWeights adds the gradient of the packed weights to dw. The sum goes on from
// what dw holds, in image order.
func (w *Work) ConvBackwardWeights(g Conv, x, dy *Act, dw []float32) {
	switch {
	case g.patched():
		w.patchBackwardWeights(g, x, dy, dw)
	case g.connected(dy.H, dy.W):
		w.fcBackwardWeights(g, x, dy, dw)
	default:
		w.directBackwardWeights(g, x, dy, dw)
	}
}
