package localize

import (
	"context"
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// MultiCrop is [Locator.Dense] with other windows: the 5×5 crops of [eval.Grid] at each
// scale, which go through the networks one by one. Convolutions see zeros beyond the border of
// a crop, as in training; with the dense protocol they see the neighbourhood of the window.
// The paper compares the two for classification (§3.2). The posterior of the image is the mean
// over the crops, then over the scales.
func (l *Locator) MultiCrop(ctx context.Context, im *preprocess.Image) (*Answer, error) {
	if err := l.checkCall(im); err != nil {
		return nil, err
	}
	if err := l.checkCrops(); err != nil {
		return nil, err
	}
	a := &Answer{locator: l, merged: map[int][]merged{}}
	side := l.Nets[0].Model.Net.Options().Input
	for _, m := range l.models() {
		if s := m.Net.Options().Input; s != side {
			return nil, fmt.Errorf("localize: multi-crop with networks of input sides %d and %d, want one", side, s)
		}
	}
	posteriors := map[int][][]float32{} // by scale, of each crop
	for _, q := range l.Scales() {
		var each [][][]float32 // by classifier
		for _, c := range l.Classifiers {
			scores, _, err := runCrops(ctx, c, im, q)
			if err != nil {
				return nil, err
			}
			order := l.order(c)
			posterior := c.Net.Options().Posterior()
			for _, s := range scores {
				posterior.Of(s, s)
			}
			for i, s := range scores {
				scores[i] = arrange(s, order, 1)
			}
			each = append(each, scores)
		}
		for i := range cropCount(each) {
			var there [][]float32
			for _, scores := range each {
				there = append(there, scores[i])
			}
			posteriors[q] = append(posteriors[q], eval.Mean(there...))
		}
	}
	var means [][]float32
	for _, q := range l.Scales() {
		if p := posteriors[q]; p != nil {
			means = append(means, eval.Mean(p...))
		}
	}
	if means != nil {
		a.Posterior = eval.Mean(means...)
	}
	for _, n := range l.Nets {
		for _, q := range n.UsedScales() {
			outputs, views, err := runCrops(ctx, n.Model, im, q)
			if err != nil {
				return nil, err
			}
			for i, o := range outputs {
				w := window{view: views[i], outputs: o, head: n.Model.Localisation.Regression}
				if p := posteriors[q]; p != nil {
					w.posterior = p[i]
				}
				a.windows = append(a.windows, w)
			}
		}
	}
	return a, nil
}

// checkCrops returns an error where several crops have no meaning for a network.
func (l *Locator) checkCrops() error {
	s := eval.Setting{Protocol: eval.MultiCrop, Scales: l.Scales()}
	for _, m := range l.models() {
		if err := s.CheckFit(m.Preprocess.Fit, m.Net.Options().Input); err != nil {
			return err
		}
	}
	return nil
}

// cropCount returns the number of crops that the first classifier saw; 0 without one.
func cropCount(each [][][]float32) int {
	if len(each) == 0 {
		return 0
	}
	return len(each[0])
}

// models returns all networks.
func (l *Locator) models() []*vgg.Model {
	var all []*vgg.Model
	for _, n := range l.Nets {
		all = append(all, n.Model)
	}
	return append(all, l.Classifiers...)
}

// cropBatch is the number of crops that go through a network together.
const cropBatch = 25

// runCrops runs a network on each crop of the grid over an image that is rescaled to smallest
// side q. It returns the outputs and the view of each crop.
func runCrops(ctx context.Context, m *vgg.Model, im *preprocess.Image, q int) ([][]float32, []dataset.View, error) {
	side := m.Net.Options().Input
	w, h := m.Preprocess.Fit.Size(im.W, im.H, q)
	rescaled, err := preprocess.Resize(im, w, h, m.Preprocess.Filter)
	if err != nil {
		return nil, nil, err
	}
	corners := eval.Grid(w, h, side)
	var outputs [][]float32
	var views []dataset.View
	for from := 0; from < len(corners); from += cropBatch {
		part := corners[from:min(from+cropBatch, len(corners))]
		x := tensor.New(len(part), 3, side, side)
		for i, c := range part {
			crop, err := preprocess.Crop(rescaled, c.X, c.Y, c.X+side, c.Y+side)
			if err != nil {
				return nil, nil, err
			}
			m.Preprocess.Tensor(x.Index(i).Data, crop, [3]float32{})
			views = append(views, dataset.View{ImageW: im.W, ImageH: im.H, W: w, H: h, X: c.X, Y: c.Y, Side: side})
		}
		shape, err := m.Net.OutputShape(len(part), side, side)
		if err != nil {
			return nil, nil, err
		}
		y := tensor.New(shape...)
		if err := m.Net.ForwardContext(ctx, y, x); err != nil {
			return nil, nil, err
		}
		if !tensor.Finite(y.Data) {
			return nil, nil, vgg.ErrNotFinite
		}
		for i := range part {
			outputs = append(outputs, y.Index(i).Data)
		}
	}
	return outputs, views, nil
}
