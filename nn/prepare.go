package nn

import "github.com/verydeep/vgg/internal/kernel"

// Prepare computes what inference on n images of h × w keeps of the weights in other
// forms, on all of the chain's threads. The first pass would do so too, but on its own
// threads: chains that share the weights ([Chain.Share]) would wait for one another.
func (c *Chain) Prepare(n, h, w int) error {
	steps, shapes, err := c.inferring(n, h, w)
	if err != nil {
		return err
	}
	work := kernel.NewWork(c.team)
	for i, s := range steps {
		if _, ok := s.layer.(*Conv); !ok {
			continue
		}
		conv := s.conv()
		if p, ok := conv.winograd(n, shapes[i], c.Threads(), false); ok {
			conv.filter(work, p)
		}
	}
	return nil
}
