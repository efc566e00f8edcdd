package nn

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// Conv is a convolution with stride 1 and, if ReLU, the rectification after it (§2.1):
//
//	x is (N,C,H,W); w is (K,C,R,R); b is (K); y is (N,K,H+2P−R+1,W+2P−R+1)
//
// A fully connected layer is a convolution whose R is the side of its input and whose
// P is 0; on a larger input it gives a class score map (§3.2).
type Conv struct {
	name         string
	g            kernel.Conv
	ReLU         bool
	Weight, Bias *Param
}

// NewConv returns a convolution of c in-channels and k out-channels with r × r filters
// and a border of pad zeros. All parameters are zero; the
// weight's memory is taken when the layer becomes part of a chain.
func NewConv(name string, c, k, r, pad int, relu bool) *Conv {
	g := kernel.Conv{C: c, K: k, R: r, Pad: pad}
	return &Conv{name: name, g: g, ReLU: relu,
		Weight: &Param{Name: name + ".weight", Shape: []int{k, c, r, r}, packed: g.WeightLen(), pack: g.PackRows, unpack: g.UnpackRows},
		Bias:   vector(name+".bias", k),
	}
}

// NewFC returns a fully connected layer over inputs of c channels and side × side
// pixels. Its weight has the shape (k, c·side·side), in-units in (C,H,W) order.
func NewFC(name string, c, side, k int, relu bool) *Conv {
	l := NewConv(name, c, k, side, 0, relu)
	l.Weight.Shape = []int{k, c * side * side}
	return l
}

// Name implements [Layer].
func (l *Conv) Name() string { return l.name }

// Params implements [Layer].
func (l *Conv) Params() []*Param { return []*Param{l.Weight, l.Bias} }

// Out implements [Layer].
func (l *Conv) Out(in Shape) (Shape, error) {
	if in.C != l.g.C {
		return Shape{}, fmt.Errorf("nn: %s: input of %d channels, want %d", l.name, in.C, l.g.C)
	}
	oh, ow := l.g.Out(in.H, in.W)
	if oh < 1 || ow < 1 {
		return Shape{}, fmt.Errorf("nn: %s: input of %d×%d pixels, want at least %d×%d", l.name, in.H, in.W, l.g.R-2*l.g.Pad, l.g.R-2*l.g.Pad)
	}
	return Shape{l.g.K, oh, ow}, nil
}

func (l *Conv) pad() int             { return l.g.Pad }
func (l *Conv) gradPad(in Shape) int { return l.g.GradPad(in.H, in.W) }

func (l *Conv) scratch(n int, in Shape, threads int, train, data bool) kernel.Scratch {
	s := l.g.ForwardScratch(n, in.H, in.W, threads)
	if train {
		s = s.Max(l.g.BackwardScratch(n, in.H, in.W, threads, data))
	}
	return s
}

func (l *Conv) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) {
	w.ConvForward(l.g, x, l.Weight.Value, l.Bias.Value, l.ReLU, y)
}

func (l *Conv) backward(w *kernel.Work, x, y, dy, dx *kernel.Act, _ Pass) {
	w.BiasGrad(y, dy, l.ReLU, l.Bias.Grad)
	w.ConvBackwardWeights(l.g, x, dy, l.Weight.Grad)
	if dx != nil {
		w.ConvBackwardData(l.g, dy, l.Weight.Value, dx)
	}
}
