package weights

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/verydeep/vgg/tensor"
)

// onnxValue is a value of the graph: the output of a step of the chain, a constant,
// numbers computed from shapes, or a value that no chain can be built from.
type onnxValue struct {
	step   int // of the chain, from 1; 0 for any other value
	tensor *onnxTensor
	perm   []int // order in which the tensor's axes are taken; nil for their own
	dims   []onnxDim
	scalar bool  // dims is one number, not a vector
	bad    error // why no chain can be built from it
}

// onnxChain follows a graph's nodes from its input to its output.
//
// Transpositions are collected in perm. They become a layer only if an operator depends on
// the order of the axes, so that the pairs that an exporter puts around every convolution
// cancel.
type onnxChain struct {
	m        *onnxModel
	values   map[string]*onnxValue
	entries  []entry
	listed   map[string]int // index in entries, by name
	layers   []Layer
	step     int
	rank     int   // axes of the chain's value; 0 if unknown
	batch    int64 // -1 if unknown
	perm     []int // axis i of the value is axis perm[i] of the last layer's output; nil for the same
	permName string
	pads     []float64 // zeros to add before each axis of the last layer's output, then after each
	padNode  *onnxNode // the node that pads are from; nil if there are none
}

// header lists the tensors and the layers.
func (m *onnxModel) header() (*header, error) {
	c := &onnxChain{m: m, values: map[string]*onnxValue{}, listed: map[string]int{}, step: 1, batch: -1}
	for _, t := range m.graph.tensors {
		if t.Name == "" {
			return nil, malformed("", "an initialiser without a name")
		}
		if c.values[t.Name] != nil {
			return nil, malformed(t.Name, "name given to two initialisers")
		}
		c.values[t.Name] = t.value()
		c.list(t)
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	if err := c.follow(); err != nil {
		if m.meta["vgg.options"] == "" {
			return nil, err
		}
		// The options in the file describe its network, which need not be a chain.
		return &header{meta: m.meta, entries: c.entries}, nil
	}
	return &header{meta: m.meta, entries: c.kept(), layers: c.layers}, nil
}

// follow follows the nodes.
func (c *onnxChain) follow() error {
	for i := range c.m.graph.nodes {
		if err := c.node(&c.m.graph.nodes[i]); err != nil {
			return err
		}
	}
	return c.finish()
}

// kept returns the tensors of layers, and those that no node takes. The others are shapes,
// and tensors that constants were computed from.
func (c *onnxChain) kept() []entry {
	of, taken := map[string]bool{}, map[string]bool{}
	for _, l := range c.layers {
		for _, name := range l.Tensors {
			of[name] = true
		}
	}
	for _, n := range c.m.graph.nodes {
		for _, name := range n.inputs {
			taken[name] = true
		}
	}
	return slices.DeleteFunc(c.entries, func(e entry) bool { return !of[e.Name] && taken[e.Name] })
}

// list adds a tensor to the file's, unless there is one of the same name.
func (c *onnxChain) list(t *onnxTensor) {
	if _, ok := c.listed[t.Name]; !ok {
		c.listed[t.Name] = len(c.entries)
		c.entries = append(c.entries, t.entry)
	}
}

// value returns t as a constant.
func (t *onnxTensor) value() *onnxValue {
	v := &onnxValue{tensor: t}
	if t.ints != nil && len(t.Shape) <= 1 {
		v.scalar = len(t.Shape) == 0
		v.dims = []onnxDim{}
		for _, n := range t.ints {
			v.dims = append(v.dims, onnxDim{n: n})
		}
	}
	return v
}

// start finds the input that the chain begins with. Files of IR version 3 list the
// initialisers among the inputs.
func (c *onnxChain) start() error {
	var names []string
	for _, in := range c.m.graph.inputs {
		if c.values[in.name] != nil {
			continue
		}
		names = append(names, in.name)
		c.values[in.name] = &onnxValue{step: c.step}
		c.rank = len(in.dims)
		if len(in.dims) > 0 {
			c.batch = in.dims[0]
			c.m.meta["onnx.input"] = strings.Trim(strings.ReplaceAll(fmt.Sprint(in.dims), "-1", "?"), "[]")
		}
	}
	if len(names) != 1 {
		return refused("", "a graph with %d inputs (%s), want one", len(names), display(strings.Join(names, ", ")))
	}
	if c.rank != 0 && c.rank != 4 && c.rank != 2 {
		return refused("", "a graph whose input has %d axes, want images of 4", c.rank)
	}
	return nil
}

// finish checks that the chain ends at an output.
func (c *onnxChain) finish() error {
	if c.padNode != nil {
		return c.padNode.refuse("pads no convolution")
	}
	if len(c.layers) == 0 {
		return refused("", "a graph without layers")
	}
	c.settle()
	for _, out := range c.m.graph.outputs {
		if v := c.values[out.name]; v != nil && v.step == c.step {
			return nil
		}
	}
	return refused("", "a graph whose last layer, %s, isn't its output: want a chain of layers", display(c.layers[len(c.layers)-1].Name))
}

// node follows one node.
func (c *onnxChain) node(n *onnxNode) error {
	if len(n.outputs) == 0 {
		return malformed("", "%s: no output", n.describe())
	}
	for _, out := range n.outputs {
		if out != "" && c.values[out] != nil {
			return malformed("", "%s: output %s given twice", n.describe(), display(out))
		}
	}
	chain := -1 // index of the input that is the chain's
	for i, in := range n.inputs {
		if in == "" {
			continue
		}
		v := c.values[in]
		if v == nil {
			return malformed("", "%s: input %s, which nothing before it makes", n.describe(), display(in))
		}
		if v.step == 0 {
			continue
		}
		if chain >= 0 {
			return n.refuse("joins two branches: want a chain of layers")
		}
		chain = i
	}
	if chain < 0 || n.op == "Shape" {
		c.values[n.outputs[0]] = c.constant(n)
		return nil
	}
	if n.domain != "" && n.domain != "ai.onnx" {
		return n.refuse("an operator of domain %s, want ONNX's own", display(n.domain))
	}
	if c.values[n.inputs[chain]].step != c.step {
		return n.refuse("a second branch from %s: want a chain of layers", display(n.inputs[chain]))
	}
	same, err := c.operator(n, chain)
	if err != nil {
		return err
	}
	if !same {
		c.step++
	}
	for _, out := range n.outputs[1:] {
		c.values[out] = &onnxValue{bad: n.refuse("its output %s is used, want a chain of layers", display(out))}
	}
	c.values[n.outputs[0]] = &onnxValue{step: c.step}
	return nil
}

// settle adds the collected transpositions as a layer.
func (c *onnxChain) settle() {
	if c.perm == nil {
		return
	}
	p := make([]float64, len(c.perm))
	for i, a := range c.perm {
		p[i] = float64(a)
	}
	c.layers = append(c.layers, Layer{Name: c.permName, Op: "transpose", Tensors: map[string]string{}, Attributes: map[string][]float64{"perm": p}})
	c.perm = nil
}

// emit appends the layer that a node is.
func (c *onnxChain) emit(n *onnxNode, op string, tensors map[string]string, attributes map[string][]float64) {
	if tensors == nil {
		tensors = map[string]string{}
	}
	if attributes == nil {
		attributes = map[string][]float64{}
	}
	c.layers = append(c.layers, Layer{Name: n.label(), Op: op, Tensors: tensors, Attributes: attributes})
}

// operator follows a node of the chain. It reports whether the node changes nothing.
func (c *onnxChain) operator(n *onnxNode, chain int) (same bool, err error) {
	if c.padNode != nil && n.op != "Conv" && n.op != "Transpose" && n.op != "Identity" && n.op != "Cast" {
		return false, c.padNode.refuse("pads no convolution, but %s", n.describe())
	}
	if chain != 0 && n.op != "Add" {
		return false, n.refuse("the layer's values are its input %d, want the first", chain+1)
	}
	switch n.op {
	case "Identity":
		return true, nil
	case "Cast":
		if to := int64(n.number("to", 0)); to != 1 && to != 10 && to != 11 && to != 16 {
			return false, n.refuse("casts the layer's values to type %d, want floating point", to)
		}
		return true, nil
	case "Relu":
		c.emit(n, "relu", nil, nil)
	case "Tanh", "Sigmoid":
		c.emit(n, strings.ToLower(n.op), nil, nil)
	case "LeakyRelu":
		c.emit(n, "leakyrelu", nil, map[string][]float64{"alpha": n.numbers("alpha", 0.01)})
	case "Elu":
		c.emit(n, "elu", nil, map[string][]float64{"alpha": n.numbers("alpha", 1)})
	case "Dropout":
		return false, c.dropout(n)
	case "Transpose":
		return false, c.transpose(n)
	case "Pad":
		return false, c.pad(n)
	case "Conv":
		return false, c.conv(n)
	case "MaxPool", "AveragePool":
		return c.pool(n)
	case "GlobalMaxPool":
		if err := c.images(n); err != nil {
			return false, err
		}
		c.emit(n, "globalmaxpool", nil, nil)
	case "GlobalAveragePool", "ReduceMean":
		return false, c.globalPool(n)
	case "LRN":
		if err := c.images(n); err != nil {
			return false, err
		}
		if n.attribute("size") == nil {
			return false, malformed("", "%s: no size", n.describe())
		}
		c.emit(n, "lrn", nil, map[string][]float64{"size": n.numbers("size", 0), "alpha": n.numbers("alpha", 1e-4),
			"beta": n.numbers("beta", 0.75), "bias": n.numbers("bias", 1)})
	case "BatchNormalization":
		return false, c.batchNorm(n)
	case "Gemm":
		return false, c.gemm(n)
	case "MatMul":
		return false, c.matmul(n)
	case "Add":
		return false, c.add(n, chain)
	case "Flatten":
		if axis := n.number("axis", 1); axis != 1 && axis != 1-float64(c.rank) {
			return false, n.refuse("axis %v, want 1", axis)
		}
		return c.flatten(n), nil
	case "Reshape":
		return c.reshape(n)
	case "Squeeze":
		return c.squeeze(n)
	case "Softmax", "LogSoftmax":
		return false, c.softmax(n)
	default:
		return false, n.refuse("not an operator of a chain of Conv, Relu, MaxPool, LRN, BatchNormalization, Gemm, MatMul, Flatten, Reshape, Dropout and Softmax")
	}
	return false, nil
}

// images prepares the chain for an operator on (N,C,H,W).
func (c *onnxChain) images(n *onnxNode) error {
	if c.rank == 2 {
		return n.refuse("wants images, but follows a fully connected layer or a flattening")
	}
	c.rank = 4
	c.settle()
	return nil
}

// vectors returns an error unless the chain's value is flat.
func (c *onnxChain) vectors(n *onnxNode) error {
	if c.rank == 4 || c.perm != nil {
		return n.refuse("multiplies images, want Flatten or Reshape before it")
	}
	c.rank = 2
	return nil
}

// constantInput returns input i of a node, which must be a tensor; nil if there is none.
func (c *onnxChain) constantInput(n *onnxNode, i int) (*onnxValue, error) {
	if i >= len(n.inputs) || n.inputs[i] == "" {
		return nil, nil
	}
	v := c.values[n.inputs[i]]
	switch {
	case v.bad != nil:
		return nil, v.bad
	case v.tensor == nil:
		return nil, n.refuse("input %s isn't a constant", display(n.inputs[i]))
	}
	return v, nil
}

// vector lists input i of a node as a vector of so many elements, of any number if that is
// 0. It returns the tensor's name, "" if there is no such input. Axes of length one are
// dropped.
func (c *onnxChain) vector(n *onnxNode, i, elements int) (string, error) {
	v, err := c.constantInput(n, i)
	if v == nil || err != nil {
		return "", err
	}
	count, longest := 1, 1
	for _, d := range v.tensor.Shape {
		if d != 0 && count > math.MaxInt32 || d == 0 {
			return "", n.refuse("%s: shape %v, want a vector", display(v.tensor.Name), v.tensor.Shape)
		}
		count, longest = count*d, max(longest, d)
	}
	if count != longest || elements > 0 && count != elements {
		return "", n.refuse("%s: shape %v, want a vector of %d", display(v.tensor.Name), v.tensor.Shape, elements)
	}
	return c.use(v.tensor.reshaped([]int{count})), nil
}

// use lists a tensor with its shape and returns its name.
func (c *onnxChain) use(t *onnxTensor) string {
	c.list(t)
	c.entries[c.listed[t.Name]].Shape = t.Shape
	return t.Name
}

// axes returns the tensor's shape with the axes in the order in which they are taken.
func (v *onnxValue) axes() []int {
	if v.perm == nil {
		return v.tensor.Shape
	}
	var shape []int
	for _, a := range v.perm {
		shape = append(shape, v.tensor.Shape[a])
	}
	return shape
}

// batchNorm follows a BatchNormalization.
func (c *onnxChain) batchNorm(n *onnxNode) error {
	if c.rank != 2 {
		if err := c.images(n); err != nil {
			return err
		}
	}
	if n.number("training_mode", 0) != 0 {
		return n.refuse("in training mode, want a network exported for inference")
	}
	tensors, elements := map[string]string{}, 0
	for i, role := range []string{"scale", "shift", "mean", "variance"} {
		name, err := c.vector(n, i+1, elements)
		if err != nil {
			return err
		}
		if name == "" {
			return malformed("", "%s: no %s", n.describe(), role)
		}
		tensors[role] = name
		elements, _ = tensor.Size(c.entries[c.listed[name]].Shape...)
	}
	c.emit(n, "batchnorm", tensors, map[string][]float64{"epsilon": n.numbers("epsilon", 1e-5)})
	return nil
}

// dropout follows a Dropout, which is the identity in inference. Its ratio is an attribute
// or, from opset 12 on, an input.
func (c *onnxChain) dropout(n *onnxNode) error {
	ratio := n.numbers("ratio", 0.5)
	if v, err := c.constantInput(n, 1); err == nil && v != nil {
		if few := c.few(v.tensor); len(few) == 1 {
			ratio = []float64{float64(few[0])}
		}
	}
	c.emit(n, "dropout", nil, map[string][]float64{"ratio": ratio})
	return nil
}

// softmax follows a Softmax over the classes.
func (c *onnxChain) softmax(n *onnxNode) error {
	otherwise := -1.0
	if c.m.opset < 13 {
		otherwise = 1
	}
	axis := int(n.number("axis", otherwise))
	if axis < 0 {
		axis += max(c.rank, 2)
	}
	if axis < len(c.perm) && axis >= 0 {
		axis = c.perm[axis]
	}
	if axis != 1 {
		return n.refuse("axis %v, want that of the classes", n.number("axis", otherwise))
	}
	c.emit(n, strings.ToLower(n.op), nil, map[string][]float64{"axis": {1}})
	return nil
}
