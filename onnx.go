package vgg

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

// ONNXOptions say in what form [Model.SaveONNX] writes a network. The zero value is the
// classifier for any number of images, giving class scores, in float32.
type ONNXOptions struct {
	// Batch is the number of images that the graph takes; 0 for any.
	Batch int
	// Dense writes the fully connected layers as convolutions (§3.2), so that the graph
	// takes images of any size from Options.Input on and gives a class score map. Else
	// they are products of matrices, and images are Options.Input pixels a side.
	Dense bool
	// Softmax ends the graph with the soft-max over classes.
	Softmax bool
	// DType is the type that weights of convolutions and fully connected layers are
	// stored in: F32, which "" is too, F16 or BF16. The graph computes in float32.
	DType string

	watch func(weights.Source) weights.Source // of an export that tells its progress
}

// SaveONNX writes the model to an ONNX file of opset 13, which appears under its name only
// when it is complete. The input is preprocessed RGB, (N,3,H,W); nodes and tensors have
// the layers' names; class names and preprocessing are in the metadata as in the files of
// [Model.Save]. Dropout, which does nothing in inference, is left out.
func (m *Model) SaveONNX(path string, o ONNXOptions) error {
	g, err := m.onnx(o)
	if err != nil {
		return fmt.Errorf("vgg: %s: %w", path, err)
	}
	return weights.WriteONNX(path, g)
}

// onnx is the model's graph.
func (m *Model) onnx(o ONNXOptions) (weights.ONNXModel, error) {
	opts := m.Net.opts
	switch {
	case o.Batch < 0:
		return weights.ONNXModel{}, fmt.Errorf("batch of %d images, want 1 or more, or 0 for any", o.Batch)
	case m.Localisation != nil:
		return weights.ONNXModel{}, m.Localisation.errLocaliser(len(m.Classes))
	case o.Softmax && opts.Headless():
		return weights.ONNXModel{}, errors.New("a soft-max of a network without a classifier")
	}
	if err := checkModel(opts, m.Classes, m.Preprocess, nil); err != nil {
		return weights.ONNXModel{}, err
	}
	b := &onnxBuilder{dense: o.Dense, dtype: o.DType, sources: map[string]weights.Source{}, at: "input"}
	for _, s := range m.Net.Tensors() {
		if o.watch != nil {
			s = o.watch(s)
		}
		b.sources[s.Name] = s
	}
	layers := m.Net.chain.Layers()
	shapes, err := m.Net.chain.Shapes(opts.Input, opts.Input)
	if err != nil {
		return weights.ONNXModel{}, err
	}
	in := nn.Shape{C: 3, H: opts.Input, W: opts.Input}
	for i, l := range layers {
		if err := b.add(l, in, shapes[i]); err != nil {
			return weights.ONNXModel{}, err
		}
		in = shapes[i]
	}
	last := "scores"
	switch {
	case o.Softmax:
		b.node("Softmax", "prob", map[string]any{"axis": 1})
		last = "posteriors"
	case opts.Headless():
		last = "features"
	}
	b.nodes[len(b.nodes)-1].Outputs[0] = last

	batch := weights.ONNXDim{Size: o.Batch}
	if o.Batch == 0 {
		batch.Name = "N"
	}
	size := func(n int) weights.ONNXDim { return weights.ONNXDim{Size: n} }
	name := func(s string) weights.ONNXDim { return weights.ONNXDim{Name: s} }
	side := size(opts.Input)
	g := weights.ONNXModel{
		Producer: "vgg", Graph: opts.Config, Nodes: b.nodes, Tensors: b.tensors,
		Inputs:   []weights.ONNXPort{{Name: "input", Shape: []weights.ONNXDim{batch, size(3), side, side}}},
		Outputs:  []weights.ONNXPort{{Name: last, Shape: []weights.ONNXDim{batch, size(in.C)}}},
		Metadata: map[string]string{},
	}
	switch {
	case o.Dense:
		g.Inputs[0].Shape = []weights.ONNXDim{batch, size(3), name("H"), name("W")}
		g.Outputs[0].Shape = []weights.ONNXDim{batch, size(in.C), name("OH"), name("OW")}
	case opts.Headless():
		g.Outputs[0].Shape = []weights.ONNXDim{batch, size(in.C), size(in.H), size(in.W)}
	}
	for key, v := range map[string]any{metaClasses: m.Classes, metaPreprocess: m.Preprocess, metaProvenance: m.Provenance} {
		text, err := json.Marshal(v)
		if err != nil {
			return g, fmt.Errorf("metadata %s: %w", key, err)
		}
		g.Metadata[key] = string(text)
	}
	return g, nil
}

