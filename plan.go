package vgg

import "github.com/verydeep/vgg/nn"

// Plan returns the layers of the network that o describes, as a chain without memory for
// the weights: it tells shapes and what passes would take, and can't run.
func Plan(o Options) (*nn.Chain, error) {
	_, layers, err := o.layers()
	if err != nil {
		return nil, err
	}
	return nn.Plan(3, layers...), nil
}
