package weights

import (
	"strings"

	"github.com/verydeep/vgg/internal/pickle"
)

// torchNormalize is a module that normalises the model's input: torchvision's or kornia's
// Normalize. Its state dict has nothing of it; a whole module does.
type torchNormalize struct {
	Source    string
	Mean, Std []float64 // a number for each channel
}

// noteNormalize notes what a module of class Normalize does: its numbers, if they are in the
// pickle itself, or its tensors, which PyTorch leaves out of the state dict.
func (c *stateCollector) noteNormalize(prefix string, m *pickle.Object) error {
	if !strings.HasPrefix(m.Class.Name, "Normali") {
		return nil
	}
	n := torchNormalize{Source: strings.TrimSuffix(prefix, ".") + " " + m.Class.Name}
	for name, to := range map[string]*[]float64{"mean": &n.Mean, "std": &n.Std} {
		if t, ok := m.Attributes.Get(name).(*torchTensor); ok {
			if err := c.add(prefix+name, t); err != nil {
				return err
			}
		}
		for _, x := range pickle.Items(m.Attributes.Get(name)) {
			switch x := x.(type) {
			case float64:
				*to = append(*to, x)
			case int64:
				*to = append(*to, float64(x))
			}
		}
	}
	if len(n.Mean) == 3 && len(n.Std) == 3 {
		c.normalize = append(c.normalize, n)
	}
	buffers, _ := m.Attributes.Get("_buffers").(*pickle.Dict)
	for _, name := range pickle.Items(m.Attributes.Get("_non_persistent_buffers_set")) {
		word, _ := name.(string)
		if t, ok := buffers.Get(word).(*torchTensor); ok && (word == "mean" || word == "std") {
			if err := c.add(prefix+word, t); err != nil {
				return err
			}
		}
	}
	return nil
}
