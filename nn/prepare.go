package nn

import "github.com/verydeep/vgg/internal/kernel"

// Prepare computes the transformed weights that inference on n images of h × w keeps, on
// all threads of the chain. Otherwise the first pass computes them on its own threads, and
// chains that share the weights ([Chain.Share]) wait for it. It is an error if a layer
// can't run on its input.
func (c *Chain) Prepare(n, h, w int) error {
	if c.runner != nil {
		return nil // nothing is kept on the CPU
	}
	work := kernel.NewWork(c.team.Load())
	steps, shapes, err := c.inferenceSteps(n, h, w, work.Team.Threads())
	if err != nil {
		return err
	}
	for i, s := range steps {
		if l, ok := s.layer.(*Conv); !ok || l.passing {
			continue
		}
		conv := s.conv()
		if p, ok := conv.winograd(n, shapes[i], work.Team.Threads(), false); ok {
			conv.filter(work, p)
		}
	}
	return nil
}
