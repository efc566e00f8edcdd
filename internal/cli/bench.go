package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/tensor"
)

type benchCommand struct {
	Config string `arg:"" optional:"" default:"D" help:"Configuration, or a row of layers: ${configs}, each also with -BN or -LRN (D)."`
	Mode   string `default:"infer" enum:"infer,dense,train" help:"infer: the forward pass over crops; dense: over whole images; train: a training step (infer)."`
	Batch  int    `default:"1" placeholder:"N" help:"Batch size (1)."`
	Side   int    `placeholder:"PIXELS" help:"Side of the square images (224, for dense 256)."`
	Iters  int    `default:"10" placeholder:"N" help:"Number of passes that are timed (10)."`
	Warmup int    `default:"2" placeholder:"N" help:"Number of passes before them (2)."`
	Layers bool   `help:"Add a table of the layers: best time, speed, and share of what the machine can do."`
	Tune   bool   `help:"Add tables of the ways to compute each 3×3 layer, timed, with the chosen one marked."`
	// A pointer tells 0 from no flag.
	Assert *float64 `placeholder:"PERCENT" help:"Largest share of time, in per cent, by which a layer's plan may be behind the best one. Like --tune, and exits with 1 where it is."`
	networkFlags
	storageFlag
	deviceFlags
	threadsFlag
	jsonFlag
}

func (benchCommand) Help() string {
	return `Measures speed and memory of a network with random weights. Effective GFLOP/s counts two operations for each multiplication of the direct convolution, whatever is really computed. A training step counts three times a forward pass, without the gradient of the first layer's input, which is not computed.

With --device the images come from the processor's memory for every pass, as in use; what the device waits for them is a line of its own. In training the next step's are sent while it computes.

--layers adds a table of the layers:

  - Real GFLOP/s counts the multiplications that are computed: for Winograd (M+2)² products a tile of M×M pixels, and fewer for the narrow tiles at the right and lower end of an image.
  - Peak is the share of the machine's peak, which is measured on a tile in the first-level cache.
  - Bandwidth is the share of the machine's streaming read from memory that reading the weights takes. In training it counts the weights read forward, and the weights and their momentum read and written by the update.
  - In training the columns are the forward pass, the gradient of the input (data), the gradient of the weights, and the update. What is computed again for the backward pass counts as forward. Fully connected layers do gradients and update in one pass over their weights, which counts as update.

--tune times the ways to compute each 3×3 layer:

  - The network runs --iters times with each candidate, in turns, and medians are compared.
  - Candidates are the tile blocks and loop orders of Winograd, and the direct algorithm. Winograd's tile size follows from the layer's shape alone, so that results don't depend on the machine.
  - Model is the expected time, by which the plan is chosen, at the machine's measured peak.
  - --assert measures a layer whose plan is behind up to three times more, and counts it only if a candidate is ahead each time.

Examples:

    vgg bench D --batch 8
    vgg bench A --mode train --batch 16 --layers` + exitHelp
}

// benchResult has the JSON keys of `vgg bench --json`.
type benchResult struct {
	Config  string      `json:"config"`
	Mode    string      `json:"mode"`
	Batch   int         `json:"batch"`
	Size    int         `json:"size"`
	Threads int         `json:"threads"`
	Median  float64     `json:"median_ms"`
	Min     float64     `json:"min_ms"`
	Max     float64     `json:"max_ms"`
	Images  float64     `json:"images_per_second"`     // by the median
	GFLOPS  float64     `json:"effective_gflops"`      // by the median
	PeakRSS int64       `json:"peak_rss_bytes"`        // of the process; 0 where the system does not tell
	Device  string      `json:"device,omitempty"`      // platform, kind and precision; empty: the processor
	Micro   int         `json:"micro_batch,omitempty"` // images that a device trains on at a time
	Input   *float64    `json:"input_share,omitempty"` // of a device's time: waiting for images to be sent
	ISA     string      `json:"isa"`
	Plan    []benchPlan `json:"plan,omitempty"` // on the processor

	Machine *benchMachine `json:"machine,omitempty"` // with --layers, --tune
	Layers  []benchLayer  `json:"layers,omitempty"`
	Tune    []benchTuning `json:"tune,omitempty"`
}

// benchPlan is the algorithm of a layer.
type benchPlan struct {
	Layer     string `json:"layer"`
	Algorithm string `json:"algorithm"`
}

// denseInput is the input side for which fc6 is built in dense mode.
const denseInput = 224

