package nn

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

// Training holds what training a chain needs beside its parameters: activations,
// gradients of activations, and scratch memory. Only one goroutine at a time may use it.
//
// A batch may be trained in parts, one Step each, of any size up to that of NewTraining:
// every gradient is summed in image order and goes on where the last part left it, so
// neither the parts' sizes nor the number of threads changes a bit of it. Batch
// normalisation is the exception: its statistics are those of a part.
//
// Layers before the first one with a learnt parameter run as in inference and have no
// backward pass, except that dropout drops there too.
type Training struct {
	chain   *Chain
	work    *kernel.Work
	n, h, w int
	classes int
	learnt  []*Param
	layout  *layout
	x       []float32 // the images of the last step
	acts    []kernel.Act
	hits    []kernel.Hits // of layers with a fused pooling
	wholes  []kernel.Act  // activations before a fused pooling, or their gradients
	grads   []kernel.Act
	shown   imageGroup // the images that acts, hits and grads have
	d       []float32  // gradient of the scores
	losses  []float64  // of each image
	scores  *tensor.Tensor
	buffers buffers

	// Smoothing is the share of the target that all classes divide evenly, in Step and
	// StepSGD: label smoothing (Szegedy et al. 2016). 0: the label takes all of it.
	Smoothing float32

	// Hook is for tests and visualisation. If set, it is called for every layer of the
	// backward pass, last to first, with the layer's output and the gradient with respect to
	// it, both (N,C,H,W). Unless the first layers are frozen, it is last called with the name
	// "input"; the gradient of the input is computed only for Hook.
	Hook func(layer string, act, grad *tensor.Tensor)
}

// firstLearnt is the index of the first layer with a learnt parameter, or the number of
// layers if there is none.
func (c *Chain) firstLearnt() int {
	return slices.IndexFunc(append(c.layers[:len(c.layers):len(c.layers)], nil), func(l Layer) bool {
		return l == nil || slices.ContainsFunc(l.Params(), (*Param).Learnt)
	})
}

// NewTraining returns the state for training steps of up to n images of h × w pixels, for
// which the chain must give one class score vector an image. Learnt parameters get a
// gradient of zero. A chain has one Training at a time: gradients that an earlier one
// accumulated are lost. It is an error if the chain can't run on such images, if every
// parameter is frozen, or if a learnt one is stored in 16 bits.
func (c *Chain) NewTraining(n, h, w int) (*Training, error) {
	c = newChain(c.in, c.layers, c.team.Load()) // whose threads don't change
	t := &Training{chain: c, work: kernel.NewWork(c.team.Load()), n: n, h: h, w: w}
	out, err := c.Shapes(h, w)
	if err != nil {
		return nil, err
	}
	if last := out[len(out)-1]; n < 1 || last.H != 1 || last.W != 1 {
		return nil, fmt.Errorf("nn: training on %d images of %d×%d: the scores are %v, want one pixel", n, h, w, last)
	}
	t.classes = out[len(out)-1].C
	if c.firstLearnt() == len(c.layers) {
		return nil, errors.New("nn: training with all parameters frozen")
	}
	for _, p := range c.Params() {
		if p.Frozen {
			p.Grad = nil
		} else if err := p.learnable(); err != nil {
			return nil, err
		}
	}
	t.layout = c.layoutOf(append([]Shape{{c.in, h, w}}, out...), n, false)
	for i, k := range t.layout.fused {
		switch layer := k.layer.(type) {
		case *Conv:
			layer.prepareTraining(n, t.layout.shapes[i], c.Threads(), t.layout.sectionOf(i).grouped)
		case *BatchNorm:
			layer.prepareTraining()
		}
	}
	t.alloc()
	for _, p := range c.Params() {
		if !p.Learnt() {
			continue
		}
		t.learnt = append(t.learnt, p)
		if !p.used() && p.Grad == nil { // only Step needs that of the others
			p.Grad = kernel.Alloc(p.packed)
		}
	}
	return t, nil
}

// alloc allocates the memory of the layout.
func (t *Training) alloc() {
	t.buffers, t.shown = buffers{}, imageGroup{} // let the old ones go before the new ones come
	t.buffers = t.layout.buffers()
	t.work.Reserve(t.layout.scratch())
	k := len(t.layout.shapes)
	t.acts, t.grads, t.hits, t.wholes = make([]kernel.Act, k), make([]kernel.Act, k), make([]kernel.Hits, k), make([]kernel.Act, k)
}

