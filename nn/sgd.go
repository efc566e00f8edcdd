package nn

import (
	"math"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

// SGD is mini-batch gradient descent with momentum and weight decay (§3.1) in
// PyTorch's form: v = momentum·v + (g + decay·w), w −= rate·v. It holds the momentum v
// of every learnt parameter. Momenta start at zero.
type SGD struct {
	work     *kernel.Work
	params   []*Param
	velocity map[*Param][]float32 // in the packed order of each parameter
	task     sgdTask
	now      update // the current step
}

// Update is the values of one step of [SGD].
type Update struct {
	Rate, Momentum float32
	Decay          float32 // weight decay
	DecayBiases    bool    // biases, and batch normalisation's scales and shifts, decay too
	Nesterov       bool    // w −= rate·(g + decay·w + momentum·v), v being the new one
	// ClipNorm is the greatest allowed norm of all gradients together. Larger gradients are
	// scaled down to it before weight decay, as by PyTorch's clip_grad_norm_. 0: no limit.
	ClipNorm float32
}

// fused reports whether weights can be updated within the backward pass.
func (u Update) fused() bool { return !u.Nesterov && u.ClipNorm == 0 }

// decay is the weight decay of p.
func (u Update) decay(p *Param) float32 {
	if len(p.Shape) > 1 || u.DecayBiases {
		return u.Decay
	}
	return 0
}

// rate is the learning rate of p.
func (u Update) rate(p *Param) float32 {
	if p.RateFactor != 0 {
		return u.Rate * p.RateFactor
	}
	return u.Rate
}

// NewSGD returns the optimiser of the chain's learnt parameters.
func NewSGD(c *Chain) *SGD {
	s := &SGD{work: kernel.NewWork(c.team.Load()), velocity: map[*Param][]float32{}}
	for _, p := range c.Params() {
		if p.Learnt() {
			s.params = append(s.params, p)
			s.velocity[p] = kernel.Alloc(p.packed)
		}
	}
	return s
}

// Params lists the parameters that are learnt.
func (s *SGD) Params() []*Param { return s.params }

// Momentum is the momentum of a learnt parameter, in its packed order.
func (s *SGD) Momentum(p *Param) []float32 { return s.velocity[p] }

// Step updates every parameter from its gradient.
func (s *SGD) Step(u Update) {
	if u.ClipNorm > 0 {
		// PyTorch's 1e-6 keeps the quotient finite.
		if norm := s.norm(); norm+1e-6 > float64(u.ClipNorm) {
			s.scale(float32(float64(u.ClipNorm) / (norm + 1e-6)))
		}
	}
	for _, p := range s.params {
		s.step(p, u)
	}
}

func (s *SGD) step(p *Param, u Update) {
	if u.Nesterov {
		s.nesterov(p, u)
	} else {
		s.work.SGD(p.Value, s.velocity[p], p.Grad, u.rate(p), u.Momentum, u.decay(p))
	}
	p.Changed()
}

// update is a step of SGD that the backward pass takes, weight by weight.
type update struct {
	sgd *SGD
	Update
}

func (u *update) of(p *Param) kernel.Update {
	return kernel.Update{Weights: p.Value, Velocity: u.sgd.velocity[p], Rate: u.rate(p), Momentum: u.Momentum, Decay: u.decay(p)}
}

// StepSGD is [Chain.ZeroGrad], [Training.Step] and [SGD.Step] in one, with the same bits.
// Unless all gradients are needed at once (Nesterov's momentum, clipping), it updates the
// fully connected layers, most of a network's weights, within the backward pass, so that
// their gradients take no memory. If the loss is not finite, all parameters stay as they
// are.
func (t *Training) StepSGD(x *tensor.Tensor, labels []int, p Pass, s *SGD, u Update) (float64, error) {
	if err := t.checkLabels(x, labels); err != nil {
		return 0, err
	}
	return t.stepSGD(x, labels, nil, p, s, u)
}

// StepLossSGD is [Training.StepSGD] with another loss; see [Training.StepLoss].
func (t *Training) StepLossSGD(x *tensor.Tensor, loss Loss, p Pass, s *SGD, u Update) (float64, error) {
	return t.stepSGD(x, nil, loss, p, s, u)
}

func (t *Training) stepSGD(x *tensor.Tensor, labels []int, loss Loss, p Pass, s *SGD, u Update) (float64, error) {
	fused := u.fused()
	p.update = nil
	if fused {
		s.now = update{s, u}
		p.update = &s.now
	}
	for _, q := range s.params {
		if fused && q.used() {
			q.fresh = true
		} else {
			q.zeroGrad()
		}
	}
	sum, err := t.run(x, labels, loss, p)
	if err != nil || math.IsNaN(sum) || math.IsInf(sum, 0) {
		return sum, err
	}
	if !fused {
		s.Step(u)
		return sum, nil
	}
	for _, q := range s.params {
		if !q.used() {
			s.step(q, u)
			p.clock.lap("biases", updateColumn)
		}
	}
	return sum, nil
}

// sgdTask is work that has no kernel, in parts of sgdLen values of one parameter.
type sgdTask struct {
	what       sgdWork
	w, v, g    []float32
	factor     float32   // of scale
	squares    []float64 // of norm: the sum of every part
	rate, m, d float32
}

type sgdWork int

const (
	nesterovStep sgdWork = iota
	sumSquares
	scaleGrads
)

// sgdLen is the number of values of a part; the bits of the norm depend on it.
const sgdLen = 1 << 15

func (s *SGD) parts(n int) int { return (n + sgdLen - 1) / sgdLen }

func (s *SGD) nesterov(p *Param, u Update) {
	s.task = sgdTask{what: nesterovStep, w: p.Value, v: s.velocity[p], g: p.Grad, rate: u.rate(p), m: u.Momentum, d: u.decay(p)}
	s.work.Team.Run(s.parts(len(p.Grad)), &s.task)
}

// norm is the Euclidean norm of all gradients, summed in float64 in a fixed order.
func (s *SGD) norm() float64 {
	var total float64
	for _, p := range s.params {
		s.task = sgdTask{what: sumSquares, g: p.Grad, squares: make([]float64, s.parts(len(p.Grad)))}
		s.work.Team.Run(len(s.task.squares), &s.task)
		for _, v := range s.task.squares {
			total += v
		}
	}
	return math.Sqrt(total)
}

// scale multiplies all gradients.
func (s *SGD) scale(factor float32) {
	for _, p := range s.params {
		s.task = sgdTask{what: scaleGrads, g: p.Grad, factor: factor}
		s.work.Team.Run(s.parts(len(p.Grad)), &s.task)
	}
}

// Part implements kernel.Task.
func (t *sgdTask) Part(_, i int) {
	from, to := i*sgdLen, min(len(t.g), (i+1)*sgdLen)
	g := t.g[from:to]
	switch t.what {
	case sumSquares:
		var sum [4]float64 // four sums hide the addition's latency
		for len(g) >= 4 {
			for j, v := range g[:4] {
				sum[j] += float64(v) * float64(v)
			}
			g = g[4:]
		}
		for j, v := range g {
			sum[j] += float64(v) * float64(v)
		}
		t.squares[i] = sum[0] + sum[1] + (sum[2] + sum[3])
	case scaleGrads:
		for j := range g {
			g[j] *= t.factor
		}
	case nesterovStep:
		w, v := t.w[from:to][:len(g)], t.v[from:to][:len(g)]
		for j, dw := range g {
			dw += t.d * w[j]
			v[j] = t.m*v[j] + dw
			w[j] -= t.rate * (dw + t.m*v[j])
		}
	}
}
