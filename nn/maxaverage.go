package nn

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// GlobalMaxAverage is the maximum of each channel over the map, then the mean of each: x is
// (N,C,H,W), y is (N,2C,1,1). It is fastai's AdaptiveConcatPool2d. The gradient of a maximum
// goes to the first of equal ones in row order.
type GlobalMaxAverage struct{ base }

// NewGlobalMaxAverage returns the layer.
func NewGlobalMaxAverage(name string) *GlobalMaxAverage { return &GlobalMaxAverage{base{name}} }

// Out implements [Layer].
func (l *GlobalMaxAverage) Out(in Shape) (Shape, error) {
	if in.H < 1 || in.W < 1 {
		return Shape{}, fmt.Errorf("nn: %s: input of %d×%d pixels, want at least 1×1", l.name, in.H, in.W)
	}
	return Shape{2 * in.C, 1, 1}, nil
}

// unit returns unit u of an image's vector.
func unit(a *kernel.Act, n, u int) *float32 {
	return &pixel(a, n, u/kernel.Block, 0, 0)[u%kernel.Block]
}

func (l *GlobalMaxAverage) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) {
	eachBlock(w, y, func(n, b int) {
		for k, out := 0, pixel(y, n, b, 0, 0); k < kernel.Block; k++ {
			u := b*kernel.Block + k
			if u >= y.C {
				out[k] = 0
				continue
			}
			c := u % x.C
			most, sum := pixel(x, n, c/kernel.Block, 0, 0)[c%kernel.Block], 0.0
			for r := range x.H {
				for col := range x.W {
					v := pixel(x, n, c/kernel.Block, r, col)[c%kernel.Block]
					sum += float64(v)
					if !(v <= most) { // NaN stays
						most = v
					}
				}
			}
			if out[k] = most; u >= x.C {
				out[k] = float32(sum / float64(x.H*x.W))
			}
		}
	})
}

func (l *GlobalMaxAverage) backward(w *kernel.Work, x, y, dy, dx *kernel.Act, _ Pass) {
	if dx == nil {
		return
	}
	share := 1 / float32(x.H*x.W)
	eachBlock(w, x, func(n, b int) {
		for k := range kernel.Block {
			c, given := b*kernel.Block+k, false
			for r := range x.H {
				for col := range x.W {
					out := &pixel(dx, n, b, r, col)[k]
					if *out = 0; c >= x.C {
						continue
					}
					*out = *unit(dy, n, x.C+c) * share
					if !given && pixel(x, n, b, r, col)[k] == *unit(y, n, c) {
						*out, given = *out+*unit(dy, n, c), true
					}
				}
			}
		}
	})
}
