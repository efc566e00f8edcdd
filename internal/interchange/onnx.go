package interchange

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

// ONNXOptions chooses the form of an ONNX graph. The zero value is the classifier for any
// number of images, which gives class scores.
type ONNXOptions struct {
	// Batch is the number of images that the graph takes; 0 for any.
	Batch int
	// Dense writes the fully connected layers as convolutions (§3.2), so that the graph
	// takes images of any size from the input's side on and gives a class score map.
	// Otherwise they are matrix products, and images have the input's side.
	Dense bool
	// Softmax ends the graph with the soft-max over classes.
	Softmax bool
}

// ONNX returns the graph of a network, in opset 13, over its native tensors. The input is
// preprocessed RGB, (N,3,H,W); nodes and tensors have the layers' names. Dropout, which
// does nothing in inference, is left out.
func ONNX(n *network.Network, tensors []weights.Source, o ONNXOptions) (weights.ONNXModel, error) {
	opts := n.Options()
	switch {
	case o.Batch < 0:
		return weights.ONNXModel{}, fmt.Errorf("batch of %d images, want 1 or more, or 0 for any", o.Batch)
	case o.Softmax && opts.Headless():
		return weights.ONNXModel{}, errors.New("a soft-max of a network without a classifier")
	}
	b := &onnxBuilder{dense: o.Dense, tensorOf: map[string]weights.Source{}, value: "input"}
	for _, s := range tensors {
		b.tensorOf[s.Name] = s
	}
	shapes, err := n.Chain().Shapes(opts.Input, opts.Input)
	if err != nil {
		return weights.ONNXModel{}, err
	}
	in := nn.Shape{C: 3, H: opts.Input, W: opts.Input}
	for i, l := range n.Chain().Layers() {
		if err := b.add(l, in, shapes[i]); err != nil {
			return weights.ONNXModel{}, err
		}
		in = shapes[i]
	}
	output := "scores"
	switch {
	case o.Softmax && opts.Posterior() == network.ByLabel:
		b.node("Sigmoid", "prob", nil)
		output = "posteriors"
	case o.Softmax && opts.Posterior() == network.NoPosterior:
		return weights.ONNXModel{}, errors.New("a soft-max of a network that ends with scores")
	case o.Softmax:
		b.node("Softmax", "prob", map[string]any{"axis": 1})
		output = "posteriors"
	case opts.Headless():
		output = "features"
	}
	b.nodes[len(b.nodes)-1].Outputs[0] = output
	g := weights.ONNXModel{
		Producer: "vgg", Graph: opts.Config, Nodes: b.nodes, Tensors: b.tensors,
		Inputs:   []weights.ONNXPort{{Name: "input"}},
		Outputs:  []weights.ONNXPort{{Name: output}},
		Metadata: map[string]string{},
	}
	g.Inputs[0].Shape, g.Outputs[0].Shape = o.shapes(opts, in, b.flat)
	return g, nil
}

// shapes returns the shapes of the graph's input and output. Out is the shape of one
// image's output; flat tells that the output has no height and width.
func (o ONNXOptions) shapes(opts network.Options, out nn.Shape, flat bool) (input, output []weights.ONNXDim) {
	size := func(n int) weights.ONNXDim { return weights.ONNXDim{Size: n} }
	name := func(s string) weights.ONNXDim { return weights.ONNXDim{Name: s} }
	batch := size(o.Batch)
	if o.Batch == 0 {
		batch = name("N")
	}
	switch side := size(opts.Input); {
	case o.Dense:
		input = []weights.ONNXDim{batch, size(3), name("H"), name("W")}
		output = []weights.ONNXDim{batch, size(out.C), name("OH"), name("OW")}
	case !flat:
		input = []weights.ONNXDim{batch, size(3), side, side}
		output = []weights.ONNXDim{batch, size(out.C), size(out.H), size(out.W)}
	default:
		input = []weights.ONNXDim{batch, size(3), side, side}
		output = []weights.ONNXDim{batch, size(out.C)}
	}
	return input, output
}

