package eval

import (
	"context"
	"errors"
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/tensor"
)

// OutputMap is the output of a network run densely over an image rescaled to one scale.
// The output at row i and column j is that of the window of Window×Window pixels whose
// upper left corner is at (j·Stride, i·Stride).
type OutputMap struct {
	Scale  int // Q
	W, H   int // size of the rescaled image, pixels
	Window int // side of a window, pixels
	Stride int // distance of neighbouring windows, pixels
	OH, OW int // rows and columns
	// Outputs is (K,OH,OW): output by output, rows from top to bottom.
	Outputs []float32
}

// ScoreMap is the class score map of an image rescaled to one scale (§3.2), as
// posteriors: at each place those of the scores of the window there.
type ScoreMap struct {
	Scale  int // Q
	W, H   int // size of the rescaled image, pixels
	Window int // side of a window, pixels
	Stride int // distance of neighbouring windows, pixels
	OH, OW int // rows and columns
	// Posteriors is (K,OH,OW): class by class, rows from top to bottom.
	Posteriors []float32
	// Posterior is the image's at this scale: the posteriors of the map's mean over space.
	Posterior []float32
}

// ErrPooled is the error of asking for the class score map of a network that has none.
var ErrPooled = errors.New("eval: a class score map without a second place: the network's head pools the whole image")

// ScoreMaps returns the class score maps of an image at several scales. The error of scores
// that are not finite is [vgg.ErrNotFinite].
func ScoreMaps(ctx context.Context, m *vgg.Model, im *preprocess.Image, scales []int) ([]ScoreMap, error) {
	if m == nil || m.Net == nil {
		return nil, fmt.Errorf("eval: %w", vgg.ErrNoNetwork)
	}
	if m.Net.Options().Posterior() == network.NoPosterior {
		return nil, fmt.Errorf("eval: %w", vgg.ErrScores)
	}
	outputs, err := OutputMaps(ctx, m, im, scales)
	if err != nil {
		return nil, err
	}
	posterior := m.Net.Options().Posterior()
	var maps []ScoreMap
	for _, o := range outputs {
		k := len(o.Outputs) / (o.OH * o.OW)
		s := ScoreMap{Scale: o.Scale, W: o.W, H: o.H, Window: o.Window, Stride: o.Stride, OH: o.OH, OW: o.OW, Posterior: make([]float32, k)}
		spatialMean(s.Posterior, o.Outputs)
		posterior.Of(s.Posterior, s.Posterior)
		s.Posteriors = posteriorMap(posterior, o.Outputs, k)
		maps = append(maps, s)
	}
	return maps, nil
}

// OutputMaps runs a network densely over an image at several scales. An image that needs
// more than [DefaultMemory] is an error, and outputs that are not finite are [vgg.ErrNotFinite].
func OutputMaps(ctx context.Context, m *vgg.Model, im *preprocess.Image, scales []int) ([]OutputMap, error) {
	if m == nil || m.Net == nil {
		return nil, fmt.Errorf("eval: %w", vgg.ErrNoNetwork)
	}
	if im == nil {
		return nil, errors.New("eval: no image to make a map of")
	}
	side := m.Net.Options().Input
	if err := (Setting{Dense, scales, false}).Validate(side); err != nil {
		return nil, err
	}
	d := designOf(m)
	limits, err := newLimits(d, true, resources.Resources{})
	if err != nil {
		return nil, err
	}
	stride, err := strideOf(m.Net)
	if err != nil {
		return nil, err
	}
	var maps []OutputMap
	for _, q := range scales {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		w, h := m.Preprocess.Fit.Size(im.W, im.H, q)
		if need := 12 * float64(w) * float64(h); need > float64(limits.pass) {
			return nil, fmt.Errorf("eval: %d×%d pixels rescaled to %d×%d take %.0f MiB, want at most %s", im.W, im.H, w, h, need/(1<<20), mebibytes(limits.pass))
		}
		if need, err := d.passBytes(1, h, w); err != nil {
			return nil, err
		} else if need > limits.pass {
			return nil, fmt.Errorf("eval: %d×%d pixels rescaled to %d×%d take %s, want at most %s", im.W, im.H, w, h, mebibytes(need), mebibytes(limits.pass))
		}
		seen, err := preprocess.Resize(im, w, h, m.Preprocess.Filter)
		if err != nil {
			return nil, err
		}
		x := tensor.New(1, 3, h, w)
		m.Preprocess.Tensor(x.Data, seen, [3]float32{})
		shape, err := m.Net.OutputShape(1, h, w)
		if err != nil {
			return nil, err
		}
		y := tensor.New(shape...)
		if err := m.Net.ForwardContext(ctx, y, x); err != nil {
			return nil, err
		}
		if !tensor.Finite(y.Data) {
			return nil, vgg.ErrNotFinite
		}
		maps = append(maps, OutputMap{Scale: q, W: w, H: h, Window: side, Stride: stride, OH: y.Dim(2), OW: y.Dim(3), Outputs: y.Data})
	}
	return maps, nil
}

// posteriorMap returns the posteriors at every place: scores and the result are (K,places).
func posteriorMap(posterior network.Posterior, scores []float32, classes int) []float32 {
	places := len(scores) / classes
	out := make([]float32, len(scores))
	p := make([]float32, classes)
	for at := range places {
		for k := range p {
			p[k] = scores[k*places+at]
		}
		posterior.Of(p, p)
		for k, v := range p {
			out[k*places+at] = v
		}
	}
	return out
}

// strideOf returns the distance, in pixels, of neighbouring places of the class score map:
// 2 to the number of poolings.
func strideOf(net *network.Network) (int, error) {
	side := net.Options().Input
	for stride := 1; stride <= 1<<14; stride *= 2 {
		shape, err := net.OutputShape(1, side+stride, side)
		if err != nil {
			return 0, err
		}
		if shape[2] > 1 {
			return stride, nil
		}
	}
	return 0, ErrPooled
}
