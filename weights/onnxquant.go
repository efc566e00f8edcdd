package weights

import (
	"math"
	"slices"

	"github.com/verydeep/vgg/tensor"
)

// Quantised models have DequantizeLinear on their weights, and pairs of QuantizeLinear and
// DequantizeLinear on the values between layers, or operators on whole numbers (QLinearConv,
// MatMulInteger). The weights are read as what they stand for in float32, and the values
// between layers stay in float32.

// onnxScale is the linear map of whole numbers q to numbers, scale·(q − zero).
type onnxScale struct {
	scale, zero []float64 // one of each, or one for each index of an axis
	dtype       string    // of q
}

// lowest returns the smallest number of the type.
func (s onnxScale) lowest() float64 {
	switch s.dtype {
	case "I8":
		return math.MinInt8
	case "I16":
		return math.MinInt16
	}
	return 0
}

// scaleOf returns the map that inputs i (the scale) and i+1 (the zero point) of a node give.
func (c *onnxChain) scaleOf(n *onnxNode, i int) (onnxScale, error) {
	s := onnxScale{dtype: "U8"}
	v, err := c.constantInput(n, i)
	if err != nil {
		return s, err
	}
	if v == nil || len(v.tensor.Shape) > 1 || v.perm != nil {
		return s, n.refuse("want a constant scale, a number or a vector")
	}
	if s.scale, err = c.elements(n, v.tensor); err != nil {
		return s, err
	}
	s.zero = make([]float64, len(s.scale))
	if to := n.number("output_dtype", 0); to != 0 {
		s.dtype = onnxTypes[int64(to)]
	}
	v, err = c.constantInput(n, i+1)
	if err != nil {
		return s, err
	}
	if v != nil {
		s.dtype = v.tensor.DType
		if s.zero, err = c.elements(n, v.tensor); err != nil {
			return s, err
		}
	}
	if len(s.zero) != len(s.scale) || len(s.scale) == 0 {
		return s, n.refuse("%d scales and %d zero points", len(s.scale), len(s.zero))
	}
	return s, nil
}

// dequantize computes a DequantizeLinear of a constant.
func (c *onnxChain) dequantize(n *onnxNode, in []*onnxValue) (*onnxValue, error) {
	if n.number("block_size", 0) != 0 {
		return nil, n.refuse("scales of blocks, want one scale, or one for each channel")
	}
	s, err := c.scaleOf(n, 1)
	if err != nil {
		return nil, err
	}
	v := *in[0]
	v.dims = nil
	v.tensor, err = c.dequantized(n, v.tensor, n.outputs[0], s, int(n.number("axis", 1)))
	return &v, err
}

// dequantized returns the numbers that t stands for. Scales of an axis are along that axis.
func (c *onnxChain) dequantized(n *onnxNode, t *onnxTensor, name string, s onnxScale, axis int) (*onnxTensor, error) {
	if axis < 0 {
		axis += len(t.Shape)
	}
	read := c.m.reader(t)
	if read == nil {
		return nil, n.refuse("%s: dtype %s, want whole numbers of 8 to 32 bits", display(t.Name), t.DType)
	}
	inner, length := 1, 1
	if len(s.scale) > 1 {
		if axis < 0 || axis >= len(t.Shape) || t.Shape[axis] != len(s.scale) {
			return nil, n.refuse("%d scales on axis %d of %s, whose shape is %v", len(s.scale), axis, display(t.Name), t.Shape)
		}
		inner, _ = tensor.Size(t.Shape[axis+1:]...)
		inner, length = max(inner, 1), len(s.scale)
	}
	if !t.rounded {
		c.quantized++
	}
	return &onnxTensor{entry: entry{whole: t.whole, Entry: Entry{Name: name, DType: "F32", Shape: slices.Clone(t.Shape)}, read: func(start int, dst []float32) error {
		if err := read(start, dst); err != nil {
			return err
		}
		for i, q := range dst {
			k := (start + i) / inner % length
			dst[i] = float32((float64(q) - s.zero[k]) * s.scale[k])
		}
		return nil
	}}}, nil
}

// quantize computes a QuantizeLinear of a constant, whose elements stay float32.
func (c *onnxChain) quantize(n *onnxNode, in []*onnxValue) (*onnxValue, error) {
	s, err := c.scaleOf(n, 1)
	if err != nil {
		return nil, err
	}
	t, read := in[0].tensor, c.m.reader(in[0].tensor)
	if read == nil || len(s.scale) > 1 || s.scale[0] == 0 {
		return nil, n.refuse("want a constant of numbers, and one scale other than 0")
	}
	low := s.lowest()
	high := map[string]float64{"U8": math.MaxUint8, "I8": math.MaxInt8, "U16": math.MaxUint16, "I16": math.MaxInt16}[s.dtype]
	if high == 0 {
		return nil, n.refuse("a zero point of type %s, want whole numbers of 8 or 16 bits", s.dtype)
	}
	c.quantized++
	return &onnxValue{perm: in[0].perm, tensor: &onnxTensor{rounded: true, entry: entry{whole: t.whole, Entry: Entry{Name: n.outputs[0], DType: "F32", Shape: slices.Clone(t.Shape)}, read: func(start int, dst []float32) error {
		if err := read(start, dst); err != nil {
			return err
		}
		for i, x := range dst {
			dst[i] = float32(min(max(math.RoundToEven(float64(x)/s.scale[0])+s.zero[0], low), high))
		}
		return nil
	}}}}, nil
}

