package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/weights"
)

type convertCommand struct {
	Weights  string `arg:"" help:"File of weights, or a configuration's name for its public release, which is downloaded on first use."`
	Out      string `arg:"" help:"File to write: .safetensors, .pth, .keras, .weights.h5, .npz or .onnx."`
	To       string `placeholder:"FORM" enum:",native,torchvision,conv1_1,safetensors,pth,keras,npz,onnx" default:"" help:"Names of the tensors: native (conv1_1.weight), torchvision (features.0.weight) or conv1_1 (conv1_1_W, of shape (H,W,in,out)). Or the format, whatever the extension: safetensors, pth, keras, npz or onnx."`
	DType    string `name:"dtype" default:"f32" enum:"f32,f16,bf16" placeholder:"TYPE" help:"Type of the weights in the file: f32, f16 or bf16. Biases and normalisations stay f32 (f32)."`
	Headless bool   `help:"Leave out the fully connected layers."`
	Dense    bool   `help:"Fully connected layers as convolutions, in ONNX, for images of any size."`
	Batch    int    `placeholder:"N" help:"Batch size, of an ONNX graph (any)."`
	Softmax  bool   `help:"End an ONNX graph with the soft-max."`
	overwriteFlag
	thresholdFlag
	modelFlags
	jsonFlag
}

func (convertCommand) Help() string {
	return `Converts weights between formats. It reads PyTorch (.pth), safetensors, Keras (.h5, .weights.h5, .keras), TensorFlow.js (model.json), Caffe (.caffemodel), MatConvNet (.mat), ONNX and npz.

  - The format is recognised by the file's content; configuration, width and classes follow from the tensors.
  - Class names, preprocessing and configuration are written to the file's metadata.
  - A .keras file is a model of Keras 3 that takes pixels of 0 to 255; a .weights.h5 file has its weights alone.
  - A first convolution that takes BGR is converted to RGB.

Examples:

    vgg convert vgg16.h5 vgg16.safetensors
    vgg convert D vgg16.onnx --dense --softmax` + exitHelp
}

// convertResult has the JSON keys of `vgg convert --json`.
type convertResult struct {
	In         string  `json:"in"`
	Out        string  `json:"out"`
	Config     string  `json:"config"`
	Classes    int     `json:"classes"`
	Parameters int64   `json:"parameters"`
	Bytes      int64   `json:"bytes"` // of the file written
	Read       float64 `json:"read_seconds"`
	Write      float64 `json:"write_seconds"`
	PeakRSS    int64   `json:"peak_rss_bytes"`
}

func (c *convertCommand) Run(e *environment) error {
	x, err := c.exportOptions()
	if err != nil {
		return err
	}
	open, err := c.opener(e, nn.F32, 0)
	if err != nil {
		return err
	}
	open.headless, open.options.Headless = true, c.Headless
	outputs := []output{{"", c.Out}}
	release, err := c.claim(outputs, c.Weights, c.Labels)
	if err != nil {
		return err
	}
	defer release()
	path, err := open.path(c.Weights)
	if err == nil {
		err = distinct(outputs, []string{path})
	}
	if err != nil {
		return err
	}
	start := time.Now()
	m, err := open.open(path)
	if err != nil {
		return err
	}
	if c.Threshold != nil {
		if m.Thresholds, err = c.thresholds(m.Net.Options(), m.Classes, m.Thresholds); err != nil {
			return err
		}
	}
	read := time.Since(start)
	if err := c.export(e, m, x); err != nil {
		return err
	}
	return c.finish(e, path, m.Net.Options(), read, time.Since(start)-read)
}

// exportOptions returns the form to write.
func (c *convertCommand) exportOptions() (vgg.ExportOptions, error) {
	x := vgg.ExportOptions{DType: c.DType, ONNX: vgg.ONNXOptions{Dense: c.Dense, Batch: c.Batch, Softmax: c.Softmax}}
	switch c.To {
	case "native", "torchvision", "conv1_1":
		x.Names = c.To
	default:
		x.Format = map[string]weights.Format{"safetensors": weights.Safetensors, "pth": weights.PyTorch, "keras": weights.Keras, "npz": weights.NPZ, "onnx": weights.ONNX}[c.To]
	}
	if x.Format == "" {
		var err error
		if x.Format, err = vgg.FormatOf(c.Out); err != nil {
			return x, usageError{err}
		}
	}
	if x.Format != weights.ONNX && (c.Dense || c.Batch != 0 || c.Softmax) {
		return x, usagef("--dense, --batch and --softmax are for ONNX, not for %s", x.Format)
	}
	return x, checkBatch(c.Batch)
}

// export writes the network.
func (c *convertCommand) export(e *environment, m *vgg.Model, x vgg.ExportOptions) error {
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	bar := e.newProgress()
	defer bar.close()
	x.Progress = bar.stage("writing", unitMillions)
	err := m.Export(e.ctx, c.Out, x)
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	return err
}

// finish prints what was written.
func (c *convertCommand) finish(e *environment, in string, o network.Options, read, write time.Duration) error {
	s, err := network.Summarise(o)
	if err != nil {
		return err
	}
	info, err := os.Stat(c.Out)
	if err != nil {
		return err
	}
	r := convertResult{
		In: in, Out: c.Out, Config: s.Config, Classes: o.Classes, Parameters: s.Parameters, Bytes: info.Size(),
		Read: read.Seconds(), Write: write.Seconds(), PeakRSS: peakRSS(),
	}
	if c.JSON {
		return writeJSON(e.stdout, r)
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %s, %s parameters, %s; read in %s, written in %s\n", r.Out, describeNet(o),
		report.Count(r.Parameters), report.Bytes(r.Bytes), report.Duration(read), report.Duration(write))
	return err
}

// configName names the configuration: D, also of its features with another head, or the row.
func configName(o network.Options) string {
	a, err := architecture.Parse(o.Config)
	width, with := o.Width, ""
	if err == nil && width == 1 {
		b := a
		b.Head, b.Ending = architecture.PaperHead(), architecture.Softmax
		if name, fit := b.Fit(); slices.Contains(architecture.Names(), strings.TrimSuffix(name, "-BN")) {
			if o.Config != name && !o.Headless() {
				with = " with the head " + a.HeadName()
			}
			o.Config, width = name, fit
		}
	}
	if width != 1 {
		o.Config += fmt.Sprintf(" of width %.4g", width)
	}
	return o.Config + with
}

// describeNet describes a network in a few words.
func describeNet(o network.Options) string {
	text := "configuration " + configName(o)
	if o.Headless() {
		return text + ", features only"
	}
	return fmt.Sprintf("%s, %d classes, input %d×%d", text, o.Classes, o.Input, o.Input)
}
