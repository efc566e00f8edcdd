package weights

import (
	"encoding/binary"
	"io"
	"math"
	"slices"

	"github.com/verydeep/vgg/internal/protoscan"
	"github.com/verydeep/vgg/tensor"
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
	if advice[n.op] != "" {
		return nil, n.refuse("%s", advice[n.op])
	}
	var in []*onnxValue
	for _, name := range n.inputs {
		v := &onnxValue{}
		if name != "" {
			v = c.values[name]
		}
		if v == nil {
			return nil, n.refuse("input %s isn't a constant", display(name))
		}
		if v.bad != nil {
			return nil, v.bad
		}
		in = append(in, v)
	}
	unknown := n.refuse("not an operator that constants and shapes can be followed through: want them folded (onnxsim, or ONNX Runtime's optimized_model_filepath)")
	if n.foreign() || len(in) == 0 && n.op != "Constant" {
		return nil, unknown
	}
	if n.op == "Constant" {
		return n.literal()
	}
	v, err := c.computeShape(n, in)
	if v == nil && err == nil {
		v, err = c.computeTensor(n, in)
	}
	if v == nil && err == nil {
		err = unknown
	}
	return v, err
}

// computeShape computes numbers from shapes and other whole numbers. It returns nil if the
// operator is none on them.
func (c *onnxChain) computeShape(n *onnxNode, in []*onnxValue) (*onnxValue, error) {
	switch n.op {
	case "Identity":
		return in[0], nil
	case "Cast":
		return c.cast(int64(n.number("to", 0)), in[0]), nil
	case "Shape":
		return c.shapeOf(n, in[0]), nil
	case "Concat":
		return concat(in), nil
	}
	if in[0].dims == nil {
		return nil, nil
	}
	switch n.op {
	case "Squeeze", "Unsqueeze":
		return &onnxValue{dims: in[0].dims, scalar: n.op == "Squeeze"}, nil
	case "Gather":
		if len(in) == 2 && in[1].dims != nil && n.number("axis", 0) == 0 {
			return gather(n, in[0].dims, in[1])
		}
	case "Slice":
		return c.slice(n, in[0].dims)
	case "Add", "Sub", "Mul", "Div", "ReduceProd":
		return dimArithmetic(n, in), nil
	}
	return nil, nil
}

// dimArithmetic returns a number computed from shapes. Unless all of it is known, that is
// the size of what is flattened, which the chain itself tells.
func dimArithmetic(n *onnxNode, in []*onnxValue) *onnxValue {
	unknown := &onnxValue{dims: []onnxDim{{of: other}}, scalar: in[0].scalar && (len(in) < 2 || in[1].scalar)}
	if len(in) < 2 || len(in[0].dims) != 1 || len(in[1].dims) != 1 {
		return unknown
	}
	a, b := in[0].dims[0], in[1].dims[0]
	small := func(d onnxDim) bool { return d.of == known && d.n >= 0 && d.n <= math.MaxInt32 }
	if !small(a) || !small(b) || n.op == "Div" && b.n == 0 {
		return unknown
	}
	v := map[string]func() int64{
		"Add": func() int64 { return a.n + b.n }, "Sub": func() int64 { return a.n - b.n },
		"Mul": func() int64 { return a.n * b.n }, "Div": func() int64 { return a.n / b.n },
	}[n.op]()
	return &onnxValue{dims: []onnxDim{{n: v}}, scalar: unknown.scalar}
}

// computeTensor computes a tensor from constants. It returns nil if the operator isn't
// known.
func (c *onnxChain) computeTensor(n *onnxNode, in []*onnxValue) (*onnxValue, error) {
	if in[0].tensor == nil {
		return nil, nil
	}
	t := in[0].tensor
	switch n.op {
	case "Transpose":
		perm, err := n.permutation(len(t.Shape))
		if err != nil {
			return nil, err
		}
		return &onnxValue{tensor: t, perm: composed(in[0].perm, perm)}, nil
	case "Reshape", "Squeeze", "Unsqueeze", "Flatten":
		if in[0].perm != nil {
			return nil, nil
		}
		return c.reshapedBy(n, t)
	case "DequantizeLinear":
		return c.dequantize(n, in)
	case "QuantizeLinear":
		return c.quantize(n, in)
	case "Sqrt", "Reciprocal", "Neg", "Exp", "Abs":
		return c.unary(n, in[0])
	case "Add", "Sub", "Mul", "Div", "Pow":
		if len(in) == 2 && in[1].tensor != nil {
			return c.binary(n, in[0], in[1])
		}
	}
	return nil, nil
}

