package weights

import (
	"math"
	"slices"
	"strings"
)

// onnxOps follow operators of the chain. They report whether the node changes nothing.
var onnxOps map[string]func(c *onnxChain, n *onnxNode, chain int) (same bool, err error)

func init() { // not a literal: integerLayer calls operator
	layer := func(follow func(c *onnxChain, n *onnxNode) error) func(*onnxChain, *onnxNode, int) (bool, error) {
		return func(c *onnxChain, n *onnxNode, _ int) (bool, error) { return false, follow(c, n) }
	}
	function := func(op string) func(*onnxChain, *onnxNode, int) (bool, error) {
		return layer(func(c *onnxChain, n *onnxNode) error { c.emit(n, op, nil, nil); return nil })
	}
	maybe := func(follow func(c *onnxChain, n *onnxNode) (bool, error)) func(*onnxChain, *onnxNode, int) (bool, error) {
		return func(c *onnxChain, n *onnxNode, _ int) (bool, error) { return follow(c, n) }
	}
	onnxOps = map[string]func(*onnxChain, *onnxNode, int) (bool, error){
		"Identity": maybe(func(*onnxChain, *onnxNode) (bool, error) { return true, nil }),
		"Cast":     maybe((*onnxChain).castValues),
		"Relu":     function("relu"), "Tanh": function("tanh"), "Sigmoid": function("sigmoid"),
		"LeakyRelu": layer(func(c *onnxChain, n *onnxNode) error {
			c.emit(n, "leakyrelu", nil, map[string][]float64{"alpha": n.numbers("alpha", 0.01)})
			return nil
		}),
		"Elu": layer(func(c *onnxChain, n *onnxNode) error {
			c.emit(n, "elu", nil, map[string][]float64{"alpha": n.numbers("alpha", 1)})
			return nil
		}),
		"Gelu":               layer((*onnxChain).gelu),
		"Swish":              layer((*onnxChain).swish),
		"PRelu":              layer((*onnxChain).slope),
		"Clip":               maybe((*onnxChain).clip),
		"Max":                (*onnxChain).largest,
		"Dropout":            layer((*onnxChain).dropout),
		"Transpose":          layer((*onnxChain).transpose),
		"Pad":                layer((*onnxChain).pad),
		"Conv":               layer((*onnxChain).conv),
		"MaxPool":            maybe((*onnxChain).pool),
		"AveragePool":        maybe((*onnxChain).pool),
		"GlobalMaxPool":      layer((*onnxChain).globalPool),
		"GlobalAveragePool":  layer((*onnxChain).globalPool),
		"ReduceMean":         layer((*onnxChain).globalPool),
		"ReduceMax":          layer((*onnxChain).globalPool),
		"LRN":                layer((*onnxChain).lrn),
		"BatchNormalization": layer((*onnxChain).batchNorm),
		"Gemm":               layer((*onnxChain).gemm),
		"MatMul":             layer((*onnxChain).matmul),
		"Add":                (*onnxChain).arithmetic, "Sub": (*onnxChain).arithmetic,
		"Mul": (*onnxChain).arithmetic, "Div": (*onnxChain).arithmetic,
		"Flatten":          maybe((*onnxChain).flattenAxis),
		"Reshape":          maybe((*onnxChain).reshape),
		"Squeeze":          maybe((*onnxChain).squeeze),
		"Unsqueeze":        layer((*onnxChain).unsqueeze),
		"Softmax":          layer((*onnxChain).softmax),
		"LogSoftmax":       layer((*onnxChain).softmax),
		"Log":              layer((*onnxChain).log),
		"LpNormalization":  layer((*onnxChain).euclidean),
		"TwoClasses":       layer((*onnxChain).twoClasses),
		"MaxAveragePool":   layer((*onnxChain).maxAverage),
		"QuantizeLinear":   layer((*onnxChain).quantizeValues),
		"DequantizeLinear": layer((*onnxChain).dequantizeValues),
		"QLinearConv":      layer((*onnxChain).integerLayer),
		"QLinearMatMul":    layer((*onnxChain).integerLayer),
		"QGemm":            layer((*onnxChain).integerLayer),

		"QLinearGlobalAveragePool": layer((*onnxChain).integerPool),
	}
}

// whole are the operators that take quantised values.
var whole = []string{"Identity", "Transpose", "MaxPool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm", "QLinearGlobalAveragePool"}

// microsoft are the operators of ONNX Runtime's own domain that are followed.
var microsoft = []string{"QGemm", "QLinearGlobalAveragePool"}

// ended are the operators that a soft-max may stand before.
var ended = []string{"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Dropout", "Log", "QuantizeLinear", "DequantizeLinear"}

