// Package stylise paints the content of one picture in the style of another (Gatys, Ecker &
// Bethge 2016, "Image style transfer using convolutional neural networks"): it changes a
// picture until a network's features of it are near those of the content, and the Gram
// matrices of its features near those of the style.
//
// With F the features of the picture at a layer, P those of the content, and G and A the Gram
// matrices, divided by the number of places, of the picture and of the style, the loss is
//
//	α · Σ (F−P)² / Σ P², mean over the content layers
//	β · Σ (G−A)² / Σ A², mean over the style layers
//	γ · Σ (p−q)² / (255² · N), over the N pairs of neighbouring values p, q of the picture
//
// This is the paper's loss: its weights of the terms are α and β divided by what does not
// depend on the picture, so that they mean the same for weights of any scale.
package stylise

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

// Optimiser changes a picture by the gradients of the loss.
type Optimiser string

const (
	// LBFGS is the method of limited-memory BFGS (Liu & Nocedal 1989), as the paper uses it.
	LBFGS Optimiser = "lbfgs"
	// Adam is that of Kingma & Ba (2015).
	Adam Optimiser = "adam"
)

// Options says how to stylise. Begin with [DefaultOptions].
type Options struct {
	// Size is the longer side of the picture in pixels. The style is rescaled to the same.
	Size int
	// ContentLayers and StyleLayers are by the names that [network.Network.Until] takes; their
	// features are those after the rectification.
	ContentLayers, StyleLayers []string
	Content, Style, Variation  float64 // α, β, γ
	// AveragePooling puts average poolings in the place of the network's maximum poolings, which
	// the paper found to give better pictures.
	AveragePooling bool
	Optimiser      Optimiser
	Rate           float64 // of Adam, in grey levels
	Iterations     int
	// Start is the picture to begin with; nil: the content. It is rescaled to the result's size.
	Start *preprocess.Image
	// OnIteration is called after each iteration, if it isn't nil. Its error ends the run.
	OnIteration func(Iteration) error
}

// DefaultOptions returns the paper's layers of configurations D and E, and weights that suit
// photographs and paintings.
func DefaultOptions() Options {
	return Options{
		Size: 512, ContentLayers: []string{"conv4_2"}, StyleLayers: []string{"conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"},
		Content: 1, Style: 5, Variation: 20, AveragePooling: true, Optimiser: LBFGS, Rate: 5, Iterations: 300,
	}
}

// Loss has the terms of the loss, with their weights.
type Loss struct {
	Total     float64 `json:"loss"`
	Content   float64 `json:"content"`
	Style     float64 `json:"style"`
	Variation float64 `json:"variation"`
}

// Iteration is the state of a run after an iteration.
type Iteration struct {
	Done, Of int
	Loss     Loss // of the picture before the iteration
	run      *run
}

// Picture returns the picture of the least loss so far, of those before an iteration.
func (i Iteration) Picture() *preprocess.Image { return i.run.picture() }

// Result is the picture of the least loss, with the losses of the pictures before each iteration.
type Result struct {
	Picture *preprocess.Image `json:"-"`
	Loss    Loss              `json:"final"` // of the picture, before its pixels are rounded
	Losses  []Loss            `json:"losses"`
}

// Validate reports the first option out of range.
func (o Options) Validate() error {
	switch {
	case o.Size < 16 || o.Size > 1<<14:
		return fmt.Errorf("stylise: size %d, want 16 to %d pixels", o.Size, 1<<14)
	case o.Iterations < 1:
		return fmt.Errorf("stylise: %d iterations, want at least 1", o.Iterations)
	case o.Optimiser != LBFGS && o.Optimiser != Adam:
		return fmt.Errorf("stylise: optimiser %q, want %s or %s", o.Optimiser, LBFGS, Adam)
	case o.Optimiser == Adam && !(o.Rate > 0):
		return fmt.Errorf("stylise: rate %v of Adam, want above 0", o.Rate)
	case len(o.ContentLayers)+len(o.StyleLayers) == 0:
		return errors.New("stylise: no layers")
	}
	for what, v := range map[string]float64{"content": o.Content, "style": o.Style, "variation": o.Variation} {
		if !(v >= 0) || math.IsInf(v, 0) {
			return fmt.Errorf("stylise: weight %v of the %s, want at least 0", v, what)
		}
	}
	return nil
}

// Run stylises a picture: the result is the best of those before each iteration and the one after
// the last. When ctx ends it returns the best so far and the cause, as it does with OnIteration's
// error. It is an error if the network has no such layers, if gradients take more memory than
// the process may use, or if the network's features of the first picture are not finite.
func Run(ctx context.Context, m *vgg.Model, content, style *preprocess.Image, o Options) (*Result, error) {
	if m == nil || m.Net == nil {
		return nil, vgg.ErrNoNetwork
	}
	if content == nil || style == nil {
		return nil, errors.New("stylise: no picture")
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r, err := newRun(ctx, m, content, style, o)
	if err != nil {
		return nil, err
	}
	step := r.adam()
	if o.Optimiser == LBFGS {
		step = r.lbfgs()
	}
	result := &Result{}
	for i := range o.Iterations {
		loss, err := step(ctx)
		if err == nil {
			result.Losses = append(result.Losses, loss)
			if o.OnIteration != nil {
				err = o.OnIteration(Iteration{i + 1, o.Iterations, loss, r})
			}
		}
		if err != nil {
			result.Picture, result.Loss = r.picture(), r.bestLoss
			return result, err
		}
	}
	_, err = r.evaluate(ctx)
	if r.failed(err) {
		err = nil
	}
	result.Picture, result.Loss = r.picture(), r.bestLoss
	return result, err
}

// Size returns the size of a picture of w×h whose longer side becomes size.
func Size(w, h, size int) (int, int) {
	if w >= h {
		return size, max(1, int(math.Round(float64(size)*float64(h)/float64(w))))
	}
	return max(1, int(math.Round(float64(size)*float64(w)/float64(h)))), size
}

// chain returns the part of the network that the layers need.
func chain(m *vgg.Model, o Options) (*nn.Chain, []string, error) {
	var layers []string
	for _, l := range append(slices.Clone(o.ContentLayers), o.StyleLayers...) {
		if !slices.Contains(layers, l) {
			layers = append(layers, l)
		}
	}
	c := m.Net.Chain()
	for _, l := range layers {
		until, err := c.Until(l, true)
		if err != nil {
			return nil, nil, fmt.Errorf("stylise: %w", err)
		}
		if _, _, err := until.Grid(); err != nil {
			return nil, nil, fmt.Errorf("stylise: layer %s: %w", l, err)
		}
	}
	if o.AveragePooling {
		c = c.AveragePooled()
	}
	return c, layers, nil
}

// fits is an error if gradients of a picture of h × w take more memory than there is.
func fits(p *nn.Probe, w, h int) error {
	need, err := p.Floats(1, h, w)
	if err != nil {
		return fmt.Errorf("stylise: content and style are rescaled to a longer side of %d pixels, which makes one %d×%d: too small for layers %s (%w): a larger size, or a picture that is less long", max(w, h), w, h, strings.Join(p.Layers(), ", "), err)
	}
	return resources.Fits(fmt.Sprintf("stylising a picture of %d×%d pixels", w, h), 4*int64(need)+int64(8*historyLen+64)*3*int64(w)*int64(h))
}