// Step runs forward, loss and backward over x of shape (N,C,H,W) with labels (N). It adds
// the gradient of the mean loss over p.Batch images (0: over these N) to the parameters'
// gradients, and returns the sum of these images' losses. It is an error if the shape of x
// isn't that of NewTraining or if a label is no class.
func (t *Training) Step(x *tensor.Tensor, labels []int, p Pass) (float64, error) {
	if err := t.checkLabels(x, labels); err != nil {
		return 0, err
	}
	return t.run(x, labels, nil, p)
}

// StepLoss is [Training.Step] with another loss, which is called for every image of x in
// order.
func (t *Training) StepLoss(x *tensor.Tensor, loss Loss, p Pass) (float64, error) {
	return t.run(x, nil, loss, p)
}

// checkLabels checks the labels before a pass changes the running statistics.
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

// run runs forward, loss and backward, by labels or, if it isn't nil, by loss.
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
	t.shape(n)
	if p.update == nil {
		t.accumulate()
	}
	t.x = x.Data
	for i := range t.layout.sections {
		s := &t.layout.sections[i]
		for g := range s.groupCount(n) {
			t.show(s.imageGroup(g, n))
			t.forward(s.to, false, p)
		}
	}
	sum := t.sumLosses(labels, loss, 1/float32(p.Batch))
	if p.update != nil && (math.IsNaN(sum) || math.IsInf(sum, 0)) {
		return sum, nil
	}
	p.clock.lap("loss", forwardColumn)
	for i := len(t.layout.sections) - 1; i >= 0 && !t.layout.sections[i].frozen; i-- {
		t.backwardSection(&t.layout.sections[i], n, p)
	}
	if t.layout.first == 0 {
		t.hook("input", 0)
	}
	return sum, nil
}

// sumLosses computes the loss of every image and its derivatives times scale, and returns
// the sum of the losses.
func (t *Training) sumLosses(labels []int, loss Loss, scale float32) float64 {
	t.acts[len(t.layout.fused)].ToNCHW(t.scores.Data)
	sum, k := 0.0, t.classes
	for i := range t.losses {
		s, d := t.scores.Data[i*k:(i+1)*k], t.d[i*k:(i+1)*k]
		if loss != nil {
			t.losses[i] = loss(i, s, d, scale)
		} else {
			t.losses[i] = CrossEntropy(s, labels[i], t.Smoothing, scale, d)
		}
		sum += t.losses[i]
	}
	return sum
}

// backwardSection runs the backward pass of a section, group by group.
func (t *Training) backwardSection(s *section, n int, p Pass) {
	fused, groups := t.layout.fused, s.groupCount(n)
	for g := range groups {
		t.show(s.imageGroup(g, n))
		t.forward(s.kept, true, p)
		if s.to == len(fused) {
			t.grads[s.to].FromNCHW(t.d)
		}
		for j := s.to - 1; j >= s.from; j-- {
			t.backward(j, p)
			if g == groups-1 {
				t.finish(j, p)
			}
		}
	}
}

// finish is called when the gradients of fused layer j are those of all images.
func (t *Training) finish(j int, p Pass) {
	k := &t.layout.fused[j]
	if k.conv != nil {
		k.conv.finish(t.work, t.acts[j].N, t.layout.shapes[j], p)
	}
	if p.Complete == nil || p.More {
		return
	}
	for _, q := range k.layer.Params() {
		if q.Learnt() {
			p.Complete(q)
		}
	}
}

// accumulate allocates gradients that are summed over several passes.
func (t *Training) accumulate() {
	for _, p := range t.learnt {
		if p.Grad == nil {
			p.Grad = kernel.Alloc(p.packed)
		}
		if p.accum == nil && p.domain > 0 {
			p.accum = kernel.Alloc(p.domain)
		}
	}
}

