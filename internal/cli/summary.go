package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/releases"
	"github.com/verydeep/vgg/report"
)

type summaryCommand struct {
	Config string `arg:"" help:"Configuration, or a row of layers: ${configs}, each also with -BN or -LRN; a row such as '32bn 32 M 64 M FC256 FC'; a file of weights; or a release without a classifier (D-features)."`
	networkFlags
	Input    *int `placeholder:"PIXELS" help:"Side of the network's square input (224)."`
	Estimate bool `help:"Also estimate the memory for inference and for a training step."`
	Batch    int  `default:"1" placeholder:"N" help:"Batch size, for --estimate (1)."`
	releaseFlags
	storageFlag
	threadsFlag
	jsonFlag
}

func (summaryCommand) Help() string {
	return `Shows the layers of a network with the shapes of their outputs, their weights and their multiplications. Nothing is allocated or computed.

  - Weights are counted without biases, parameters with them.
  - A MAC is one multiplication with its addition, for one image.

Examples:

    vgg summary D --estimate --batch 8
    vgg summary '32bn 32 M 64bn 64 M FC256 FC' --classes 10 --input 32
    vgg summary best.safetensors` + exitHelp
}

// networkFlags change the paper's network.
type networkFlags struct {
	Classes *int     `placeholder:"N" help:"Outputs of fc8; 0 for the features alone (1000)."`
	Width   *float64 `placeholder:"X" help:"Factor for the channels of every convolution (1)."`
	FC      *int     `name:"fc" placeholder:"N" help:"Units of fc6 and fc7 (4096)."`
}

// options returns the paper's network with the flags' changes.
func (f networkFlags) options(config string) network.Options {
	o := network.DefaultOptions(config)
	f.set(&o)
	return o
}

func (f networkFlags) set(o *network.Options) {
	set(&o.Classes, f.Classes)
	set(&o.Width, f.Width)
	set(&o.FC, f.FC)
}

// set copies a flag's value, if it was given.
func set[T any](to, flag *T) {
	if flag != nil {
		*to = *flag
	}
}

// network returns the network to show: that of a configuration, a release or a file of
// weights, with the flags' changes.
func (c *summaryCommand) network(e *environment) (network.Options, error) {
	info, err := os.Stat(c.Config)
	if err != nil {
		return c.named(), nil
	}
	// A folder may have the name of a configuration by chance.
	if _, err := architecture.Canonical(c.Config); info.IsDir() && err == nil {
		return c.named(), nil
	}
	open := c.opener(e, nn.F32, 0)
	open.options.Preprocess = "unit" // sizes do not depend on it
	weights, _, err := open.identify(c.Config)
	if err != nil {
		return network.Options{}, err
	}
	o := weights.Options
	c.set(&o)
	return o, nil
}

// named returns the network of a configuration or of a release without a classifier, which
// needs no file of weights.
func (c *summaryCommand) named() network.Options {
	o := network.DefaultOptions(c.Config)
	if r, err := releases.Find(c.Config, c.Source); err == nil && r.Headless {
		o.Config, o.Classes = r.Name, 0
	}
	c.set(&o)
	return o
}

func (c *summaryCommand) Run(e *environment) error {
	o, err := c.network(e)
	if err != nil {
		return err
	}
	set(&o.Input, c.Input)
	if err := o.Validate(); err != nil {
		return usageError{err}
	}
	if c.Batch < 1 || c.Batch > maxBatch {
		return usagef("--batch %d, want 1 to %d", c.Batch, maxBatch)
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	s, err := network.Summarise(o)
	if err != nil {
		return err
	}
	o.FCStorage = c.FCWeights
	var memory *network.Memory
	if c.Estimate {
		m, err := network.EstimateMemory(o, c.Batch, threads)
		if err != nil {
			return err
		}
		memory = &m
	}
	if c.JSON {
		return writeJSON(e.stdout, struct {
			network.Summary
			*network.Memory
		}{s, memory})
	}
	return c.print(e, o, s, memory, threads)
}

// print prints the table of layers, and the memory unless it is nil.
func (c *summaryCommand) print(e *environment, o network.Options, s network.Summary, memory *network.Memory, threads int) error {
	classes := fmt.Sprintf("%d classes", o.Classes)
	if o.Headless() {
		classes = "features only"
	}
	fmt.Fprintf(e.stdout, "Configuration %s, %s, input %d×%d RGB\n\n", s.Config, classes, o.Input, o.Input)
	if _, err := report.LayerTable(layerRows(s, o.Input)).WriteTo(e.stdout); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "\n%.2f million parameters, %.3f GMAC an image\n", float64(s.Parameters)/1e6, float64(s.MACs)/1e9)
	if memory != nil {
		fmt.Fprintf(e.stdout, "Memory, batch of %d, %d threads: inference %s, training %s\n",
			memory.Batch, threads, report.Bytes(memory.Inference), report.Bytes(memory.Training))
	}
	return nil
}

// layerRows returns the rows of the table: the input and the layers.
func layerRows(s network.Summary, input int) []report.Layer {
	rows := []report.Layer{{Name: "input", Output: []int{3, input, input}}}
	for _, l := range s.Layers {
		out := l.Output[:]
		if strings.HasPrefix(l.Type, "FC") {
			out = out[:1]
		}
		rows = append(rows, report.Layer{Name: l.Name, Type: l.Type, Output: out, Weights: l.Weights, Biases: l.Biases, MACs: l.MACs})
	}
	return rows
}