// onnxBuilder turns layers into nodes.
type onnxBuilder struct {
	dense    bool
	tensorOf map[string]weights.Source // by name
	value    string                    // output of the last node
	flat     bool                      // whether it has two axes
	nodes    []weights.ONNXNode
	tensors  []weights.Source // those that nodes take
}

// node appends a node that takes the last node's output and tensors. Its output has its
// name.
func (b *onnxBuilder) node(op, name string, attributes map[string]any, tensors ...string) {
	b.nodes = append(b.nodes, weights.ONNXNode{Op: op, Name: name, Inputs: append([]string{b.value}, tensors...), Outputs: []string{name}, Attributes: attributes})
	b.value = name
}

// tensor appends a parameter, in that shape if one is given, and returns its name.
func (b *onnxBuilder) tensor(p *nn.Param, shape ...int) string {
	s := b.tensorOf[p.Name]
	if len(shape) > 0 {
		s.Shape = shape
	}
	b.tensors = append(b.tensors, s)
	return p.Name
}

// add appends the nodes of a layer from shape in to shape out.
func (b *onnxBuilder) add(l nn.Layer, in, out nn.Shape) error {
	switch l := l.(type) {
	case *nn.Conv:
		b.conv(l, in, out)
	case *nn.BatchNorm:
		b.node("BatchNormalization", l.Name(), map[string]any{"epsilon": l.Eps}, b.tensor(l.Gamma), b.tensor(l.Beta), b.tensor(l.RunningMean), b.tensor(l.RunningVar))
		if l.ReLU {
			b.relu(l.Name())
		}
	case *nn.LRN:
		o := l.Options() // ONNX divides α by the size, and they don't
		b.node("LRN", l.Name(), map[string]any{"size": o.Size, "alpha": o.Alpha * float32(o.Size), "beta": o.Beta, "bias": o.K})
	case *nn.MaxPool:
		b.node("MaxPool", l.Name(), map[string]any{"kernel_shape": []int{2, 2}, "strides": []int{2, 2}})
	case *nn.ReLU:
		b.node("Relu", l.Name(), nil)
	case *nn.GlobalPool:
		op := "GlobalAveragePool"
		if l.Max {
			op = "GlobalMaxPool"
		}
		b.node(op, l.Name(), nil)
	case *nn.GlobalMaxAverage:
		x := b.value
		b.node("GlobalMaxPool", l.Name()+".max", nil)
		most := b.value
		b.value = x
		b.node("GlobalAveragePool", l.Name()+".mean", nil)
		b.join("Concat", l.Name(), map[string]any{"axis": 1}, most, b.value)
	case *nn.AdaptivePool:
		return b.adaptive(l, in)
	case *nn.Flatten:
		b.node("Flatten", l.Name(), map[string]any{"axis": 1})
		b.flat = true
	case *nn.Euclidean:
		axes := []int{1}
		if in.H > 1 || in.W > 1 {
			axes = []int{1, 2, 3}
		}
		x := b.value
		b.node("ReduceL2", l.Name()+".length", map[string]any{"axes": axes, "keepdims": 1})
		b.node("Max", l.Name()+".divisor", nil, b.constant("least", 1e-12))
		b.join("Div", l.Name(), nil, x, b.value)
	case *nn.Activation:
		b.activation(l)
	case *nn.Binary:
		x := b.value
		b.join("Sub", l.Name()+".zero", nil, x, x)
		b.join("Concat", l.Name(), map[string]any{"axis": 1}, b.value, x)
	case *nn.Dropout:
	default:
		return fmt.Errorf("layer %s: no operator of ONNX for a %T", l.Name(), l)
	}
	return nil
}

// constantPrefix begins the names of tensors that are no parameters.
const constantPrefix = "constant."

// constant returns the name of a tensor of one number.
func (b *onnxBuilder) constant(name string, x float32) string {
	name = constantPrefix + name
	for _, t := range b.tensors {
		if t.Name == name {
			return name
		}
	}
	b.tensors = append(b.tensors, weights.Source{Name: name, Shape: []int{1}, Data: func(yield func([]float32) bool) { yield([]float32{x}) }})
	return name
}

