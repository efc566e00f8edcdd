package nn

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

// Chain is a sequence of layers. Any number of goroutines may call Forward at once: they
// share the parameters, which are only read, and each call has a workspace of its own.
// Workspaces are kept and reused, so a call of a shape seen before allocates no buffers.
type Chain struct {
	in     int // channels
	layers []Layer
	runner Runner // nil: the CPU
	team   atomic.Pointer[kernel.Team]

	mu   sync.Mutex
	free []*workspace // the longest unused first; all of the team
}

// newChain returns a chain without memory for workspaces.
func newChain(in int, layers []Layer, team *kernel.Team) *Chain {
	c := &Chain{in: in, layers: layers}
	c.team.Store(team)
	return c
}

// NewChain returns the chain of layers over images of c channels. It runs on as many
// threads as compute by default: runtime.GOMAXPROCS, which heeds a container's CPU quota; on
// Apple's processors at most the performance cores.
func NewChain(c int, layers ...Layer) *Chain {
	chain := Plan(c, layers...)
	chain.Alloc()
	return chain
}

// Alloc allocates the parameters that have no memory yet; they are zero.
func (c *Chain) Alloc() {
	for _, p := range c.Params() {
		p.alloc()
	}
}

// Plan is [NewChain] without memory for the weights. Its shapes and sizes can be asked for
// at once; it must not be run before [Chain.Alloc].
func Plan(c int, layers ...Layer) *Chain {
	return newChain(c, layers, kernel.NewTeam(kernel.Threads()))
}

// SetThreads sets how many threads share the work of one pass. Results do not depend
// on it. Passes that run, and training that has begun, go on with the threads that they have.
func (c *Chain) SetThreads(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.team.Store(kernel.NewTeam(n))
	c.free = nil
}

// Share returns a chain of the same layers, with the same parameters, whose passes run on
// other threads, of the given number.
func (c *Chain) Share(threads int) *Chain {
	s := newChain(c.in, c.layers, kernel.NewTeam(threads))
	s.runner = c.runner
	return s
}

// SetWinograd chooses the forms of Winograd's algorithm by which training computes 3×3
// convolutions and their gradients. They round differently, so the bits of a run depend on
// them. m is 6, the default: those of inference, up to F(6×6,3×3); or 4: F(4×4,3×3) alone, of
// whole tiles, by which earlier versions trained. It is an error if m is another number.
// Training that has been prepared must not be used afterwards.
func (c *Chain) SetWinograd(m int) error {
	purpose, ok := map[int]kernel.Purpose{4: kernel.Training4, 6: kernel.Training}[m]
	if !ok {
		return fmt.Errorf("nn: training by Winograd's algorithm with tiles of %d×%[1]d, want 4 or 6", m)
	}
	for _, l := range c.layers {
		if conv, ok := l.(*Conv); ok {
			conv.trains = purpose
		}
	}
	return nil
}

// Threads is the number of threads that share the work of one pass.
func (c *Chain) Threads() int { return c.team.Load().Threads() }

// Layers lists the layers, first to last.
func (c *Chain) Layers() []Layer { return c.layers }

// Params lists the parameters of all layers, first to last.
func (c *Chain) Params() []*Param {
	var ps []*Param
	for _, l := range c.layers {
		ps = append(ps, l.Params()...)
	}
	return ps
}

// Shapes lists the output shape of every layer for an input image of h × w pixels. It is
// an error if a layer can't run on its input.
func (c *Chain) Shapes(h, w int) ([]Shape, error) {
	s := Shape{c.in, h, w}
	shapes := make([]Shape, len(c.layers))
	for i, l := range c.layers {
		var err error
		if s, err = l.Out(s); err != nil {
			return nil, err
		}
		shapes[i] = s
	}
	return shapes, nil
}

// workspace holds the buffers of a pass of inference: activations alternate between two.
type workspace struct {
	work    *kernel.Work
	n, h, w int
	steps   []inferenceStep
	acts    []kernel.Act
	buf     [2][]float32
}

