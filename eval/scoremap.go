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
	// Whole is the output for the whole image, (K), of a network whose head pools it; nil of
	// others, also of one whose head takes maps of windows alone (L2 on the map).
	Whole []float32
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
	// Posterior is the image's at this scale: the posteriors of the map's mean over space, or
	// of the whole image if the network's head pools that.
	Posterior []float32
}

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
		if o.Whole != nil {
			copy(s.Posterior, o.Whole)
		} else {
			spatialMean(s.Posterior, o.Outputs)
		}
		posterior.Of(s.Posterior, s.Posterior)
		s.Posteriors = posteriorMap(posterior, o.Outputs, k)
		maps = append(maps, s)
	}
	return maps, nil
}

// OutputMaps runs a network densely over an image at several scales. Where the head takes the
// whole map of the last convolutions (GAP, or L2 on the map), it takes that of each window. An image that needs
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
	run, err := newDense(m.Net)
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
			return nil, fmt.Errorf("eval: %d×%d pixels rescaled to %d×%d take %.0f MiB, want at most %s: a smaller scale takes less", im.W, im.H, w, h, need/(1<<20), mebibytes(limits.pass))
		}
		if need, err := run.bytes(h, w, passFloats); err != nil {
			return nil, err
		} else if need > limits.pass {
			return nil, fmt.Errorf("eval: %d×%d pixels rescaled to %d×%d take %s, want at most %s: a smaller scale takes less", im.W, im.H, w, h, mebibytes(need), mebibytes(limits.pass))
		}
		seen, err := preprocess.Resize(im, w, h, m.Preprocess.Filter)
		if err != nil {
			return nil, err
		}
		x := tensor.New(1, 3, h, w)
		m.Preprocess.Tensor(x.Data, seen, [3]float32{})
		out, err := run.outputs(ctx, x)
		if err != nil {
			return nil, err
		}
		if !tensor.Finite(out.Outputs) || !tensor.Finite(out.Whole) {
			return nil, vgg.ErrNotFinite
		}
		out.Scale, out.W, out.H, out.Window = q, w, h, side
		maps = append(maps, out)
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
