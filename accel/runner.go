package accel

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// Runner runs the forward passes of a network on the first of a device's devices. It is a
// [nn.Runner]: chains that share parameters share a runner.
//
// A batch is run in parts of a power of two images, the largest first, so that few programs
// are compiled and an image's result depends on the batch's size alone. For the same reason
// images whose output is a map have their sides rounded up to a multiple of 32. Convolutions see
// zeros beyond the image, as beyond its own border, so the results are those of its size.
type Runner struct {
	device *Device

	mu       sync.RWMutex // held for writing while parameters are sent
	weights  *residents
	programs recent
	input    atomic.Int64 // nanoseconds
	cleanup  runtime.Cleanup
}

// Runner returns a runner. Its memory on the device is freed by Close, or some time after the
// last chain that has it is gone.
func (d *Device) Runner() *Runner {
	r := &Runner{device: d, weights: &residents{device: d, all: map[*nn.Param]resident{}}}
	r.cleanup = runtime.AddCleanup(r, func(w *residents) { w.free() }, r.weights) // nobody is left to tell
	return r
}

// InputTime is the time that all passes up to now waited for their images to be sent.
func (r *Runner) InputTime() time.Duration { return time.Duration(r.input.Load()) }

// Close frees the parameters' memory on the device. No pass may be under way.
func (r *Runner) Close() error {
	r.cleanup.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.weights.free()
}

// inferenceInput is what a forward pass takes.
type inferenceInput struct {
	n, h, w int
	smaller bool // images are smaller than h × w
}

// inferenceKey tells the programs of a runner apart. Chains of the same layers are one: some are
// made for a single request.
type inferenceKey struct {
	layers string // their addresses
	inferenceInput
}

func keyOf(c *nn.Chain, in inferenceInput) inferenceKey {
	var all []byte
	for _, l := range c.Layers() {
		all = fmt.Appendf(all, "%p ", l)
	}
	return inferenceKey{fmt.Sprint(c.Channels(), " ", string(all)), in}
}

// inference is a compiled forward pass.
type inference struct {
	layers  []nn.Layer // kept, since their addresses are the key
	program *pjrt.Executable
	params  []*nn.Param
	dims    [][]int
	out     pjrt.Shape // (n,K,H,W)
}

// mostPrograms is how many programs a runner remembers. Of others it writes the text again, by
// which the device finds them: they are compiled once.
const mostPrograms = 256

// recent are the programs that were used last.
type recent struct {
	mu   sync.Mutex
	all  map[inferenceKey]*list.Element
	used list.List // of recentProgram, the latest first
}

type recentProgram struct {
	key inferenceKey
	p   *inference
}

// find returns a program, nil if it isn't there.
func (r *recent) find(key inferenceKey) *inference {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.all[key]
	if !ok {
		return nil
	}
	r.used.MoveToFront(e)
	return e.Value.(recentProgram).p
}

// add keeps a program, in the place of the one that was unused for longest.
func (r *recent) add(key inferenceKey, p *inference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.all[key]; ok {
		return // two passes have made it
	}
	if r.all == nil {
		r.all = map[inferenceKey]*list.Element{}
	}
	if len(r.all) == mostPrograms {
		oldest := r.used.Back()
		delete(r.all, oldest.Value.(recentProgram).key)
		r.used.Remove(oldest)
	}
	r.all[key] = r.used.PushFront(recentProgram{key, p})
}

// Prepare compiles the largest program of batches of n images of h × w, so that what doesn't fit
// is told before the first pass.
func (r *Runner) Prepare(c *nn.Chain, n, h, w int) error {
	shapes, err := c.Shapes(h, w)
	if err != nil {
		return err
	}
	out := shapes[len(shapes)-1]
	up, across := roundUp(c, h, w, out.H, out.W)
	_, err = r.inference(c, inferenceInput{powerOfTwo(n), up, across, up != h || across != w})
	return failed(err)
}

// powerOfTwo is the largest one up to n.
func powerOfTwo(n int) int {
	part := 1
	for 2*part <= n {
		part *= 2
	}
	return part
}

// Forward implements [nn.Runner].
func (r *Runner) Forward(ctx context.Context, c *nn.Chain, y, x *tensor.Tensor) error {
	return failed(r.forward(ctx, c, y, x))
}

func (r *Runner) forward(ctx context.Context, c *nn.Chain, y, x *tensor.Tensor) error {
	n, in, out := x.Shape[0], x.Shape[1:], y.Shape[1:]
	sizeIn, sizeOut := len(x.Data)/n, len(y.Data)/n
	for from := 0; from < n; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		part := powerOfTwo(n - from)
		if err := r.pass(c, part, in, out, y.Data[from*sizeOut:(from+part)*sizeOut], x.Data[from*sizeIn:(from+part)*sizeIn]); err != nil {
			return err
		}
		from += part
	}
	return nil
}

