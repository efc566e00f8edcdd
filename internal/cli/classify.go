package cli

import (
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
)

type classifyCommand struct {
	Weights string `arg:"" help:"File of weights, or a configuration's name for its public release, which is downloaded on first use."`
	picturesArg
	Top   *int `placeholder:"K" help:"Number of answers for each image (5; of a network of several labels an image, those from the threshold on)."`
	Scale int  `placeholder:"S" help:"Smallest side to which images are rescaled, in pixels (as the weights tell)."`
	thresholdFlag
	modelFlags
	storageFlag
	deviceFlags
	pixelsFlag
	threadsFlag
	jsonFlag
}

func (classifyCommand) Help() string {
	return `Prints the most probable classes of each image, best first. The network sees the central crop.

  - Of a network of several labels an image (FC SIGMOID at the end of its head), the labels whose probability is at least the threshold are printed; with --top, the K most probable.
  - Of a network that ends with scores (SCORES), the classes with the highest scores.
  - Images are turned upright by their EXIF data, unless the weights or --orient tell otherwise.
  - An unreadable image has its error in the place of its classes.

Examples:

    vgg classify D photo.jpg
    vgg classify best.safetensors photos --top 1 --json
    vgg classify D - < photo.jpg` + exitHelp
}

// classifyLine is a line of `vgg classify --json`.
type classifyLine struct {
	File string `json:"file"`
	vgg.Answer
	Error string `json:"error,omitempty"`
}

func (c *classifyCommand) Run(e *environment) error {
	if c.Top != nil && *c.Top < 1 {
		return usagef("--top %d, want at least 1", *c.Top)
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return err
	}
	if err := open.compute(c.deviceFlags); err != nil {
		return err
	}
	pictures, err := e.pictures(c.Images)
	if err != nil {
		return err
	}
	if len(pictures) == 1 && c.FCWeights == nn.F32 && open.device == nil {
		open.options.FCStorage = nn.InFile // one pass takes less time than reading them
	}
	m, err := open.open(c.Weights)
	if err != nil {
		return err
	}
	scale := m.Preprocess.Resize
	if c.Scale != 0 {
		scale = c.Scale
	}
	if err := checkScales("--scale", m.Net.Options(), scale); err != nil {
		return err
	}
	thresholds, err := c.thresholds(m.Net.Options(), m.Classes, m.Thresholds)
	if err != nil {
		return err
	}
	return e.forEach(pictures, func(p picture) (bad bool, err error) {
		line := classifyLine{File: p.name}
		if err = c.classify(e, m, thresholds, scale, p, &line); e.stops(err) {
			return false, fmt.Errorf("%s: %w", p.name, err)
		} else if err != nil {
			line.Error = err.Error()
		}
		return line.Error != "", e.printImage(c.JSON, line, p.name, line.Error, line.table)
	})
}

// classify completes the line of an image. thresholds are those of labels, nil for a network
// of one class an image.
func (c *classifyCommand) classify(e *environment, m *vgg.Model, thresholds []float32, scale int, p picture, line *classifyLine) error {
	im, err := e.decodeImage(p, m.Preprocess.Orient, c.pixels())
	if err != nil {
		return err
	}
	scores, err := m.Scores(im, scale)
	if err != nil {
		return err
	}
	top := 0
	if c.Top != nil {
		top = *c.Top
	}
	line.Answer = m.Answer(scores, top, thresholds)
	return nil
}

// table shows the classes as text.
func (l classifyLine) table() *report.Table {
	if l.Scores != nil {
		t := report.NewTable(left(l.File), right("Score"))
		for _, s := range l.Scores {
			t.Row(s.Class, fmt.Sprintf("%.4g", s.Score))
		}
		return t
	}
	t := report.NewTable(left(l.File), right("Probability"))
	list := l.Top
	if list == nil && l.Labels != nil {
		if list = *l.Labels; len(list) == 0 {
			t.Row("none of the labels", "–")
		}
	}
	for _, p := range list {
		t.Row(p.Class, report.Percent(float64(p.Probability)))
	}
	return t
}
