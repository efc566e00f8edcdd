package perceptual

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/tensor"
)

// Loss is the distance from a picture that stays, with its gradient with respect to the one
// that is compared with it. Only one goroutine at a time may use it.
type Loss struct {
	metric    *Metric
	probe     *nn.Probe
	h, w      int
	reference [][]float32 // of each layer the features divided by their norms, as [row][block][pixel]
}

// NewLoss returns the distance from a reference, (1,3,H,W) preprocessed as the model wants it.
// It is an error if gradients can't be computed through the network's weights, or if they
// take more memory than the process may use.
func (m *Metric) NewLoss(ctx context.Context, reference *tensor.Tensor) (*Loss, error) {
	if reference == nil {
		return nil, errNoPicture
	}
	if len(reference.Shape) != 4 || reference.Shape[0] != 1 {
		return nil, fmt.Errorf("perceptual: a reference of shape %v, want [1 3 H W]", reference.Shape)
	}
	p, err := m.model.Net.Chain().NewProbe(nn.ProbeOptions{Layers: names(m.layers), Gradients: true})
	if err != nil {
		return nil, fmt.Errorf("perceptual: %w", err)
	}
	l := &Loss{metric: m, probe: p, h: reference.Shape[2], w: reference.Shape[3]}
	need, err := p.Floats(1, l.h, l.w)
	if err != nil {
		return nil, fmt.Errorf("perceptual: %w", err)
	}
	if err := resources.Fits(fmt.Sprintf("the gradient of a picture of %d×%d pixels", l.w, l.h), 4*int64(need)); err != nil {
		return nil, err
	}
	err = p.Forward(ctx, reference, func(_ string, a nn.Maps) error {
		kept := make([]float32, a.H*a.Blocks()*a.W*nn.MapBlock)
		a.Parallel(a.H, func(y int) {
			scale := norms(a, 0, y, make([]float32, a.W*nn.MapBlock))
			for b := range a.Blocks() {
				to := kept[(y*a.Blocks()+b)*a.W*nn.MapBlock:]
				for i, v := range a.Row(0, b, y) {
					to[i] = v * float32(scale[i/nn.MapBlock])
				}
			}
		})
		l.reference = append(l.reference, kept)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Gradient returns the distance of x, (1,3,H,W) of the reference's size and preprocessed like
// it, and writes its gradient with respect to x to dx. Where the features of a place are all
// zero, the norm's derivative counts as 0.
func (l *Loss) Gradient(ctx context.Context, x, dx *tensor.Tensor) (float64, error) {
	if x == nil || dx == nil {
		return 0, errNoPicture
	}
	if !slices.Equal(x.Shape, []int{1, 3, l.h, l.w}) {
		return 0, fmt.Errorf("perceptual: a picture of shape %v, want [1 3 %d %d], the reference's", x.Shape, l.h, l.w)
	}
	if err := l.probe.Forward(ctx, x, nil); err != nil {
		return 0, err
	}
	total := 0.0
	err := l.probe.Backward(ctx, dx, func(layer string, a, da nn.Maps) error {
		i := l.metric.index(layer)
		rows := make([]float64, a.H)
		a.Parallel(a.H, func(y int) { rows[y] = l.row(a, da, y, l.reference[i], l.metric.blocks[i]) })
		sum := 0.0
		for _, r := range rows {
			sum += r
		}
		total += sum / float64(a.H*a.W)
		return nil
	})
	if err == nil && (math.IsNaN(total) || math.IsInf(total, 0)) {
		err = fmt.Errorf("perceptual: %w", vgg.ErrNotFinite)
	}
	return total, err
}

// row adds the derivatives of the mean of d with respect to the features of row y to da, and
// returns the sum of d over the row. With g_c = 2·w_c·(a_c/(‖a‖+ε) − b_c) / (H·W):
//
//	∂/∂a_c = g_c/(‖a‖+ε) − a_c · Σ g_j·a_j / (‖a‖·(‖a‖+ε)²)
func (l *Loss) row(a, da nn.Maps, y int, reference, weights []float32) (sum float64) {
	length := a.W * nn.MapBlock
	scale, places := norms(a, 0, y, make([]float32, length)), float64(a.H*a.W)
	g := make([]float32, a.Blocks()*length)
	along := make([]float64, a.W) // Σ g_j·a_j
	for b := range a.Blocks() {
		v, of, to, w := a.Row(0, b, y), reference[(y*a.Blocks()+b)*length:][:length], g[b*length:][:length], weights[b*nn.MapBlock:]
		for i := range v {
			x := i / nn.MapBlock
			d := float64(v[i])*scale[x] - float64(of[i])
			wd := float64(w[i%nn.MapBlock]) * d
			sum += wd * d
			gi := 2 * wd / places
			to[i] = float32(gi)
			along[x] += gi * float64(v[i])
		}
	}
	for x, s := range scale {
		if s > 0.5/eps { // all features are zero
			along[x] = 0
			continue
		}
		along[x] *= s * s / (1/s - eps)
	}
	for b := range a.Blocks() {
		v, from, out := a.Row(0, b, y), g[b*length:][:length], da.Row(0, b, y)
		for i := range v {
			x := i / nn.MapBlock
			out[i] += float32(float64(from[i])*scale[x] - float64(v[i])*along[x])
		}
	}
	return sum
}
