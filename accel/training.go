package accel

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/nn"
)

// plan is a chain in training, and what its programs have in common.
type plan struct {
	layers    []nn.Layer
	first     int // index of the first layer with a learnt parameter
	params    []*nn.Param
	dims      [][]int // of params, on the device
	learnt    []int   // indices of params
	dropouts  []*nn.Dropout
	norms     []*nn.BatchNorm // whose statistics are the batch's
	in        nn.Shape
	classes   int
	images    int // of a micro-batch
	replicas  int
	loss      lossKind
	smoothing float32
	precision Precision
}

// newPlan plans the training of a chain.
func newPlan(c *nn.Chain, o nn.TrainerOptions, images int, precision Precision) (*plan, error) {
	out, err := c.Shapes(o.H, o.W)
	if err != nil {
		return nil, err
	}
	last := out[len(out)-1]
	if last.H != 1 || last.W != 1 {
		return nil, fmt.Errorf("accel: training on images of %d×%d: the scores are %v, want one pixel", o.H, o.W, last)
	}
	p := &plan{layers: c.Layers(), first: -1, in: nn.Shape{C: c.Channels(), H: o.H, W: o.W}, classes: last.C, images: images,
		replicas: o.Ranks, smoothing: o.Smoothing, precision: precision}
	switch {
	case o.HostLoss:
		p.loss = hostLoss
	case o.Labels:
		p.loss = labelsLoss
	}
	for i, l := range p.layers {
		for _, q := range l.Params() {
			if q.Learnt() {
				if p.first < 0 {
					p.first = i
				}
				p.learnt = append(p.learnt, len(p.params))
			}
			p.params, p.dims = append(p.params, q), append(p.dims, deviceDims(l, q))
		}
		switch l := l.(type) {
		case *nn.Dropout:
			p.dropouts = append(p.dropouts, l)
		case *nn.BatchNorm:
			if !frozen(l) {
				p.norms = append(p.norms, l)
			}
		}
	}
	if p.first < 0 {
		return nil, fmt.Errorf("accel: training with all parameters frozen")
	}
	return p, nil
}

// pass begins a program of a training pass: its arguments are the parameters, sums if there are
// any, the images (N,C,H,W) and which of them are real, (N), and, with dropout, the number of
// the first image and the masks' keys.
func (p *plan) pass(sums bool) (g *graph, x hlo.Value, added []hlo.Value) {
	g = newGraph(p.precision)
	g.arguments(p.layers)
	if sums {
		for i, at := range p.learnt {
			added = append(added, g.Donated(i, hlo.F32, p.dims[at]...))
		}
	}
	x = g.Transpose(g.Arg(hlo.F32, p.images, p.in.C, p.in.H, p.in.W), 0, 2, 3, 1)
	g.train = &trainPass{real: g.Arg(hlo.F32, p.images), keys: map[*nn.Dropout]hlo.Value{}, stats: map[*nn.BatchNorm]statistics{}}
	if len(p.dropouts) > 0 {
		first, keys := g.Arg(hlo.U32), g.Arg(hlo.U32, len(p.dropouts), 2)
		for i, l := range p.dropouts {
			key := g.At(keys, i)
			g.train.keys[l] = g.wide(g.At(key, 0), g.At(key, 1))
		}
		g.train.first = g.Convert(first, hlo.U64)
	}
	return g, x, added
}

// scoresProgram computes the scores of a pass of training, (N,K).
func (p *plan) scoresProgram() (pjrt.Program, error) {
	g, x, _ := p.pass(false)
	y, _, err := g.forward(p.layers, x)
	if err != nil {
		return pjrt.Program{}, err
	}
	return program("scores", g.Func, p.replicas, g.flat(y))
}

