package accel

import (
	"fmt"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/nn"
)

// backward appends the backward pass of layers, last to first, from dy, the gradient of the
// last one's output. It returns the gradients of the learnt parameters. It ends at the first
// layer with one, or computes the gradient of the input too if visit isn't nil, which is
// called with each layer's tape and the gradient of its output.
func (g *graph) backward(tapes []tape, dy hlo.Value, visit func(t tape, dy hlo.Value)) (map[*nn.Param]hlo.Value, hlo.Value, error) {
	grads := map[*nn.Param]hlo.Value{}
	for i := len(tapes) - 1; i >= 0; i-- {
		t := tapes[i]
		if visit != nil {
			visit(t, dy)
		}
		dx, err := g.gradient(t, dy, i > 0 || visit != nil, grads)
		if err == nil {
			err = g.Err()
		}
		if err != nil {
			return nil, dy, fmt.Errorf("%s: %w", t.layer.Name(), err)
		}
		dy = dx
	}
	return grads, dy, nil
}

// passed is dy where the rectified output y is positive, else 0.
func (g *graph) passed(y, dy hlo.Value) hlo.Value {
	return g.Select(g.positive(y), dy, g.Const(0, dy.Dims...))
}

// gradient appends the backward pass of one layer: dx, which is dy if data is false, and the
// gradients of learnt parameters.
func (g *graph) gradient(t tape, dy hlo.Value, data bool, grads map[*nn.Param]hlo.Value) (hlo.Value, error) {
	switch l := t.layer.(type) {
	case *nn.Conv:
		if l.ReLU {
			dy = g.passed(t.y, dy)
		}
		if l.Bias.Learnt() {
			grads[l.Bias] = g.Reduce("add", dy, 0, 1, 2)
		}
		if l.Weight.Learnt() {
			grads[l.Weight] = g.filterGradient(l, t.x, dy)
		}
		if data {
			dy = g.dataGradient(l, t.x, dy)
		}
	case *nn.BatchNorm:
		if l.ReLU {
			dy = g.passed(t.y, dy)
		}
		dx, dGamma, dBeta := g.batchNormGradient(l, t, dy)
		if l.Gamma.Learnt() {
			grads[l.Gamma] = dGamma
		}
		if l.Beta.Learnt() {
			grads[l.Beta] = dBeta
		}
		return dx, nil
	case *nn.MaxPool:
		return g.MaxPoolGradient(t.x, t.y, dy), nil
	case *nn.AveragePool:
		return g.spread(g.Scale(dy, 0.25), t.x), nil
	case *nn.ReLU:
		return g.passed(t.y, dy), nil
	case *nn.LRN:
		o := l.Options()
		s, p := t.kept[1], t.kept[2]
		dx := g.Mul(dy, p)
		near := g.channelWindow(g.Div(g.Mul(dx, t.x), s), o.Size)
		return g.Sub(dx, g.Scale(g.Mul(t.x, near), 2*o.Alpha*o.Beta)), nil
	case *nn.Dropout:
		if len(t.kept) > 0 {
			dy = g.Mul(dy, t.kept[0])
		}
	case *nn.GlobalPool:
		return g.globalPoolGradient(t.x, t.y, dy, l.Max), nil
	case *nn.GlobalMaxAverage:
		n, c := t.x.Dims[0], t.x.Dims[3]
		half := func(v hlo.Value, i int) hlo.Value {
			return g.Slice(v, []int{0, 0, 0, i * c}, []int{n, 1, 1, (i + 1) * c}, nil)
		}
		most := g.globalPoolGradient(t.x, half(t.y, 0), half(dy, 0), true)
		return g.Add(most, g.globalPoolGradient(t.x, t.y, half(dy, 1), false)), nil
	case *nn.AdaptivePool:
		return g.adaptivePoolGradient(l, t.x, dy), nil
	case *nn.Flatten:
		n, h, w, c := t.x.Dims[0], t.x.Dims[1], t.x.Dims[2], t.x.Dims[3]
		return g.Transpose(g.Reshape(dy, n, c, h, w), 0, 2, 3, 1), nil
	case *nn.Euclidean:
		return g.euclideanGradient(l, t, dy), nil
	case *nn.Activation:
		return g.Mul(dy, g.slope(l, t.x, t.y)), nil
	case *nn.Binary:
		return g.Slice(dy, []int{0, 0, 0, 1}, dy.Dims, nil), nil
	default:
		return dy, fmt.Errorf("accel: no gradient of a layer of %T", l)
	}
	return dy, nil
}

