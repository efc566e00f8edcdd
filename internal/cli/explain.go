package cli

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/explain"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

type explainCommand struct {
	Weights string `arg:"" help:"File of weights, or a configuration's name for its public release, which is downloaded on first use."`
	picturesArg
	Method string   `default:"scoremap" enum:"scoremap,gradcam,saliency" placeholder:"METHOD" help:"What the maps show: scoremap, the class in the window around each place; gradcam, what in a layer speaks for the class; saliency, how much each pixel changes the class score (scoremap)."`
	Layer  string   `placeholder:"NAME" help:"Layer of the activation, for --method gradcam, such as conv4_3 or pool5 (the last convolution)."`
	Scales []int    `placeholder:"Q" help:"Smallest sides to which images are rescaled, in pixels (what the weights tell; with --method scoremap also one and a half times and twice that)."`
	Top    int      `default:"3" placeholder:"K" help:"Number of answers for each image (3)."`
	Class  []string `sep:"none" placeholder:"NAME" help:"Class to find, instead of the most probable ones, by name or index from 0. Can be given more than once."`
	Out    string   `placeholder:"FILE" help:"Output: the picture, as PNG. Of several images, their names precede the file's, with their folders where names are the same (the image's name with -explained.png)."`
	overwriteFlag
	modelFlags
	storageFlag
	deviceFlags
	pixelsFlag
	threadsFlag
	jsonFlag
}

func (explainCommand) Help() string {
	return `Shows where in a photograph a network sees its most probable classes, or those of --class. It runs the network densely over the image at each scale and lays a map for each class over it. The classes are the best by the mean over the scales.

  - scoremap: a point is the posterior of the class in the window around it, of the network's input side.
  - gradcam (Selvaraju et al. 2017): the channels of a layer after its rectification, weighted by the mean derivatives of the class score by them, summed, and rectified.
  - saliency (Simonyan, Vedaldi & Zisserman 2013): at each pixel the largest of its channels' absolute derivatives of the class score.

The class score is the one before the soft-max, over a class score map its mean. The derivatives are those by the network's preprocessed input.

Examples:

    vgg explain D photo.jpg
    vgg explain best.safetensors photos --scales 256,512 --top 1 --out map.png
    vgg explain D photo.jpg --method gradcam --layer conv4_3 --class tabby --class 207
    vgg explain D photo.jpg --method saliency --top 1` + exitHelp
}

// explainResult has the JSON keys of `vgg explain --json`.
type explainResult struct {
	File string `json:"file"`
	Out  string `json:"out,omitempty"`
	*explain.Result
	Error string `json:"error,omitempty"`
}

func (c *explainCommand) Run(e *environment) error {
	if c.Top < 1 || c.Top > 20 {
		return usagef("--top %d, want 1 to 20", c.Top)
	}
	if c.Layer != "" && c.Method != string(explain.GradCAM) {
		return usagef("--layer %s with --method %s: want --method %s", c.Layer, c.Method, explain.GradCAM)
	}
	if err := asPNG(output{"--out", c.Out}); err != nil {
		return err
	}
	pictures, err := e.pictures(c.Images)
	if err != nil {
		return err
	}
	many := len(pictures) > 1
	var outputs []output
	inputs := []string{c.Weights, c.Labels}
	c.name(pictures)
	for _, p := range pictures {
		outputs = append(outputs, output{"--out", p.out})
		inputs = append(inputs, p.name)
	}
	if err := c.check(outputs, inputs...); err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return err
	}
	if c.Device != "" && c.Method != string(explain.ScoreMap) {
		return usagef("--method %s with --device: gradients of pictures are computed on the processor; want --method %s, or no device", c.Method, explain.ScoreMap)
	}
	if err := open.compute(c.deviceFlags); err != nil {
		return err
	}
	m, err := open.open(c.Weights)
	if err != nil {
		return err
	}
	if err := checkScales("--scales", m.Net.Options(), c.Scales...); err != nil {
		return err
	}
	return e.forEach(pictures, func(p picture) (bad bool, err error) {
		r := explainResult{File: p.name, Out: p.out}
		im, err := e.decodeImage(p, m.Preprocess.Orient, c.pixels())
		if err == nil {
			err = c.explain(e, m, im, &r)
		}
		if _, unwritten := errors.AsType[*outputError](err); unwritten || e.stops(err) {
			return false, fmt.Errorf("%s: %w", p.name, err)
		}
		if err != nil {
			r = explainResult{File: p.name, Error: err.Error()}
		}
		if r.Error == "" && !c.JSON {
			between := ""
			if many {
				between = "\n"
			}
			_, err = fmt.Fprintf(e.stdout, "%s\nHeat maps in %s\n%s", r.table(), r.Out, between)
			return false, err
		}
		return r.Error != "", e.printImage(c.JSON, r, p.name, r.Error, r.table)
	})
}

// outputError is the error of a result that can't be written, whatever the image.
type outputError struct{ error }

func (e *outputError) Unwrap() error { return e.error }

// explain completes the result of an image by its class score maps, one for each scale, and
// writes their picture.
func (c *explainCommand) explain(e *environment, m *vgg.Model, im *preprocess.Image, r *explainResult) error {
	release, err := c.claim([]output{{"--out", r.Out}})
	if err != nil {
		return &outputError{err}
	}
	defer release()
	if r.Result, err = explain.Run(e.ctx, m, im, explain.Options{Method: explain.Method(c.Method), Layer: c.Layer, Scales: c.Scales, Top: c.Top, Classes: c.Class}); err != nil {
		return err
	}
	if err := writeFile(r.Out, r.Heatmap(im, filepath.Base(r.File), filepath.Base(c.Weights)).EncodePNG); err != nil {
		return &outputError{err}
	}
	return nil
}

// name gives each image the file of its picture.
func (c *explainCommand) name(pictures []picture) {
	out := c.Out
	switch {
	case out == "" && len(pictures) == 1 && pictures[0].name == stdinName:
		pictures[0].out = "explained.png"
	case out == "":
		nameOuts("explained.png", pictures)
	case len(pictures) == 1:
		pictures[0].out = out
	default:
		nameOuts(out, pictures)
	}
}

// nameOuts gives each image the file of its picture, with its name before the given one's.
func nameOuts(path string, pictures []picture) {
	names := make([]string, len(pictures))
	for i, p := range pictures {
		names[i] = p.name
		if p.name == stdinName {
			names[i] = "stdin"
		}
	}
	for i, out := range outNames(path, names) {
		pictures[i].out = out
	}
}

// table shows the classes as text.
func (r explainResult) table() *report.Table {
	if r.Result == nil {
		return report.NewTable(left(r.File))
	}
	columns := []report.Column{left(r.File), right("Probability")}
	for _, s := range r.Scales {
		columns = append(columns, right(fmt.Sprintf("Q = %d", s.Scale)))
	}
	t := report.NewTable(columns...)
	for _, class := range r.Top {
		cells := []string{class.Class, report.Percent(float64(class.Probability))}
		for _, p := range class.AtScale {
			cells = append(cells, report.Percent(float64(p)))
		}
		t.Row(cells...)
	}
	return t
}
