package stylise

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// run is a picture that is being stylised.
type run struct {
	o        Options
	spec     preprocess.Spec
	probe    *nn.Probe
	contents map[string]*features // P
	grams    map[string]*gram     // A
	h, w     int
	pixels   []float32 // the picture in grey levels, (3,H,W), not clipped
	gradient []float32 // of the loss with respect to it
	x, dx    *tensor.Tensor
	best     []float32 // the picture of the least loss; nil before the first evaluation
	bestLoss Loss
}

// features are those of the content at a layer, as [block][row][pixel].
type features struct {
	values  []float32
	squares float64 // Σ P²
}

// gram is the Gram matrix of the style at a layer, divided by the number of places.
type gram struct {
	values  []float32
	squares float64 // Σ A²
}

func newRun(ctx context.Context, m *vgg.Model, content, style *preprocess.Image, o Options) (*run, error) {
	c, layers, err := chain(m, o)
	if err != nil {
		return nil, err
	}
	probe, err := c.NewProbe(nn.ProbeOptions{Layers: layers, Gradients: true})
	if err != nil {
		return nil, fmt.Errorf("stylise: %w", err)
	}
	r := &run{o: o, spec: m.Preprocess, probe: probe, contents: map[string]*features{}, grams: map[string]*gram{}}
	r.w, r.h = Size(content.W, content.H, o.Size)
	sw, sh := Size(style.W, style.H, o.Size)
	for _, size := range [][2]int{{r.w, r.h}, {sw, sh}} {
		if err := fits(probe, size[0], size[1]); err != nil {
			return nil, err
		}
	}
	err = r.show(ctx, style, sw, sh, func(layer string, a nn.Maps) error {
		if slices.Contains(o.StyleLayers, layer) {
			r.grams[layer] = newGram(a)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = r.show(ctx, content, r.w, r.h, func(layer string, a nn.Maps) error {
		if slices.Contains(o.ContentLayers, layer) {
			r.contents[layer] = newFeatures(a)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if o.Start == nil {
		o.Start = content
	}
	im, err := preprocess.Resize(o.Start, r.w, r.h, preprocess.Bicubic)
	if err != nil {
		return nil, err
	}
	r.x, r.dx = tensor.New(1, 3, r.h, r.w), tensor.New(1, 3, r.h, r.w)
	r.pixels, r.gradient = make([]float32, len(r.x.Data)), make([]float32, len(r.x.Data))
	n := r.w * r.h
	for i, v := range im.Pix {
		r.pixels[i%3*n+i/3] = float32(v)
	}
	return r, nil
}

// show runs a picture, rescaled, through the network.
func (r *run) show(ctx context.Context, im *preprocess.Image, w, h int, visit func(layer string, a nn.Maps) error) error {
	im, err := preprocess.Resize(im, w, h, preprocess.Bicubic)
	if err != nil {
		return err
	}
	x := tensor.New(1, 3, h, w)
	r.spec.Tensor(x.Data, im, [3]float32{})
	return r.probe.Forward(ctx, x, visit)
}

// sum adds what f returns for each block and row of a, in their order.
func sum(a nn.Maps, f func(b, y int) float64) float64 {
	rows := make([]float64, a.Blocks()*a.H)
	a.Parallel(len(rows), func(i int) { rows[i] = f(i/a.H, i%a.H) })
	total := 0.0
	for _, v := range rows {
		total += v
	}
	return total
}

func newFeatures(a nn.Maps) *features {
	length := a.W * nn.MapBlock
	f := &features{values: make([]float32, a.Blocks()*a.H*length)}
	f.squares = sum(a, func(b, y int) (s float64) {
		row := a.Row(0, b, y)
		copy(f.values[(b*a.H+y)*length:], row)
		for _, v := range row {
			s += float64(v) * float64(v)
		}
		return s
	})
	return f
}

func newGram(a nn.Maps) *gram {
	g := &gram{values: make([]float32, a.C*a.C)}
	a.Gram(0, g.values)
	places := float32(a.H * a.W)
	for i := range g.values {
		g.values[i] /= places
		g.squares += float64(g.values[i]) * float64(g.values[i])
	}
	return g
}

// least keeps a sum that is divided by away from zero.
const least = 1e-30

// evaluate computes the loss of the picture and its gradient, and keeps the best picture.
func (r *run) evaluate(ctx context.Context) (Loss, error) {
	l, err := r.compute(ctx)
	if err == nil && (r.best == nil || l.Total < r.bestLoss.Total) {
		r.best, r.bestLoss = append(r.best[:0], r.pixels...), l
	}
	return l, err
}

// failed tells whether an error of evaluate is that of a step from a better picture.
func (r *run) failed(err error) bool { return r.best != nil && errors.Is(err, vgg.ErrNotFinite) }

// back returns to the best picture, of which it computes the gradient again.
func (r *run) back(ctx context.Context) (Loss, error) {
	copy(r.pixels, r.best)
	return r.compute(ctx)
}

// compute computes the loss of the picture and its gradient.
func (r *run) compute(ctx context.Context) (Loss, error) {
	n := r.w * r.h
	s := r.spec
	for i, v := range r.pixels {
		c := i / n
		r.x.Data[i] = (v*s.Scale - s.Mean[c]) / s.Std[c]
	}
	if err := r.probe.Forward(ctx, r.x, nil); err != nil {
		return Loss{}, err
	}
	var l Loss
	err := r.probe.Backward(ctx, r.dx, func(layer string, a, da nn.Maps) error {
		if f := r.contents[layer]; f != nil {
			l.Content += r.content(f, a, da)
		}
		if g := r.grams[layer]; g != nil {
			l.Style += r.style(g, a, da)
		}
		return nil
	})
	if err != nil {
		return l, err
	}
	for i, d := range r.dx.Data {
		r.gradient[i] = d * s.Scale / s.Std[i/n]
	}
	l.Variation = r.variation()
	l.Total = l.Content + l.Style + l.Variation
	if math.IsNaN(l.Total) || math.IsInf(l.Total, 0) {
		return l, fmt.Errorf("stylise: %w", vgg.ErrNotFinite)
	}
	return l, nil
}

// content returns the content's term of a layer, and adds its derivatives to da.
func (r *run) content(f *features, a, da nn.Maps) float64 {
	length, share := a.W*nn.MapBlock, r.o.Content/float64(len(r.o.ContentLayers))/math.Max(f.squares, least)
	return share * sum(a, func(b, y int) (s float64) {
		of, to := f.values[(b*a.H+y)*length:][:length], da.Row(0, b, y)
		for i, v := range a.Row(0, b, y) {
			d := v - of[i]
			s += float64(d) * float64(d)
			to[i] += float32(2*share) * d
		}
		return s
	})
}

// style returns the style's term of a layer, and adds its derivatives to da.
func (r *run) style(g *gram, a, da nn.Maps) float64 {
	share := r.o.Style / float64(len(r.o.StyleLayers)) / math.Max(g.squares, least)
	matrix := make([]float32, len(g.values))
	a.Gram(0, matrix)
	places, total := float64(a.H*a.W), 0.0
	for i, v := range matrix {
		d := float64(v)/places - float64(g.values[i])
		total += d * d
		matrix[i] = float32(4 * share * d / places)
	}
	da.AddProduct(0, matrix, a)
	return share * total
}

// variation returns the term of neighbouring pixels, and adds its derivatives to the gradient.
func (r *run) variation() float64 {
	if r.o.Variation == 0 {
		return 0
	}
	pairs := 3 * (r.h*(r.w-1) + (r.h-1)*r.w)
	share, total := r.o.Variation/(255*255*float64(pairs)), 0.0
	add := func(i, j int) {
		d := float64(r.pixels[j]) - float64(r.pixels[i])
		total += d * d
		r.gradient[j] += float32(2 * share * d)
		r.gradient[i] -= float32(2 * share * d)
	}
	for c := range 3 {
		for y := range r.h {
			for x := range r.w {
				i := (c*r.h+y)*r.w + x
				if x+1 < r.w {
					add(i, i+1)
				}
				if y+1 < r.h {
					add(i, i+r.w)
				}
			}
		}
	}
	return share * total
}

// picture returns the best picture, clipped to 0 … 255: the first one before any evaluation.
func (r *run) picture() *preprocess.Image {
	n, pixels := r.w*r.h, r.best
	if pixels == nil {
		pixels = r.pixels
	}
	im := &preprocess.Image{W: r.w, H: r.h, Pix: make([]uint8, 3*n)}
	for i, v := range pixels {
		im.Pix[i%n*3+i/n] = uint8(math.Round(math.Min(math.Max(float64(v), 0), 255)))
	}
	return im
}