// inferenceStep is a layer of inference, perhaps with the batch normalisation and the
// max-pooling after it.
type inferenceStep struct {
	layer Layer
	norm  *BatchNorm
	pool  bool
	last  int // index in the chain of the step's last layer
}

// conv returns the convolution that computes the step without its pooling; nil if the step
// is no convolution.
func (s inferenceStep) conv() *Conv {
	conv, _ := s.layer.(*Conv)
	if s.norm != nil {
		return conv.fold(s.norm)
	}
	return conv
}

// inferenceSteps lists the steps of inference on n images, and the shapes of the input and
// of each step's output.
func (c *Chain) inferenceSteps(n, h, w, threads int) ([]inferenceStep, []Shape, error) {
	return c.stepsPooling(n, h, w, threads, func(int) bool { return true })
}

// stepsPooling is inferenceSteps where a max-pooling becomes part of the step before it only
// if fuses allows it for the index of the pooling.
func (c *Chain) stepsPooling(n, h, w, threads int, fuses func(i int) bool) ([]inferenceStep, []Shape, error) {
	all, err := c.Shapes(h, w)
	if err != nil {
		return nil, nil, err
	}
	var steps []inferenceStep
	in := Shape{c.in, h, w}
	shapes := []Shape{in}
	for i := 0; i < len(c.layers); i++ {
		if _, ok := c.layers[i].(*Dropout); ok {
			continue
		}
		s := inferenceStep{layer: c.layers[i]}
		conv, ok := s.layer.(*Conv)
		if ok && i+1 < len(c.layers) {
			if norm, ok := conv.foldsInto(c.layers[i+1]); ok {
				s.norm = norm
				i++
			}
		}
		if ok && i+1 < len(c.layers) {
			if _, ok := c.layers[i+1].(*MaxPool); ok && fuses(i+1) && conv.fusesPool(n, in, threads) {
				s.pool = true
				i++
			}
		}
		in, s.last = all[i], i
		steps = append(steps, s)
		shapes = append(shapes, in)
	}
	return steps, shapes, nil
}

// borderOf is the border of activation i, which step i of inference reads; the last output
// has none.
func borderOf(steps []inferenceStep, shapes []Shape, i, n, threads int) border {
	if i < len(steps) {
		return steps[i].layer.border(n, shapes[i], threads, false)
	}
	return border{}
}

// inferenceLens returns the lengths, in floats, of the two buffers, the scratch memory, and
// the length of the transformed weights.
func inferenceLens(steps []inferenceStep, shapes []Shape, n, threads int) (lens [2]int, s kernel.Scratch, filters int) {
	for i, sh := range shapes {
		b := borderOf(steps, shapes, i, n, threads)
		lens[i%2] = max(lens[i%2], kernel.BorderedLen(n, sh.C, sh.H, sh.W, b.pad, b.end))
		if i < len(steps) {
			s = s.Max(steps[i].layer.scratch(n, sh, threads, false, false))
			if conv, ok := steps[i].layer.(*Conv); ok {
				filters += conv.filterLen(n, sh, threads, false)
				if steps[i].norm != nil {
					filters += conv.Weight.packed
				}
			}
		}
	}
	return lens, s, filters
}

func (ws *workspace) plan(c *Chain, n, h, w int) error {
	if ws.n == n && ws.h == h && ws.w == w {
		return nil
	}
	threads := ws.work.Team.Threads()
	steps, shapes, err := c.inferenceSteps(n, h, w, threads)
	if err != nil {
		return err
	}
	lens, scratch, _ := inferenceLens(steps, shapes, n, threads)
	ws.work.Reserve(kernel.Scratch{Filters: scratch.Filters})
	for i, l := range lens {
		if cap(ws.buf[i]) < l {
			ws.buf[i] = nil // free the old one before the new one is allocated
			ws.buf[i] = kernel.Alloc(l)
		}
		ws.buf[i] = ws.buf[i][:l]
	}
	ws.n, ws.h, ws.w, ws.steps = n, h, w, steps
	ws.acts = make([]kernel.Act, len(shapes))
	for i, sh := range shapes {
		b := borderOf(steps, shapes, i, n, threads)
		ws.acts[i].Bordered(n, sh.C, sh.H, sh.W, b.pad, b.end, ws.buf[i%2])
	}
	return nil
}