// gradientProgram adds the gradients of a micro-batch to sums, which it uses up. After the
// arguments of [plan.pass] it takes what the loss takes, and 1/N of the images of the whole
// batch. Its results are the sums, the images' losses unless the CPU computes them, and mean
// and unbiased variance of each batch normalisation.
func (p *plan) gradientProgram(loss lossKind) (pjrt.Program, error) {
	g, x, sums := p.pass(true)
	y, tapes, err := g.forward(p.layers, x)
	if err != nil {
		return pjrt.Program{}, err
	}
	scores := g.flat(y)
	var losses, d hlo.Value
	switch loss {
	case softmaxLoss:
		losses, d = g.softmax(scores, g.Arg(hlo.I32, p.images), p.smoothing)
	case labelsLoss:
		losses, d = g.labels(scores, g.Arg(hlo.F32, scores.Dims...))
	case hostLoss:
		d = g.Arg(hlo.F32, scores.Dims...)
	}
	scale := g.Mul(g.train.real, g.Broadcast(g.Arg(hlo.F32), []int{p.images}))
	d = g.Mul(d, g.Broadcast(scale, d.Dims, 0))
	grads, _, err := g.backward(tapes[p.first:], g.Reshape(d, y.Dims...), nil)
	if err != nil {
		return pjrt.Program{}, err
	}
	var results []hlo.Value
	for i, at := range p.learnt {
		results = append(results, g.Add(sums[i], grads[p.params[at]]))
	}
	if loss != hostLoss {
		results = append(results, losses)
	}
	for _, l := range p.norms {
		results = append(results, g.train.stats[l].mean, g.train.stats[l].unbiased)
	}
	return program("gradients", g.Func, p.replicas, results...)
}

// zerosProgram makes sums of zero.
func (p *plan) zerosProgram() (pjrt.Program, error) {
	f := hlo.New(hlo.Highest)
	var sums []hlo.Value
	for _, at := range p.learnt {
		sums = append(sums, f.Const(0, p.dims[at]...))
	}
	return program("zeros", f, p.replicas, sums...)
}

// foldProgram adds the second sums to the first, which it uses up.
func (p *plan) foldProgram() (pjrt.Program, error) {
	f := hlo.New(hlo.Highest)
	var a, sums []hlo.Value
	for i, at := range p.learnt {
		a = append(a, f.Donated(i, hlo.F32, p.dims[at]...))
	}
	for i, at := range p.learnt {
		sums = append(sums, f.Add(a[i], f.Arg(hlo.F32, p.dims[at]...)))
	}
	return program("fold", f, p.replicas, sums...)
}

// updateKey is what an update's program depends on.
type updateKey struct {
	momentum, decay, clip float32
	decayBiases, nesterov bool
}

// updateProgram is a step of [nn.SGD]: weights, momenta, gradients and the rate to weights and
// momenta, in the place of the earlier ones.
func (p *plan) updateProgram(u updateKey) (pjrt.Program, error) {
	f := hlo.New(hlo.Highest)
	n := len(p.learnt)
	arguments := func(from int) []hlo.Value {
		var all []hlo.Value
		for i, at := range p.learnt {
			if from < 0 {
				all = append(all, f.Arg(hlo.F32, p.dims[at]...))
			} else {
				all = append(all, f.Donated(from+i, hlo.F32, p.dims[at]...))
			}
		}
		return all
	}
	weights, momenta, grads, rate := arguments(0), arguments(n), arguments(-1), f.Arg(hlo.F32)
	if u.clip > 0 {
		clip(f, grads, u.clip)
	}
	var results, moved []hlo.Value
	for i, at := range p.learnt {
		q, w, g := p.params[at], weights[i], grads[i]
		if len(q.Shape) > 1 || u.decayBiases {
			g = f.Add(g, f.Scale(w, u.decay))
		}
		r := rate
		if q.RateFactor != 0 {
			r = f.Scale(rate, q.RateFactor)
		}
		v := f.Add(f.Scale(momenta[i], u.momentum), g)
		step := v
		if u.nesterov {
			step = f.Add(g, f.Scale(v, u.momentum))
		}
		results = append(results, f.Sub(w, f.Mul(f.Broadcast(r, w.Dims), step)))
		moved = append(moved, v)
	}
	return program("update", f, p.replicas, slices.Concat(results, moved)...)
}

// clip scales gradients down to a norm, as PyTorch's clip_grad_norm_ does.
func clip(f *hlo.Func, grads []hlo.Value, most float32) {
	var sum hlo.Value
	for i, g := range grads {
		var all []int
		for d := range g.Dims {
			all = append(all, d)
		}
		s := f.Reduce("add", f.Mul(g, g), all...)
		if i == 0 {
			sum = s
		} else {
			sum = f.Add(sum, s)
		}
	}
	norm := f.Add(f.Unary("sqrt", sum), f.Const(1e-6))
	factor := f.Binary("minimum", f.Const(1), f.Div(f.Const(most), norm))
	for i, g := range grads {
		grads[i] = f.Mul(g, f.Broadcast(factor, g.Dims))
	}
}
