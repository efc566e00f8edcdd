package vgg

import (
	"errors"
	"fmt"
	"strings"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
)

// LayerDescription is a layer of the network that a file of weights holds.
type LayerDescription struct {
	Name string `json:"name"` // conv1_1, fc6
	Kind string `json:"kind"` // what it does, with its rectification: conv 3×3, ReLU
	// Output is the shape of its output for an image of the input's side: channels, height,
	// width.
	Output  [3]int              `json:"output"`
	Tensors []TensorDescription `json:"tensors,omitempty"`
}

// TensorDescription tells where a parameter's values are in the file.
type TensorDescription struct {
	Parameter string `json:"parameter"` // conv1_1.weight
	// Tensor is the name in the file; "" where the file has none, and the parameter has its
	// first value: 0, or 1 for a scale.
	Tensor string `json:"tensor"`
	DType  string `json:"dtype,omitempty"`
	Shape  []int  `json:"shape,omitempty"` // in the file
}

// Layers describes the network layer by layer, each with the tensors that it is read from.
// The file must still be open.
func (d *Description) Layers() ([]LayerDescription, error) {
	if !d.placed {
		return nil, errors.New("vgg: a description of no network, want one of Identify")
	}
	chain, err := network.Plan(d.Options)
	if err != nil {
		return nil, err
	}
	shapes, err := chain.Shapes(d.Options.Input, d.Options.Input)
	if err != nil {
		return nil, err
	}
	var list []LayerDescription
	from := d.from
	for i, l := range chain.Layers() {
		x := LayerDescription{Name: l.Name(), Kind: layerKind(l), Output: [3]int{shapes[i].C, shapes[i].H, shapes[i].W}}
		for _, p := range l.Params() {
			t := TensorDescription{Parameter: p.Name}
			if name := from[0].Tensor; name != "" {
				e, err := d.file.Lookup(name)
				if err != nil {
					return nil, err
				}
				t.Tensor, t.DType, t.Shape = d.Prefix+name, e.DType, e.Shape
			}
			from = from[1:]
			x.Tensors = append(x.Tensors, t)
		}
		list = append(list, x)
	}
	return list, nil
}

// layerKind says what a layer does.
func layerKind(l nn.Layer) string {
	rectified := func(kind string, relu bool) string {
		if relu {
			return kind + ", ReLU"
		}
		return kind
	}
	switch l := l.(type) {
	case *nn.Conv:
		if s := l.Weight.Shape; len(s) == 4 {
			return rectified(fmt.Sprintf("conv %d×%d", s[2], s[3]), l.ReLU)
		}
		return rectified("FC", l.ReLU)
	case *nn.BatchNorm:
		return rectified("BN", l.ReLU)
	case *nn.MaxPool:
		return "max 2×2"
	case *nn.LRN:
		return "LRN"
	case *nn.GlobalPool:
		if l.Max {
			return "global max"
		}
		return "global mean"
	case *nn.GlobalMaxAverage:
		return "global max, mean"
	case *nn.Flatten:
		return "flatten"
	case *nn.Euclidean:
		return "L2 norm"
	case *nn.ReLU:
		return "ReLU"
	case *nn.Activation:
		if l.Function == nn.LeakyReLU {
			return fmt.Sprintf("leaky ReLU %g", l.Slope)
		}
		if name, ok := functionNames[l.Function]; ok {
			return name
		}
	case *nn.Dropout:
		return fmt.Sprintf("dropout %g", l.Ratio)
	case *nn.Binary:
		return "two classes"
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", l), "*nn."))
}

// functionNames are the usual names of activation functions.
var functionNames = map[nn.Function]string{nn.ELU: "ELU", nn.GELU: "GELU", nn.SiLU: "SiLU", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