// adaptive appends an adaptive pooling of a map of known size, for which ONNX has no operator:
// its columns and its rows are multiplied by the matrices of the cells' shares.
func (b *onnxBuilder) adaptive(l *nn.AdaptivePool, in nn.Shape) error {
	if b.dense {
		return fmt.Errorf("layer %s: no operator of ONNX pools maps of any size to %d×%[2]d pixels, want inputs of one size, not --dense", l.Name(), l.Side)
	}
	columns, rows := make([]float32, in.W*l.Side), make([]float32, l.Side*in.H)
	for i := range l.Side {
		from, to := l.Cell(i, in.W)
		for c := from; c < to; c++ {
			columns[c*l.Side+i] = 1 / float32(to-from)
		}
		from, to = l.Cell(i, in.H)
		for r := from; r < to; r++ {
			rows[i*in.H+r] = 1 / float32(to-from)
		}
	}
	b.node("MatMul", l.Name()+".columns", nil, b.matrix(l.Name()+".columns", columns, in.W, l.Side))
	b.join("MatMul", l.Name(), nil, b.matrix(l.Name()+".rows", rows, l.Side, in.H), b.value)
	return nil
}

// matrix appends a matrix of constants, and returns its name.
func (b *onnxBuilder) matrix(name string, values []float32, shape ...int) string {
	name = constantPrefix + name
	b.tensors = append(b.tensors, weights.Source{Name: name, Shape: shape, Data: func(yield func([]float32) bool) { yield(values) }})
	return name
}

// join appends a node that takes two values.
func (b *onnxBuilder) join(op, name string, attributes map[string]any, x, y string) {
	b.nodes = append(b.nodes, weights.ONNXNode{Op: op, Name: name, Inputs: []string{x, y}, Outputs: []string{name}, Attributes: attributes})
	b.value = name
}

// activation appends an activation function. Opset 13 has no operators for GELU and SiLU.
func (b *onnxBuilder) activation(l *nn.Activation) {
	x := b.value
	switch l.Function {
	case nn.LeakyReLU:
		b.node("LeakyRelu", l.Name(), map[string]any{"alpha": l.Slope})
	case nn.ELU:
		b.node("Elu", l.Name(), map[string]any{"alpha": float32(1)})
	case nn.Tanh:
		b.node("Tanh", l.Name(), nil)
	case nn.Sigmoid:
		b.node("Sigmoid", l.Name(), nil)
	case nn.SiLU:
		b.node("Sigmoid", l.Name()+".sigmoid", nil)
		b.join("Mul", l.Name(), nil, x, b.value)
	case nn.GELU: // x·(1 + erf(x/√2))/2
		b.node("Mul", l.Name()+".scaled", nil, b.constant("half_root", math.Sqrt2/2))
		b.node("Erf", l.Name()+".erf", nil)
		b.node("Add", l.Name()+".sum", nil, b.constant("one", 1))
		b.join("Mul", l.Name()+".double", nil, x, b.value)
		b.node("Mul", l.Name(), nil, b.constant("half", 0.5))
	}
}

// conv appends a convolution, or a fully connected layer, whose weight has two axes.
func (b *onnxBuilder) conv(l *nn.Conv, in, out nn.Shape) {
	if s := l.Weight.Shape; len(s) == 2 && !b.dense {
		if !b.flat {
			b.node("Flatten", "flatten", map[string]any{"axis": 1})
			b.flat = true
		}
		b.node("Gemm", l.Name(), map[string]any{"transB": 1}, b.tensor(l.Weight), b.tensor(l.Bias))
	} else {
		r := s[len(s)-1]
		if len(s) == 2 {
			r = int(math.Round(math.Sqrt(float64(s[1] / in.C))))
		}
		pad := (out.H - in.H + r - 1) / 2
		b.node("Conv", l.Name(), map[string]any{"kernel_shape": []int{r, r}, "pads": []int{pad, pad, pad, pad}},
			b.tensor(l.Weight, s[0], in.C, r, r), b.tensor(l.Bias))
	}
	if l.ReLU {
		b.relu(l.Name())
	}
}

// relu appends the rectification of the layer of that name: relu1_1 of conv1_1.
func (b *onnxBuilder) relu(of string) {
	number := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(of, "conv"), "fc"), ".bn")
	b.node("Relu", "relu"+number, nil)
}
