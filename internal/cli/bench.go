package cli

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/tensor"
)

type benchCommand struct {
	Config string `default:"D" placeholder:"C" help:"Configuration: ${configs}; with -BN or -LRN behind it (D)."`
	Mode   string `default:"infer" enum:"infer,dense,train" help:"infer: the forward pass over crops; dense: over whole images; train: a training step (infer)."`
	Batch  int    `default:"1" placeholder:"N" help:"Images at a time (1)."`
	Size   int    `placeholder:"PIXELS" help:"Side of the square images (224; dense: 256)."`
	Iters  int    `default:"10" placeholder:"N" help:"Passes that are timed (10)."`
	Warmup int    `default:"2" placeholder:"N" help:"Passes before them (2)."`
	networkFlags
	threadsFlag
	jsonFlag
}

func (benchCommand) Help() string {
	return `The weights are random. Effective GFLOP/s counts two operations for each multiplication of the direct convolution, whatever is really computed; a training step counts three times a forward pass, less the gradient of the first layer's input, which nobody needs.` + exitHelp
}

// benchResult has the JSON keys of `vgg bench --json`.
type benchResult struct {
	Config  string  `json:"config"`
	Mode    string  `json:"mode"`
	Batch   int     `json:"batch"`
	Size    int     `json:"size"`
	Threads int     `json:"threads"`
	Median  float64 `json:"median_ms"`
	Min     float64 `json:"min_ms"`
	Max     float64 `json:"max_ms"`
	Images  float64 `json:"images_per_second"` // by the median
	GFLOPS  float64 `json:"effective_gflops"`  // by the median
	PeakRSS int64   `json:"peak_rss_bytes"`    // of the process; 0 where the system does not tell
	ISA     string  `json:"isa"`
}

// denseInput is the side that fc6 is built for when whole images are timed.
const denseInput = 224

func (c *benchCommand) Run(e *environment) error {
	o, err := c.network()
	if err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	net, err := vgg.New(o)
	if err != nil {
		return err
	}
	net.SetThreads(threads)
	if err := net.Init(vgg.He, 1); err != nil {
		return err
	}
	pass, err := c.pass(net)
	if err != nil {
		return err
	}
	times := make([]float64, 0, c.Iters)
	for i := range c.Warmup + c.Iters {
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		start := time.Now()
		if err := pass(); err != nil {
			return err
		}
		if i >= c.Warmup {
			times = append(times, float64(time.Since(start))/float64(time.Millisecond))
		}
	}
	macs, err := c.macs(net)
	if err != nil {
		return err
	}
	slices.Sort(times)
	median := (times[(len(times)-1)/2] + times[len(times)/2]) / 2
	r := benchResult{
		Config: net.Options().Config, Mode: c.Mode, Batch: c.Batch, Size: c.Size, Threads: threads,
		Median: median, Min: times[0], Max: times[len(times)-1],
		Images: float64(c.Batch) / median * 1e3, GFLOPS: 2 * float64(macs) * float64(c.Batch) / median / 1e6,
		PeakRSS: peakRSS(), ISA: kernel.Current().Name(),
	}
	if c.JSON {
		return writeJSON(e.stdout, r)
	}
	return r.print(e)
}

// network checks the flags, fills in the size and returns the network to time.
func (c *benchCommand) network() (vgg.Options, error) {
	o := c.options(c.Config)
	if c.Size == 0 {
		c.Size = o.Input
		if c.Mode == "dense" {
			c.Size = 256
		}
	}
	if c.Mode == "dense" {
		o.Input = denseInput
		if c.Size < o.Input {
			return o, usagef("--size %d, want at least %d, which fc6 is built for", c.Size, o.Input)
		}
	} else {
		o.Input = c.Size
	}
	const mostSize = 1 << 14
	if err := o.Validate(); err != nil {
		return o, usageError{err}
	}
	for _, f := range []struct {
		name        string
		value       int
		least, most int
	}{
		{"batch", c.Batch, 1, maxBatch},
		{"size", c.Size, 1, mostSize},
		{"iters", c.Iters, 1, 1 << 20},
		{"warmup", c.Warmup, 0, 1 << 20},
	} {
		if f.value < f.least || f.value > f.most {
			return o, usagef("--%s %d, want %d to %d", f.name, f.value, f.least, f.most)
		}
	}
	return o, nil
}

// pass returns what is timed.
func (c *benchCommand) pass(net *vgg.Network) (func() error, error) {
	rng := rand.New(rand.NewPCG(1, 1))
	x := tensor.New(c.Batch, 3, c.Size, c.Size)
	for i := range x.Data {
		x.Data[i] = 2*rng.Float32() - 1
	}
	if c.Mode != "train" {
		shape, err := net.OutputShape(c.Batch, c.Size, c.Size)
		if err != nil {
			return nil, err
		}
		y := tensor.New(shape...)
		return func() error { return net.ForwardInto(y, x) }, nil
	}
	labels := make([]int, c.Batch)
	for i := range labels {
		labels[i] = rng.IntN(net.Options().Classes)
	}
	chain := net.Chain()
	state, err := chain.NewTraining(c.Batch, c.Size, c.Size)
	if err != nil {
		return nil, err
	}
	sgd := nn.NewSGD(chain)
	iteration := 0
	return func() error {
		iteration++
		chain.ZeroGrad()
		if _, err := state.Step(x, labels, nn.Pass{Seed: 1, Iteration: iteration}); err != nil {
			return err
		}
		sgd.Step(1e-6, 0.9, 5e-4) // too small a rate for the weights to leave their range
		return nil
	}, nil
}

// macs counts the multiplications of one image.
func (c *benchCommand) macs(net *vgg.Network) (int64, error) {
	shapes, err := net.Chain().Shapes(c.Size, c.Size)
	if err != nil {
		return 0, err
	}
	var forward, first int64
	for i, l := range net.Chain().Layers() {
		if conv, ok := l.(*nn.Conv); ok {
			n := int64(conv.Weight.Len()) * int64(shapes[i].H*shapes[i].W)
			if forward == 0 {
				first = n
			}
			forward += n
		}
	}
	if c.Mode == "train" {
		return 3*forward - first, nil
	}
	return forward, nil
}

func (r benchResult) print(e *environment) error {
	ms := func(v float64) string { return report.Duration(time.Duration(v * float64(time.Millisecond))) }
	memory := "unknown"
	if r.PeakRSS > 0 {
		memory = report.Bytes(r.PeakRSS)
	}
	_, err := fmt.Fprintf(e.stdout, "%s, %s, batch of %d, %d×%d, %d threads, %s\n"+
		"median %s (%s to %s), %.2f images/s, %.1f effective GFLOP/s, peak memory %s\n",
		r.Config, r.Mode, r.Batch, r.Size, r.Size, r.Threads, r.ISA,
		ms(r.Median), ms(r.Min), ms(r.Max), r.Images, r.GFLOPS, memory)
	return err
}