// fits returns an error if the machine hasn't the memory that the benchmark takes.
func (c *benchCommand) fits(o network.Options, threads int) error {
	chain, err := network.Plan(o)
	if err != nil {
		return err
	}
	chain.SetThreads(threads)
	floats := chain.InferenceFloats
	fixed := chain.ParamFloats()
	if c.Mode == "train" {
		floats = chain.TrainingFloats
		fixed += chain.LearntFloats()
	}
	pass, err := floats(c.Batch, c.Side, c.Side)
	if err != nil {
		return err
	}
	if c.Device != "" {
		pass = 0 // it is the device's
	}
	return resources.Fits("the benchmark", 4*int64(fixed+pass+3*c.Batch*c.Side*c.Side))
}

func (c *benchCommand) Run(e *environment) (err error) {
	o, err := c.network()
	if err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	o.FCStorage = c.FCWeights
	if err := c.fits(o, threads); err != nil {
		return err
	}
	net, err := network.New(o)
	if err != nil {
		return err
	}
	net.SetThreads(threads)
	if err := net.Init(network.He, 1); err != nil {
		return err
	}
	d, err := c.deviceFlags.on(e, 0, 1)
	if err != nil {
		return err
	}
	var onDevice *deviceBench
	var pass func() error
	var training *trainBench
	if d != nil {
		if onDevice, err = newDeviceBench(e.ctx, c, net, d); err == nil {
			defer func() { err = errors.Join(err, onDevice.close()) }()
			pass = onDevice.pass
		}
	} else {
		pass, training, err = c.pass(net)
	}
	if err != nil {
		return err
	}
	bar := e.newProgress()
	defer bar.close()
	times, err := c.time(e.ctx, pass, bar.stage("measuring", unitPasses))
	bar.close()
	if err != nil {
		return err
	}
	r, err := c.result(net, times, threads)
	if err != nil {
		return err
	}
	var plans []nn.LayerPlan
	if d != nil {
		r.Device = fmt.Sprintf("%s, %s", d.Name(), c.Precision)
		r.Micro, r.Input = onDevice.micro(), onDevice.inputShare()
	} else if training != nil {
		plans = training.state.Plans()
	} else if plans, err = net.Chain().Plans(c.Batch, c.Side, c.Side, false); err != nil {
		return err
	}
	for _, p := range plans {
		r.Plan = append(r.Plan, benchPlan{p.Layer, p.Algorithm})
	}
	behind, err := c.explain(e, net.Chain(), training, plans, &r)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(e.stdout, r)
	} else {
		err = r.print(e)
	}
	if err != nil {
		return err
	}
	return behind
}

// time returns the times of --iters passes in milliseconds, sorted.
func (c *benchCommand) time(ctx context.Context, pass func() error, done progress.Func) ([]float64, error) {
	times := make([]float64, 0, c.Iters)
	passes := progress.NewCounter(done, int64(c.Warmup+c.Iters))
	for i := range c.Warmup + c.Iters {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		start := time.Now()
		if err := pass(); err != nil {
			return nil, err
		}
		if i >= c.Warmup {
			times = append(times, float64(time.Since(start))/float64(time.Millisecond))
		}
		passes.Add(1)
	}
	slices.Sort(times)
	return times, nil
}

// result returns speed and memory by the sorted times of the passes in milliseconds.
func (c *benchCommand) result(net *network.Network, times []float64, threads int) (benchResult, error) {
	macs, err := c.macs(net)
	median := (times[(len(times)-1)/2] + times[len(times)/2]) / 2
	return benchResult{
		Config: net.Options().Config, Mode: c.Mode, Batch: c.Batch, Size: c.Side, Threads: threads,
		Median: median, Min: times[0], Max: times[len(times)-1],
		Images: float64(c.Batch) / median * 1e3, GFLOPS: 2 * float64(macs) * float64(c.Batch) / median / 1e6,
		PeakRSS: peakRSS(), ISA: kernel.Current().Name(),
	}, err
}