// padded are the operators that zero padding may stand before.
var padded = []string{"Conv", "Transpose", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear"}

// wanted describes the operators that a chain has.
const wanted = "not an operator of a chain of Conv, Relu, MaxPool, LRN, BatchNormalization, Gemm, MatMul, Flatten, Reshape, Dropout and Softmax, global pooling, L2 normalisation and the activations LeakyRelu, Elu, Gelu, SiLU, Tanh and Sigmoid: if it is no part of the network, cut the graph before it (onnx.utils.extract_model)"

// advice says of other operators what they are, and what to do.
var advice = map[string]string{
	"If":                    "a choice made while the graph runs: export the model for inference by tracing, with nothing that depends on the input's values or shape",
	"Loop":                  "a loop inside the graph: export the model for inference by tracing",
	"Scan":                  "a loop inside the graph: export the model for inference by tracing",
	"HardSwish":             "hard swish, another function than SiLU: no layer of this library",
	"HardSigmoid":           "hard sigmoid, another function than the sigmoid: no layer of this library",
	"Mish":                  "Mish, x·tanh(softplus(x)): no layer of this library",
	"Selu":                  "SELU, another function than ELU: no layer of this library",
	"Resize":                "resizes the map: want max-pooling, 2×2 with stride 2, alone to change its size",
	"Upsample":              "resizes the map: want max-pooling, 2×2 with stride 2, alone to change its size",
	"ConvInteger":           "a convolution of whole numbers without the operators that ONNX Runtime's quantize_dynamic puts round it: quantise in the form of QuantizeLinear and DequantizeLinear (QuantFormat.QDQ), or take the model from before",
	"MatMulInteger":         "a product of whole numbers without the operators that ONNX Runtime's quantize_dynamic puts round it: quantise in the form of QuantizeLinear and DequantizeLinear (QuantFormat.QDQ), or take the model from before",
	"NonMaxSuppression":     "a detector's last step: cut the classifier out (onnx.utils.extract_model)",
	"LayerNormalization":    "another normalisation than batch normalisation: no layer of this library",
	"GroupNormalization":    "another normalisation than batch normalisation: no layer of this library",
	"InstanceNormalization": "another normalisation than batch normalisation: no layer of this library",
}

// operator follows a node of the chain. It reports whether the node changes nothing.
func (c *onnxChain) operator(n *onnxNode, chain int) (same bool, err error) {
	if c.padNode != nil && !slices.Contains(padded, n.op) {
		return false, c.padNode.refuse("pads no convolution, but %s", n.describe())
	}
	if c.scale != nil && !slices.Contains(whole, n.op) {
		return false, n.refuse("on quantised values, want one of %s: quantise in the form of QuantizeLinear and DequantizeLinear (QuantFormat.QDQ)", strings.Join(whole, ", "))
	}
	if i := len(c.layers) - 1; i >= 0 && strings.HasSuffix(c.layers[i].Op, "softmax") && !slices.Contains(ended, n.op) {
		return false, n.refuse("after the soft-max %s, want that last", display(c.layers[i].Name))
	}
	follow := onnxOps[n.op]
	switch {
	case follow == nil && advice[n.op] != "":
		return false, n.refuse("%s", advice[n.op])
	case follow == nil:
		return false, n.refuse(wanted)
	case chain != 0 && !slices.Contains([]string{"Add", "Sub", "Mul", "Div", "Max"}, n.op):
		return false, n.refuse("the layer's values are its input %d, want the first", chain+1)
	}
	return follow(c, n, chain)
}

// castValues follows a Cast, which changes nothing: all is float32 here.
func (c *onnxChain) castValues(n *onnxNode) (same bool, err error) {
	if to := int64(n.number("to", 0)); !isFloat(to) {
		return false, n.refuse("casts the layer's values to type %d, want floating point", to)
	}
	return true, nil
}

// gelu follows a Gelu of opset 20, or a group of operators that is one.
func (c *onnxChain) gelu(n *onnxNode) error {
	if mode := n.text("approximate", "NONE"); mode != "NONE" {
		return n.refuse("GELU approximated by %s, want the function itself (approximate=none): the two differ by up to 5e-4", strings.ToLower(mode))
	}
	c.emit(n, "gelu", nil, nil)
	return nil
}

// swish follows x·σ(αx), which is SiLU for α = 1.
func (c *onnxChain) swish(n *onnxNode) error {
	if alpha := n.number("alpha", 1); !near(alpha, 1, 1e-6) {
		return n.refuse("x·sigmoid(%g·x), want SiLU, x·sigmoid(x)", alpha)
	}
	c.emit(n, "silu", nil, nil)
	return nil
}

// slope follows a PRelu of one slope.
func (c *onnxChain) slope(n *onnxNode) error {
	v, err := c.constantInput(n, 1)
	if err != nil {
		return err
	}
	if v == nil {
		return n.refuse("want a constant slope")
	}
	slopes, err := c.elements(n, v.tensor)
	if err != nil {
		return err
	}
	for _, s := range slopes {
		if s != slopes[0] {
			return n.refuse("slopes that differ, %g and %g, want one (LeakyRelu)", slopes[0], s)
		}
	}
	if len(slopes) == 0 {
		return n.refuse("no slope")
	}
	c.emit(n, "leakyrelu", nil, map[string][]float64{"alpha": slopes[:1]})
	return nil
}

// clip follows a Clip from 0 on, which is a rectification, or one without bounds.
func (c *onnxChain) clip(n *onnxNode) (same bool, err error) {
	low, high := c.bounds(n)
	switch {
	case high >= math.MaxFloat32 && low == 0:
		c.emit(n, "relu", nil, nil)
		return false, nil
	case high >= math.MaxFloat32 && low <= -math.MaxFloat32:
		return true, nil
	case low == 0 && high == 6:
		return false, n.refuse("not an operator that is followed: a rectification bounded by 6 (ReLU6), another function than ReLU, and no layer of this library")
	}
	return false, n.refuse("not an operator that is followed: bounds %g and %g, want 0 and none (ReLU)", low, high)
}

// largest follows max(x, 0), which is a rectification.
func (c *onnxChain) largest(n *onnxNode, chain int) (same bool, err error) {
	if len(n.inputs) == 2 {
		if k, ok := c.scalar(n.inputs[1-chain]); ok && k == 0 {
			c.emit(n, "relu", nil, nil)
			return false, nil
		}
	}
	return false, n.refuse("want max(x, 0), a rectification")
}

// lrn follows local response normalisation.
func (c *onnxChain) lrn(n *onnxNode) error {
	if err := c.images(n); err != nil {
		return err
	}
	if n.attribute("size") == nil {
		return malformed("", "%s: no size", n.describe())
	}
	c.emit(n, "lrn", nil, map[string][]float64{"size": n.numbers("size", 0), "alpha": n.numbers("alpha", 1e-4),
		"beta": n.numbers("beta", 0.75), "bias": n.numbers("bias", 1)})
	return nil
}

// log follows the logarithm of a soft-max.
func (c *onnxChain) log(n *onnxNode) error {
	if i := len(c.layers) - 1; i >= 0 && c.affine == nil && c.layers[i].Op == "softmax" {
		c.layers[i].Op, c.nonnegative = "logsoftmax", false
		return nil
	}
	return n.refuse("the logarithm, want it of a soft-max alone")
}

// single tells whether a map is of one pixel.
func (c *onnxChain) single() bool {
	return c.rank == 4 && len(c.shape) == 4 && c.perm == nil && c.shape[2] == 1 && c.shape[3] == 1
}

// euclidean follows division of all units by their Euclidean norm.
func (c *onnxChain) euclidean(n *onnxNode) error {
	if p := n.number("p", 2); p != 2 {
		return n.refuse("division by the norm of p %g, want 2", p)
	}
	axes := []int64{int64(n.number("axis", -1))}
	if a := n.attribute("axes"); a != nil {
		axes = a.ints
	}
	rank := int64(max(c.rank, 2))
	var of []int
	for _, a := range axes {
		if a < 0 {
			a += rank
		}
		if a < 0 || a >= rank {
			return n.refuse("axes %v of %d", axes, rank)
		}
		of = append(of, c.base(int(a)))
	}
	slices.Sort(of)
	onePixel := len(c.shape) == 4 && min(c.shape[1], c.shape[2], c.shape[3]) > 0 && c.shape[1]*c.shape[2]*c.shape[3] == max(c.shape[1], c.shape[2], c.shape[3])
	switch {
	case rank == 2 && slices.Equal(of, []int{1}), rank == 4 && slices.Equal(of, []int{1, 2, 3}):
	case rank == 4 && slices.Equal(of, []int{1}) && onePixel:
	default:
		return n.refuse("division by the norm over axes %v of %d, want that over all units of a picture", axes, rank)
	}
	c.emit(n, "l2", nil, nil)
	return nil
}

// twoClasses follows the scores 0 and x of two classes, or the probabilities 1 − x and x.
func (c *onnxChain) twoClasses(n *onnxNode) error {
	axis := n.number("axis", 1)
	if axis < 0 {
		axis += float64(max(c.rank, 2))
	}
	sigmoid := len(c.layers) > 0 && c.affine == nil && c.layers[len(c.layers)-1].Op == "sigmoid"
	if axis != 1 || c.perm != nil || n.number("probabilities", 0) != 0 && !sigmoid {
		return n.refuse("joins 1 − x and x, want them of a sigmoid, on axis 1")
	}
	if n.number("probabilities", 0) == 0 {
		c.emit(n, "twoclasses", nil, nil)
	}
	return nil
}
