package nn

import (
	"fmt"
	"strings"
)

// Until returns the chain of the layers up to the one called layer. Its output is that
// layer's activation, (N,C,OH,OW), after the layer's batch normalisation and, if rectified,
// its rectification or other activation function. It shares c's parameters, what inference derives from them, and c's
// threads. It is not for training. It is an error if there is no such layer.
func (c *Chain) Until(layer string, rectified bool) (*Chain, error) {
	for i, l := range c.layers {
		if l.Name() != layer {
			continue
		}
		layers := append([]Layer(nil), c.layers[:i+1]...)
		conv, ok := l.(*Conv)
		if !ok {
			return newChain(c.in, layers, c.team.Load()), nil
		}
		var norm *BatchNorm
		if i+1 < len(c.layers) {
			norm, _ = c.layers[i+1].(*BatchNorm)
		}
		if !rectified && (conv.ReLU || norm != nil && norm.ReLU) {
			// A convolution of its own, as a folded one includes the rectification.
			conv = &Conv{name: conv.name, g: conv.g, Weight: conv.Weight, Bias: conv.Bias}
			layers[i] = conv
			if norm != nil {
				plain := *norm
				plain.ReLU = false
				norm = &plain
			}
		}
		next := i + 1
		if norm != nil {
			layers = append(layers, norm)
			next++
		}
		if rectified && next < len(c.layers) && isActivation(c.layers[next]) {
			layers = append(layers, c.layers[next])
		}
		return newChain(c.in, layers, c.team.Load()), nil
	}
	return nil, fmt.Errorf("nn: layer %q, want one of %s", layer, strings.Join(c.names(), ", "))
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
