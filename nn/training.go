package nn

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

// Training holds what training a chain needs beside its parameters: every layer's
// activation, two gradient buffers, and scratch memory. One goroutine at a time uses
// it.
//
// A batch may be taken in parts, one Step each, of any size up to that of NewTraining:
// every gradient is summed in image order from where the last part left it, so neither
// the parts' sizes nor the number of threads changes a bit of it. Batch normalisation is
// the exception, whose statistics are those of a part.
//
// Layers before the first one with a learnt parameter run as in inference and have no
// backward pass; only dropout drops there too.
type Training struct {
	chain   *Chain
	work    *kernel.Work
	n, h, w int
	classes int
	first   int          // the first layer with a learnt parameter
	acts    []kernel.Act // input, then each layer's output; the layers before the first share two buffers
	grads   []kernel.Act // gradients of the same, sharing two buffers
	prefix  [2][]float32
	buf     [2][]float32
	d       []float32 // gradient of the scores
	losses  []float64 // of each image
	scores  *tensor.Tensor

	connected []*Param // learnt weights of fully connected layers

	// Smoothing is the share of the target that all classes divide evenly, in Step and
	// StepSGD: label smoothing (Szegedy et al. 2016). 0: the label takes all of it.
	Smoothing float32

	// Hook, if set, is called for every layer of the backward pass, last to first, with
	// its output and the gradient with respect to it, both (N,C,H,W), and at the end,
	// unless the first layers are frozen, with the name "input": for tests and
	// visualisation. The gradient is computed for the input only if Hook is set.
	Hook func(layer string, act, grad *tensor.Tensor)
}

// firstLearnt is the first layer with a learnt parameter; the number of layers if there
// is none.
func (c *Chain) firstLearnt() int {
	return slices.IndexFunc(append(c.layers[:len(c.layers):len(c.layers)], nil), func(l Layer) bool {
		return l == nil || slices.ContainsFunc(l.Params(), (*Param).Learnt)
	})
}

// trainingBorders is the border of each activation and of its gradient, over the
// shapes of the input and of every layer's output.
func (c *Chain) trainingBorders(shapes []Shape, n int) (acts, grads []border) {
	acts, grads = make([]border, len(shapes)), make([]border, len(shapes))
	first := c.firstLearnt()
	for i, l := range c.layers {
		acts[i] = l.border(n, shapes[i], c.Threads(), i >= first)
		grads[i+1] = l.gradBorder(shapes[i], c.Threads())
	}
	return acts, grads
}

// trainingLens is what a training allocates, in floats.
type trainingLens struct {
	acts    []int // of each activation, 0 where it lies in prefix
	prefix  [2]int
	grads   [2]int
	scratch kernel.Scratch
	filters int // transformed weights, or gradients that are kept transformed
}

func (c *Chain) trainingLens(shapes []Shape, n int, inputGrad bool) (t trainingLens) {
	actBorders, gradBorders := c.trainingBorders(shapes, n)
	first := c.firstLearnt()
	for i, sh := range shapes {
		length := kernel.BorderedLen(n, sh.C, sh.H, sh.W, actBorders[i].pad, actBorders[i].end)
		if i < first {
			t.prefix[i%2] = max(t.prefix[i%2], length)
			length = 0
		}
		t.acts = append(t.acts, length)
		if i > first || inputGrad && first == 0 {
			t.grads[i%2] = max(t.grads[i%2], kernel.BorderedLen(n, sh.C, sh.H, sh.W, gradBorders[i].pad, gradBorders[i].end))
		}
		if i < len(c.layers) {
			t.scratch = t.scratch.Max(c.layers[i].scratch(n, sh, c.Threads(), i >= first, i > first || inputGrad && first == 0))
			if conv, ok := c.layers[i].(*Conv); ok && (i < first || !conv.Weight.Frozen) {
				t.filters += conv.filterLen(n, sh, c.Threads(), i >= first)
			}
		}
	}
	return t
}

// NewTraining returns the state for training steps of up to n images of h × w pixels,
// for which the chain gives one class score vector an image, and gives learnt
// parameters a gradient, zero. A chain has one Training at a time: what an earlier one
// accumulated is lost.
func (c *Chain) NewTraining(n, h, w int) (*Training, error) {
	t := &Training{chain: c, work: kernel.NewWork(c.team), n: n, h: h, w: w, first: c.firstLearnt()}
	out, err := c.Shapes(h, w)
	if err != nil {
		return nil, err
	}
	if last := out[len(out)-1]; n < 1 || last.H != 1 || last.W != 1 {
		return nil, fmt.Errorf("nn: training on %d images of %d×%d: the scores are %v, want one pixel", n, h, w, last)
	}
	t.classes = out[len(out)-1].C
	if t.first == len(c.layers) {
		return nil, errors.New("nn: training with all parameters frozen")
	}
	shapes := append([]Shape{{c.in, h, w}}, out...)
	for _, p := range c.Params() {
		if p.Frozen {
			p.Grad = nil
		} else if err := p.learnable(); err != nil {
			return nil, err
		}
	}
	lens := c.trainingLens(shapes, n, false)
	for i, l := range c.layers {
		switch l := l.(type) {
		case *Conv:
			l.prepareTraining(n, shapes[i], c.Threads())
		case *BatchNorm:
			l.prepareTraining()
		}
	}
	t.acts, t.grads = make([]kernel.Act, len(lens.acts)), make([]kernel.Act, len(lens.acts))
	for i := range t.buf {
		t.prefix[i], t.buf[i] = kernel.Alloc(lens.prefix[i]), kernel.Alloc(lens.grads[i])
	}
	for i, l := range lens.acts {
		if i >= t.first {
			t.acts[i].Data = kernel.Alloc(l)
		}
	}
	for _, p := range c.Params() {
		switch {
		case !p.Learnt():
		case p.connected(): // only Step needs its gradient
			t.connected = append(t.connected, p)
		case p.Grad == nil:
			p.Grad = kernel.Alloc(p.packed)
		}
	}
	return t, nil
}

