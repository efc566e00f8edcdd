package nn

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// BatchNorm is batch normalisation over N, H and W of each channel (Ioffe & Szegedy
// 2015), then the rectification if ReLU: x and y are (N,C,H,W).
//
// Training normalises by the batch's mean and biased variance. It moves the running
// statistics, which inference uses, towards the batch's mean and unbiased variance, by the
// share Momentum of the difference, as PyTorch does.
type BatchNorm struct {
	base
	ReLU                    bool
	Eps, Momentum           float32
	Gamma, Beta             *Param
	RunningMean, RunningVar *Param
	mean, variance          []float32 // of the last training batch
	unbias                  float32   // factor that makes that variance unbiased
	sink                    []float32 // gets the gradient of a frozen parameter
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

// frozen reports whether training uses the running statistics.
func (l *BatchNorm) frozen() bool { return l.Gamma.Frozen && l.Beta.Frozen }

func (l *BatchNorm) forward(w *kernel.Work, x, y *kernel.Act, p Pass) {
	batch := p.Train && !l.frozen()
	w.NormForward(l.norm(batch), x, y, l.ReLU, batch)
	if !batch {
		return
	}
	count := float32(x.N * x.H * x.W)
	l.unbias = count / max(1, count-1)
	if p.HoldStatistics {
		return
	}
	for i := range x.C {
		l.move(i, l.mean[i], l.variance[i]*l.unbias)
	}
	l.moved()
}

// moved records that the running statistics have changed.
func (l *BatchNorm) moved() {
	l.RunningMean.Changed()
	l.RunningVar.Changed()
}

// move moves the running statistics of a channel towards those of a batch.
func (l *BatchNorm) move(i int, mean, variance float32) {
	l.RunningMean.Value[i] += l.Momentum * (mean - l.RunningMean.Value[i])
	l.RunningVar.Value[i] += l.Momentum * (variance - l.RunningVar.Value[i])
}

func (l *BatchNorm) backward(w *kernel.Work, x, y, dy, dx *kernel.Act, p Pass) {
	if l.frozen() || p.fixed {
		if dx != nil {
			w.NormBackwardFixed(l.norm(false), y, dy, dx, l.ReLU)
		}
		return
	}
	w.NormBackward(l.norm(true), x, y, dy, dx, l.gradOf(l.Gamma), l.gradOf(l.Beta), l.ReLU)
}

// gradOf returns the memory that gets the gradient of p.
func (l *BatchNorm) gradOf(p *Param) []float32 {
	if p.Frozen {
		return l.sink
	}
	return p.Grad
}

func (l *BatchNorm) prepareTraining() {
	if l.sink = nil; l.Gamma.Frozen != l.Beta.Frozen {
		l.sink = make([]float32, len(l.Gamma.Value))
	}
}

// normalisations lists the layers of batch normalisation whose statistics are the batch's.
func (c *Chain) normalisations() []*BatchNorm {
	var all []*BatchNorm
	for _, l := range c.layers {
		if bn, ok := l.(*BatchNorm); ok && !bn.frozen() {
			all = append(all, bn)
		}
	}
	return all
}

// StatisticsLen is the number of running statistics that training moves: a mean and a
// variance of every channel that is normalised by its batch. If it is 0, what training
// computes for an image does not depend on the other images of the pass.
func (c *Chain) StatisticsLen() int {
	n := 0
	for _, l := range c.normalisations() {
		n += 2 * l.Gamma.Len()
	}
	return n
}

// AddStatistics adds weight times the means and unbiased variances of the last pass to
// sum, layer after layer. The length of sum is [Chain.StatisticsLen].
func (t *Training) AddStatistics(sum []float64, weight float64) {
	for _, l := range t.chain.normalisations() {
		n := l.Gamma.Len()
		for i := range n {
			sum[i] += weight * float64(l.mean[i])
			sum[n+i] += weight * float64(l.variance[i]*l.unbias)
		}
		sum = sum[2*n:]
	}
}

// MoveStatistics moves the running statistics towards those of a batch, in the order of
// [Training.AddStatistics].
func (c *Chain) MoveStatistics(batch []float64) {
	for _, l := range c.normalisations() {
		n := l.Gamma.Len()
		for i := range n {
			l.move(i, float32(batch[i]), float32(batch[n+i]))
		}
		l.moved()
		batch = batch[2*n:]
	}
}
