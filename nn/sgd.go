package nn

import "github.com/verydeep/vgg/internal/kernel"

// SGD is mini-batch gradient descent with momentum and weight decay (§3.1) in
// PyTorch's form: v = momentum·v + (g + decay·w), w −= rate·v. It holds the momentum v
// of every learnt parameter, which starts at zero.
type SGD struct {
	work     *kernel.Work
	params   []*Param
	velocity [][]float32 // in the packed order of each parameter
}

// NewSGD returns the optimiser of the chain's learnt parameters.
func NewSGD(c *Chain) *SGD {
	s := &SGD{work: kernel.NewWork(c.team)}
	for _, p := range c.Params() {
		if !p.Running {
			s.params = append(s.params, p)
			s.velocity = append(s.velocity, kernel.Alloc(p.packed))
		}
	}
	return s
}

// Step updates every parameter from its gradient.
func (s *SGD) Step(rate, momentum, decay float32) {
	for i, p := range s.params {
		s.work.SGD(p.Value, s.velocity[i], p.Grad, rate, momentum, decay)
		p.Changed()
	}
}
