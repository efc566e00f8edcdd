package nn

import (
	"math"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

// SGD is mini-batch gradient descent with momentum and weight decay (§3.1) in
// PyTorch's form: v = momentum·v + (g + decay·w), w −= rate·v. It holds the momentum v
// of every learnt parameter, which starts at zero.
type SGD struct {
	work     *kernel.Work
	params   []*Param
	velocity map[*Param][]float32 // in the packed order of each parameter
}

// NewSGD returns the optimiser of the chain's learnt parameters.
func NewSGD(c *Chain) *SGD {
	s := &SGD{work: kernel.NewWork(c.team), velocity: map[*Param][]float32{}}
	for _, p := range c.Params() {
		if !p.Running {
			s.params = append(s.params, p)
			s.velocity[p] = kernel.Alloc(p.packed)
		}
	}
	return s
}

// Step updates every parameter from its gradient.
func (s *SGD) Step(rate, momentum, decay float32) {
	for _, p := range s.params {
		s.step(p, rate, momentum, decay)
	}
}

func (s *SGD) step(p *Param, rate, momentum, decay float32) {
	s.work.SGD(p.Value, s.velocity[p], p.Grad, rate, momentum, decay)
	p.Changed()
}

// update is a step of SGD on its way through the backward pass.
type update struct {
	sgd                   *SGD
	rate, momentum, decay float32
}

func (u *update) of(p *Param) kernel.Update {
	return kernel.Update{Weights: p.Value, Velocity: u.sgd.velocity[p], Rate: u.rate, Momentum: u.momentum, Decay: u.decay}
}

// StepSGD is [Chain.ZeroGrad], [Training.Step] and [SGD.Step] in one, with the same
// bits: the fully connected layers, most of a network's weights, are updated within the
// backward pass, so that their gradients take no memory and are never moved. A loss that
// is not finite leaves all parameters as they are.
func (t *Training) StepSGD(x *tensor.Tensor, labels []int, p Pass, s *SGD, rate, momentum, decay float32) (float64, error) {
	for _, q := range s.params {
		if !q.connected() {
			q.zeroGrad()
		}
	}
	p.update = &update{s, rate, momentum, decay}
	loss, err := t.run(x, labels, p)
	if err != nil || math.IsNaN(loss) || math.IsInf(loss, 0) {
		return loss, err
	}
	for _, q := range s.params {
		if !q.connected() {
			s.step(q, rate, momentum, decay)
		}
	}
	return loss, nil
}
