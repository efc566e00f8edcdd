package main

import (
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/network"
)

// layer is a layer with parameters of configuration D.
type layer struct {
	name       string
	parameters int
	connected  bool
	in, out    int // values of an image, of a fully connected layer

	// Multiplications for an image, in training.
	forward, data, weights float64
}

// layersOfD lists the layers of configuration D with 1000 classes on images of 224 pixels.
func layersOfD() ([]layer, error) {
	s, err := network.Summarise(network.DefaultOptions("D"))
	if err != nil {
		return nil, err
	}
	var layers []layer
	in := [3]int{3, 224, 224}
	for _, row := range s.Layers {
		if row.Weights > 0 {
			l := layer{name: row.Name, parameters: int(row.Weights + row.Biases), connected: row.Output[1] == 1,
				in: in[0] * in[1] * in[2], out: row.Output[0]}
			one := float64(row.MACs)
			g := kernel.Conv{C: in[0], K: row.Output[0], R: 3, Pad: 1}
			if !l.connected {
				if p, ok := g.PlanWinograd(1, in[1], in[2], 1, kernel.Training); ok {
					one = float64(p.Multiplications(g, 1, in[1], in[2]))
				}
			}
			l.forward, l.data, l.weights = one, one, one
			if len(layers) == 0 {
				l.data = 0
			}
			layers = append(layers, l)
		}
		in = row.Output
	}
	return layers, nil
}
