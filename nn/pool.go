package nn

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// MaxPool is 2×2 max-pooling with stride 2 (§2.1): x is (N,C,H,W), y is
// (N,C,⌊H/2⌋,⌊W/2⌋). Its gradient goes to the first of equal maxima in row order.
type MaxPool struct{ base }

// NewMaxPool returns a max-pooling layer.
func NewMaxPool(name string) *MaxPool { return &MaxPool{base{name}} }

// Out implements [Layer].
func (l *MaxPool) Out(in Shape) (Shape, error) {
	if in.H < 2 || in.W < 2 {
		return Shape{}, fmt.Errorf("nn: %s: input of %d×%d pixels, want at least 2×2", l.name, in.H, in.W)
	}
	return Shape{in.C, in.H / 2, in.W / 2}, nil
}

func (l *MaxPool) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) { w.MaxPool(x, y) }

func (l *MaxPool) backward(w *kernel.Work, x, y, dy, dx *kernel.Act, _ Pass) {
	if dx != nil {
		w.MaxPoolGrad(x, y, dy, dx)
	}
}

// ReLU is the rectification y = max(0, x). Networks fuse it into the convolution or
// the batch normalisation before it.
type ReLU struct{ base }

// NewReLU returns a rectification layer.
func NewReLU(name string) *ReLU { return &ReLU{base{name}} }

func (l *ReLU) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) { w.Relu(x, y) }

func (l *ReLU) backward(w *kernel.Work, x, _, dy, dx *kernel.Act, _ Pass) {
	if dx != nil {
		w.ReluGrad(x, dy, dx)
	}
}
