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
	scalar bool // dims is one number, not a vector
	pixels *onnxPixels
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
	rank     int     // axes of the chain's value; 0 if unknown
	batch    int64   // -1 if unknown
	shape    []int64 // of the last layer's output; -1 for what isn't known, nil if nothing is
	perm     []int   // axis i of the value is axis perm[i] of the last layer's output; nil for the same
	permName string
	pads     []float64 // zeros to add before each axis of the last layer's output, then after each
	padNode  *onnxNode // the node that pads are from; nil if there are none

	affine      *onnxAffine // to apply to the last layer's output; nil if there is none
	nonnegative bool        // whether no value can be below 0
	scale       *onnxScale  // of the quantised value; nil if it isn't quantised

	channels   int       // axis of the input that preprocessing took for the channels; -1 if it took none
	pixelsNode *onnxNode // the first of the preprocessing
	bytePixels bool      // whether the input is of bytes

	end       string   // the value that the chain ends with
	notes     []string // what is left out, and why
	spent     int64    // elements computed
	quantized int      // weights of whole numbers
	rounded   int      // quantised values between layers
	dynamic   int      // products of values quantised as they come
}

// header lists the tensors and the layers.
func (m *onnxModel) header() (*header, error) {
	c := &onnxChain{m: m, values: map[string]*onnxValue{}, listed: map[string]int{}, step: 1, batch: -1, channels: -1}
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
	stored := slices.Clone(c.entries)
	if err := c.start(); err != nil {
		return nil, err
	}
	if err := c.follow(); err != nil {
		if m.meta["vgg.options"] == "" {
			return nil, err
		}
		// The options in the file describe its network, which need not be a chain.
		return &header{meta: m.meta, entries: stored}, nil
	}
	entries := c.kept()
	return &header{meta: m.meta, entries: entries, layers: c.layers, notes: c.notes}, nil
}

// follow follows the nodes.
func (c *onnxChain) follow() error {
	nodes, err := c.needed()
	if err != nil {
		return err
	}
	if nodes, err = c.fold(nodes); err != nil {
		return err
	}
	for _, n := range c.fuse(nodes) {
		if err := c.node(n); err != nil {
			return err
		}
	}
	return c.finish()
}

// fold computes what doesn't depend on the graph's input, and returns the other nodes.
func (c *onnxChain) fold(nodes []*onnxNode) (left []*onnxNode, err error) {
	made := map[string]bool{} // by the nodes that are left
	for _, in := range c.m.graph.inputs {
		made[in.name] = c.values[in.name].tensor == nil && c.values[in.name].bad == nil
	}
	for _, n := range nodes {
		depends := false
		for _, in := range n.inputs {
			if in != "" && !made[in] && c.values[in] == nil {
				return nil, malformed("", "%s: input %s, which nothing before it makes", n.describe(), display(in))
			}
			depends = depends || made[in]
		}
		if depends {
			left = append(left, n)
		}
		for i, out := range n.outputs {
			switch {
			case depends:
				made[out] = true
			case i == 0:
				c.values[out] = c.constant(n)
			default:
				c.values[out] = &onnxValue{bad: n.refuse("its output %s is used, want it folded (onnxsim)", display(out))}
			}
		}
	}
	return left, nil
}

// kept returns the tensors of layers. The others are shapes, tensors that constants were
// computed from, and what no node takes, which is noted.
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
	var idle []string
	kept := slices.DeleteFunc(c.entries, func(e entry) bool {
		if !of[e.Name] && !taken[e.Name] {
			idle = append(idle, e.Name)
		}
		return !of[e.Name]
	})
	c.note(idle, "initialisers that no node takes")
	return kept
}

