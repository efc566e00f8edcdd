package explain

import (
	"slices"

	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

// Boxes draws the boxes of the first classes that are shown over the picture im. thin draws
// all of them with thin lines, as those of windows before merging.
func Boxes(im *preprocess.Image, shown []localize.Shown, classes int, thin bool) report.BoxImage {
	b := report.BoxImage{W: im.W, H: im.H, Pix: im.Pix}
	for _, s := range shown {
		if s.Rank >= classes {
			continue
		}
		label := ""
		if s.First {
			label = s.Class
			if s.Probability != nil {
				label += " " + report.Percent(float64(*s.Probability))
			}
		}
		b.Boxes = append(b.Boxes, report.DrawnBox{Box: s.Box, Label: label, Tone: s.Rank, Thin: thin || !s.First})
	}
	slices.Reverse(b.Boxes) // the best one on top
	return b
}
