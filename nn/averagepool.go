package nn

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// AveragePool is the mean of 2×2 pixels with stride 2: x is (N,C,H,W), y is
// (N,C,⌊H/2⌋,⌊W/2⌋). A last row or column without a partner is left out, as [MaxPool] does.
type AveragePool struct{ base }

// NewAveragePool returns an average pooling layer.
func NewAveragePool(name string) *AveragePool { return &AveragePool{base{name}} }

// Out implements [Layer].
func (l *AveragePool) Out(in Shape) (Shape, error) {
	if in.H < 2 || in.W < 2 {
		return Shape{}, fmt.Errorf("nn: %s: input of %d×%d pixels, want at least 2×2", l.name, in.H, in.W)
	}
	return Shape{in.C, in.H / 2, in.W / 2}, nil
}

func (l *AveragePool) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) {
	eachBlock(w, y, func(n, b int) {
		for r := range y.H {
			upper, lower := x.Data[x.At(n, b, 2*r, 0):], x.Data[x.At(n, b, 2*r+1, 0):]
			out := y.Data[y.At(n, b, r, 0):][:y.W*kernel.Block]
			for at := 0; at < len(out); at += kernel.Block {
				a, c := upper[2*at:][:2*kernel.Block], lower[2*at:][:2*kernel.Block]
				for k, to := 0, out[at:][:kernel.Block]; k < kernel.Block; k++ {
					to[k] = (a[k] + a[k+kernel.Block] + c[k] + c[k+kernel.Block]) / 4
				}
			}
		}
	})
}

func (l *AveragePool) backward(w *kernel.Work, _, _, dy, dx *kernel.Act, _ Pass) {
	if dx == nil {
		return
	}
	eachBlock(w, dy, func(n, b int) {
		for r := range dx.H {
			out := dx.Data[dx.At(n, b, r, 0):][:dx.W*kernel.Block]
			if r/2 == dy.H {
				clear(out) // the last row was not pooled
				continue
			}
			in := dy.Data[dy.At(n, b, r/2, 0):][:dy.W*kernel.Block]
			for at := 0; at < len(in); at += kernel.Block {
				to := out[2*at:][:2*kernel.Block]
				for k, d := range in[at:][:kernel.Block] {
					to[k], to[k+kernel.Block] = d/4, d/4
				}
			}
			clear(out[2*len(in):])
		}
	})
}

// AveragePooled returns the chain with an [AveragePool] in the place of every [MaxPool], as
// Gatys et al. (2016) have it. It shares c's parameters, what inference derives from them, and
// c's threads. It is not for training.
func (c *Chain) AveragePooled() *Chain {
	layers := make([]Layer, len(c.layers))
	for i, l := range c.layers {
		if _, ok := l.(*MaxPool); ok {
			l = NewAveragePool(l.Name())
		}
		layers[i] = l
	}
	return c.derived(c.in, layers)
}