// unary applies a function to each element of a constant.
func (c *onnxChain) unary(n *onnxNode, v *onnxValue) (*onnxValue, error) {
	x, err := c.elements(n, v.tensor)
	if err != nil {
		return nil, err
	}
	f := map[string]func(float64) float64{
		"Sqrt": math.Sqrt, "Exp": math.Exp, "Abs": math.Abs,
		"Reciprocal": func(x float64) float64 { return 1 / x }, "Neg": func(x float64) float64 { return -x },
	}[n.op]
	for i, e := range x {
		x[i] = f(e)
	}
	return &onnxValue{tensor: newONNXTensor(n.outputs[0], v.tensor.Shape, x), perm: v.perm}, nil
}

// binary combines the elements of two constants. One of them may have axes of length 1, or
// fewer axes, as long as the other has the shape of the result.
func (c *onnxChain) binary(n *onnxNode, a, b *onnxValue) (*onnxValue, error) {
	if a.perm != nil || b.perm != nil {
		return nil, nil
	}
	shape, ok := broadcast(a.tensor.Shape, b.tensor.Shape)
	if !ok {
		return nil, nil
	}
	size, _ := tensor.Size(shape...)
	if err := c.charge(n, size); err != nil {
		return nil, err
	}
	x, err := c.elements(n, a.tensor)
	if err != nil {
		return nil, err
	}
	y, err := c.elements(n, b.tensor)
	if err != nil {
		return nil, err
	}
	f := map[string]func(x, y float64) float64{
		"Add": func(x, y float64) float64 { return x + y }, "Sub": func(x, y float64) float64 { return x - y },
		"Mul": func(x, y float64) float64 { return x * y }, "Div": func(x, y float64) float64 { return x / y }, "Pow": math.Pow,
	}[n.op]
	out := make([]float64, size)
	for i := range out {
		out[i] = f(x[offsetIn(i, shape, a.tensor.Shape)], y[offsetIn(i, shape, b.tensor.Shape)])
	}
	return &onnxValue{tensor: newONNXTensor(n.outputs[0], shape, out)}, nil
}

// broadcast returns the one of two shapes that the other can be repeated to.
func broadcast(a, b []int) (shape []int, ok bool) {
	if len(a) < len(b) {
		a, b = b, a
	}
	fits := func(long, short []int) bool {
		for i, d := range short {
			if d != 1 && d != long[len(long)-len(short)+i] {
				return false
			}
		}
		return true
	}
	switch {
	case fits(a, b):
		return a, true
	case len(a) == len(b) && fits(b, a):
		return b, true
	}
	return nil, false
}

// offsetIn returns the number of the element that element i of a tensor of shape out is in
// a tensor of that shape, which is repeated.
func offsetIn(i int, out, shape []int) int {
	at, step := 0, 1
	for a := len(out) - 1; a >= 0; a-- {
		if k := a - len(out) + len(shape); k >= 0 {
			if shape[k] != 1 {
				at += i % out[a] * step
			}
			step *= shape[k]
		}
		i /= out[a]
	}
	return at
}

// charge counts elements that are computed, of which there may be about as many as the file
// has bytes: else small files could take much memory.
func (c *onnxChain) charge(n *onnxNode, elements int) error {
	if c.spent += int64(elements); c.spent > c.m.bytes()+1024 {
		return n.refuse("its %d elements, and those computed before, are more than the file has bytes: want constants folded (onnxsim, or ONNX Runtime's optimized_model_filepath)", elements)
	}
	return nil
}

