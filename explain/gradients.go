package explain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/tensor"
)

// explained is what the methods by gradients work with.
type explained struct {
	model  *vgg.Model
	im     *preprocess.Image
	o      Options
	probe  *nn.Probe
	until  *nn.Chain // up to the layer of GradCAM
	first  float64   // of the layer's places in the input; see [nn.Chain.Grid]
	step   float64
	result *Result
}

// newExplained checks the options of GradCAM or Saliency and makes the probe.
func newExplained(m *vgg.Model, o Options) (*explained, error) {
	if m.Net.Options().Headless() {
		return nil, vgg.ErrHeadless
	}
	if m.Net.Options().Posterior() == network.NoPosterior {
		return nil, vgg.ErrScores
	}
	if o.Scales == nil {
		o.Scales = []int{m.Preprocess.Resize}
	}
	e := &explained{model: m, o: o, first: 0.5, step: 1, result: &Result{Method: o.Method}}
	layers := []string{nn.OutputLayer}
	if o.Method == GradCAM {
		if err := e.findLayer(); err != nil {
			return nil, err
		}
		layers = append(layers, e.o.Layer)
	}
	var err error
	if e.probe, err = m.Net.Chain().NewProbe(nn.ProbeOptions{Layers: layers, Gradients: true}); err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	return e, nil
}

// GradientBytes is the memory that [Run] takes beside the network for GradCAM or Saliency of a
// picture of w × h pixels: that of the largest pass, of the rescaled pictures, and of the maps
// of the given number of classes. It is an error if the network, the layer or a scale isn't
// one that Run takes.
func GradientBytes(m *vgg.Model, w, h, classes int, o Options) (int64, error) {
	if m == nil || m.Net == nil {
		return 0, vgg.ErrNoNetwork
	}
	if err := o.checkMethod(m); err != nil {
		return 0, err
	}
	if o.Method != GradCAM && o.Method != Saliency {
		return 0, fmt.Errorf("explain: method %q has no gradients, want %s or %s", o.Method, GradCAM, Saliency)
	}
	e, err := newExplained(m, o)
	if err != nil {
		return 0, err
	}
	var most, kept int64
	for _, q := range e.o.Scales {
		sw, sh := m.Preprocess.Fit.Size(w, h, q)
		pass, err := e.passBytes(sw, sh)
		if err != nil {
			return 0, err
		}
		if o.Method == GradCAM {
			shapes, err := e.until.Shapes(sh, sw)
			if err != nil {
				return 0, fmt.Errorf("explain: %w", err)
			}
			if last := shapes[len(shapes)-1]; last.H*last.W == 1 {
				return 0, errOnePlace(e.o.Layer)
			}
		}
		most = max(most, pass)
		kept += 4 * int64(sw) * int64(sh) * int64(3+classes)
	}
	return most + kept, nil
}

// errOnePlace is the error of a layer in which nothing can be told apart.
func errOnePlace(layer string) error {
	return fmt.Errorf("explain: layer %s has a map of one place at this scale: want a layer before it", layer)
}

// passBytes is the memory of a pass over a rescaled picture of w × h pixels.
func (e *explained) passBytes(w, h int) (int64, error) {
	if _, err := e.model.Net.OutputShape(1, h, w); err != nil {
		return 0, fmt.Errorf("explain: the picture rescaled to %d×%d: %w", w, h, err)
	}
	need, err := e.probe.Floats(1, h, w)
	return 4*int64(need) + 24*int64(w)*int64(h), err
}

// gradients runs GradCAM or Saliency.
func gradients(ctx context.Context, m *vgg.Model, im *preprocess.Image, o Options) (*Result, error) {
	if im == nil {
		return nil, errors.New("explain: no picture")
	}
	e, err := newExplained(m, o)
	if err != nil {
		return nil, err
	}
	e.im, o = im, e.o
	// The classes are those of all scales, so the first passes come before the gradients.
	var posteriors, scores [][]float32
	var xs []*tensor.Tensor
	for _, q := range o.Scales {
		x, err := e.input(q)
		if err != nil {
			return nil, err
		}
		s, err := e.forward(ctx, x)
		if err != nil {
			return nil, err
		}
		p := make([]float32, len(s))
		m.Net.Options().Posterior().Of(p, s)
		xs, scores, posteriors = append(xs, x), append(scores, s), append(posteriors, p)
	}
	if e.result.Top, err = classes(m, posteriors, o); err != nil {
		return nil, err
	}
	for i, x := range xs {
		if len(xs) > 1 { // else the last pass was this one
			if _, err := e.forward(ctx, x); err != nil {
				return nil, err
			}
		}
		if err := e.explain(ctx, x, scores[i], o.Scales[i]); err != nil {
			return nil, err
		}
	}
	return e.result, nil
}

// findLayer sets the layer of GradCAM and where its places are.
func (e *explained) findLayer() error {
	chain := e.model.Net.Chain()
	if e.o.Layer == "" {
		for _, l := range chain.Layers() {
			if conv, ok := l.(*nn.Conv); ok && len(conv.Weight.Shape) == 4 {
				e.o.Layer = l.Name()
			}
		}
	}
	e.result.Layer = e.o.Layer
	until, err := chain.Until(e.o.Layer, true)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	if layers := until.Layers(); len(layers) == len(chain.Layers()) {
		return fmt.Errorf("explain: layer %s is the network's output: want a layer before it", e.o.Layer)
	}
	e.until = until
	if e.first, e.step, err = until.Grid(); err != nil {
		return fmt.Errorf("explain: layer %s: %w", e.o.Layer, err)
	}
	return nil
}

