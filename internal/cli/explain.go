package cli

import (
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
	Image   string `arg:"" help:"Image file, or - for standard input."`
	Weights string `required:"" placeholder:"FILE" help:"File of weights, or a configuration's name for its public release, which is downloaded on first use."`
	Scales  []int  `placeholder:"Q" help:"Smallest sides to which the image is rescaled, in pixels (once, one and a half times and twice what the weights tell)."`
	Top     int    `default:"3" placeholder:"K" help:"Number of classes (3)."`
	Out     string `placeholder:"FILE" help:"Picture to write, as PNG (the image's name with -explained.png)."`
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

    vgg explain photo.jpg --weights D
    vgg explain photo.jpg --weights best.safetensors --scales 256,512 --top 1 --out map.png` + exitHelp
}

// explainResult has the JSON keys of `vgg explain --json`.
type explainResult struct {
	File   string         `json:"file"`
	Out    string         `json:"out"`
	Top    []explainClass `json:"top"`
	Scales []explainScale `json:"scales"`
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
	release, err := c.claim([]output{{"--out", c.out()}}, c.Image, c.Weights, c.Labels)
	if err != nil {
		return err
	}
	defer release()
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
	im, maps, err := c.scoreMaps(e, m)
	if err != nil {
		return err
	}
	r := c.result(m, maps)
	if err := writeFile(r.Out, c.draw(r, maps, im).EncodePNG); err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(e.stdout, r)
	}
	return r.print(e)
}

// scoreMaps decodes the image and computes its class score maps, one for each scale.
func (c *explainCommand) scoreMaps(e *environment, m *vgg.Model) (*preprocess.Image, []eval.ScoreMap, error) {
	scales := c.Scales
	if scales == nil {
		q := m.Preprocess.Resize
		scales = []int{q, q * 3 / 2, 2 * q}
	}
	if err := checkScales("--scales", m.Net.Options(), scales...); err != nil {
		return nil, nil, err
	}
	im, err := e.decodeImage(c.Image, m.Preprocess.Orient, c.pixels())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.Image, err)
	}
	maps, err := eval.ScoreMaps(e.ctx, m, im, scales)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.Image, err)
	}
	return im, maps, nil
}

// result returns the most probable classes by the mean over the scales.
func (c *explainCommand) result(m *vgg.Model, maps []eval.ScoreMap) explainResult {
	posteriors := make([][]float32, len(maps))
	for i, s := range maps {
		posteriors[i] = s.Posterior
	}
	r := explainResult{File: c.Image, Out: c.out()}
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
	return r
}

// out returns the picture's name.
func (c *explainCommand) out() string {
	switch {
	case c.Out != "":
		return c.Out
	case c.Image == "-":
		return "explained.png"
	}
	return strings.TrimSuffix(filepath.Base(c.Image), filepath.Ext(c.Image)) + "-explained.png"
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

func (r explainResult) print(e *environment) error {
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
	_, err := fmt.Fprintf(e.stdout, "%s\nHeat maps in %s\n", t, r.Out)
	return err
}
