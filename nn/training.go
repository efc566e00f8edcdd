package nn

import (
	"fmt"
	"math"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

// Training holds what training a chain needs beside its parameters: every layer's
// activation, two gradient buffers, and scratch memory. One goroutine at a time uses
// it.
type Training struct {
	chain   *Chain
	work    *kernel.Work
	n, h, w int
	acts    []kernel.Act // input, then each layer's output
	grads   []kernel.Act // gradients of the same, sharing two buffers
	buf     [2][]float32
	d       []float32 // gradient of the scores
	scores  *tensor.Tensor

	connected []*Param // weights of fully connected layers

	// Hook, if set, is called for every layer, last to first, with its output and the
	// gradient with respect to it, both (N,C,H,W), and at the end with the name
	// "input": for tests and visualisation. The gradient is computed for the input
	// only if Hook is set.
	Hook func(layer string, act, grad *tensor.Tensor)
}

// trainingBorders is the border of each activation and of its gradient, over the
// shapes of the input and of every layer's output.
func (c *Chain) trainingBorders(shapes []Shape, n int) (acts, grads []border) {
	acts, grads = make([]border, len(shapes)), make([]border, len(shapes))
	for i, l := range c.layers {
		acts[i] = l.border(n, shapes[i], c.Threads(), true)
		grads[i+1] = l.gradBorder(shapes[i], c.Threads())
	}
	return acts, grads
}

// trainingLens is the length of each activation and of the two gradient buffers, the
// scratch memory, and the length of the gradients that are kept transformed.
func (c *Chain) trainingLens(shapes []Shape, n int, inputGrad bool) (acts []int, grads [2]int, s kernel.Scratch, filters int) {
	actBorders, gradBorders := c.trainingBorders(shapes, n)
	for i, sh := range shapes {
		acts = append(acts, kernel.BorderedLen(n, sh.C, sh.H, sh.W, actBorders[i].pad, actBorders[i].end))
		if i > 0 || inputGrad {
			grads[i%2] = max(grads[i%2], kernel.BorderedLen(n, sh.C, sh.H, sh.W, gradBorders[i].pad, gradBorders[i].end))
		}
		if i < len(c.layers) {
			s = s.Max(c.layers[i].scratch(n, sh, c.Threads(), true, i > 0 || inputGrad))
			if conv, ok := c.layers[i].(*Conv); ok {
				filters += conv.filterLen(n, sh, c.Threads(), true)
			}
		}
	}
	return acts, grads, s, filters
}

// NewTraining returns the state for training steps of up to n images of h × w pixels,
// for which the chain gives one class score vector an image, and gives learnt
// parameters a gradient, zero. A chain has one Training at a time: what an earlier one
// accumulated is lost.
func (c *Chain) NewTraining(n, h, w int) (*Training, error) {
	t := &Training{chain: c, work: kernel.NewWork(c.team), n: n, h: h, w: w}
	out, err := c.Shapes(h, w)
	if err != nil {
		return nil, err
	}
	if last := out[len(out)-1]; n < 1 || last.H != 1 || last.W != 1 {
		return nil, fmt.Errorf("nn: training on %d images of %d×%d: the scores are %v, want one pixel", n, h, w, last)
	}
	shapes := append([]Shape{{c.in, h, w}}, out...)
	for _, p := range c.Params() {
		if err := p.learnable(); err != nil {
			return nil, err
		}
	}
	acts, grads, _, _ := c.trainingLens(shapes, n, false)
	for i, l := range c.layers {
		if conv, ok := l.(*Conv); ok {
			conv.prepareTraining(n, shapes[i], c.Threads())
		}
	}
	t.acts, t.grads = make([]kernel.Act, len(acts)), make([]kernel.Act, len(acts))
	for i, l := range acts {
		t.acts[i].Data = kernel.Alloc(l)
	}
	for i, l := range grads {
		t.buf[i] = kernel.Alloc(l)
	}
	for _, p := range c.Params() {
		switch {
		case p.connected(): // only Step needs its gradient
			t.connected = append(t.connected, p)
		case !p.Running && p.Grad == nil:
			p.Grad = kernel.Alloc(p.packed)
		}
	}
	return t, nil
}

// Step runs forward, loss and backward over x of shape (N,C,H,W) with labels (N), and
// adds to the parameters' gradients that of the mean loss over p.Batch images (0: over
// these N). It returns the sum of these images' losses.
func (t *Training) Step(x *tensor.Tensor, labels []int, p Pass) (float64, error) {
	return t.run(x, labels, p)
}

func (t *Training) run(x *tensor.Tensor, labels []int, p Pass) (float64, error) {
	n, h, w, err := t.chain.checkInput(x)
	if err != nil {
		return 0, err
	}
	if n > t.n || h != t.h || w != t.w || n != len(labels) {
		return 0, fmt.Errorf("nn: training step with input of shape %v and %d labels, want at most %d images of %d×%d", x.Shape, len(labels), t.n, t.h, t.w)
	}
	p.Train = true
	if p.Batch == 0 {
		p.Batch = n
	}
	if err := t.shape(n); err != nil {
		return 0, err
	}
	layers := t.chain.layers
	last := len(layers)
	k := t.acts[last].C
	for i, label := range labels { // before anything moves the running statistics
		if label < 0 || label >= k {
			return 0, fmt.Errorf("nn: label %d of image %d, want 0 … %d", label, i, k-1)
		}
	}
	if p.update == nil {
		for _, q := range t.connected {
			if q.Grad == nil {
				q.Grad = kernel.Alloc(q.packed)
			}
		}
	}

	t.work.FromNCHW(x.Data, &t.acts[0])
	for i, l := range layers {
		l.forward(t.work, &t.acts[i], &t.acts[i+1], p)
	}
	t.acts[last].ToNCHW(t.scores.Data)
	loss := SoftmaxLoss(t.scores.Data, labels, 1/float32(p.Batch), t.d)
	if p.update != nil && (math.IsNaN(loss) || math.IsInf(loss, 0)) {
		return loss, nil
	}
	t.grads[last].FromNCHW(t.d)
	for i := last - 1; i >= 0; i-- {
		dx := &t.grads[i]
		if i == 0 && t.Hook == nil {
			dx = nil
		} else {
			dx.ClearBorder()
		}
		t.hook(layers[i].Name(), i+1)
		layers[i].backward(t.work, &t.acts[i], &t.acts[i+1], &t.grads[i+1], dx, p)
	}
	t.hook("input", 0)
	return loss, nil
}

// Scores is the (N,K) class scores of the last step, before the soft-max; it is
// overwritten by the next.
func (t *Training) Scores() *tensor.Tensor { return t.scores }

// shape lays the activations out for n images. Images follow one another in memory,
// so the zero borders stay where they are for any n.
func (t *Training) shape(n int) error {
	if t.scores != nil && t.scores.Shape[0] == n && (t.Hook == nil || t.grads[0].N == n) {
		return nil
	}
	c := t.chain
	out, err := c.Shapes(t.h, t.w)
	if err != nil {
		return err
	}
	shapes := append([]Shape{{c.in, t.h, t.w}}, out...)
	acts, grads := c.trainingBorders(shapes, n)
	for i, sh := range shapes {
		t.acts[i].Bordered(n, sh.C, sh.H, sh.W, acts[i].pad, acts[i].end, t.acts[i].Data[:cap(t.acts[i].Data)])
		if i > 0 {
			t.grads[i].Bordered(n, sh.C, sh.H, sh.W, grads[i].pad, grads[i].end, t.buf[i%2])
		} else if t.Hook != nil {
			t.grads[0].Shape(n, sh.C, sh.H, sh.W, 0, kernel.Alloc(kernel.ActLen(n, sh.C, sh.H, sh.W, 0)))
		}
	}
	k := out[len(out)-1].C
	t.scores = tensor.New(n, k)
	t.d = make([]float32, n*k)
	return nil
}

func (t *Training) hook(name string, i int) {
	if t.Hook == nil {
		return
	}
	planar := func(a *kernel.Act) *tensor.Tensor {
		x := tensor.New(a.N, a.C, a.H, a.W)
		a.ToNCHW(x.Data)
		return x
	}
	t.Hook(name, planar(&t.acts[i]), planar(&t.grads[i]))
}

// ZeroGrad clears the gradients of all parameters.
func (c *Chain) ZeroGrad() {
	for _, p := range c.Params() {
		p.zeroGrad()
	}
}

func (p *Param) zeroGrad() {
	clear(p.Grad)
	p.fresh = true
}

// TrainingFloats is the memory, in floats, of [Training.StepSGD] over n images of h × w:
// activations, gradients of activations and of parameters, and scratch, without the
// parameters and without what the optimiser keeps. [Training.Step] takes the gradients
// of the fully connected weights besides.
func (c *Chain) TrainingFloats(n, h, w int) (int, error) {
	out, err := c.Shapes(h, w)
	if err != nil {
		return 0, err
	}
	acts, grads, s, filters := c.trainingLens(append([]Shape{{c.in, h, w}}, out...), n, false)
	total := grads[0] + grads[1] + s.Floats(c.Threads()) + c.LearntFloats() - c.connectedFloats() + filters
	for _, l := range acts {
		total += l
	}
	return total, nil
}

// connectedFloats is the memory, in floats, of the fully connected layers' weights.
func (c *Chain) connectedFloats() int {
	total := 0
	for _, p := range c.Params() {
		if p.connected() {
			total += p.packed
		}
	}
	return total
}