// note records what is left out, and why.
func (c *onnxChain) note(names []string, why string) {
	const most = 3
	if len(names) == 0 {
		return
	}
	var shown []string
	for _, name := range names[:min(len(names), most)] {
		shown = append(shown, display(name))
	}
	text := strings.Join(shown, ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	c.notes = append(c.notes, text+": "+why)
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
	taken := map[string]bool{}
	for _, n := range c.m.graph.nodes {
		for _, name := range n.inputs {
			taken[name] = true
		}
	}
	var names []string
	for _, in := range c.m.graph.inputs {
		if c.values[in.name] != nil {
			continue
		}
		if names = append(names, in.name); len(names) > 1 && !taken[in.name] {
			names = names[:len(names)-1]
			c.values[in.name] = &onnxValue{bad: refused("", "input %s", display(in.name))}
			c.note([]string{in.name}, "an input that no node takes")
			continue
		}
		c.values[in.name] = &onnxValue{pixels: c.inputPixels(in.dims)}
		if c.values[in.name].pixels == nil {
			c.values[in.name].step = c.step
		}
		c.rank, c.shape = len(in.dims), in.dims
		c.bytePixels = in.elem == typeUint8
		if in.elem == typeInt8 || in.elem > typeInt8 && !isFloat(in.elem) && in.elem <= typeUint64 {
			return refused("", "a graph whose input %s is of whole numbers of type %d, want floating point or bytes", display(in.name), in.elem)
		}
		if len(in.dims) > 0 {
			c.batch = in.dims[0]
			c.m.meta["onnx.input"] = strings.Trim(strings.ReplaceAll(fmt.Sprint(in.dims), "-1", "?"), "[]")
		}
	}
	if len(names) != 1 {
		return refused("", "a graph with %d inputs (%s), want one: cut the part of one out (onnx.utils.extract_model)", len(names), display(strings.Join(names, ", ")))
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
	if v := c.values[c.end]; v != nil && v.bad != nil {
		return v.bad
	}
	c.flush()
	if len(c.layers) == 0 {
		return refused("", "a graph without layers")
	}
	c.settle()
	plural := func(n int, one, many string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", n, many)
	}
	if c.quantized > 0 {
		c.notes = append(c.notes, "quantisation: "+plural(c.quantized, "tensor", "tensors")+" of whole numbers, read as float32")
	}
	if c.rounded+c.dynamic > 0 {
		c.notes = append(c.notes, "quantisation of the values between layers, in "+plural(c.rounded+c.dynamic, "place", "places")+": the network is computed in float32, and differs from the quantised one by the rounding and the largest values")
	}
	for _, out := range c.m.graph.outputs {
		if v := c.values[out.name]; v != nil && v.step == c.step {
			return nil
		}
	}
	if v := c.values[c.end]; v != nil && v.step == c.step {
		return nil
	}
	return refused("", "a graph whose last layer, %s, isn't its output: want a chain of layers", display(c.layers[len(c.layers)-1].Name))
}

// foreign tells whether the node's operator is none of ONNX's own.
func (n *onnxNode) foreign() bool { return n.domain != "" && n.domain != "ai.onnx" }

// node follows one node.
func (c *onnxChain) node(n *onnxNode) error {
	chain, pixels := -1, -1 // indices of the inputs that are the chain's, or pixels
	for i, in := range n.inputs {
		if in == "" {
			continue
		}
		v := c.values[in]
		switch {
		case v == nil:
			return malformed("", "%s: input %s, which nothing before it makes", n.describe(), display(in))
		case v.pixels != nil && pixels < 0:
			pixels = i
		case v.step == 0:
		case chain >= 0:
			return n.refuse("joins two branches: want a chain of layers")
		default:
			chain = i
		}
	}
	if chain < 0 && pixels < 0 || n.op == "Shape" && !n.foreign() {
		c.values[n.outputs[0]] = c.constant(n)
		return nil
	}
	if pixels >= 0 {
		if chain >= 0 {
			return n.refuse("joins two branches: want a chain of layers")
		}
		if done, err := c.pixelNode(n); done || err != nil {
			return err
		}
		if err := c.begin(n, c.values[n.inputs[pixels]]); err != nil {
			return err
		}
		chain = pixels
	}
	if n.foreign() && !(n.domain == "com.microsoft" && slices.Contains(microsoft, n.op)) {
		return n.refuse("an operator of domain %s, want ONNX's own: export the model without it, inline functions (onnx.inliner.inline_local_functions), or quantise in the form of QuantizeLinear and DequantizeLinear (QuantFormat.QDQ)", display(n.domain))
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
	c.flush()
	p := make([]float64, len(c.perm))
	var shape []int64
	for i, a := range c.perm {
		p[i] = float64(a)
		if c.shape != nil {
			shape = append(shape, c.shape[a])
		}
	}
	c.layers = append(c.layers, Layer{Name: c.permName, Op: "transpose", Tensors: map[string]string{}, Attributes: map[string][]float64{"perm": p}})
	c.perm, c.shape = nil, shape
}

// keepSign are the layers after which values are non-negative if they were before.
var keepSign = []string{"maxpool", "avgpool", "globalavgpool", "globalmaxpool", "flatten", "dropout", "lrn", "l2", "leakyrelu", "elu", "gelu", "silu", "tanh"}

// emit appends the layer that a node is.
func (c *onnxChain) emit(n *onnxNode, op string, tensors map[string]string, attributes map[string][]float64) {
	c.flush()
	if tensors == nil {
		tensors = map[string]string{}
	}
	if attributes == nil {
		attributes = map[string][]float64{}
	}
	positive := op == "relu" || op == "sigmoid" || op == "softmax"
	c.nonnegative = positive || c.nonnegative && slices.Contains(keepSign, op)
	c.layers = append(c.layers, Layer{Name: n.label(), Op: op, Tensors: tensors, Attributes: attributes})
}

// images prepares the chain for an operator on (N,C,H,W).
func (c *onnxChain) images(n *onnxNode) error {
	if c.rank == 2 {
		return n.refuse("wants images, but follows a fully connected layer or a flattening")
	}
	c.rank = 4
	if err := c.wantChannels(n); err != nil {
		return err
	}
	c.settle()
	return nil
}

// vectors returns an error unless the chain's value is flat.
func (c *onnxChain) vectors(n *onnxNode) error {
	if c.rank == 4 || c.perm != nil {
		return n.refuse("multiplies images, want Flatten or Reshape before it: this library writes an adaptive pooling (ADAPT7) so, and tells it in metadata_props, which another tool has removed: open the file as it was exported, or the weights that it was exported from")
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
	case v != nil && v.bad != nil:
		return nil, v.bad
	case v == nil || v.tensor == nil:
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
	if len(n.inputs) > 2 && n.inputs[2] != "" {
		if training, ok := c.scalar(n.inputs[2]); !ok || training != 0 {
			return n.refuse("in training mode, want a network exported for inference")
		}
	}
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
	if c.m.opset < 13 && n.attribute("one") == nil && c.rank == 4 && !c.single() {
		return n.refuse("in opset %d, over all axes from %d on, want that of the classes", c.m.opset, axis)
	}
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
