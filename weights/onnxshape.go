package weights

import (
	"slices"

	"github.com/verydeep/vgg/tensor"
)

// onnxDim is a number computed from shapes.
type onnxDim struct {
	n  int64
	of dimOf
}

// dimOf says what an onnxDim is known to be.
type dimOf int

const (
	known dimOf = iota // n
	batch              // the length of the input's first axis
	other              // a number that depends on the image's size
)

// constant follows a node that takes nothing from the chain except shapes. If its value
// can't be computed, that is an error only for a layer that needs the value.
func (c *onnxChain) constant(n *onnxNode) *onnxValue {
	v, err := c.compute(n)
	if err != nil {
		return &onnxValue{bad: err}
	}
	return v
}

// compute returns the value of a node that takes nothing from the chain except shapes.
func (c *onnxChain) compute(n *onnxNode) (*onnxValue, error) {
	unknown := n.refuse("not an operator that constants and shapes can be followed through")
	var in []*onnxValue
	for _, name := range n.inputs {
		v := &onnxValue{}
		if name != "" {
			v = c.values[name]
		}
		if v.bad != nil {
			return nil, v.bad
		}
		in = append(in, v)
	}
	if n.domain != "" && n.domain != "ai.onnx" || len(in) == 0 && n.op != "Constant" {
		return nil, unknown
	}
	switch n.op {
	case "Constant":
		return n.literal()
	case "Identity":
		return in[0], nil
	case "Cast":
		if v := c.cast(int64(n.number("to", 0)), in[0]); v != nil {
			return v, nil
		}
	case "Shape":
		return c.shapeOf(n, in[0]), nil
	case "Transpose":
		if in[0].tensor == nil {
			return nil, unknown
		}
		perm, err := n.permutation(len(in[0].tensor.Shape))
		if err != nil {
			return nil, err
		}
		return &onnxValue{tensor: in[0].tensor, perm: composed(in[0].perm, perm)}, nil
	case "Squeeze", "Unsqueeze":
		if in[0].dims != nil {
			return &onnxValue{dims: in[0].dims, scalar: n.op == "Squeeze"}, nil
		}
	case "Reshape":
		if in[0].tensor != nil && in[0].perm == nil && len(in) > 1 {
			return c.reshaped(n, in[0].tensor)
		}
	case "Gather":
		if len(in) == 2 && in[0].dims != nil && in[1].dims != nil && n.number("axis", 0) == 0 {
			return gather(n, in[0].dims, in[1])
		}
	case "Slice":
		if in[0].dims != nil {
			return c.slice(n, in[0].dims)
		}
	case "Concat":
		if v := concat(in); v != nil {
			return v, nil
		}
	case "Mul", "ReduceProd":
		if in[0].dims != nil { // the size of what is flattened, which the chain itself tells
			return &onnxValue{dims: []onnxDim{{of: other}}, scalar: in[0].scalar}, nil
		}
	}
	return nil, unknown
}

// cast returns v as the type of that number in TensorProto.DataType, nil if it can't be
// followed. Numbers computed from shapes stay whole numbers, and tensors stay as they are.
func (c *onnxChain) cast(to int64, v *onnxValue) *onnxValue {
	const typeFloat, typeInt32, typeInt64, typeFloat16, typeDouble, typeBFloat16 = 1, 6, 7, 10, 11, 16
	switch to {
	case typeInt32, typeInt64:
		if v.dims != nil {
			return v
		}
		// Old exporters of PyTorch write shapes as doubles.
		few := c.few(v.tensor)
		if few == nil || len(v.tensor.Shape) > 1 {
			return nil
		}
		whole := &onnxValue{dims: []onnxDim{}, scalar: len(v.tensor.Shape) == 0}
		for _, f := range few {
			whole.dims = append(whole.dims, onnxDim{n: int64(f)})
		}
		return whole
	case typeFloat, typeFloat16, typeDouble, typeBFloat16:
		if v.dims == nil {
			return v
		}
	default:
		if v.dims != nil {
			return v
		}
	}
	return nil
}

// concat joins vectors of numbers, nil if one of the parts is something else.
func concat(parts []*onnxValue) *onnxValue {
	v := &onnxValue{dims: []onnxDim{}}
	for _, part := range parts {
		if part.dims == nil || part.scalar || len(v.dims)+len(part.dims) > maxAxes {
			return nil
		}
		v.dims = append(v.dims, part.dims...)
	}
	return v
}

