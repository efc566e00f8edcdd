package nn

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// BatchNorm is batch normalisation over N, H and W of each channel (Ioffe & Szegedy
// 2015), then the rectification if ReLU: x and y are (N,C,H,W).
//
// Training normalises by the batch's mean and biased variance and moves the running
// statistics, which inference uses, by Momentum towards the batch's mean and unbiased
// variance: PyTorch's definition.
type BatchNorm struct {
	base
	ReLU                    bool
	Eps, Momentum           float32
	Gamma, Beta             *Param
	RunningMean, RunningVar *Param
	mean, variance          []float32 // of the last training batch
}

// NewBatchNorm returns a batch normalisation of c channels with γ = 1, β = 0, running
// mean 0 and variance 1, ε = 1e-5 and momentum 0.1.
func NewBatchNorm(name string, c int, relu bool) *BatchNorm {
	l := &BatchNorm{base: base{name}, ReLU: relu, Eps: 1e-5, Momentum: 0.1,
		Gamma: vector(name+".weight", c), Beta: vector(name+".bias", c),
		RunningMean: vector(name+".running_mean", c), RunningVar: vector(name+".running_var", c)}
	l.RunningMean.Running, l.RunningVar.Running = true, true
	for i := range c {
		l.Gamma.Value[i], l.RunningVar.Value[i] = 1, 1
	}
	l.mean, l.variance = make([]float32, len(l.Gamma.Value)), make([]float32, len(l.Gamma.Value))
	return l
}

// Params implements [Layer].
func (l *BatchNorm) Params() []*Param {
	return []*Param{l.Gamma, l.Beta, l.RunningMean, l.RunningVar}
}

// Out implements [Layer].
func (l *BatchNorm) Out(in Shape) (Shape, error) {
	if c := l.Gamma.Len(); in.C != c {
		return Shape{}, fmt.Errorf("nn: %s: input of %d channels, want %d", l.name, in.C, c)
	}
	return in, nil
}

func (l *BatchNorm) norm(train bool) kernel.Norm {
	nm := kernel.Norm{Eps: l.Eps, Gamma: l.Gamma.Value, Beta: l.Beta.Value, Mean: l.RunningMean.Value, Var: l.RunningVar.Value}
	if train {
		nm.Mean, nm.Var = l.mean, l.variance
	}
	return nm
}

func (l *BatchNorm) forward(w *kernel.Work, x, y *kernel.Act, p Pass) {
	w.NormForward(l.norm(p.Train), x, y, l.ReLU, p.Train)
	if !p.Train {
		return
	}
	count := float32(x.N * x.H * x.W)
	unbias := count / max(1, count-1)
	for i := range x.C {
		l.RunningMean.Value[i] += l.Momentum * (l.mean[i] - l.RunningMean.Value[i])
		l.RunningVar.Value[i] += l.Momentum * (l.variance[i]*unbias - l.RunningVar.Value[i])
	}
}

func (l *BatchNorm) backward(w *kernel.Work, x, y, dy, dx *kernel.Act, _ Pass) {
	w.NormBackward(l.norm(true), x, y, dy, dx, l.Gamma.Grad, l.Beta.Grad, l.ReLU)
}