// elements returns the elements of a constant for n.
func (c *onnxChain) elements(n *onnxNode, t *onnxTensor) ([]float64, error) {
	size, err := tensor.Size(t.Shape...)
	if err != nil {
		return nil, n.refuse("%s: shape %v", display(t.Name), t.Shape)
	}
	if err := c.charge(n, size); err != nil {
		return nil, err
	}
	read := c.m.reader(t)
	if read == nil {
		return nil, n.refuse("%s: dtype %s, want F32, F16, BF16, F64 or whole numbers of 8 to 32 bits", display(t.Name), t.DType)
	}
	floats := make([]float32, size)
	if err := read(0, floats); err != nil {
		return nil, err
	}
	elements := make([]float64, size)
	for i, f := range floats {
		elements[i] = float64(f)
	}
	return elements, nil
}

// scalar returns the element of a constant of one number. It reports whether the value is
// one.
func (c *onnxChain) scalar(name string) (x float64, ok bool) {
	v := c.values[name]
	if v == nil || v.bad != nil {
		return 0, false
	}
	if v.tensor != nil {
		if few := c.few(v.tensor); len(few) == 1 {
			return float64(few[0]), true
		}
	}
	if len(v.dims) == 1 && v.dims[0].of == known {
		return float64(v.dims[0].n), true
	}
	return 0, false
}

// few returns the elements of a tensor of few numbers, nil for any other tensor.
func (c *onnxChain) few(t *onnxTensor) []float32 {
	if t == nil {
		return nil
	}
	n, err := tensor.Size(t.Shape...)
	read := c.m.reader(t)
	if err != nil || n == 0 || n > maxAxes || read == nil {
		return nil
	}
	few := make([]float32, n)
	if read(0, few) != nil {
		return nil
	}
	return few
}

// reader returns a function that reads elements of t as entry.read does, whole numbers
// among them; nil for other types.
func (m *onnxModel) reader(t *onnxTensor) func(start int, dst []float32) error {
	switch {
	case readable(t.DType) && t.read != nil:
		return t.read
	case readable(t.DType):
		return func(start int, dst []float32) error {
			return readPieces(m.r, t.DType, []piece{{t.begin, int((t.end - t.begin) / int64(dtypeBits(t.DType)/8)), int64(dtypeBits(t.DType) / 8)}}, start, dst)
		}
	case !slices.Contains([]string{"U8", "I8", "U16", "I16", "I32", "I64", "BOOL"}, t.DType):
		return nil
	case t.ints != nil:
		return func(start int, dst []float32) error {
			for i, n := range t.ints[start:][:len(dst)] {
				dst[i] = float32(n)
			}
			return nil
		}
	case t.varints != nil:
		return func(start int, dst []float32) error { return readVarints(m.r, t.varints, start, dst) }
	}
	r := io.ReaderAt(m.r)
	if t.data != nil {
		r = t.data
	}
	width := dtypeBits(t.DType) / 8
	return func(start int, dst []float32) error {
		buf := make([]byte, min(chunk, len(dst)*width))
		for at := t.begin + int64(start*width); len(dst) > 0; {
			b := buf[:min(len(buf), len(dst)*width)]
			if err := readFull(r, b, at); err != nil {
				return err
			}
			for i := range len(b) / width {
				dst[i] = float32(integer(b[i*width:], t.DType))
			}
			dst, at = dst[len(b)/width:], at+int64(len(b))
		}
		return nil
	}
}

// integer returns the little-endian whole number at the start of b.
func integer(b []byte, dtype string) int64 {
	switch dtype {
	case "I8":
		return int64(int8(b[0]))
	case "U16":
		return int64(binary.LittleEndian.Uint16(b))
	case "I16":
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case "I32":
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case "I64":
		return int64(binary.LittleEndian.Uint64(b))
	}
	return int64(b[0])
}

// readVarints reads elements that are varints from number start on.
func readVarints(r io.ReaderAt, parts []protoscan.Span, start int, dst []float32) error {
	p := protoscan.New(r)
	for _, s := range parts {
		err := p.Varints(s.Packed(), func(v uint64) error {
			if start > 0 {
				start--
			} else if len(dst) > 0 {
				dst[0] = float32(int64(v))
				dst = dst[1:]
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(dst) > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}