func (g *graph) filterGradient(l *nn.Conv, x, dy hlo.Value) hlo.Value {
	in, out, side, pad := l.Geometry()
	switch whole, pixel := products(l, x); {
	case whole:
		return g.Reshape(g.Dot(g.operand(g.flat(x)), g.operand(g.flat(dy)), 0, 0), side, side, in, out)
	case pixel:
		return g.Reshape(g.Dot(g.operand(g.pixels(x)), g.operand(g.pixels(dy)), 0, 0), 1, 1, in, out)
	}
	return g.Convert(g.ConvFilter(g.operand(x), g.operand(dy), side, pad), hlo.F32)
}

func (g *graph) dataGradient(l *nn.Conv, x, dy hlo.Value) hlo.Value {
	w := g.params[l.Weight]
	_, _, _, pad := l.Geometry()
	switch whole, pixel := products(l, x); {
	case whole:
		return g.Reshape(g.Dot(g.operand(g.flat(dy)), g.operand(g.matrix(w)), 1, 1), x.Dims...)
	case pixel:
		return g.Reshape(g.Dot(g.operand(g.pixels(dy)), g.operand(g.matrix(w)), 1, 1), x.Dims...)
	}
	return g.Convert(g.ConvData(g.operand(dy), g.operand(w), pad), hlo.F32)
}

// spread gives each of 2×2 pixels of x's shape the value of their place in dy; pixels without a
// partner get 0.
func (g *graph) spread(dy, x hlo.Value) hlo.Value {
	n, h, w, c := dy.Dims[0], dy.Dims[1], dy.Dims[2], dy.Dims[3]
	twice := g.Reshape(g.Broadcast(dy, []int{n, h, 2, w, 2, c}, 0, 1, 3, 5), n, 2*h, 2*w, c)
	none := []int{0, 0, 0, 0}
	return g.Pad(twice, none, []int{0, x.Dims[1] - 2*h, x.Dims[2] - 2*w, 0}, none)
}

// globalPoolGradient gives the gradient of a mean to all pixels evenly, that of a maximum y to
// the first of equal ones in row order.
func (g *graph) globalPoolGradient(x, y, dy hlo.Value, most bool) hlo.Value {
	n, h, w, c := x.Dims[0], x.Dims[1], x.Dims[2], x.Dims[3]
	over := func(v hlo.Value) hlo.Value { return g.Broadcast(g.Reshape(v, n, c), x.Dims, 0, 3) }
	if !most {
		return g.Scale(over(dy), 1/float32(h*w))
	}
	// The greatest of the numbers of the pixels from the last on, where x is the maximum, is the
	// first pixel's; float32 counts them exactly.
	fromEnd := g.Sub(g.Const(float32(h*w), h, w), g.Add(g.Scale(g.Convert(g.Iota(hlo.I32, 0, h, w), hlo.F32), float32(w)), g.Convert(g.Iota(hlo.I32, 1, h, w), hlo.F32)))
	zero := g.Const(0, x.Dims...)
	places := g.Select(g.Compare("EQ", x, over(y)), g.Broadcast(fromEnd, x.Dims, 1, 2), zero)
	first := g.Broadcast(g.Reduce("maximum", places, 1, 2), x.Dims, 0, 3)
	return g.Select(g.Binary("and", g.Compare("EQ", places, first), g.positive(places)), over(dy), zero)
}

func (g *graph) adaptivePoolGradient(l *nn.AdaptivePool, x, dy hlo.Value) hlo.Value {
	n, h, w, c := x.Dims[0], x.Dims[1], x.Dims[2], x.Dims[3]
	var dx hlo.Value
	for i, at := range cells(l, x) {
		row, column := i/l.Side, i%l.Side
		d := g.Slice(dy, []int{0, row, column, 0}, []int{n, row + 1, column + 1, c}, nil)
		d = g.Broadcast(g.Reshape(g.Scale(d, at.share()), n, c), []int{n, at.r1 - at.r0, at.c1 - at.c0, c}, 0, 3)
		d = g.Pad(d, []int{0, at.r0, at.c0, 0}, []int{0, h - at.r1, w - at.c1, 0}, []int{0, 0, 0, 0})
		if i == 0 {
			dx = d
		} else {
			dx = g.Add(dx, d)
		}
	}
	return dx
}

// euclideanGradient is dx = (dy − y·Σ y·dy)/‖x‖; below the least divisor that is a constant.
func (g *graph) euclideanGradient(l *nn.Euclidean, t tape, dy hlo.Value) hlo.Value {
	over, at := []int{3}, []int{0, 1, 2}
	if l.WholeMap() {
		over, at = []int{1, 2, 3}, []int{0}
	}
	divisor, norm := t.kept[0], t.kept[1]
	dot := g.Broadcast(g.Reduce("add", g.Mul(t.y, dy), over...), dy.Dims, at...)
	dot = g.Select(g.Compare("GT", norm, g.Const(leastNorm, dy.Dims...)), dot, g.Const(0, dy.Dims...))
	return g.Div(g.Sub(dy, g.Mul(t.y, dot)), divisor)
}
