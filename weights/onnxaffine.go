package weights

import (
	"math"
	"slices"
)

// onnxAffine is y = scale·x + shift of each channel, which Mul, Add, Sub and Div with
// constants compute. Exporters write batch normalisation so.
type onnxAffine struct {
	node         *onnxNode // the first
	scale, shift []float64
}

// arithmetic follows a Mul, Add, Sub or Div of the chain's value and a constant.
func (c *onnxChain) arithmetic(n *onnxNode, chain int) (same bool, err error) {
	if len(n.inputs) != 2 {
		return false, n.refuse("%d inputs, want 2", len(n.inputs))
	}
	if n.op == "Add" && c.affine == nil {
		if took, err := c.addBias(n, chain); took || err != nil {
			return false, err
		}
	}
	by, err := c.channelVector(n, 1-chain)
	if err != nil {
		return false, err
	}
	if c.affine == nil {
		if len(c.layers) == 0 {
			return false, n.refuse("before the first layer, where it isn't followed")
		}
		c.affine = &onnxAffine{node: n, scale: slices.Repeat([]float64{1}, len(by)), shift: make([]float64, len(by))}
	}
	c.nonnegative = false
	if len(c.affine.scale) != len(by) {
		return false, n.refuse("a constant of %d channels, want %d", len(by), len(c.affine.scale))
	}
	for i, k := range by {
		scale, shift, ok := n.affine(k, chain)
		if !ok {
			return false, n.refuse("divides by the layer's values or by 0, want a scale and a shift of each channel")
		}
		c.affine.scale[i] *= scale
		c.affine.shift[i] = c.affine.shift[i]*scale + shift
	}
	return false, nil
}

// affine returns the scale and the shift that the node applies to the chain's value, its
// input of that index, by the constant k. It reports whether there are such.
func (n *onnxNode) affine(k float64, chain int) (scale, shift float64, ok bool) {
	switch {
	case n.op == "Mul":
		scale = k
	case n.op == "Div" && chain == 0 && k != 0:
		scale = 1 / k
	case n.op == "Add":
		scale, shift = 1, k
	case n.op == "Sub" && chain == 0:
		scale, shift = 1, -k
	case n.op == "Sub":
		scale, shift = -1, k
	default:
		return 0, 0, false
	}
	return scale, shift, !math.IsNaN(scale+shift) && !math.IsInf(scale+shift, 0)
}

// channelAxis returns the axis of the chain's value that the channels are on.
func (c *onnxChain) channelAxis() int {
	if c.perm != nil {
		return slices.Index(c.perm, 1)
	}
	return 1
}

// channelVector returns input i of a node, a constant, as one number for each channel of
// the chain's value.
func (c *onnxChain) channelVector(n *onnxNode, i int) ([]float64, error) {
	v, err := c.constantInput(n, i)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, n.refuse("want a constant of each channel")
	}
	shape, rank, axis := v.axes(), max(c.rank, 2), c.channelAxis()
	for at, d := range shape {
		if d != 1 && at-len(shape)+rank != axis || len(shape) > rank {
			return nil, n.refuse("a constant of shape %v, want one number for each channel, on axis %d of %d", shape, axis, rank)
		}
	}
	by, err := c.elements(n, v.tensor)
	if err != nil {
		return nil, err
	}
	width := c.width()
	switch {
	case len(by) == 1 && width == 0:
		return nil, n.refuse("one number for all channels, of which the number isn't known: want one for each")
	case len(by) == 1:
		if err := c.charge(n, width); err != nil {
			return nil, err
		}
		return slices.Repeat(by, width), nil
	case width != 0 && len(by) != width:
		return nil, n.refuse("a constant of shape %v, want one number for each of %d channels", shape, width)
	}
	return by, nil
}

// width returns the channels of the chain's value, 0 if they aren't known.
func (c *onnxChain) width() int {
	if len(c.shape) > 1 && c.shape[1] > 0 && c.shape[1] <= math.MaxInt32 {
		return int(c.shape[1])
	}
	return 0
}

// addBias makes an Add the bias of the convolution or fully connected layer before it. It
// reports whether it did.
func (c *onnxChain) addBias(n *onnxNode, chain int) (took bool, err error) {
	v, err := c.constantInput(n, 1-chain)
	if v == nil || err != nil || len(c.layers) == 0 {
		return false, err
	}
	last := &c.layers[len(c.layers)-1]
	if last.Op != "conv" && last.Op != "fc" || last.Tensors["bias"] != "" || v.perm != nil {
		return false, nil
	}
	shape := v.axes()
	rank := 2
	if last.Op == "conv" {
		rank = 4
	}
	if at := len(shape) - rank + c.channelAxis(); len(shape) > rank || at < 0 || at >= len(shape) || shape[at] != c.width() {
		return false, nil
	}
	bias, err := c.vector(n, 1-chain, c.width())
	if err != nil {
		return false, err
	}
	last.Tensors["bias"] = bias
	return true, nil
}

// flush adds the collected scale and shift as a layer.
func (c *onnxChain) flush() {
	a := c.affine
	if a == nil {
		return
	}
	c.affine, c.nonnegative = nil, false
	name := a.node.label()
	tensors := map[string]string{}
	for i, values := range [][]float64{a.scale, a.shift} {
		role := []string{"scale", "shift"}[i]
		tensors[role] = c.use(newONNXTensor(c.unused(name+"."+role), []int{len(values)}, values))
	}
	c.layers = append(c.layers, Layer{Name: name, Op: "affine", Tensors: tensors, Attributes: map[string][]float64{}})
}

// unused returns the name, or a longer one if the graph has a value of that name.
func (c *onnxChain) unused(name string) string {
	for {
		if _, listed := c.listed[name]; !listed && c.values[name] == nil {
			return name
		}
		name += "'"
	}
}

// newONNXTensor returns a tensor of computed elements.
func newONNXTensor(name string, shape []int, values []float64) *onnxTensor {
	floats := make([]float32, len(values))
	for i, v := range values {
		floats[i] = float32(v)
	}
	return &onnxTensor{entry: entry{Entry: Entry{Name: name, DType: "F32", Shape: shape}, read: func(start int, dst []float32) error {
		copy(dst, floats[start:])
		return nil
	}}}
}
