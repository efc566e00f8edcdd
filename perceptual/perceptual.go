// Package perceptual measures how different two pictures of one size look, by a network's
// features: LPIPS (Zhang et al. 2018, "The unreasonable effectiveness of deep features as a
// perceptual metric") and plain distances of features. A distance is a loss too, with its
// gradient with respect to a picture.
//
// At each place of a layer, the C features a and b of the two pictures are divided by their
// norms, and compared channel by channel:
//
//	d = Σ w_c · (a_c/(‖a‖+ε) − b_c/(‖b‖+ε))²,  ε = 1e-10
//
// The distance is the sum over the layers of the mean of d over the layer's places.
package perceptual

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/tensor"
)

// Layer is a layer whose features are compared, after its rectification.
type Layer struct {
	Name string
	// Weights are w, one for each channel. nil: each is 1.
	Weights []float32
}

// Metric is a distance of pictures. Any number of goroutines may use one at once.
type Metric struct {
	model  *vgg.Model
	layers []Layer     // first to last
	blocks [][]float32 // their weights, padded to whole blocks

	mu    sync.Mutex
	freed []*nn.Probe // without gradients
}

// New returns the distance by layers of a model's network. nil stands for [LPIPS], whose
// network is configuration D. It is an error if the network has no such layer, or if a layer
// has not a weight for each channel.
func New(m *vgg.Model, layers []Layer) (*Metric, error) {
	if m == nil || m.Net == nil {
		return nil, vgg.ErrNoNetwork
	}
	if layers == nil {
		layers = LPIPS()
	}
	metric := &Metric{model: m}
	probe, err := m.Net.Chain().NewProbe(nn.ProbeOptions{Layers: names(layers)})
	if err != nil {
		return nil, fmt.Errorf("perceptual: %w", err)
	}
	for _, name := range probe.Layers() {
		l := layers[slices.IndexFunc(layers, func(l Layer) bool { return l.Name == name })]
		until, err := m.Net.Until(name, true)
		if err != nil {
			return nil, err
		}
		shape, err := until.OutputShape(1, m.Net.Options().Input, m.Net.Options().Input)
		if err != nil {
			return nil, fmt.Errorf("perceptual: layer %s: %w", name, err)
		}
		if l.Weights != nil && len(l.Weights) != shape[1] {
			return nil, &WeightsError{Layer: name, Weights: len(l.Weights), Channels: shape[1]}
		}
		block := make([]float32, (shape[1]+nn.MapBlock-1)/nn.MapBlock*nn.MapBlock)
		for c := range shape[1] {
			block[c] = 1
		}
		copy(block, l.Weights)
		metric.layers, metric.blocks = append(metric.layers, l), append(metric.blocks, block)
	}
	metric.freed = append(metric.freed, probe)
	return metric, nil
}

// WeightsError is the error of a layer that has not as many channels as weights.
type WeightsError struct {
	Layer             string
	Weights, Channels int
}

func (e *WeightsError) Error() string {
	return fmt.Sprintf("perceptual: layer %s: %d weights for %d channels", e.Layer, e.Weights, e.Channels)
}

func names(layers []Layer) []string {
	all := make([]string, len(layers))
	for i, l := range layers {
		all[i] = l.Name
	}
	return all
}

// Layers lists the layers, first to last.
func (m *Metric) Layers() []string { return names(m.layers) }

// Floats is the memory, in floats, of comparing n pairs of pictures of h × w at once.
func (m *Metric) Floats(n, h, w int) (int, error) {
	p, err := m.take()
	if err != nil {
		return 0, err
	}
	defer m.give(p)
	floats, err := p.Floats(2*n, h, w)
	return floats + 2*n*3*h*w, err
}

// least is the side of the smallest picture that comes through the layers.
func (m *Metric) least() int {
	side := 1
	for side < mostLeast {
		if _, err := m.Floats(1, side, side); err == nil {
			break
		}
		side *= 2
	}
	return side
}

// mostLeast bounds the side that is looked for: a network's poolings halve it at most so often.
const mostLeast = 1 << 10

// Distance is what two pictures differ by.
type Distance struct {
	Total  float64   `json:"distance"`
	Layers []float64 `json:"layers"` // of each layer, first to last: their sum is Total
	// Map is (H,W): the sum over the layers of d, each interpolated linearly between the
	// centres of its places, as the package lpips does. It is nil unless it is asked for.
	Map []float32 `json:"-"`
}

// Compare returns the distances of N pairs of pictures. Pair i is picture 2i and picture 2i+1
// of pairs, (2N,3,H,W) preprocessed as the model wants it. withMaps says whether the distances
// have maps. Compare ends after the layer at work when ctx does. It is an error if the
// pictures are too small for the network, or if features are not finite.
func (m *Metric) Compare(ctx context.Context, pairs *tensor.Tensor, withMaps bool) ([]Distance, error) {
	if pairs == nil {
		return nil, errNoPicture
	}
	if len(pairs.Shape) != 4 || pairs.Shape[0]%2 != 0 || pairs.Shape[0] == 0 {
		return nil, fmt.Errorf("perceptual: pairs of shape %v, want [2N 3 H W]", pairs.Shape)
	}
	n, h, w := pairs.Shape[0]/2, pairs.Shape[2], pairs.Shape[3]
	need, err := m.Floats(n, h, w)
	if err != nil {
		return nil, fmt.Errorf("perceptual: %w", err)
	}
	if err := resources.Fits(fmt.Sprintf("comparing pictures of %d×%d pixels", w, h), 4*int64(need)); err != nil {
		return nil, err
	}
	p, err := m.take()
	if err != nil {
		return nil, err
	}
	defer m.give(p)
	out := make([]Distance, n)
	for i := range out {
		if withMaps {
			out[i].Map = make([]float32, h*w)
		}
	}
	err = p.Forward(ctx, pairs, func(layer string, a nn.Maps) error {
		places := m.places(a, m.blocks[m.index(layer)])
		for i := range out {
			d := places[i*a.H*a.W:][:a.H*a.W]
			sum := 0.0
			for _, v := range d {
				sum += float64(v)
			}
			mean := sum / float64(len(d))
			if math.IsNaN(mean) || math.IsInf(mean, 0) {
				return fmt.Errorf("perceptual: layer %s: %w", layer, vgg.ErrNotFinite)
			}
			out[i].Layers = append(out[i].Layers, mean)
			out[i].Total += mean
			if withMaps {
				addInterpolated(out[i].Map, h, w, d, a.H, a.W)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (m *Metric) index(layer string) int {
	return slices.IndexFunc(m.layers, func(l Layer) bool { return l.Name == layer })
}

// take returns a probe that no other call uses.
func (m *Metric) take() (*nn.Probe, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.freed); n > 0 {
		p := m.freed[n-1]
		m.freed = m.freed[:n-1]
		return p, nil
	}
	return m.model.Net.Chain().NewProbe(nn.ProbeOptions{Layers: names(m.layers)})
}

// mostFreed is the number of probes that are kept.
const mostFreed = 4

func (m *Metric) give(p *nn.Probe) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.freed) < mostFreed {
		m.freed = append(m.freed, p)
	}
}

// errNoPicture is the error of a nil tensor.
var errNoPicture = errors.New("perceptual: no picture")
