package nn

import (
	"fmt"
	"slices"
	"strings"
)

// Until returns the chain of the layers up to the one called layer. Its output is that
// layer's activation, (N,C,OH,OW), after the layer's batch normalisation and, if rectified,
// its rectification or other activation function. It shares c's parameters, what inference derives from them, and c's
// threads. It is not for training. It is an error if there is no such layer.
func (c *Chain) Until(layer string, rectified bool) (*Chain, error) {
	i, err := c.find(layer)
	if err != nil {
		return nil, err
	}
	conv, ok := c.layers[i].(*Conv)
	if rectified || !ok {
		return c.derived(c.in, slices.Clone(c.layers[:c.end(i)+1])), nil
	}
	layers := slices.Clone(c.layers[:i+1])
	var norm *BatchNorm
	if i+1 < len(c.layers) {
		norm, _ = c.layers[i+1].(*BatchNorm)
	}
	if conv.ReLU || norm != nil && norm.ReLU {
		// A convolution of its own, as a folded one includes the rectification.
		layers[i] = &Conv{name: conv.name, g: conv.g, trains: conv.trains, passing: conv.passing, Weight: conv.Weight, Bias: conv.Bias}
		if norm != nil {
			plain := *norm
			plain.ReLU = false
			norm = &plain
		}
	}
	if norm != nil {
		layers = append(layers, norm)
	}
	return c.derived(c.in, layers), nil
}

// find returns the index of the layer called name, one of those of [Chain.names].
func (c *Chain) find(name string) (int, error) {
	for i, l := range c.layers {
		if l.Name() == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("nn: layer %q, want one of %s", name, strings.Join(c.names(), ", "))
}

// end returns the index of the last layer that goes by the name of layer i: the batch
// normalisation or the activation function after a convolution.
func (c *Chain) end(i int) int {
	if _, ok := c.layers[i].(*Conv); !ok {
		return i
	}
	if i+1 < len(c.layers) {
		if _, ok := c.layers[i+1].(*BatchNorm); ok {
			i++
		}
	}
	if i+1 < len(c.layers) && isActivation(c.layers[i+1]) {
		i++
	}
	return i
}

// names lists the layers that change an activation in inference.
func (c *Chain) names() []string {
	var names []string
	for _, l := range c.layers {
		switch l.(type) {
		case *Dropout, *BatchNorm, *Activation, *Binary:
		default:
			names = append(names, l.Name())
		}
	}
	return names
}

// isActivation tells whether a layer is an activation function that belongs to the layer
// before it.
func isActivation(l Layer) bool {
	_, ok := l.(*Activation)
	return ok
}

// Penultimate names the layer whose rectified activation is the input of the last layer
// with weights: fc7 of the paper's networks.
func (c *Chain) Penultimate() string {
	last := len(c.layers) - 1
	for ; last >= 0; last-- {
		if _, ok := c.layers[last].(*Conv); ok {
			break
		}
	}
	i := last - 1
	for ; i >= 0; i-- {
		if _, ok := c.layers[i].(*Dropout); !ok {
			break
		}
	}
	if i < 0 {
		return ""
	}
	// A convolution goes by its own name with the normalisation and activation after it.
	j := i
	if isActivation(c.layers[j]) && j > 0 {
		j--
	}
	if _, ok := c.layers[j].(*BatchNorm); ok && j > 0 {
		j--
	}
	if _, ok := c.layers[j].(*Conv); ok {
		return c.layers[j].Name()
	}
	return c.layers[i].Name()
}
