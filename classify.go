package vgg

import (
	"fmt"
	"os"

	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// Prediction is a class with its probability.
type Prediction struct {
	Class       string  `json:"class"`
	Index       int     `json:"index"`
	Probability float32 `json:"probability"`
}

// Classify returns the k most probable classes of an image, best first, by its central
// crop: the image is rescaled isotropically to smallest side Preprocess.Resize, and the
// soft-max is taken over the scores of the central square of Options.Input pixels.
func (m *Model) Classify(im *preprocess.Image, k int) ([]Prediction, error) {
	p, err := m.Posteriors(im, m.Preprocess.Resize)
	if err != nil {
		return nil, err
	}
	return m.Top(p, k), nil
}

// Top names the k best of the posteriors p, best first.
func (m *Model) Top(p []float32, k int) []Prediction {
	var top []Prediction
	for _, i := range metrics.TopK(p, min(k, len(p))) {
		top = append(top, Prediction{m.Classes[i], i, p[i]})
	}
	return top
}

// Posteriors returns the soft-max class posteriors, one for each class, of the central
// crop of an image that is rescaled isotropically to smallest side q in pixels.
func (m *Model) Posteriors(im *preprocess.Image, q int) ([]float32, error) {
	if m.Net.Options().Headless() {
		return nil, ErrHeadless
	}
	if m.Localisation != nil {
		return nil, fmt.Errorf("vgg: %w", m.Localisation.refusal(len(m.Classes)))
	}
	side := m.Net.Options().Input
	if q < side {
		return nil, fmt.Errorf("vgg: scale %d, want at least the network's input side %d", q, side)
	}
	w, h := preprocess.ShortSide(im.W, im.H, q)
	x0, y0 := preprocess.CentreCrop(w, h, side)
	crop, err := preprocess.ResizeRegion(im, w, h, m.Preprocess.Filter, x0, y0, x0+side, y0+side)
	if err != nil {
		return nil, err
	}
	x := tensor.New(1, 3, side, side)
	m.Preprocess.Tensor(x.Data, crop, [3]float32{})
	y, err := m.Net.Forward(x)
	if err != nil {
		return nil, err
	}
	p := make([]float32, len(y.Data))
	metrics.Softmax(p, y.Data)
	return p, nil
}

// ClassifyFile is [Model.Classify] for an image file, which is turned upright by its EXIF
// orientation.
func (m *Model) ClassifyFile(path string, k int) ([]Prediction, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{AutoOrient: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m.Classify(im, k)
}
