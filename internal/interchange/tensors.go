package interchange

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

// Tensors lists a network's parameters as sources to write, in canonical order, under the
// names and in the order of values of a scheme: Native, Torchvision, Paper ((H,W,in,out),
// as vgg16_weights.npz has them) or Keras. DType is the type of the weights of
// convolutions and fully connected layers, F32, F16 or BF16; all else is F32.
func Tensors(n *network.Network, scheme Scheme, dtype string) ([]weights.Source, error) {
	var tensors []weights.Source
	var err error
	switch scheme {
	case Native:
		tensors = NativeTensors(n)
	case Torchvision:
		tensors, err = torchvisionTensors(n)
	case Paper:
		tensors = columnTensors(n)
	case Keras:
		tensors = kerasTensors(n)
	default:
		err = fmt.Errorf("names %q, want %s, %s or %s", scheme, Native, Torchvision, Paper)
	}
	if err != nil {
		return nil, err
	}
	for i := range tensors {
		if len(tensors[i].Shape) > 1 {
			tensors[i].DType = dtype
		}
	}
	return tensors, nil
}

// rowFloats is about how many values are converted at a time between the packed
// parameters and a file.
const rowFloats = 1 << 20

// NativeTensors lists a network's parameters under their own names, in canonical order.
func NativeTensors(n *network.Network) []weights.Source {
	var sources []weights.Source
	var buf []float32
	for _, p := range n.Params() {
		sources = append(sources, weights.Source{Name: p.Name, Shape: p.Shape, Data: func(yield func([]float32) bool) {
			row, rows := p.Len()/p.Shape[0], max(1, rowFloats*p.Shape[0]/p.Len())
			for k := 0; k < p.Shape[0]; k += rows {
				buf = slices.Grow(buf[:0], rows*row)[:min(rows, p.Shape[0]-k)*row]
				if p.GetRows(k, buf) != nil || !yield(buf) {
					return
				}
			}
		}})
	}
	return sources
}

// inHead tells whether a layer is the first of a head.
func inHead(l nn.Layer) bool {
	switch l := l.(type) {
	case *nn.Conv:
		return len(l.Weight.Shape) == 2
	case *nn.BatchNorm:
		return strings.HasPrefix(l.Name(), "norm")
	case *nn.MaxPool, *nn.LRN:
		return false
	}
	return true
}

// normalises tells whether a layer of that name is a batch normalisation.
func normalises(layer string) bool {
	return strings.HasSuffix(layer, ".bn") || strings.HasPrefix(layer, "norm") || strings.HasPrefix(layer, "post")
}

// torchvisionTensors names the tensors by the indices of torchvision's layers. In features
// every convolution, normalisation, rectification and pooling counts, in the classifier
// every layer, rectification and dropout.
func torchvisionTensors(n *network.Network) ([]weights.Source, error) {
	names := map[string]string{}
	part, index := "features", 0
	for _, l := range n.Chain().Layers() {
		if part == "features" && inHead(l) {
			part, index = "classifier", 0
		}
		switch l := l.(type) {
		case *nn.GlobalPool, *nn.GlobalMaxAverage, *nn.AdaptivePool, *nn.Flatten: // a module of its own before the classifier
		case *nn.Binary:
		case *nn.Conv:
			names[l.Name()] = fmt.Sprintf("%s.%d", part, index)
			index++
			if l.ReLU {
				index++
			}
		case *nn.BatchNorm:
			names[l.Name()] = fmt.Sprintf("%s.%d", part, index)
			index++
			if l.ReLU {
				index++
			}
		default:
			index++
		}
	}
	tensors := NativeTensors(n)
	for i, t := range tensors {
		at := strings.LastIndexByte(t.Name, '.')
		tensors[i].Name = names[t.Name[:at]] + t.Name[at:]
	}
	return tensors, nil
}

