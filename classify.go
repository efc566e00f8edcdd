package vgg

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"strconv"

	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/network"
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
// crop: the image is rescaled to smallest side Preprocess.Resize, or squashed to a square of
// that side (Preprocess.Fit), and the soft-max is taken over the scores of the central square
// of Options.Input pixels.
//
// All classes are returned if there are fewer than k; a k below 1 is an error. Scores that are
// NaN or infinite are [ErrNotFinite], here and wherever a model is asked for classes.
//
// The image is any that [preprocess.FromImage] takes. For a JPEG or WebP file use
// [Model.ClassifyFile] or [Model.ClassifyReader], which decode as training does.
func (m *Model) Classify(im image.Image, k int) ([]Prediction, error) {
	if err := m.checkTop(k); err != nil {
		return nil, err
	}
	p, err := m.Posteriors(im, m.Preprocess.Resize)
	if err != nil {
		return nil, err
	}
	return m.Top(p, k), nil
}

// ClassifyBatch is [Model.Classify] for several images, which go through the network
// together, at most MaxBatch at a time. The results are those of Classify to the bit. An
// error names the image's index.
func (m *Model) ClassifyBatch(ctx context.Context, images []image.Image, k int) ([][]Prediction, error) {
	if err := m.checkTop(k); err != nil {
		return nil, err
	}
	if err := m.checkClassifier(m.Preprocess.Resize); err != nil {
		return nil, err
	}
	side := m.Net.Options().Input
	result := make([][]Prediction, 0, len(images))
	for start := 0; start < len(images); start += MaxBatch {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		batch := images[start:min(start+MaxBatch, len(images))]
		x := tensor.New(len(batch), 3, side, side)
		for i, im := range batch {
			if err := m.centralCrop(x.Data[i*3*side*side:][:3*side*side], im, m.Preprocess.Resize); err != nil {
				return nil, fmt.Errorf("image %d: %w", start+i, err)
			}
		}
		y := tensor.New(len(batch), len(m.Classes), 1, 1)
		if err := m.Net.ForwardContext(ctx, y, x); err != nil {
			return nil, err
		}
		for i := range batch {
			if !tensor.Finite(y.Index(i).Data) {
				return nil, fmt.Errorf("image %d: %w", start+i, ErrNotFinite)
			}
		}
		p, posterior := make([]float32, len(m.Classes)), m.Net.Options().Posterior()
		for i := range batch {
			posterior.Of(p, y.Data[i*len(p):][:len(p)])
			result = append(result, m.Top(p, k))
		}
	}
	return result, nil
}

// MaxBatch is the number of images that [Model.ClassifyBatch] sends through the network at
// once.
const MaxBatch = 32

// ClassifyFile is [Model.Classify] for an image file, which is turned upright by its EXIF
// orientation unless Preprocess.Orient says that pixels are taken as they are stored.
func (m *Model) ClassifyFile(path string, k int) ([]Prediction, error) {
	if err := m.checkTop(k); err != nil {
		return nil, err
	}
	im, err := preprocess.DecodeFile(path, preprocess.DecodeOptions{Orient: m.Preprocess.Orient})
	if err != nil {
		return nil, err
	}
	return m.Classify(im, k)
}

// ClassifyReader is [Model.ClassifyFile] for the image file that r yields.
func (m *Model) ClassifyReader(r io.Reader, k int) ([]Prediction, error) {
	if err := m.checkTop(k); err != nil {
		return nil, err
	}
	im, err := preprocess.DecodeReader(r, preprocess.DecodeOptions{Orient: m.Preprocess.Orient})
	if err != nil {
		return nil, err
	}
	return m.Classify(im, k)
}

// Top names the k best of the posteriors p, best first, and none if k is below 1. A class
// beyond Classes is named by its index, as is each of a nil model.
func (m *Model) Top(p []float32, k int) []Prediction {
	var top []Prediction
	for _, i := range metrics.TopK(p, min(k, len(p))) {
		name := strconv.Itoa(i)
		if m != nil && i < len(m.Classes) {
			name = m.Classes[i]
		}
		top = append(top, Prediction{name, i, p[i]})
	}
	return top
}

// Shown lists the labels whose posteriors are at least their thresholds, by index; nil
// thresholds are [DefaultThreshold] each.
func Shown(posteriors, thresholds []float32) []int {
	var shown []int
	for i, p := range posteriors {
		if thresholds == nil && p >= DefaultThreshold || thresholds != nil && p >= thresholds[i] {
			shown = append(shown, i)
		}
	}
	return shown
}

// Posteriors returns the class posteriors, one for each class, of the central crop of an
// image that is rescaled to smallest side q in pixels, or squashed to q×q. They are those of
// [network.Options.Posterior]: where each class is a label of its own, they don't sum to 1.
func (m *Model) Posteriors(im image.Image, q int) ([]float32, error) {
	if err := m.checkClassifier(q); err != nil {
		return nil, err
	}
	p, err := m.scores(im, q)
	if err != nil {
		return nil, err
	}
	m.Net.Options().Posterior().Of(p, p)
	return p, nil
}

// Scores returns the scores of the classes, from which [Model.Posteriors] follow, for a
// network of any ending.
func (m *Model) Scores(im image.Image, q int) ([]float32, error) {
	if err := m.checkClassifier(q); err != nil && !errors.Is(err, ErrScores) {
		return nil, err
	}
	return m.scores(im, q)
}

func (m *Model) scores(im image.Image, q int) ([]float32, error) {
	side := m.Net.Options().Input
	x := tensor.New(1, 3, side, side)
	if err := m.centralCrop(x.Data, im, q); err != nil {
		return nil, err
	}
	y, err := m.Net.Forward(x)
	if err != nil {
		return nil, err
	}
	if !tensor.Finite(y.Data) {
		return nil, ErrNotFinite
	}
	return y.Data, nil
}

// checkTop reports a model that isn't there, and a number of classes that is none.
func (m *Model) checkTop(k int) error {
	switch {
	case m == nil || m.Net == nil:
		return ErrNoNetwork
	case k < 1:
		return fmt.Errorf("vgg: the %d most probable classes, want 1 or more", k)
	}
	return nil
}

// checkClassifier reports why the network gives no posteriors at scale q.
func (m *Model) checkClassifier(q int) error {
	if m == nil || m.Net == nil {
		return ErrNoNetwork
	}
	switch o := m.Net.Options(); {
	case o.Headless():
		return ErrHeadless
	case m.Localisation != nil:
		return fmt.Errorf("vgg: %w", m.Localisation.refusal(len(m.Classes)))
	case len(m.Classes) != o.Classes:
		return fmt.Errorf("vgg: %d class names, want %d", len(m.Classes), o.Classes)
	case q < o.Input:
		return fmt.Errorf("vgg: scale %d, want at least the network's input side %d", q, o.Input)
	case o.Posterior() == network.NoPosterior:
		return ErrScores
	}
	return nil
}

// centralCrop writes the preprocessed central crop of an image, rescaled to scale q, into x:
// (3,S,S) values for an input of S pixels a side.
func (m *Model) centralCrop(x []float32, im image.Image, q int) error {
	pixels, err := preprocess.FromImage(im)
	if err != nil {
		return err
	}
	s := m.Preprocess
	crop, err := s.CentreWindow(pixels.W, pixels.H, q, m.Net.Options().Input).Cut(pixels, s.Filter)
	if err != nil {
		return err
	}
	m.Preprocess.Tensor(x, crop, [3]float32{})
	return nil
}
