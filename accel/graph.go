package accel

import (
	"fmt"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/nn"
)

// graph writes the layers of a chain into a program. Activations are (N,H,W,C) there.
type graph struct {
	*hlo.Func
	params map[*nn.Param]hlo.Value // in device order, see deviceDims
	half   bool                    // products take bfloat16
	train  *trainPass              // nil for inference
	// extents are those of the images that are smaller than the maps; nil: all have their size.
	extents *extents
}

// trainPass is what a pass of training has besides.
type trainPass struct {
	keys  map[*nn.Dropout]hlo.Value // of the masks, ui64
	first hlo.Value                 // number of the first image in the iteration's batch, ui64
	real  hlo.Value                 // (N): 1 for an image, 0 for one that only fills the batch
	stats map[*nn.BatchNorm]statistics
}

// statistics are the mean and the variances of each channel over a batch.
type statistics struct{ mean, variance, unbiased hlo.Value }

// newGraph returns a graph without operations.
func newGraph(p Precision) *graph {
	return &graph{Func: hlo.New(p.products()), params: map[*nn.Param]hlo.Value{}, half: p == BF16}
}

// deviceDims returns the dimensions of a parameter of a layer on the device: filters are
// (R,R,C,K), and so are the weights of fully connected layers, which are convolutions.
func deviceDims(l nn.Layer, p *nn.Param) []int {
	if conv, ok := l.(*nn.Conv); ok && p == conv.Weight {
		in, out, side, _ := conv.Geometry()
		return []int{side, side, in, out}
	}
	return []int{p.Len()}
}

// tape is what the backward pass needs of a layer: its input and output, and what it computed
// on the way.
type tape struct {
	layer nn.Layer
	x, y  hlo.Value
	kept  []hlo.Value
}

// forward appends layers and returns the output with the tapes of all of them.
func (g *graph) forward(layers []nn.Layer, x hlo.Value) (hlo.Value, []tape, error) {
	tapes := make([]tape, 0, len(layers))
	for i, l := range layers {
		t, err := g.layer(l, g.before(l, x, i == 0))
		if err != nil {
			return x, nil, err
		}
		g.after(l)
		tapes = append(tapes, t)
		x = t.y
		if err := g.Err(); err != nil {
			return x, nil, fmt.Errorf("%s: %w", l.Name(), err)
		}
	}
	return x, tapes, nil
}

// layer appends one layer.
func (g *graph) layer(l nn.Layer, x hlo.Value) (tape, error) {
	t := tape{layer: l, x: x}
	switch l := l.(type) {
	case *nn.Conv:
		t.y = g.conv(l, x)
	case *nn.MaxPool:
		t.y = g.MaxPool(x)
	case *nn.AveragePool:
		t.y = g.averagePool(x)
	case *nn.ReLU:
		t.y = g.Rectify(x)
	case *nn.LRN:
		t.kept = g.lrn(l, x)
		t.y = t.kept[0]
	case *nn.BatchNorm:
		t.y, t.kept = g.batchNorm(l, x)
	case *nn.Dropout:
		t.y = x
		if g.train != nil {
			t.kept = []hlo.Value{g.dropoutFactors(l, x)}
			t.y = g.Mul(x, t.kept[0])
		}
	case *nn.GlobalPool:
		t.y = g.globalPool(x, l.Max)
	case *nn.GlobalMaxAverage:
		t.y = g.Concat(3, g.globalPool(x, true), g.globalPool(x, false))
	case *nn.AdaptivePool:
		t.y = g.adaptivePool(l, x)
	case *nn.Flatten:
		t.y = g.Reshape(g.Transpose(x, 0, 3, 1, 2), x.Dims[0], 1, 1, x.Len()/x.Dims[0])
	case *nn.Euclidean:
		t.kept = g.euclidean(l, x)
		t.y = g.Div(x, t.kept[0])
	case *nn.Activation:
		t.y = g.activation(l, x)
	case *nn.Binary:
		t.y = g.Pad(x, []int{0, 0, 0, 1}, []int{0, 0, 0, 0}, []int{0, 0, 0, 0})
	default:
		return t, fmt.Errorf("accel: %s: no program for a layer of %T", l.Name(), l)
	}
	return t, nil
}

// operand returns a value as products take it.
func (g *graph) operand(v hlo.Value) hlo.Value {
	if g.half {
		return g.Convert(v, hlo.BF16)
	}
	return v
}

// flat returns the images of x as vectors: (N, H·W·C).
func (g *graph) flat(x hlo.Value) hlo.Value { return g.Reshape(x, x.Dims[0], x.Len()/x.Dims[0]) }

// pixels returns the pixels of x as vectors: (N·H·W, C).
func (g *graph) pixels(x hlo.Value) hlo.Value {
	c := x.Dims[len(x.Dims)-1]
	return g.Reshape(x, x.Len()/c, c)
}