// columnTensors lists the tensors as vgg16_weights.npz has them: conv1_1_W of shape
// (R,R,in,out), fc6_W of shape (in,out) with its in-units in (H,W,C) order, conv1_1_b.
func columnTensors(n *network.Network) []weights.Source {
	tensors := NativeTensors(n)
	for i := range tensors {
		s := &tensors[i]
		layer, word := splitName(s.Name)
		switch {
		case normalises(layer):
			words := map[string]string{"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
			s.Name = layer + "." + words[word]
			if l := flattenedLocation(n, layer); l.channelsLast {
				s.Data = permuted(n.Params()[i], l)
			}
		case word == "bias":
			s.Name = layer + "_b"
		default:
			p := n.Params()[i]
			s.Name, s.Shape, s.Data = layer+"_W", columnShape(p), columns(p, columnLocation(n, p))
		}
	}
	return tensors
}

// flattenedLocation returns the order of the units of a batch normalisation of that name, if it
// normalises a flattened map: (H,W,C).
func flattenedLocation(n *network.Network, name string) Location {
	channels, flat := 3, false
	for _, l := range n.Chain().Layers() {
		switch l := l.(type) {
		case *nn.BatchNorm:
			if l.Name() == name && flat {
				return Location{channelsLast: true, channels: channels, side: int(math.Round(math.Sqrt(float64(l.Gamma.Len() / channels))))}
			}
		case *nn.Flatten:
			flat = true
		case *nn.Conv:
			if len(l.Weight.Shape) == 2 {
				return Location{}
			}
			channels = l.Weight.Shape[0]
		}
	}
	return Location{}
}

// permuted yields the values of a vector in the order of the file.
func permuted(p *nn.Param, from Location) iter.Seq[[]float32] {
	return func(yield func([]float32) bool) {
		values, ordered := make([]float32, p.Len()), make([]float32, p.Len())
		if p.Get(values) != nil {
			return
		}
		for j := range ordered {
			ordered[j] = values[from.inUnit(j)]
		}
		yield(ordered)
	}
}

// columnShape returns the shape of a weight's tensor with axes (in…,out).
func columnShape(p *nn.Param) []int {
	if len(p.Shape) == 4 {
		return []int{p.Shape[2], p.Shape[3], p.Shape[1], p.Shape[0]}
	}
	return []int{p.Len() / p.Shape[0], p.Shape[0]}
}

// columnLocation returns the order of a weight's values in such a tensor.
func columnLocation(n *network.Network, p *nn.Param) Location {
	in := p.Len() / p.Shape[0]
	l := Location{columns: true, channelsLast: true, channels: in, side: 1}
	if len(p.Shape) == 4 {
		l.channels, l.side = p.Shape[1], p.Shape[2]
	} else if c, ok := firstConnected(n, p); ok {
		l.channels = c
		for l.side*l.side*c < in {
			l.side++
		}
	}
	return l
}

// ownHead begins the names of layers in Keras's files of heads that names can't tell. Such
// files are only opened with the head given.
const ownHead = "head_"

// kerasTensors lists the tensors of columnTensors under Keras's names: conv1_1/kernel,
// conv1_1/bias, conv1_1.bn/gamma.
func kerasTensors(n *network.Network) []weights.Source {
	tensors := columnTensors(n)
	a, err := architecture.Parse(n.Options().Config)
	usual := err != nil || a.Ending == architecture.Softmax || a.Ending == architecture.LogSoftmax
	for i, l := range a.Head {
		usual = usual && l.Kind == architecture.Connected && (!l.Bare || i == len(a.Head)-1)
	}
	for i, s := range tensors {
		if !usual && !strings.HasPrefix(s.Name, "conv") && !strings.HasPrefix(s.Name, "post") {
			s.Name = ownHead + s.Name
			tensors[i].Name = s.Name
		}
		if layer, ok := strings.CutSuffix(s.Name, "_W"); ok {
			tensors[i].Name = layer + "/kernel"
		} else if layer, ok := strings.CutSuffix(s.Name, "_b"); ok {
			tensors[i].Name = layer + "/bias"
		} else {
			layer, word := splitName(s.Name)
			tensors[i].Name = layer + "/" + word
		}
	}
	return tensors
}

// firstConnected returns the channels of the activation that p reads, if p is the weight
// of the first fully connected layer.
func firstConnected(n *network.Network, p *nn.Param) (channels int, ok bool) {
	for _, l := range n.Chain().Layers() {
		conv, isConv := l.(*nn.Conv)
		switch {
		case isConv && conv.Weight == p:
			return channels, channels > 0
		case isConv && len(conv.Weight.Shape) == 2:
			return 0, false
		case isConv:
			channels = conv.Weight.Shape[0]
		}
		if _, both := l.(*nn.GlobalMaxAverage); both {
			channels *= 2
		}
	}
	return 0, false
}

// columns yields a weight in-unit by in-unit, in the order of the file.
func columns(p *nn.Param, from Location) iter.Seq[[]float32] {
	return func(yield func([]float32) bool) {
		k := p.Shape[0]
		buf := make([]float32, k)
		for j := range p.Len() / k {
			if p.GetInputs(from.inUnit(j), buf) != nil || !yield(buf) {
				return
			}
		}
	}
}