// take returns a workspace planned for n images of h × w: a free one, if possible one of
// this shape.
func (c *Chain) take(n, h, w int) (*workspace, error) {
	c.mu.Lock()
	var ws *workspace
	for i := range c.free {
		if f := c.free[i]; ws == nil || f.n == n && f.h == h && f.w == w {
			ws = f
		}
	}
	if ws == nil {
		ws = &workspace{work: kernel.NewWork(c.team.Load())}
	} else {
		for i, f := range c.free {
			if f == ws {
				c.free = slices.Delete(c.free, i, i+1)
				break
			}
		}
	}
	c.mu.Unlock()
	if err := ws.plan(c, n, h, w); err != nil {
		return nil, err
	}
	return ws, nil
}

// Bounds of the workspaces that are kept for reuse. One is always kept.
const (
	maxFree      = 16
	maxFreeBytes = 256 << 20
)

func (c *Chain) give(ws *workspace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ws.work.Team != c.team.Load() {
		return // it is planned for other threads
	}
	c.free = append(c.free, ws)
	bytes := int64(0)
	for _, f := range c.free {
		bytes += f.bytes()
	}
	for len(c.free) > 1 && (len(c.free) > maxFree || bytes > maxFreeBytes) {
		bytes -= c.free[0].bytes()
		c.free = slices.Delete(c.free, 0, 1)
	}
}

// bytes is the memory of a workspace.
func (ws *workspace) bytes() int64 {
	return 4 * int64(cap(ws.buf[0])+cap(ws.buf[1])+ws.work.Floats())
}

// checkInput returns the batch size, height and width of x.
func (c *Chain) checkInput(x *tensor.Tensor) (n, h, w int, err error) {
	if len(x.Shape) != 4 || x.Shape[1] != c.in || x.Shape[0] < 1 {
		return 0, 0, 0, fmt.Errorf("nn: input of shape %v, want [N %d H W]", x.Shape, c.in)
	}
	return x.Shape[0], x.Shape[2], x.Shape[3], nil
}

// Forward runs x of shape (N,C,H,W) through the layers without training and returns the
// last one's output, (N,K,OH,OW). OH and OW are 1 for an image of the side that the first
// fully connected layer was built for. It is an error if a layer can't run on its input.
func (c *Chain) Forward(x *tensor.Tensor) (*tensor.Tensor, error) {
	n, h, w, err := c.checkInput(x)
	if err != nil {
		return nil, err
	}
	shapes, err := c.Shapes(h, w)
	if err != nil {
		return nil, err
	}
	s := shapes[len(shapes)-1]
	y := tensor.New(n, s.C, s.H, s.W)
	return y, c.ForwardInto(y, x)
}

// ForwardInto is [Chain.Forward] into y. It is an error if the shape of y isn't that of the
// output.
func (c *Chain) ForwardInto(y, x *tensor.Tensor) error {
	return c.ForwardContext(context.Background(), y, x)
}