// products tells how a convolution is computed as one matrix product: whole if each image is
// a vector that the filters cover, or else each pixel. Neither: as a convolution.
func products(l *nn.Conv, x hlo.Value) (whole, pixel bool) {
	_, _, side, pad := l.Geometry()
	return pad == 0 && x.Dims[1] == side && x.Dims[2] == side, pad == 0 && side == 1
}

// matrix returns filters as a matrix of in-units and out-channels.
func (g *graph) matrix(w hlo.Value) hlo.Value {
	k := w.Dims[3]
	return g.Reshape(w, w.Len()/k, k)
}

// conv is a convolution with its bias and rectification.
func (g *graph) conv(l *nn.Conv, x hlo.Value) hlo.Value {
	w, b := g.params[l.Weight], g.params[l.Bias]
	_, k, _, pad := l.Geometry()
	var y hlo.Value
	switch whole, pixel := products(l, x); {
	case whole:
		y = g.Dot(g.operand(g.flat(x)), g.operand(g.matrix(w)), 1, 0)
		y = g.Reshape(y, x.Dims[0], 1, 1, k)
	case pixel:
		y = g.Dot(g.operand(g.pixels(x)), g.operand(g.matrix(w)), 1, 0)
		y = g.Reshape(y, x.Dims[0], x.Dims[1], x.Dims[2], k)
	default:
		y = g.Convert(g.Conv(g.operand(x), g.operand(w), pad), hlo.F32)
	}
	y = g.Add(y, g.Channels(b, y))
	if l.ReLU {
		y = g.Rectify(y)
	}
	return y
}

func (g *graph) averagePool(x hlo.Value) hlo.Value {
	two, none := []int{1, 2, 2, 1}, []int{0, 0, 0, 0}
	return g.Scale(g.ReduceWindow("add", x, hlo.Window{Size: two, Stride: two, Low: none, High: none}), 0.25)
}

// globalPool returns (N,1,1,C): the maximum over the map, or the mean.
func (g *graph) globalPool(x hlo.Value, most bool) hlo.Value {
	op := "add"
	if most {
		op = "maximum"
	}
	y := g.Reshape(g.Reduce(op, x, 1, 2), x.Dims[0], 1, 1, x.Dims[3])
	if most {
		return y
	}
	return g.Scale(y, 1/float32(x.Dims[1]*x.Dims[2]))
}

// cell is the part of a map that one cell of an adaptive pooling covers.
type cell struct{ r0, r1, c0, c1 int }

func (c cell) share() float32 { return 1 / float32((c.r1-c.r0)*(c.c1-c.c0)) }

// cells lists the cells row by row.
func cells(l *nn.AdaptivePool, x hlo.Value) []cell {
	var all []cell
	for i := range l.Side {
		for j := range l.Side {
			var c cell
			c.r0, c.r1 = l.Cell(i, x.Dims[1])
			c.c0, c.c1 = l.Cell(j, x.Dims[2])
			all = append(all, c)
		}
	}
	return all
}

func (g *graph) adaptivePool(l *nn.AdaptivePool, x hlo.Value) hlo.Value {
	n, c := x.Dims[0], x.Dims[3]
	var means []hlo.Value
	for _, at := range cells(l, x) {
		part := g.Slice(x, []int{0, at.r0, at.c0, 0}, []int{n, at.r1, at.c1, c}, nil)
		means = append(means, g.Scale(g.Reshape(g.Reduce("add", part, 1, 2), n, 1, c), at.share()))
	}
	return g.Reshape(g.Concat(1, means...), n, l.Side, l.Side, c)
}

// channelWindow sums over the n channels around each one.
func (g *graph) channelWindow(x hlo.Value, n int) hlo.Value {
	one, half := []int{1, 1, 1, 1}, []int{0, 0, 0, n / 2}
	return g.ReduceWindow("add", x, hlo.Window{Size: []int{1, 1, 1, n}, Stride: one, Low: half, High: half})
}

// lrn returns y = x·s^−β, s and s^−β, where s = k + α·Σ x² over the channels around.
func (g *graph) lrn(l *nn.LRN, x hlo.Value) []hlo.Value {
	o := l.Options()
	s := g.Add(g.Scale(g.channelWindow(g.Mul(x, x), o.Size), o.Alpha), g.Const(o.K, x.Dims...))
	p := g.Binary("power", s, g.Const(-o.Beta, x.Dims...))
	return []hlo.Value{g.Mul(x, p), s, p}
}

// leastNorm is the least divisor of [nn.Euclidean].
const leastNorm = 1e-12

// euclidean returns the divisor and the norm without its lower bound, over the shape of x.
func (g *graph) euclidean(l *nn.Euclidean, x hlo.Value) []hlo.Value {
	over, at := []int{3}, []int{0, 1, 2}
	if l.WholeMap() {
		over, at = []int{1, 2, 3}, []int{0}
	}
	norm := g.Unary("sqrt", g.Reduce("add", g.Mul(x, x), over...))
	norm = g.Broadcast(norm, x.Dims, at...)
	return []hlo.Value{g.Max(norm, g.Const(leastNorm, x.Dims...)), norm}
}
