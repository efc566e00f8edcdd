package cli

import (
	"fmt"

	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

type transferPredictCommand struct {
	SVM string `arg:"" name:"svm" help:"SVMs (vgg transfer train)."`
	picturesArg
	Top int `default:"5" placeholder:"K" help:"Number of answers for each image (5)."`
	describeFlags
	jsonFlag
}

func (transferPredictCommand) Help() string {
	return `Prints the classes with the highest SVM scores for each image, best first. Images are described like the training images: by the weights, layer and scales that the SVMs' file names.

  - A score is the distance from the class's plane in margins; above 0 the image is of the class.
  - An unreadable image has its error in the place of its classes.
  - Images are turned by their EXIF data, or taken as they are stored, as those were that the file describes.

Examples:

    vgg transfer predict svm.safetensors photo.jpg
    vgg transfer predict svm.safetensors photos --weights D --json` + exitHelp
}

// predictLine is a line of `vgg transfer predict --json`.
type predictLine struct {
	File  string                `json:"file"`
	Top   []transfer.Prediction `json:"top,omitempty"`
	Error string                `json:"error,omitempty"`
}

func (c *transferPredictCommand) Run(e *environment) error {
	if c.Top < 1 {
		return usagef("--top %d, want at least 1", c.Top)
	}
	s, err := transfer.OpenSVM(e.ctx, c.SVM)
	if err != nil {
		return err
	}
	pictures, err := c.describe(e, c.SVM, s.Header, c.Images)
	if err != nil {
		return err
	}
	bad := 0
	for _, p := range pictures {
		line := predictLine{File: p.file}
		if p.err != nil {
			bad++
			line.Error = p.err.Error()
		} else {
			line.Top = s.Top(p.x, c.Top)
		}
		if err := e.printImage(c.JSON, line, line.File, line.Error, line.table); err != nil {
			return err
		}
	}
	return unreadable(bad, len(pictures))
}

// table shows the classes as text.
func (l predictLine) table() *report.Table {
	t := report.NewTable(left(l.File), right("Score"))
	for _, p := range l.Top {
		t.Row(p.Class, fmt.Sprintf("%.3f", p.Score))
	}
	return t
}
