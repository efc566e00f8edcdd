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
// in the file, or in code of which a line isn't understood. A forward may call its modules in
// any order, twice, and add or normalise between them, so the order of the attributes is
// taken only if the caller gives the configuration.
func readModules(f *weights.File, order string, known bool) (*Outline, error) {
	o, err := readLayers(f)
	if err != nil { // a layer that no network of this library has: its name doesn't change that
		return nil, err
	}
	why := o.openQuestion(f)
	if why == "" {
		if !known {
			return nil, askStructure(order, o.row())
		}
		o.infer("order of the layers", order)
		return o, nil
	}
	named, err := readNames(f)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, why)
	}
	if !known {
		features, head, channels, err := named.split()
		if err != nil {
			return nil, err
		}
		var tokens []string
		for _, l := range features {
			tokens = append(tokens, l.String())
		}
		return nil, askStructure(order+": "+why, strings.Join(append(tokens, likelyHead(head, channels)), " "))
	}
	named.bnEps, named.modules = o.bnEps, true
	for _, l := range o.layers {
		if l.Kind == architecture.Activation && l.inHead() {
			named.functions = append(named.functions, l.Layer)
		}
	}
	return named, nil
}

// askStructure asks for the whole network. row is what it may be.
func askStructure(order, row string) error {
	return &AmbiguousError{fmt.Sprintf("the order of the layers is %s: say the network (--config '%s', if that is it), or save it with its code (torch.jit.script(model).save)", order, row)}
}

// checkFunctions reports an activation among a module's attributes that a given
// configuration's head lacks.
func (o *Outline) checkFunctions(a architecture.Architecture) error {
	for _, l := range o.functions {
		if !slices.ContainsFunc(a.Head, func(h architecture.Layer) bool {
			return h.Kind == l.Kind && h.Function == l.Function && h.Value == l.Value
		}) &&
			!(l.Function == architecture.Sigmoid && a.Ending == architecture.Sigmoids) {
			return fmt.Errorf("a module %s, which the head %q lacks", l, a.HeadName())
		}
	}
	return nil
}

// openQuestion says what another forward over the same layers could do otherwise; "" if
// there is nothing.
func (o *Outline) openQuestion(f *weights.File) string {
	if o.Count(architecture.Pooling) == 0 {
		return "no pooling among the modules"
	}
	channels, first, pooled := 3, true, false
	paper := network.DefaultInput >> o.Count(architecture.Pooling) // side of the last map
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
		case architecture.Adaptive:
			paper = l.Side
		case architecture.Connected:
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