// forward runs the shown section's fused layers up to the one before to. Again, in the
// backward pass, it runs only where the group's activations are neither kept nor still
// there.
func (t *Training) forward(to int, again bool, p Pass) {
	s := t.shown.section
	transient := s.kept > s.from || !t.layout.kept[s.from]
	if again && (!transient || t.shown == t.buffers.groupActsOf) {
		return
	}
	if transient {
		t.buffers.groupActsOf = t.shown
	}
	p.Image += t.shown.from
	if s.from == 0 {
		t.work.FromNCHW(t.images(), &t.acts[0])
		p.clock.lap("input", forwardColumn)
	}
	for j := s.from; j < to; j++ {
		k, q, y := &t.layout.fused[j], p, &t.acts[j+1]
		if again && t.layout.kept[j+1] {
			continue
		}
		if s.frozen {
			_, q.Train = k.layer.(*Dropout)
		}
		if !t.layout.kept[j+1] {
			y.ClearBorder() // the buffer has held another shape
		}
		if k.pool {
			k.conv.forwardHits(t.work, &t.acts[j], y, &t.hits[j], &t.wholes[j])
		} else {
			k.layer.forward(t.work, &t.acts[j], y, q)
		}
		p.clock.lap(k.layer.Name(), forwardColumn)
		p.clock.pool(k.layer.Name(), k.pool)
	}
}

// backward runs the backward pass of fused layer j on the shown group.
func (t *Training) backward(j int, p Pass) {
	p.Image += t.shown.from
	k, x, y, dy, dx := &t.layout.fused[j], &t.acts[j], &t.acts[j+1], &t.grads[j+1], &t.grads[j]
	if j == t.layout.first && (j > 0 || t.Hook == nil) {
		dx = nil
	} else {
		dx.ClearBorder()
	}
	t.hook(k.layer.Name(), j+1)
	if k.conv == nil {
		k.layer.backward(t.work, x, y, dy, dx, p)
		p.clock.lap(k.layer.Name(), dataColumn)
		return
	}
	switch {
	case k.pool:
		whole := &t.wholes[j]
		t.layout.unpooled(whole, j)
		whole.ClearBorder()
		t.work.Unpool(&t.hits[j], dy, whole)
		y, dy = nil, whole
	case k.masked:
		y = nil
	}
	var mask *kernel.Act
	if j > 0 && t.layout.fused[j-1].masked {
		mask = x
	}
	k.conv.gradients(t.work, x, y, dy, dx, mask, p)
}

// images are the images of the last step that are in the shown group.
func (t *Training) images() []float32 {
	size := t.chain.in * t.h * t.w
	return t.x[t.shown.from*size : t.shown.to*size]
}

// Losses is the loss of every image of the last step; the next step overwrites it. The sum
// in image order does not depend on the parts that a batch is trained in.
func (t *Training) Losses() []float64 { return t.losses }

// Scores is the (N,K) class scores of the last step, before the soft-max; the next step
// overwrites it.
func (t *Training) Scores() *tensor.Tensor { return t.scores }

// shape lays the buffers out for n images.
func (t *Training) shape(n int) {
	if hooked := t.Hook != nil; hooked != t.layout.hooked {
		t.layout = t.chain.layoutOf(t.layout.layers, t.n, hooked)
		t.alloc()
	}
	if t.scores != nil && t.scores.Shape[0] == n {
		return
	}
	t.scores = tensor.New(n, t.classes)
	t.d, t.losses = make([]float32, n*t.classes), make([]float64, n)
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

// TrainingFloats is the memory, in floats, of [Training.StepSGD] over n images of h × w:
// activations, gradients of activations and of parameters, and scratch, without the
// parameters and the optimiser's momentum. [Training.Step] takes [Chain.GradientFloats]
// in addition.
func (c *Chain) TrainingFloats(n, h, w int) (int, error) {
	l, err := c.trainingLayout(n, h, w)
	if err != nil {
		return 0, err
	}
	used, apart := l.gradients()
	return l.floats() + l.scratch().Floats(c.Threads()) + c.LearntFloats() - used + apart, nil
}

// GradientFloats is the memory, in floats, of the gradients that [Training.Step] keeps and
// [Training.StepSGD] uses up within the backward pass, layer by layer.
func (c *Chain) GradientFloats(n, h, w int) (int, error) {
	l, err := c.trainingLayout(n, h, w)
	if err != nil {
		return 0, err
	}
	used, apart := l.gradients()
	total := used - apart
	for i, k := range l.fused {
		if k.conv != nil && k.conv.Weight.Learnt() {
			total += k.conv.filterLen(n, l.shapes[i], c.Threads(), true)
		}
	}
	return total, nil
}

func (c *Chain) trainingLayout(n, h, w int) (*layout, error) {
	out, err := c.Shapes(h, w)
	if err != nil {
		return nil, err
	}
	return c.layoutOf(append([]Shape{{c.in, h, w}}, out...), n, false), nil
}