// explain adds the results of --layers, --tune and --assert. behind is the error of --assert.
func (c *benchCommand) explain(e *environment, chain *nn.Chain, training *trainBench, plans []nn.LayerPlan, r *benchResult) (behind, err error) {
	tune := c.Tune || c.Assert != nil
	if !c.Layers && !tune {
		return nil, nil
	}
	r.Machine = measureMachine(r.Threads, c.Layers)
	if training != nil {
		r.Layers, err = training.layers(e.ctx, c.Iters, *r.Machine)
		return nil, err
	}
	x := c.input()
	if c.Layers {
		if r.Layers, err = c.layers(e.ctx, chain, x, plans, *r.Machine); err != nil {
			return nil, err
		}
	}
	if !tune {
		return nil, nil
	}
	bar := e.newProgress()
	defer bar.close()
	tunings, err := chain.Tune(e.ctx, x, c.Iters, nil, bar.stage("timing the ways to compute each layer", unitPasses))
	if err != nil {
		return nil, err
	}
	r.Tune = tuneResult(tunings, *r.Machine, r.Threads)
	if c.Assert == nil {
		return nil, nil
	}
	confirmed, err := confirm(tunings, *c.Assert/100, func(only []nn.Tuning) ([]nn.Tuning, error) {
		return chain.Tune(e.ctx, x, c.Iters, only, bar.stage(fmt.Sprintf("timing again what is behind (%d layers)", len(only)), unitPasses))
	})
	if err != nil {
		return nil, err
	}
	return behindError(confirmed, *c.Assert), nil
}

// network checks the flags, fills in the size and returns the network to time.
func (c *benchCommand) network() (network.Options, error) {
	o := c.options(c.Config)
	if c.Side == 0 {
		c.Side = o.Input
		if c.Mode == "dense" {
			c.Side = 256
		}
	}
	if c.Mode == "dense" {
		o.Input = denseInput
		if c.Side < o.Input {
			return o, usagef("--side %d, want at least %d, which fc6 is built for", c.Side, o.Input)
		}
	} else {
		o.Input = c.Side
	}
	if c.Device != "" && (c.Layers || c.Tune || c.Assert != nil) {
		return o, usagef("--layers, --tune and --assert are about this program's own kernels, want no --device")
	}
	if c.Mode == "train" {
		switch {
		case c.Tune || c.Assert != nil:
			return o, usagef("--tune and --assert are about inference, want --mode infer or dense")
		case c.FCWeights != nn.F32:
			return o, usagef("--fc-weights %s is for inference, want --mode infer or dense", c.FCWeights)
		}
	}
	if c.Assert != nil && !(*c.Assert > 0 && *c.Assert <= 1000) {
		return o, usagef("--assert %v, want more than 0 and at most 1000 per cent", *c.Assert)
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
		{"side", c.Side, 1, mostSize},
		{"iters", c.Iters, 1, 1 << 20},
		{"warmup", c.Warmup, 0, 1 << 20},
	} {
		if f.value < f.least || f.value > f.most {
			return o, usagef("--%s %d, want %d to %d", f.name, f.value, f.least, f.most)
		}
	}
	return o, nil
}

// input returns random images.
func (c *benchCommand) input() *tensor.Tensor {
	rng := rand.New(rand.NewPCG(1, 1))
	x := tensor.New(c.Batch, 3, c.Side, c.Side)
	for i := range x.Data {
		x.Data[i] = 2*rng.Float32() - 1
	}
	return x
}

// pass returns the pass to time and, in training, the training whose step it is.
func (c *benchCommand) pass(net *network.Network) (func() error, *trainBench, error) {
	x := c.input()
	if c.Mode != "train" {
		shape, err := net.OutputShape(c.Batch, c.Side, c.Side)
		if err != nil {
			return nil, nil, err
		}
		y := tensor.New(shape...)
		return func() error { return net.ForwardInto(y, x) }, nil, nil
	}
	b, err := newTrainBench(net, x)
	if err != nil {
		return nil, nil, err
	}
	return b.step, b, nil
}

// macs counts the multiplications of one image.
func (c *benchCommand) macs(net *network.Network) (int64, error) {
	shapes, err := net.Chain().Shapes(c.Side, c.Side)
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
	where := fmt.Sprintf("%d threads, %s", r.Threads, r.ISA)
	if r.Device != "" {
		where = "on " + r.Device
	}
	fmt.Fprintf(e.stdout, "%s, %s, batch of %d, %d×%d, %s\n"+
		"median %s (%s to %s), %.2f images/s, %.1f effective GFLOP/s, peak memory %s\n",
		r.Config, r.Mode, r.Batch, r.Size, r.Size, where,
		ms(r.Median), ms(r.Min), ms(r.Max), r.Images, r.GFLOPS, memory)
	if r.Input != nil {
		micro := ""
		if r.Micro > 0 {
			micro = fmt.Sprintf(", micro-batches of %d", r.Micro)
		}
		fmt.Fprintf(e.stdout, "waiting for images to be sent to the device: %.1f %% of the time%s\n", 100**r.Input, micro)
	}
	if r.Layers != nil {
		print := printLayers
		if r.Mode == "train" {
			print = printTrainLayers
		}
		if err := print(e.stdout, r.Layers, *r.Machine); err != nil {
			return err
		}
	}
	return printTunings(e.stdout, r.Tune)
}
