package accel

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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
	programs sync.Map     // inferenceKey → *inference
	input    atomic.Int64 // nanoseconds
	cleanup  runtime.Cleanup
}

// Runner returns a runner. Its memory on the device is freed by Close, or some time after the
// last chain that has it is gone.
func (d *Device) Runner() *Runner {
	r := &Runner{device: d, weights: &residents{device: d.devices[0], all: map[*nn.Param]resident{}}}
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

// inferenceKey tells the programs of a runner apart.
type inferenceKey struct {
	chain   *nn.Chain
	n, h, w int
	smaller bool // images are smaller than h × w
}

// inference is a compiled forward pass.
type inference struct {
	program *pjrt.Executable
	params  []*nn.Param
	dims    [][]int
	out     pjrt.Shape // (n,K,H,W)
}

// Forward implements [nn.Runner].
func (r *Runner) Forward(ctx context.Context, c *nn.Chain, y, x *tensor.Tensor) error {
	n, in, out := x.Shape[0], x.Shape[1:], y.Shape[1:]
	sizeIn, sizeOut := len(x.Data)/n, len(y.Data)/n
	for from := 0; from < n; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		part := 1
		for 2*part <= n-from {
			part *= 2
		}
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
	p, err := r.inference(inferenceKey{c, n, h, w, smaller})
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
		return failed(err)
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
func (r *Runner) inference(key inferenceKey) (*inference, error) {
	if p, ok := r.programs.Load(key); ok {
		return p.(*inference), nil
	}
	code, params, dims, err := inferenceProgram(key, r.device.precision)
	if err != nil {
		return nil, err
	}
	e, err := r.device.compile(code, 1, false)
	if err != nil {
		return nil, err
	}
	p, _ := r.programs.LoadOrStore(key, &inference{e, params, dims, code.Outputs[0]})
	return p.(*inference), nil
}

// inferenceProgram writes a chain's forward pass for n images of h × w: of its parameters, in
// device order, and the images (N,C,H,W), with their height and width if they are smaller, to
// the output (N,K,OH,OW).
func inferenceProgram(key inferenceKey, precision Precision) (pjrt.Program, []*nn.Param, [][]int, error) {
	g := newGraph(precision)
	c, n := key.chain, key.n
	params, dims := g.arguments(c.Layers())
	x := g.Transpose(g.Arg(hlo.F32, n, c.Channels(), key.h, key.w), 0, 2, 3, 1)
	sizes := ""
	if key.smaller {
		size := g.Arg(hlo.U32, 2)
		g.extents = &extents{g.At(size, 0), g.At(size, 1)}
		sizes = " and smaller ones"
	}
	y, _, err := g.forward(c.Layers(), x)
	if err != nil {
		return pjrt.Program{}, nil, nil, err
	}
	p, err := program(fmt.Sprintf("inference of %d images of %d×%d%s", n, key.w, key.h, sizes), g.Func, 1, g.Transpose(y, 0, 3, 1, 2))
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