// quantizeValues follows a QuantizeLinear of the layers' values, which stay in float32.
func (c *onnxChain) quantizeValues(n *onnxNode) error {
	if c.scale != nil {
		return n.refuse("quantises values that are quantised already")
	}
	s, err := c.scaleOf(n, 1)
	if err != nil {
		return err
	}
	return c.quantizedAs(n, s)
}

// quantizedAs takes the layers' values for quantised. Where the zero point is the type's
// smallest number, negative values become zero: a quantiser leaves out a rectification
// before it.
func (c *onnxChain) quantizedAs(n *onnxNode, s onnxScale) error {
	if len(s.scale) > 1 {
		return n.refuse("%d scales for the layer's values, want one", len(s.scale))
	}
	if high := map[string]float64{"U8": math.MaxUint8, "I8": math.MaxInt8}[s.dtype]; s.zero[0] == s.lowest() && near(s.scale[0]*(high-s.zero[0]), 6, 1e-5) && len(c.layers) > 0 {
		return n.refuse("a range from 0 to 6, as of a ReLU6 that the quantiser left out: another function than ReLU")
	}
	c.scale = &s
	c.rounded++
	if s.zero[0] == s.lowest() && !c.nonnegative && len(c.layers) > 0 {
		c.emit(n, "relu", nil, nil)
	}
	return nil
}

// dequantizeValues follows the DequantizeLinear of values that were quantised.
func (c *onnxChain) dequantizeValues(n *onnxNode) error {
	s, err := c.scaleOf(n, 1)
	if err != nil {
		return err
	}
	if c.scale == nil {
		return n.refuse("of values that aren't quantised")
	}
	return c.sameScale(n, s)
}

// sameScale ends the quantised part at n, which must take the values in the scale that they
// have.
func (c *onnxChain) sameScale(n *onnxNode, s onnxScale) error {
	if c.scale == nil {
		return n.refuse("takes values that aren't quantised")
	}
	if !slices.Equal(s.scale, c.scale.scale) || !slices.Equal(s.zero, c.scale.zero) {
		return n.refuse("scale %v and zero point %v, but the values have %v and %v", s.scale, s.zero, c.scale.scale, c.scale.zero)
	}
	c.scale = nil
	return nil
}

// integerLayer follows a QLinearConv, QLinearMatMul or QGemm. Its inputs are the values with
// their scale and zero point, the weight with its own, and those of the result, with a bias
// of whole numbers in the product of the two scales.
func (c *onnxChain) integerLayer(n *onnxNode) error {
	values, err := c.scaleOf(n, 1)
	if err != nil {
		return err
	}
	if err := c.sameScale(n, values); err != nil {
		return err
	}
	float := *n
	float.op, float.domain = map[string]string{"QLinearConv": "Conv", "QLinearMatMul": "MatMul", "QGemm": "Gemm"}[n.op], ""
	axis, bias, out := 0, 8, 6
	if n.op == "QLinearMatMul" || n.op == "QGemm" && n.number("transB", 0) == 0 {
		axis = 1
	}
	if n.op == "QGemm" {
		bias, out = 6, 7
	}
	weight, err := c.scaleOf(n, 4)
	if err != nil {
		return err
	}
	float.inputs = []string{n.inputs[0]}
	add := func(i int, s onnxScale, axis int) error {
		v, err := c.constantInput(n, i)
		if err != nil || v == nil {
			return err
		}
		if v.perm != nil {
			return n.refuse("input %s is transposed", display(n.inputs[i]))
		}
		name := c.unused(n.inputs[i] + ".float")
		t, err := c.dequantized(n, v.tensor, name, s, axis)
		if err != nil {
			return err
		}
		c.values[name] = &onnxValue{tensor: t}
		float.inputs = append(float.inputs, name)
		return nil
	}
	if err := add(3, weight, axis); err != nil {
		return err
	}
	product := onnxScale{zero: make([]float64, len(weight.scale))}
	for _, s := range weight.scale {
		product.scale = append(product.scale, s*values.scale[0])
	}
	if err := add(bias, product, 0); err != nil {
		return err
	}
	if _, err := c.operator(&float, 0); err != nil {
		return err
	}
	if out >= len(n.inputs) || n.inputs[out] == "" {
		return nil
	}
	result, err := c.scaleOf(n, out)
	if err != nil {
		return err
	}
	return c.quantizedAs(n, result)
}

// integerPool follows a QLinearGlobalAveragePool of ONNX Runtime's.
func (c *onnxChain) integerPool(n *onnxNode) error {
	if n.number("channels_last", 0) != 0 {
		return n.refuse("channels last, want (N,C,H,W)")
	}
	values, err := c.scaleOf(n, 1)
	if err != nil {
		return err
	}
	if err := c.sameScale(n, values); err != nil {
		return err
	}
	float := *n
	float.op, float.domain = "GlobalAveragePool", ""
	if _, err := c.operator(&float, 0); err != nil {
		return err
	}
	result, err := c.scaleOf(n, 3)
	if err != nil {
		return err
	}
	return c.quantizedAs(n, result)
}
