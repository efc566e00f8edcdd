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
		case "value_float", "value_floats":
			shape := []int{}
			if a.name == "value_floats" {
				shape = []int{len(a.numbers)}
			}
			if len(a.numbers) > 0 {
				return &onnxValue{tensor: newONNXTensor(n.outputs[0], shape, a.numbers)}, nil
			}
		}
	}
	return nil, n.refuse("a constant that is neither a tensor nor whole numbers")
}

// shapeOf returns the shape of v. Of the chain's value, only the batch is known.
func (c *onnxChain) shapeOf(n *onnxNode, v *onnxValue) *onnxValue {
	var dims []onnxDim
	switch {
	case v.step > 0 || v.pixels != nil:
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

// reshapedBy returns a constant in the shape that a Reshape, Squeeze, Unsqueeze or Flatten
// gives it.
func (c *onnxChain) reshapedBy(n *onnxNode, t *onnxTensor) (*onnxValue, error) {
	shape := slices.Clone(t.Shape)
	name := "axes"
	if n.op == "Reshape" {
		name = "shape"
	}
	given, err := c.ints(n, name, 1)
	if err != nil {
		return nil, err
	}
	switch n.op {
	case "Reshape":
		if shape = reshapedTo(t.Shape, given); shape == nil {
			return nil, n.refuse("reshapes %v to %v", t.Shape, given)
		}
	case "Flatten":
		return nil, nil
	default:
		length := len(shape)
		if n.op == "Unsqueeze" {
			length += len(given)
		}
		var at []int
		for _, a := range given {
			if a < 0 {
				a += int64(length)
			}
			if a < 0 || a >= int64(length) || length > maxAxes || slices.Contains(at, int(a)) || n.op == "Squeeze" && shape[a] != 1 {
				return nil, n.refuse("axes %v of a constant of shape %v", given, t.Shape)
			}
			at = append(at, int(a))
		}
		slices.Sort(at)
		if n.op == "Squeeze" && given == nil {
			shape = slices.DeleteFunc(shape, func(d int) bool { return d == 1 })
		}
		for i, a := range at {
			if n.op == "Unsqueeze" {
				shape = slices.Insert(shape, a, 1)
			} else {
				shape = slices.Delete(shape, a-i, a-i+1)
			}
		}
	}
	if slices.Equal(shape, t.Shape) {
		return t.value(), nil
	}
	t = t.reshaped(shape)
	t.Name = n.outputs[0]
	return t.value(), nil
}

// reshapedTo returns the shape that a Reshape gives a tensor, nil if it can't.
func reshapedTo(from []int, target []int64) []int {
	whole, _ := tensor.Size(from...)
	shape, rest, unknown := []int{}, int64(whole), -1
	for i, d := range target {
		switch {
		case d == -1 && unknown < 0:
			unknown = i
			d = 1
		case d == 0 && i < len(from):
			d = int64(from[i])
		}
		if d <= 0 || rest%d != 0 {
			return nil
		}
		rest /= d
		shape = append(shape, int(d))
	}
	if unknown >= 0 {
		shape[unknown], rest = int(rest), 1
	}
	if rest != 1 {
		return nil
	}
	return shape
}