// ForwardContext is [Chain.ForwardInto] that ends after the layer at work when ctx does. The
// error is the cause then.
func (c *Chain) ForwardContext(ctx context.Context, y, x *tensor.Tensor) error {
	n, h, w, err := c.checkInput(x)
	if err != nil {
		return err
	}
	if c.runner != nil {
		return c.forwardElsewhere(ctx, y, x, h, w)
	}
	ws, err := c.take(n, h, w)
	if err != nil {
		return err
	}
	defer c.give(ws)
	out := &ws.acts[len(ws.acts)-1]
	if !slices.Equal(y.Shape, []int{out.N, out.C, out.H, out.W}) {
		return fmt.Errorf("nn: output of shape %v, want [%d %d %d %d]", y.Shape, out.N, out.C, out.H, out.W)
	}
	ws.work.FromNCHW(x.Data, &ws.acts[0])
	for i := range ws.steps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		ws.step(i)
		if err := ws.work.Failed(); err != nil {
			return err
		}
	}
	out.ToNCHW(y.Data)
	return nil
}

// forwardElsewhere is ForwardContext by the chain's runner.
func (c *Chain) forwardElsewhere(ctx context.Context, y, x *tensor.Tensor, h, w int) error {
	shapes, err := c.Shapes(h, w)
	if err != nil {
		return err
	}
	s := shapes[len(shapes)-1]
	if want := []int{x.Shape[0], s.C, s.H, s.W}; !slices.Equal(y.Shape, want) {
		return fmt.Errorf("nn: output of shape %v, want %v", y.Shape, want)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.runner.Forward(ctx, c, y, x)
}

// step runs step i of inference.
func (ws *workspace) step(i int) { ws.steps[i].forward(ws.work, &ws.acts[i], &ws.acts[i+1]) }

// forward runs the step.
func (s inferenceStep) forward(w *kernel.Work, x, y *kernel.Act) {
	y.ClearBorder()
	switch {
	case s.pool:
		s.conv().forwardPool(w, x, y)
	case s.norm != nil:
		s.conv().forward(w, x, y, Pass{})
	default:
		s.layer.forward(w, x, y, Pass{})
	}
}

// StepTime is the time that a step of inference took.
type StepTime struct {
	Layer   string // "input" and "output" are the changes of layout at either end
	Pool    bool   // the max-pooling after the layer was part of it
	Seconds float64
}

// Profile is [Chain.Forward], but returns the time of every step instead of the result.
func (c *Chain) Profile(x *tensor.Tensor) ([]StepTime, error) {
	n, h, w, err := c.checkInput(x)
	if err != nil {
		return nil, err
	}
	ws, err := c.take(n, h, w)
	if err != nil {
		return nil, err
	}
	defer c.give(ws)
	var times []StepTime
	last := time.Now()
	lap := func(layer string, pool bool) {
		now := time.Now()
		times = append(times, StepTime{layer, pool, now.Sub(last).Seconds()})
		last = now
	}
	ws.work.FromNCHW(x.Data, &ws.acts[0])
	lap("input", false)
	for i, s := range ws.steps {
		ws.step(i)
		lap(s.layer.Name(), s.pool)
	}
	if err := ws.work.Failed(); err != nil {
		return nil, err
	}
	out := &ws.acts[len(ws.acts)-1]
	out.ToNCHW(make([]float32, out.N*out.C*out.H*out.W))
	lap("output", false)
	return times, nil
}

// ParamFloats is the number of floats of the parameters, padding included.
func (c *Chain) ParamFloats() int {
	total := 0
	for _, p := range c.Params() {
		total += p.packed
	}
	return total
}

// LearntFloats is the number of floats of the learnt parameters, padding included. Their
// gradients take as much memory, and so does their momentum.
func (c *Chain) LearntFloats() int {
	total := 0
	for _, p := range c.Params() {
		if p.Learnt() {
			total += p.packed
		}
	}
	return total
}

// InferenceFloats is the memory, in floats, of a forward pass over n images of h × w:
// buffers, scratch and transformed weights, without the parameters.
func (c *Chain) InferenceFloats(n, h, w int) (int, error) {
	threads := c.Threads()
	steps, shapes, err := c.inferenceSteps(n, h, w, threads)
	if err != nil {
		return 0, err
	}
	lens, s, filters := inferenceLens(steps, shapes, n, threads)
	return lens[0] + lens[1] + s.Floats(threads) + filters, nil
}