// literal returns the value of a Constant node.
func (n *onnxNode) literal() (*onnxValue, error) {
	for _, a := range n.attributes {
		switch a.name {
		case "value":
			if a.tensor != nil {
				a.tensor.Name = n.outputs[0]
				return a.tensor.value(), nil
			}
		case "value_int", "value_ints":
			v := &onnxValue{dims: []onnxDim{}, scalar: a.name == "value_int"}
			for _, i := range a.ints {
				v.dims = append(v.dims, onnxDim{n: i})
			}
			return v, nil
		}
	}
	return nil, n.refuse("a constant that is neither a tensor nor whole numbers")
}

// shapeOf returns the shape of v. Of the chain's value, only the batch is known.
func (c *onnxChain) shapeOf(n *onnxNode, v *onnxValue) *onnxValue {
	var dims []onnxDim
	switch {
	case v.step > 0:
		dims = []onnxDim{{of: batch}, {of: other}, {of: other}, {of: other}}
		if v.step == c.step && c.rank == 2 {
			dims = dims[:2]
		}
	case v.tensor != nil:
		dims = []onnxDim{}
		for _, d := range v.axes() {
			dims = append(dims, onnxDim{n: int64(d)})
		}
	default:
		dims = []onnxDim{{n: int64(len(v.dims))}}
	}
	start, end := bounds(int64(n.number("start", 0)), int64(n.number("end", maxAxes)), len(dims))
	return &onnxValue{dims: dims[start:end]}
}

// bounds returns the indices that a slice of a vector of that length stands for. Negative
// ones count from the end.
func bounds(start, end int64, length int) (from, to int) {
	l := int64(length)
	if start < 0 {
		start += l
	}
	if end < 0 {
		end += l
	}
	start = min(max(start, 0), l)
	return int(start), int(min(max(end, start), l))
}

// gather returns the elements of dims that the indices at stand for.
func gather(n *onnxNode, dims []onnxDim, at *onnxValue) (*onnxValue, error) {
	v := &onnxValue{dims: []onnxDim{}, scalar: at.scalar}
	for _, d := range at.dims {
		i := d.n
		if i < 0 {
			i += int64(len(dims))
		}
		if d.of != known || i < 0 || i >= int64(len(dims)) {
			return nil, n.refuse("an index outside the shape")
		}
		v.dims = append(v.dims, dims[i])
	}
	return v, nil
}

// slice returns the part of dims that a Slice node takes.
func (c *onnxChain) slice(n *onnxNode, dims []onnxDim) (*onnxValue, error) {
	var at [2]int64
	for i, name := range []string{"starts", "ends"} {
		v, err := c.ints(n, name, i+1)
		if err != nil {
			return nil, err
		}
		if len(v) != 1 {
			return nil, n.refuse("%d %s, want 1", len(v), name)
		}
		at[i] = v[0]
	}
	steps, err := c.ints(n, "steps", 4)
	if err != nil {
		return nil, err
	}
	if len(steps) > 1 || len(steps) == 1 && steps[0] != 1 {
		return nil, n.refuse("steps %v, want 1", steps)
	}
	start, end := bounds(at[0], at[1], len(dims))
	return &onnxValue{dims: dims[start:end]}, nil
}

// reshaped returns a constant in the shape that the node's second input gives.
func (c *onnxChain) reshaped(n *onnxNode, t *onnxTensor) (*onnxValue, error) {
	target, err := c.ints(n, "shape", 1)
	if err != nil {
		return nil, err
	}
	whole, _ := tensor.Size(t.Shape...)
	shape, rest, unknown := []int{}, int64(whole), -1
	for i, d := range target {
		switch {
		case d == -1 && unknown < 0:
			unknown = i
			d = 1
		case d == 0 && i < len(t.Shape):
			d = int64(t.Shape[i])
		}
		if d <= 0 || rest%d != 0 {
			return nil, n.refuse("reshapes %v to %v", t.Shape, target)
		}
		rest /= d
		shape = append(shape, int(d))
	}
	switch {
	case unknown >= 0:
		shape[unknown] = int(rest)
	case rest != 1:
		return nil, n.refuse("reshapes %v to %v", t.Shape, target)
	}
	if slices.Equal(shape, t.Shape) {
		return t.value(), nil
	}
	t = t.reshaped(shape)
	t.Name = n.outputs[0]
	return t.value(), nil
}

// few returns the elements of a tensor of few floating-point numbers, nil for any other
// tensor.
func (c *onnxChain) few(t *onnxTensor) []float32 {
	if t == nil || !readable(t.DType) {
		return nil
	}
	n, _ := tensor.Size(t.Shape...)
	if n == 0 || n > maxAxes {
		return nil
	}
	few := make([]float32, n)
	if (&File{r: c.m.r}).decode(&t.entry, few) != nil {
		return nil
	}
	return few
}