// onnxBuilder makes nodes of layers.
type onnxBuilder struct {
	dense   bool
	dtype   string // of weights
	sources map[string]weights.Source
	at      string // the value that the nodes have come to
	flat    bool   // it has two axes
	nodes   []weights.ONNXNode
	tensors []weights.Source
}

// node appends a node that takes the value come to, and tensors; its output has its name.
func (b *onnxBuilder) node(op, name string, attributes map[string]any, tensors ...string) {
	b.nodes = append(b.nodes, weights.ONNXNode{Op: op, Name: name, Inputs: append([]string{b.at}, tensors...), Outputs: []string{name}, Attributes: attributes})
	b.at = name
}

// tensor appends a parameter in that shape, or its own, and returns its name.
func (b *onnxBuilder) tensor(p *nn.Param, dtype string, shape ...int) string {
	s := b.sources[p.Name]
	s.DType = dtype
	if len(shape) > 0 {
		s.Shape = shape
	}
	b.tensors = append(b.tensors, s)
	return p.Name
}

// add appends a layer from shape in to shape out.
func (b *onnxBuilder) add(l nn.Layer, in, out nn.Shape) error {
	switch l := l.(type) {
	case *nn.Conv:
		b.conv(l, in, out)
	case *nn.BatchNorm:
		b.node("BatchNormalization", l.Name(), map[string]any{"epsilon": l.Eps}, b.tensor(l.Gamma, ""), b.tensor(l.Beta, ""), b.tensor(l.RunningMean, ""), b.tensor(l.RunningVar, ""))
		if l.ReLU {
			b.relu(l.Name())
		}
	case *nn.LRN:
		o := l.Options() // where α isn't divided by the size, as ONNX's is
		b.node("LRN", l.Name(), map[string]any{"size": o.Size, "alpha": o.Alpha * float32(o.Size), "beta": o.Beta, "bias": o.K})
	case *nn.MaxPool:
		b.node("MaxPool", l.Name(), map[string]any{"kernel_shape": []int{2, 2}, "strides": []int{2, 2}})
	case *nn.ReLU:
		b.relu(l.Name())
	case *nn.Dropout:
	default:
		return fmt.Errorf("layer %s: no operator of ONNX for a %T", l.Name(), l)
	}
	return nil
}

// conv appends a convolution or a fully connected layer; the weight of the latter has two
// axes.
func (b *onnxBuilder) conv(l *nn.Conv, in, out nn.Shape) {
	if s := l.Weight.Shape; len(s) == 2 && !b.dense {
		if !b.flat {
			b.node("Flatten", "flatten", map[string]any{"axis": 1})
			b.flat = true
		}
		b.node("Gemm", l.Name(), map[string]any{"transB": 1}, b.tensor(l.Weight, b.dtype), b.tensor(l.Bias, ""))
	} else {
		r := s[len(s)-1]
		if len(s) == 2 {
			r = int(math.Round(math.Sqrt(float64(s[1] / in.C))))
		}
		pad := (out.H - in.H + r - 1) / 2
		b.node("Conv", l.Name(), map[string]any{"kernel_shape": []int{r, r}, "pads": []int{pad, pad, pad, pad}},
			b.tensor(l.Weight, b.dtype, s[0], in.C, r, r), b.tensor(l.Bias, ""))
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
