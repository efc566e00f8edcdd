// Package explain shows where in a picture a network sees its most probable classes: the
// class score maps of the dense evaluation (§3.2) at several scales.
package explain

import (
	"context"
	"fmt"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

// Result has the most probable classes of a picture, by the mean over the scales, and their
// maps. Its JSON keys are those of `vgg explain --json`.
type Result struct {
	Top    []Class `json:"top"`
	Scales []Scale `json:"scales"`
	// Maps are the class score maps of all classes, one for each scale.
	Maps []eval.ScoreMap `json:"-"`
}

// Class is a class with its probabilities.
type Class struct {
	Class       string    `json:"class"`
	Index       int       `json:"index"`
	Probability float32   `json:"probability"` // mean over the scales
	AtScale     []float32 `json:"at_scale"`    // of the map's mean, at each scale
}

// Scale is the geometry of the map at one scale: the value at row i and column j is that of
// the window of Window×Window pixels at (j·Stride, i·Stride) of the rescaled picture.
type Scale struct {
	Scale  int `json:"scale"`
	Width  int `json:"width"` // of the rescaled picture
	Height int `json:"height"`
	Rows   int `json:"rows"` // of the class score map
	Cols   int `json:"cols"`
	Window int `json:"window"`
	Stride int `json:"stride"`
}

// DefaultScales are the scales where none are given: once, one and a half times and twice
// what the weights tell.
func DefaultScales(m *vgg.Model) []int {
	q := m.Preprocess.Resize
	return []int{q, q * 3 / 2, 2 * q}
}

// Run computes the maps of a picture at the scales, nil for DefaultScales, and lists the top
// most probable classes, or else the given ones, by their indices.
func Run(ctx context.Context, m *vgg.Model, im *preprocess.Image, scales []int, top int, classes ...int) (*Result, error) {
	if m == nil || m.Net == nil {
		return nil, vgg.ErrNoNetwork
	}
	if scales == nil {
		scales = DefaultScales(m)
	}
	maps, err := eval.ScoreMaps(ctx, m, im, scales)
	if err != nil {
		return nil, err
	}
	posteriors := make([][]float32, len(maps))
	for i, s := range maps {
		posteriors[i] = s.Posterior
	}
	r := &Result{Maps: maps}
	mean := eval.Mean(posteriors...)
	list := m.Top(mean, top)
	if len(classes) > 0 {
		all := m.Top(mean, len(mean))
		list = nil
		for _, c := range classes {
			i := slices.IndexFunc(all, func(p vgg.Prediction) bool { return p.Index == c })
			if i < 0 {
				return nil, fmt.Errorf("explain: class %d, want 0 to %d", c, len(mean)-1)
			}
			list = append(list, all[i])
		}
	}
	for _, p := range list {
		class := Class{Class: p.Class, Index: p.Index, Probability: p.Probability}
		for _, s := range maps {
			class.AtScale = append(class.AtScale, s.Posterior[p.Index])
		}
		r.Top = append(r.Top, class)
	}
	for _, s := range maps {
		r.Scales = append(r.Scales, Scale{s.Scale, s.W, s.H, s.OH, s.OW, s.Window, s.Stride})
	}
	return r, nil
}

// Map returns the map of a class, by its index, at the i-th scale: row by row.
func (r *Result) Map(class, i int) []float32 {
	n := r.Maps[i].OH * r.Maps[i].OW
	return r.Maps[i].Posteriors[class*n : (class+1)*n]
}

// Heatmap lays the maps over the picture im. name is the picture's, and network the weights'.
func (r *Result) Heatmap(im *preprocess.Image, name, network string) report.Heatmap {
	h := report.Heatmap{
		Title:    name,
		Subtitle: fmt.Sprintf("Class score maps by %s: windows of %d×%d pixels of the rescaled photograph, %d pixels apart.", network, r.Scales[0].Window, r.Scales[0].Window, r.Scales[0].Stride),
		W:        im.W, H: im.H, Pix: im.Pix,
	}
	for _, s := range r.Scales {
		h.Columns = append(h.Columns, fmt.Sprintf("Q = %d: %d×%d windows", s.Scale, s.Cols, s.Rows))
	}
	for _, class := range r.Top {
		row := report.HeatRow{Name: class.Class, Share: report.Percent(float64(class.Probability))}
		for i, s := range r.Scales {
			values := r.Map(class.Index, i)
			row.Heats = append(row.Heats, report.Heat{
				W: float64(s.Width), H: float64(s.Height), First: float64(s.Window) / 2, Step: float64(s.Stride), Rows: s.Rows, Cols: s.Cols,
				Values:  values,
				Caption: fmt.Sprintf("dense: %s, best window: %s", report.Percent(float64(class.AtScale[i])), report.Percent(float64(slices.Max(values)))),
			})
		}
		h.Rows = append(h.Rows, row)
	}
	return h
}
