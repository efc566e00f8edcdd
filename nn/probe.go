package nn

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

// OutputLayer stands for the last layer of a chain, whatever its name: the class scores.
const OutputLayer = "output"

// ProbeOptions says what a [Probe] shows.
type ProbeOptions struct {
	// Layers are the layers to visit, by the names that [Chain.Until] takes, or
	// [OutputLayer]. A layer's maps are those after its batch normalisation and its
	// rectification or other activation function.
	Layers []string
	// Gradients says that [Probe.Backward] will be called: all activations are kept for it.
	Gradients bool
}

// Probe shows the activations of a chain in inference at some layers, and the gradients of a
// function of them with respect to these activations and to the input. Parameters are only
// read and get no gradients; batch normalisation uses its running statistics, and dropout
// doesn't drop. Without gradients a pass does the work of [Chain.Forward] up to the last
// layer that is visited, and no more.
//
// Only one goroutine at a time may use a probe. Any number of probes and forward passes may
// run on a chain at once, and none while it is trained.
type Probe struct {
	chain     *Chain
	gradients bool
	tapped    []probeLayer
	work      *kernel.Work

	n, h, w int
	steps   []inferenceStep
	shapes  []Shape
	acts    []kernel.Act
	bufs    [][]float32
	grads   [2][]float32
	visits  []string // of each activation, the layer that it is visited as
	shown   bool     // acts are those of a whole forward pass
	buffer  []float32
}

// probeLayer is a layer that a probe visits.
type probeLayer struct {
	name string
	end  int // index in the chain of the last layer that goes by its name
}

// NewProbe returns a probe. It is an error if there is no such layer, if two names stand for
// one activation, or if gradients are wanted through weights that are stored in 16 bits.
func (c *Chain) NewProbe(o ProbeOptions) (*Probe, error) {
	if len(o.Layers) == 0 {
		return nil, errors.New("nn: a probe of no layers")
	}
	p := &Probe{gradients: o.Gradients}
	deepest := 0
	for _, name := range o.Layers {
		end := len(c.layers) - 1
		if name != OutputLayer {
			i, err := c.find(name)
			if err != nil {
				return nil, err
			}
			end = c.end(i)
		}
		p.tapped = append(p.tapped, probeLayer{name, end})
		deepest = max(deepest, end)
	}
	slices.SortStableFunc(p.tapped, func(a, b probeLayer) int { return a.end - b.end })
	for i := 1; i < len(p.tapped); i++ {
		if a, b := p.tapped[i-1], p.tapped[i]; a.end == b.end {
			return nil, fmt.Errorf("nn: a probe of %s and %s, which are the same activation", a.name, b.name)
		}
	}
	p.chain = newChain(c.in, c.layers[:deepest+1:deepest+1], c.team.Load())
	p.work = kernel.NewWork(c.team.Load())
	if !o.Gradients {
		return p, nil
	}
	for _, param := range p.chain.Params() {
		if param.inFile {
			return nil, param.readOnly()
		}
		if param.format != 0 {
			return nil, fmt.Errorf("nn: %s: stored in 16 bits: gradients need 32", param.Name)
		}
	}
	return p, nil
}

// Layers lists the layers that the probe visits, first to last.
func (p *Probe) Layers() []string {
	names := make([]string, len(p.tapped))
	for i, t := range p.tapped {
		names[i] = t.name
	}
	return names
}

// plan sets steps, shapes and visits for n images of h × w.
func (p *Probe) plan(n, h, w int) (probePlan, error) {
	var v probePlan
	var err error
	v.steps, v.shapes, err = p.chain.stepsPooling(n, h, w, p.threads(), func(i int) bool {
		return !p.gradients && !slices.ContainsFunc(p.tapped, func(t probeLayer) bool { return t.end == i-1 })
	})
	if err != nil {
		return v, err
	}
	v.visits = make([]string, len(v.shapes))
	for _, t := range p.tapped {
		at := 0
		for at < len(v.steps) && v.steps[at].last <= t.end { // a dropout is no step
			at++
		}
		v.visits[at] = t.name
	}
	threads := p.threads()
	v.lens = make([]int, 2)
	if p.gradients {
		v.lens = make([]int, len(v.shapes))
	}
	for i, sh := range v.shapes {
		b := borderOf(v.steps, v.shapes, i, n, threads)
		at := i % len(v.lens)
		v.lens[at] = max(v.lens[at], kernel.BorderedLen(n, sh.C, sh.H, sh.W, b.pad, b.end))
		if p.gradients {
			b = v.gradBorder(i, threads)
			v.grads[i%2] = max(v.grads[i%2], kernel.BorderedLen(n, sh.C, sh.H, sh.W, b.pad, b.end))
		}
		if i == len(v.steps) {
			break
		}
		v.scratch = v.scratch.Max(v.steps[i].layer.scratch(n, sh, threads, false, false))
		if p.gradients {
			v.scratch = v.scratch.Max(v.steps[i].layer.scratch(n, sh, threads, true, true))
		}
	}
	return v, nil
}

// probePlan is what a probe on n images of one size needs.
type probePlan struct {
	steps   []inferenceStep
	shapes  []Shape
	visits  []string
	lens    []int
	grads   [2]int
	scratch kernel.Scratch
}

// gradBorder is the border of the gradient of activation i, which the backward pass of the
// step before reads.
func (v *probePlan) gradBorder(i, threads int) border {
	if i == 0 {
		return border{}
	}
	return v.steps[i-1].layer.gradBorder(v.shapes[i-1], threads)
}

