package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

type explainCommand struct {
	Weights string `arg:"" help:"File of weights, or a configuration's name for its public release, which is downloaded on first use."`
	picturesArg
	Scales []int  `placeholder:"Q" help:"Smallest sides to which images are rescaled, in pixels (once, one and a half times and twice what the weights tell)."`
	Top    int    `default:"3" placeholder:"K" help:"Number of answers for each image (3)."`
	Out    string `placeholder:"FILE" help:"Output: the picture, as PNG. Of several images, their names precede the file's (the image's name with -explained.png)."`
	overwriteFlag
	modelFlags
	storageFlag
	pixelsFlag
	threadsFlag
	jsonFlag
}

func (explainCommand) Help() string {
	return `Shows where in a photograph a network sees its most probable classes. It runs the network densely over the image and lays the class score map over it, for each class at several scales.

  - A point of the map is the posterior of the class in the window around it, of the network's input side.
  - The classes are the best by the mean over the scales.

Examples:

    vgg explain D photo.jpg
    vgg explain best.safetensors photos --scales 256,512 --top 1 --out maps/map.png` + exitHelp
}

// explainResult has the JSON keys of `vgg explain --json`.
type explainResult struct {
	File   string         `json:"file"`
	Out    string         `json:"out,omitempty"`
	Top    []explainClass `json:"top,omitempty"`
	Scales []explainScale `json:"scales,omitempty"`
	Error  string         `json:"error,omitempty"`
}

type explainClass struct {
	Class       string    `json:"class"`
	Index       int       `json:"index"`
	Probability float32   `json:"probability"` // mean over the scales
	AtScale     []float32 `json:"at_scale"`    // of the map's mean, at each scale
}

type explainScale struct {
	Scale  int `json:"scale"`
	Width  int `json:"width"` // of the rescaled image
	Height int `json:"height"`
	Rows   int `json:"rows"` // of the class score map
	Cols   int `json:"cols"`
	Window int `json:"window"`
	Stride int `json:"stride"`
}

func (c *explainCommand) Run(e *environment) error {
	if c.Top < 1 || c.Top > 20 {
		return usagef("--top %d, want 1 to 20", c.Top)
	}
	pictures, err := e.pictures(c.Images)
	if err != nil {
		return err
	}
	many := len(pictures) > 1
	var outputs []output
	inputs := []string{c.Weights, c.Labels}
	for _, p := range pictures {
		outputs = append(outputs, output{"--out", c.out(p.name, many)})
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
	m, err := open.open(c.Weights)
	if err != nil {
		return err
	}
	scales := c.Scales
	if scales == nil {
		q := m.Preprocess.Resize
		scales = []int{q, q * 3 / 2, 2 * q}
	}
	if err := checkScales("--scales", m.Net.Options(), scales...); err != nil {
		return err
	}
	return e.forEach(pictures, func(p picture) (bad bool, err error) {
		r := explainResult{File: p.name, Out: c.out(p.name, many)}
		im, err := e.decodeImage(p, m.Preprocess.Orient, c.pixels())
		if err == nil {
			err = c.explain(e, m, im, scales, &r)
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
func (c *explainCommand) explain(e *environment, m *vgg.Model, im *preprocess.Image, scales []int, r *explainResult) error {
	release, err := c.claim([]output{{"--out", r.Out}})
	if err != nil {
		return &outputError{err}
	}
	defer release()
	maps, err := eval.ScoreMaps(e.ctx, m, im, scales)
	if err != nil {
		return err
	}
	c.complete(r, m, maps)
	if err := writeFile(r.Out, c.draw(*r, maps, im).EncodePNG); err != nil {
		return &outputError{err}
	}
	return nil
}

// complete adds the most probable classes by the mean over the scales.
func (c *explainCommand) complete(r *explainResult, m *vgg.Model, maps []eval.ScoreMap) {
	posteriors := make([][]float32, len(maps))
	for i, s := range maps {
		posteriors[i] = s.Posterior
	}
	for _, p := range m.Top(eval.Mean(posteriors...), c.Top) {
		class := explainClass{Class: p.Class, Index: p.Index, Probability: p.Probability}
		for _, s := range maps {
			class.AtScale = append(class.AtScale, s.Posterior[p.Index])
		}
		r.Top = append(r.Top, class)
	}
	for _, s := range maps {
		r.Scales = append(r.Scales, explainScale{s.Scale, s.W, s.H, s.OH, s.OW, s.Window, s.Stride})
	}
}

// out returns the name of an image's picture.
func (c *explainCommand) out(image string, many bool) string {
	switch {
	case c.Out != "":
		return outFor(c.Out, image, many)
	case image == stdinName:
		return "explained.png"
	}
	return strings.TrimSuffix(filepath.Base(image), filepath.Ext(image)) + "-explained.png"
}

// outFor returns the file of an image's picture: that of the flag or, of several images, with
// the image's name before it.
func outFor(path, image string, many bool) string {
	if !many {
		return path
	}
	base := filepath.Base(image)
	return filepath.Join(filepath.Dir(path), strings.TrimSuffix(base, filepath.Ext(base))+"-"+filepath.Base(path))
}

// draw makes the picture.
func (c *explainCommand) draw(r explainResult, maps []eval.ScoreMap, im *preprocess.Image) report.Heatmap {
	h := report.Heatmap{
		Title:    filepath.Base(r.File),
		Subtitle: fmt.Sprintf("Class score maps by %s: windows of %d×%d pixels of the rescaled photograph, %d pixels apart.", filepath.Base(c.Weights), r.Scales[0].Window, r.Scales[0].Window, r.Scales[0].Stride),
		W:        im.W, H: im.H, Pix: im.Pix,
	}
	for _, s := range r.Scales {
		h.Columns = append(h.Columns, fmt.Sprintf("Q = %d: %d×%d windows", s.Scale, s.Cols, s.Rows))
	}
	for _, class := range r.Top {
		row := report.HeatRow{Name: class.Class, Share: report.Percent(float64(class.Probability))}
		for i, s := range maps {
			n := s.OH * s.OW
			values := s.Posteriors[class.Index*n : (class.Index+1)*n]
			row.Heats = append(row.Heats, report.Heat{
				W: float64(s.W), H: float64(s.H), First: float64(s.Window) / 2, Step: float64(s.Stride), Rows: s.OH, Cols: s.OW,
				Values:  values,
				Caption: fmt.Sprintf("dense: %s, best window: %s", report.Percent(float64(class.AtScale[i])), report.Percent(float64(slices.Max(values)))),
			})
		}
		h.Rows = append(h.Rows, row)
	}
	return h
}

// table shows the classes as text.
func (r explainResult) table() *report.Table {
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