// input returns the picture rescaled to Q, as the network takes it.
func (e *explained) input(q int) (*tensor.Tensor, error) {
	s := e.model.Preprocess
	w, h := s.Fit.Size(e.im.W, e.im.H, q)
	need, err := e.passBytes(w, h)
	if err != nil {
		return nil, err
	}
	if err := resources.Fits(fmt.Sprintf("explaining a picture of %d×%d pixels", w, h), need); err != nil {
		return nil, err
	}
	seen, err := preprocess.Resize(e.im, w, h, s.Filter)
	if err != nil {
		return nil, err
	}
	x := tensor.New(1, 3, h, w)
	s.Tensor(x.Data, seen, [3]float32{})
	return x, nil
}

// forward returns the class scores of x, over a class score map their mean.
func (e *explained) forward(ctx context.Context, x *tensor.Tensor) ([]float32, error) {
	var scores []float32
	err := e.probe.Forward(ctx, x, func(layer string, a nn.Maps) error {
		if layer != nn.OutputLayer {
			return nil
		}
		y := a.Planar()
		if !tensor.Finite(y.Data) {
			return vgg.ErrNotFinite
		}
		places := a.H * a.W
		for k := range a.C {
			sum := 0.0
			for _, v := range y.Data[k*places:][:places] {
				sum += float64(v)
			}
			scores = append(scores, float32(sum/float64(places)))
		}
		return nil
	})
	return scores, err
}

// explain adds the maps of x, whose activations the probe holds, to the result.
func (e *explained) explain(ctx context.Context, x *tensor.Tensor, scores []float32, q int) error {
	scale := Scale{Scale: q, Width: x.Shape[3], Height: x.Shape[2], Window: int(2 * e.first), Stride: int(e.step)}
	values := map[int][]float32{}
	for i := range e.result.Top {
		class := &e.result.Top[i]
		var heat []float32
		var err error
		if e.o.Method == Saliency {
			scale.Rows, scale.Cols = scale.Height, scale.Width
			heat, err = e.saliency(ctx, x, class.Index)
		} else {
			heat, err = e.gradCAM(ctx, class.Index, &scale)
		}
		if err != nil {
			return err
		}
		if !tensor.Finite(heat) {
			return fmt.Errorf("explain: the gradient of class %s: %w", class.Class, vgg.ErrNotFinite)
		}
		values[class.Index] = heat
		class.Scores, class.Peaks = append(class.Scores, e.score(scores, class.Index)), append(class.Peaks, slices.Max(heat))
	}
	e.result.Scales, e.result.values = append(e.result.Scales, scale), append(e.result.values, values)
	return nil
}

// opposite tells whether a class is the first of two that one output tells apart. Its score is
// the other's with the opposite sign.
func (e *explained) opposite(class int) bool {
	layers := e.model.Net.Chain().Layers()
	_, binary := layers[len(layers)-1].(*nn.Binary)
	return binary && class == 0
}

// score is the class score whose derivatives are taken.
func (e *explained) score(scores []float32, class int) float32 {
	if e.opposite(class) {
		return -scores[1]
	}
	return scores[class]
}

// seed adds the derivative of a class's score to that of the output.
func (e *explained) seed(da nn.Maps, class int) error {
	d := tensor.New(1, da.C, da.H, da.W)
	places := da.H * da.W
	share := 1 / float32(places)
	if e.opposite(class) {
		class, share = 1, -share
	}
	for i := range places {
		d.Data[class*places+i] = share
	}
	return da.Add(d)
}

// saliency returns the largest absolute derivative of the score at each pixel.
func (e *explained) saliency(ctx context.Context, x *tensor.Tensor, class int) ([]float32, error) {
	dx := tensor.New(x.Shape...)
	err := e.probe.Backward(ctx, dx, func(_ string, _, da nn.Maps) error { return e.seed(da, class) })
	if err != nil {
		return nil, err
	}
	n := x.Shape[2] * x.Shape[3]
	heat := make([]float32, n)
	for i, v := range dx.Data {
		v = float32(math.Abs(float64(v)))
		if !(v <= heat[i%n]) { // NaN stays
			heat[i%n] = v
		}
	}
	return heat, nil
}

// gradCAM returns the weighted mean of the layer's channels, rectified.
func (e *explained) gradCAM(ctx context.Context, class int, scale *Scale) ([]float32, error) {
	var heat []float32
	err := e.probe.Backward(ctx, nil, func(layer string, a, da nn.Maps) error {
		if layer == nn.OutputLayer {
			return e.seed(da, class)
		}
		if a.H*a.W == 1 {
			return errOnePlace(layer)
		}
		scale.Rows, scale.Cols = a.H, a.W
		heat = weighted(a.Planar(), da.Planar())
		return nil
	})
	return heat, err
}

// weighted returns the sum over the channels of a, (1,C,H,W), times the means of da over the
// map, rectified.
func weighted(a, da *tensor.Tensor) []float32 {
	places := a.Shape[2] * a.Shape[3]
	sums := make([]float64, places)
	for c := range a.Shape[1] {
		weight := 0.0
		for _, d := range da.Data[c*places:][:places] {
			weight += float64(d)
		}
		weight /= float64(places)
		for i, v := range a.Data[c*places:][:places] {
			sums[i] += weight * float64(v)
		}
	}
	heat := make([]float32, places)
	for i, s := range sums {
		heat[i] = float32(s)
		if s < 0 {
			heat[i] = 0
		}
	}
	return heat
}