// Step runs forward, loss and backward over x of shape (N,C,H,W) with labels (N), and
// adds to the parameters' gradients that of the mean loss over p.Batch images (0: over
// these N). It returns the sum of these images' losses.
func (t *Training) Step(x *tensor.Tensor, labels []int, p Pass) (float64, error) {
	if err := t.checkLabels(x, labels); err != nil {
		return 0, err
	}
	return t.run(x, labels, nil, p)
}

// StepLoss is [Training.Step] with another loss: loss is called for every image, in
// order, with its number within x, its K scores, and room for the K derivatives of its
// loss, each times scale; it returns the loss.
func (t *Training) StepLoss(x *tensor.Tensor, loss Loss, p Pass) (float64, error) {
	return t.run(x, nil, loss, p)
}

// checkLabels comes before anything moves the running statistics.
func (t *Training) checkLabels(x *tensor.Tensor, labels []int) error {
	n, h, w, err := t.chain.checkInput(x)
	if err != nil {
		return err
	}
	if n != len(labels) {
		return fmt.Errorf("nn: training step with input of shape %v and %d labels, want at most %d images of %d×%d", []int{n, t.chain.in, h, w}, len(labels), t.n, t.h, t.w)
	}
	for i, label := range labels {
		if label < 0 || label >= t.classes {
			return fmt.Errorf("nn: label %d of image %d, want 0 … %d", label, i, t.classes-1)
		}
	}
	return nil
}

func (t *Training) run(x *tensor.Tensor, labels []int, loss Loss, p Pass) (float64, error) {
	n, h, w, err := t.chain.checkInput(x)
	if err != nil {
		return 0, err
	}
	if n > t.n || h != t.h || w != t.w {
		return 0, fmt.Errorf("nn: training step with input of shape %v, want at most %d images of %d×%d", x.Shape, t.n, t.h, t.w)
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
	if p.update == nil {
		for _, q := range t.connected {
			if q.Grad == nil {
				q.Grad = kernel.Alloc(q.packed)
			}
		}
	}

	t.work.FromNCHW(x.Data, &t.acts[0])
	for i, l := range layers {
		q := p
		if i < t.first {
			t.acts[i+1].ClearBorder() // the buffer had another shape before
			_, q.Train = l.(*Dropout)
		}
		l.forward(t.work, &t.acts[i], &t.acts[i+1], q)
	}
	t.acts[last].ToNCHW(t.scores.Data)
	sum, k, scale := 0.0, t.acts[last].C, 1/float32(p.Batch)
	for i := range n {
		s, d := t.scores.Data[i*k:(i+1)*k], t.d[i*k:(i+1)*k]
		if loss != nil {
			t.losses[i] = loss(i, s, d, scale)
		} else {
			t.losses[i] = CrossEntropy(s, labels[i], t.Smoothing, scale, d)
		}
		sum += t.losses[i]
	}
	if p.update != nil && (math.IsNaN(sum) || math.IsInf(sum, 0)) {
		return sum, nil
	}
	t.grads[last].FromNCHW(t.d)
	for i := last - 1; i >= t.first; i-- {
		dx := &t.grads[i]
		if i == t.first && (i > 0 || t.Hook == nil) {
			dx = nil
		} else {
			dx.ClearBorder()
		}
		t.hook(layers[i].Name(), i+1)
		layers[i].backward(t.work, &t.acts[i], &t.acts[i+1], &t.grads[i+1], dx, p)
	}
	if t.first == 0 {
		t.hook("input", 0)
	}
	return sum, nil
}

// Losses is the loss of every image of the last step; it is overwritten by the next. A
// sum of them in image order does not depend on how a batch is cut into parts.
func (t *Training) Losses() []float64 { return t.losses }

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
		buf := t.acts[i].Data[:cap(t.acts[i].Data)]
		if i < t.first {
			buf = t.prefix[i%2]
		}
		t.acts[i].Bordered(n, sh.C, sh.H, sh.W, acts[i].pad, acts[i].end, buf)
		if i > t.first {
			t.grads[i].Bordered(n, sh.C, sh.H, sh.W, grads[i].pad, grads[i].end, t.buf[i%2])
		} else if i == 0 && t.Hook != nil {
			t.grads[0].Shape(n, sh.C, sh.H, sh.W, 0, kernel.Alloc(kernel.ActLen(n, sh.C, sh.H, sh.W, 0)))
		}
	}
	k := out[len(out)-1].C
	t.scores = tensor.New(n, k)
	t.d, t.losses = make([]float32, n*k), make([]float64, n)
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
// parameters and without what the optimiser keeps. [Training.Step] takes
// [Chain.ConnectedFloats] besides.
func (c *Chain) TrainingFloats(n, h, w int) (int, error) {
	out, err := c.Shapes(h, w)
	if err != nil {
		return 0, err
	}
	t := c.trainingLens(append([]Shape{{c.in, h, w}}, out...), n, false)
	total := t.prefix[0] + t.prefix[1] + t.grads[0] + t.grads[1] + t.scratch.Floats(c.Threads()) + c.LearntFloats() - c.ConnectedFloats() + t.filters
	for _, l := range t.acts {
		total += l
	}
	return total, nil
}

// ConnectedFloats is the memory, in floats, of the learnt weights of the fully connected
// layers, and so of their gradients.
func (c *Chain) ConnectedFloats() int {
	total := 0
	for _, p := range c.Params() {
		if p.connected() && p.Learnt() {
			total += p.packed
		}
	}
	return total
}
