package explain

import (
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

// saliencyShare is the share of a saliency map's values that are drawn below the brightest
// colour. Single pixels stand far above the others.
const saliencyShare = 0.995

// Heatmap lays the maps over the picture im. name is the picture's, and network the weights'.
func (r *Result) Heatmap(im *preprocess.Image, name, network string) report.Heatmap {
	h := report.Heatmap{Title: name, W: im.W, H: im.H, Pix: im.Pix}
	switch r.Method {
	case GradCAM:
		h.Subtitle = fmt.Sprintf("Grad-CAM of layer %s by %s.", r.Layer, network)
		h.Legend = []string{"0", "largest", "what at a place speaks for", "the class, as a share of the", "largest value of the map"}
	case Saliency:
		h.Subtitle = fmt.Sprintf("Saliency by %s: how much a pixel changes the score of the class.", network)
		h.Legend = []string{"0", "large", "derivative of the class score", "by the pixel; one pixel in 200", "has the brightest colour"}
	default:
		h.Subtitle = fmt.Sprintf("Class score maps by %s: windows of %d×%d pixels of the rescaled photograph, %d pixels apart.", network, r.Scales[0].Window, r.Scales[0].Window, r.Scales[0].Stride)
	}
	for _, s := range r.Scales {
		unit := "windows"
		switch r.Method {
		case GradCAM:
			unit = "places"
		case Saliency:
			unit = "pixels"
		}
		h.Columns = append(h.Columns, fmt.Sprintf("Q = %d: %d×%d %s", s.Scale, s.Cols, s.Rows, unit))
	}
	for _, class := range r.Top {
		row := report.HeatRow{Name: class.Class, Share: report.Percent(float64(class.Probability))}
		for i, s := range r.Scales {
			values := r.Map(class.Index, i)
			heat := report.Heat{
				W: float64(s.Width), H: float64(s.Height), First: float64(s.Window) / 2, Step: float64(s.Stride), Rows: s.Rows, Cols: s.Cols,
				Values: values, Framed: r.Method == ScoreMap,
			}
			if r.Method == ScoreMap {
				heat.Caption = fmt.Sprintf("dense: %s, best window: %s", report.Percent(float64(class.AtScale[i])), report.Percent(float64(slices.Max(values))))
			} else {
				heat.Values = r.drawn(values)
				heat.Caption = fmt.Sprintf("class score %.4g, largest value %.3g", class.Scores[i], class.Peaks[i])
			}
			row.Heats = append(row.Heats, heat)
		}
		h.Rows = append(h.Rows, row)
	}
	return h
}

// drawn returns values as shares of the largest one or, of a saliency map, of one of the
// largest.
func (r *Result) drawn(values []float32) []float32 {
	top := slices.Max(values)
	if r.Method == Saliency {
		sorted := slices.Sorted(slices.Values(values))
		if high := sorted[int(math.Ceil(saliencyShare*float64(len(sorted))))-1]; high > 0 { // else only a few pixels matter
			top = high
		}
	}
	shares := make([]float32, len(values))
	if top > 0 {
		for i, v := range values {
			shares[i] = min(v/top, 1)
		}
	}
	return shares
}
