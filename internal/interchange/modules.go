package interchange

import (
	"fmt"
	"slices"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/weights"
)

// readModules recognises the network in a PyTorch module with classes whose forward isn't
// in the file. The layers in the order of the attributes are followed if no other reading
// fits them; else the names of the tensors are, and the head is asked for.
func readModules(f *weights.File, order string, known bool) (*Outline, error) {
	o, err := readLayers(f)
	why := ""
	switch {
	case err != nil && otherFeatures(f):
		return nil, err
	case err != nil:
		why = err.Error()
	default:
		why = o.openQuestion(f)
	}
	if why == "" {
		o.infer("order of the layers", order)
		return o, nil
	}
	// What layers do is known by names alone.
	named, nameErr := readNames(f, known)
	if nameErr != nil {
		if err != nil {
			return nil, fmt.Errorf("%w (%s)", nameErr, why)
		}
		return nil, nameErr
	}
	if err != nil && notFollowed(f) < named.Count(architecture.Convolution) {
		return nil, err
	}
	named.untold = fmt.Sprintf("the order of the layers is %s: %s", order, why)
	return named, nil
}

// otherFeatures tells whether a convolution goes through another function than the
// rectification, so that the file can't be the weights of a VGG network.
func otherFeatures(f *weights.File) bool {
	layers := f.Layers()
	for i, l := range layers {
		if l.Op != "conv" {
			continue
		}
		next := i + 1
		if next < len(layers) && layers[next].Op == "batchnorm" {
			next++
		}
		if next < len(layers) && slices.Contains([]string{"leakyrelu", "elu", "gelu", "silu", "tanh", "sigmoid"}, layers[next].Op) {
			return true
		}
	}
	return false
}

// notFollowed returns the number of convolutions before a layer or a line of code that isn't
// understood; all of them if there is none.
func notFollowed(f *weights.File) int {
	n := 0
	for _, l := range f.Layers() {
		switch {
		case l.Op == "conv":
			n++
		case strings.Contains(l.Op, " ") || strings.ToLower(l.Op) != l.Op:
			return n
		}
	}
	return n
}

// openQuestion says what another forward over the same layers could do otherwise; "" if
// there is nothing.
func (o *Outline) openQuestion(f *weights.File) string {
	if o.Count(architecture.Pooling) == 0 {
		return "no pooling among the modules"
	}
	channels, first, pooled := 3, true, false
	for i, l := range o.layers {
		switch l.Kind {
		case architecture.Convolution:
			if l.in != channels {
				return fmt.Sprintf("%s takes %d channels, and the convolution before it gives %d", l.name, l.in, channels)
			}
			channels = l.Channels
		case architecture.GlobalAverage, architecture.GlobalMax, architecture.GlobalMaxAverage:
			pooled = true
			if l.Kind == architecture.GlobalMaxAverage {
				channels *= 2
			}
		case architecture.Connected:
			paper := network.DefaultInput >> o.Count(architecture.Pooling)
			switch {
			case first && !pooled && l.in != channels*paper*paper:
				return fmt.Sprintf("no module pools the map or flattens %d×%d pixels for %s, of fan-in %d", paper, paper, l.name, l.in)
			case (!first || pooled) && l.in != channels:
				return fmt.Sprintf("%s takes %d units, and the layer before it gives %d", l.name, l.in, channels)
			}
			if rest := o.layers[i+1:]; slices.ContainsFunc(rest, fileLayer.isConnected) && !activated(rest) {
				return fmt.Sprintf("no module is the activation of %s", l.name)
			}
			channels, first = l.Channels, false
		}
	}
	return ""
}

// isConnected tells whether the layer is a fully connected one.
func (l fileLayer) isConnected() bool { return l.Kind == architecture.Connected }

// activated tells whether an activation stands before the next fully connected layer.
func activated(rest []fileLayer) bool {
	for _, l := range rest {
		switch l.Kind {
		case architecture.Activation:
			return true
		case architecture.Connected:
			return false
		}
	}
	return false
}