func (p *Probe) threads() int { return p.work.Team.Threads() }

// Floats is the memory, in floats, that the probe takes for n images of h × w, without the
// parameters and their transformed copies. It is an error if a layer can't run on its input.
func (p *Probe) Floats(n, h, w int) (int, error) {
	v, err := p.plan(n, h, w)
	if err != nil {
		return 0, err
	}
	total := v.grads[0] + v.grads[1] + v.scratch.Floats(p.threads())
	for _, l := range v.lens {
		total += l
	}
	return total, nil
}

// shape lays the buffers out for n images of h × w.
func (p *Probe) shape(n, h, w int) error {
	p.shown = false
	if p.n == n && p.h == h && p.w == w {
		return nil
	}
	v, err := p.plan(n, h, w)
	if err != nil {
		return err
	}
	if len(p.bufs) != len(v.lens) {
		p.bufs = make([][]float32, len(v.lens))
	}
	for i, l := range v.lens {
		fit(&p.bufs[i], l)
	}
	for i, l := range v.grads {
		fit(&p.grads[i], l)
	}
	p.work.Reserve(v.scratch)
	p.n, p.h, p.w, p.steps, p.shapes, p.visits = n, h, w, v.steps, v.shapes, v.visits
	p.acts = make([]kernel.Act, len(v.shapes))
	for i, sh := range v.shapes {
		b := borderOf(v.steps, v.shapes, i, n, p.threads())
		p.acts[i].Bordered(n, sh.C, sh.H, sh.W, b.pad, b.end, p.bufs[i%len(p.bufs)])
	}
	return nil
}

// fit makes buf n floats long. The old memory is let go before new memory is asked for.
func fit(buf *[]float32, n int) {
	if cap(*buf) < n {
		*buf = nil
		*buf = kernel.Alloc(n)
	}
	*buf = (*buf)[:n]
}

// product returns n floats of scratch memory for a product of maps.
func (p *Probe) product(n int) []float32 {
	fit(&p.buffer, n)
	return p.buffer
}

// Forward runs x of shape (N,C,H,W) through the chain up to the last layer that is visited.
// visit is called at each of the layers, first to last; it is not to change the maps. Forward
// ends with visit's error, after the layer at work when ctx ends, and with an error if a
// layer can't run on its input.
func (p *Probe) Forward(ctx context.Context, x *tensor.Tensor, visit func(layer string, a Maps) error) error {
	n, h, w, err := p.chain.checkInput(x)
	if err != nil {
		return err
	}
	if err := p.shape(n, h, w); err != nil {
		return err
	}
	p.work.FromNCHW(x.Data, &p.acts[0])
	for i, s := range p.steps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.forward(p.work, &p.acts[i], &p.acts[i+1])
		if err := p.work.Failed(); err != nil {
			return err
		}
		if layer := p.visits[i+1]; layer != "" && visit != nil {
			if err := visit(layer, p.maps(&p.acts[i+1])); err != nil {
				return err
			}
		}
	}
	p.shown = p.gradients
	return nil
}

// errNoForward is the error of a backward pass without activations.
var errNoForward = errors.New("nn: a probe's backward pass, without a forward pass that kept its activations")

// Backward runs backward from the last layer that is visited, for the x of the last
// [Probe.Forward]. visit is called at each of the layers, last to first, with the layer's
// activation a and da, the gradient of what the later layers' visits added, which is zero at
// the last layer. It adds to da the derivatives of the function with respect to a itself.
// The gradient with respect to x goes to dx, of x's shape; if dx is nil, the pass ends with
// the first layer that is visited. Backward ends with visit's error, and after the layer at
// work when ctx ends.
func (p *Probe) Backward(ctx context.Context, dx *tensor.Tensor, visit func(layer string, a, da Maps) error) error {
	if !p.shown {
		return errNoForward
	}
	if dx != nil && !slices.Equal(dx.Shape, []int{p.n, p.chain.in, p.h, p.w}) {
		return fmt.Errorf("nn: gradient of shape %v, want [%d %d %d %d]", dx.Shape, p.n, p.chain.in, p.h, p.w)
	}
	first := 0
	if dx == nil {
		first = slices.IndexFunc(p.visits, func(layer string) bool { return layer != "" })
	}
	last := len(p.steps)
	grad := p.grad(last)
	clear(grad.Data)
	for i := last; ; i-- {
		if layer := p.visits[i]; layer != "" {
			if err := visit(layer, p.maps(&p.acts[i]), p.maps(&grad)); err != nil {
				return err
			}
		}
		if i == first {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		before := p.grad(i - 1)
		before.ClearBorder()
		s := p.steps[i-1]
		layer := s.layer
		if s.norm != nil {
			layer = s.conv()
		}
		layer.backward(p.work, &p.acts[i-1], &p.acts[i], &grad, &before, Pass{fixed: true})
		grad = before
	}
	if dx != nil {
		grad.ToNCHW(dx.Data)
	}
	return nil
}

// grad lays out the gradient of activation i.
func (p *Probe) grad(i int) kernel.Act {
	v := probePlan{steps: p.steps, shapes: p.shapes}
	b, sh := v.gradBorder(i, p.threads()), p.shapes[i]
	var a kernel.Act
	a.Bordered(p.n, sh.C, sh.H, sh.W, b.pad, b.end, p.grads[i%2])
	return a
}