// pass runs n images of in, (C,H,W), to out.
func (r *Runner) pass(c *nn.Chain, n int, in, out []int, y, x []float32) (err error) {
	h, w := roundUp(c, in[1], in[2], out[1], out[2])
	smaller := h != in[1] || w != in[2]
	p, err := r.inference(c, inferenceInput{n, h, w, smaller})
	if err != nil {
		return err
	}
	d := r.device.devices[0]
	if smaller {
		whole := make([]float32, n*in[0]*h*w)
		corner(whole, h, w, x, in[1], in[2], n*in[0], in[1], in[2])
		x = whole
	}
	began := time.Now()
	images, err := pjrt.Upload(d, x, n, in[0], h, w)
	if err != nil {
		return fmt.Errorf("accel: %w", err)
	}
	arguments := []*pjrt.Buffer{images}
	defer func() { err = errors.Join(err, pjrt.Free(arguments...)) }()
	if smaller {
		size, err := pjrt.Upload(d, []uint32{uint32(in[1]), uint32(in[2])}, 2)
		if err != nil {
			return fmt.Errorf("accel: %w", err)
		}
		arguments = append(arguments, size)
	}
	r.input.Add(int64(time.Since(began)))
	results, err := r.run(p, arguments)
	if err != nil {
		return fmt.Errorf("accel: %w", err)
	}
	defer func() { err = errors.Join(err, pjrt.Free(results...)) }()
	if !smaller {
		return pjrt.DownloadInto(results[0], y)
	}
	all, err := pjrt.Download[float32](results[0])
	if err != nil {
		return err
	}
	corner(y, out[1], out[2], all, p.out.Dims[2], p.out.Dims[3], n*out[0], out[1], out[2])
	return nil
}

// run runs a program with the parameters as they are now.
func (r *Runner) run(p *inference, images []*pjrt.Buffer) ([]*pjrt.Buffer, error) {
	r.mu.RLock()
	for !r.weights.current(p.params) {
		r.mu.RUnlock()
		r.mu.Lock()
		err := r.weights.send(p.params, p.dims)
		r.mu.Unlock()
		if err != nil {
			return nil, err
		}
		r.mu.RLock()
	}
	defer r.mu.RUnlock()
	return p.program.Run(append(r.weights.buffers(p.params), images...)...)
}

// inference returns a program.
func (r *Runner) inference(c *nn.Chain, in inferenceInput) (*inference, error) {
	key := keyOf(c, in)
	if p := r.programs.find(key); p != nil {
		return p, nil
	}
	code, params, dims, err := inferenceProgram(c, in, r.device.precision)
	if err != nil {
		return nil, err
	}
	e, err := r.device.compile(code, 1, false, work{own: r.heldOf(params), images: in.n})
	if err != nil {
		return nil, err
	}
	p := &inference{slices.Clone(c.Layers()), e, params, dims, code.Outputs[0]}
	r.programs.add(key, p)
	return p, nil
}

// heldOf is the bytes of the parameters that are on the device.
func (r *Runner) heldOf(params []*nn.Param) int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.weights.bytes(params)
}

// inferenceProgram writes a chain's forward pass for n images of h × w: of its parameters, in
// device order, and the images (N,C,H,W), with their height and width if they are smaller, to
// the output (N,K,OH,OW).
func inferenceProgram(c *nn.Chain, in inferenceInput, precision Precision) (pjrt.Program, []*nn.Param, [][]int, error) {
	g := newGraph(precision)
	n := in.n
	params, dims := g.arguments(c.Layers())
	x := g.Transpose(g.Arg(hlo.F32, n, c.Channels(), in.h, in.w), 0, 2, 3, 1)
	sizes := ""
	if in.smaller {
		size := g.Arg(hlo.U32, 2)
		g.extents = &extents{g.At(size, 0), g.At(size, 1)}
		sizes = " and smaller ones"
	}
	y, _, err := g.forward(c.Layers(), x)
	if err != nil {
		return pjrt.Program{}, nil, nil, err
	}
	p, err := program(fmt.Sprintf("inference of %d images of %d×%d%s", n, in.w, in.h, sizes), g.Func, 1, g.Transpose(y, 0, 3, 1, 2))
	return p, params, dims, err
}

// arguments makes the parameters of layers arguments, and lists them and their dimensions.
func (g *graph) arguments(layers []nn.Layer) (params []*nn.Param, dims [][]int) {
	for _, l := range layers {
		for _, p := range l.Params() {
			d := deviceDims(l, p)
			g.params[p] = g.Arg(hlo.F32, d...)
			params, dims = append(params, p), append(dims, d)
		}
	}
	return params, dims
}
