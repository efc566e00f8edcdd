package accel

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// Runner runs the forward passes of a network on the first of a device's devices. It is a
// [nn.Runner]: chains that share parameters share a runner.
//
// A batch is run in parts of a power of two images, the largest first, so that few programs
// are compiled and an image's result depends on the batch's size alone.
type Runner struct {
	device *Device

	mu       sync.RWMutex // held for writing while parameters are sent
	weights  *residents
	programs sync.Map // inferenceKey → *inference
	cleanup  runtime.Cleanup
}

// Runner returns a runner. Its memory on the device is freed by Close, or some time after the
// last chain that has it is gone.
func (d *Device) Runner() *Runner {
	r := &Runner{device: d, weights: &residents{device: d.devices[0], all: map[*nn.Param]resident{}}}
	r.cleanup = runtime.AddCleanup(r, func(w *residents) { w.free() }, r.weights) // nobody is left to tell
	return r
}

// Close frees the parameters' memory on the device. No pass may be under way.
func (r *Runner) Close() error {
	r.cleanup.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.weights.free()
}

// inferenceKey tells the programs of a runner apart.
type inferenceKey struct {
	chain   *nn.Chain
	n, h, w int
}

// inference is a compiled forward pass.
type inference struct {
	program *pjrt.Executable
	params  []*nn.Param
	dims    [][]int
}

// Forward implements [nn.Runner].
func (r *Runner) Forward(ctx context.Context, c *nn.Chain, y, x *tensor.Tensor) error {
	n, h, w := x.Shape[0], x.Shape[2], x.Shape[3]
	in, out := len(x.Data)/n, len(y.Data)/n
	for from := 0; from < n; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		part := 1
		for 2*part <= n-from {
			part *= 2
		}
		if err := r.pass(c, part, h, w, y.Data[from*out:(from+part)*out], x.Data[from*in:(from+part)*in]); err != nil {
			return err
		}
		from += part
	}
	return nil
}

// pass runs n images.
func (r *Runner) pass(c *nn.Chain, n, h, w int, y, x []float32) (err error) {
	p, err := r.inference(c, n, h, w)
	if err != nil {
		return err
	}
	images, err := pjrt.Upload(r.device.devices[0], x, n, c.Channels(), h, w)
	if err != nil {
		return fmt.Errorf("accel: %w", err)
	}
	defer func() { err = errors.Join(err, images.Free()) }()
	results, err := r.run(p, images)
	if err != nil {
		return fmt.Errorf("accel: %w", err)
	}
	err = pjrt.DownloadInto(results[0], y)
	return errors.Join(err, pjrt.Free(results...))
}

// run runs a program with the parameters as they are now.
func (r *Runner) run(p *inference, images *pjrt.Buffer) ([]*pjrt.Buffer, error) {
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
	return p.program.Run(append(r.weights.buffers(p.params), images)...)
}

// inference returns the program of a chain for n images of h × w.
func (r *Runner) inference(c *nn.Chain, n, h, w int) (*inference, error) {
	key := inferenceKey{c, n, h, w}
	if p, ok := r.programs.Load(key); ok {
		return p.(*inference), nil
	}
	code, params, dims, err := inferenceProgram(c, n, h, w, r.device.precision)
	if err != nil {
		return nil, err
	}
	e, err := r.device.compile(code, 1, false)
	if err != nil {
		return nil, err
	}
	p, _ := r.programs.LoadOrStore(key, &inference{e, params, dims})
	return p.(*inference), nil
}

// inferenceProgram writes a chain's forward pass for n images of h × w: of its parameters, in
// device order, and the images (N,C,H,W) to the output (N,K,OH,OW).
func inferenceProgram(c *nn.Chain, n, h, w int, precision Precision) (pjrt.Program, []*nn.Param, [][]int, error) {
	g := newGraph(precision)
	params, dims := g.arguments(c.Layers())
	x := g.Transpose(g.Arg(hlo.F32, n, c.Channels(), h, w), 0, 2, 3, 1)
	y, _, err := g.forward(c.Layers(), x)
	if err != nil {
		return pjrt.Program{}, nil, nil, err
	}
	p, err := program(fmt.Sprintf("inference of %d images of %d×%d", n, w, h), g.Func, 1, g.Transpose(y, 0, 3, 1, 2))
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
