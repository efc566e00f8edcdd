package weights

import (
	"encoding/json"
	"fmt"
	"strings"
)

// kerasOperations maps operations of Keras 3 (its classes) and of TensorFlow in Keras 2
// (names of functions, without tf. and the names of modules) to those of Layer.
var kerasOperations = map[string]string{
	"Add": "+", "Subtract": "-", "Multiply": "*", "Divide": "/", "TrueDivide": "/",
	"add": "+", "subtract": "-", "sub": "-", "multiply": "*", "mul": "*", "scalar_mul": "*", "divide": "/", "truediv": "/", "realdiv": "/", "bias_add": "+",
	"Cast": "cast", "cast": "cast", "Flip": "flip", "reverse": "flip", "Take": "take", "gather": "take", "GetItem": "index", "getitem": "index",
	"Relu": "relu", "relu": "relu", "Elu": "elu", "elu": "elu", "Gelu": "gelu", "gelu": "gelu", "Silu": "silu", "silu": "silu", "swish": "silu",
	"Tanh": "tanh", "tanh": "tanh", "Sigmoid": "sigmoid", "sigmoid": "sigmoid", "LeakyRelu": "leakyrelu", "leaky_relu": "leakyrelu",
	"Softmax": "softmax", "softmax": "softmax", "LogSoftmax": "logsoftmax", "log_softmax": "logsoftmax", "Identity": "identity", "identity": "identity",
	"stop_gradient": "identity", "StopGradient": "identity", "Mean": "globalavgpool", "reduce_mean": "globalavgpool", "Max": "globalmaxpool", "reduce_max": "globalmaxpool",
	"l2_normalize": "l2", "Reshape": "reshape", "reshape": "reshape", "Resize": "resizing", "resize": "resizing",
}

// isOperation tells whether the layer is a function of tensors in place of a layer's class.
func (l *kerasLayer) isOperation() bool {
	switch {
	case l.class == "TFOpLambda", l.class == "SlicingOpLambda", strings.HasPrefix(l.module, "keras.src.ops"), strings.HasPrefix(l.module, "keras.ops"):
		return true
	}
	// A .h5 file has no modules. Where a layer has the name of an operation, the two are the same.
	return l.module == "" && kerasOp(l.class) == "" && kerasOperations[l.class] != ""
}

// operation describes an operation.
func (l *kerasLayer) operation(layer *Layer) {
	name := l.class
	if strings.HasSuffix(name, "OpLambda") {
		_ = json.Unmarshal(l.config.Function, &name)
		layer.Op = "tf." + name
		if strings.Contains(name, "image.") && !strings.HasSuffix(name, "image.resize") {
			name = ""
		}
		name = name[strings.LastIndexByte(name, '.')+1:]
	} else {
		layer.Op = name
	}
	op := kerasOperations[name]
	switch op {
	case "":
		layer.Problem = "an operation that isn't followed"
	case "+", "-", "*", "/":
		l.arithmetic(op, layer)
	case "cast":
		l.cast(layer)
	case "flip", "take", "index":
		l.exchange(op, layer)
	case "globalavgpool", "globalmaxpool":
		if axes := l.axes(); len(axes) != 2 || axes[0]+axes[1] != 3 || axes[0]*axes[1] != 2 {
			layer.Problem = fmt.Sprintf("over the axes %v, want 1 and 2", axes)
		}
		layer.Op, layer.Attributes = op, nil
	case "l2", "softmax", "logsoftmax":
		layer.Op = op
		layer.Attributes = nil
		if axes := l.axes(); axes != nil {
			layer.attribute("axis", axes...)
		}
	case "reshape":
		to := l.config.NewShape
		if v, ok := l.argument("shape", 1).([]any); ok && to == nil {
			to = numbersOf(v)
		}
		layer.Op, layer.Attributes = op, nil
		layer.attribute("to", to[min(1, len(to)):]...) // without the axis of images
	case "resizing":
		l.resize(layer)
	default:
		layer.Op, layer.Attributes = op, nil
		l.function(layer)
	}
}

// argument returns an argument by its name or its place; nil if there is none.
func (l *kerasLayer) argument(name string, at int) any {
	if v, ok := l.call.kwargs[name]; ok {
		return v
	}
	if at < len(l.call.args) {
		return l.call.args[at]
	}
	return nil
}

// axes returns the axes of an operation; nil if it gives none.
func (l *kerasLayer) axes() []float64 {
	if v := numbers(l.config.Axis); v != nil {
		return v
	}
	switch v := l.call.kwargs["axis"].(type) {
	case float64:
		return []float64{v}
	case []any:
		return numbersOf(v)
	}
	return nil
}

// numbersOf returns a list of numbers, nil for any other.
func numbersOf(list []any) []float64 {
	var numbers []float64
	for _, e := range list {
		x, ok := e.(float64)
		if !ok {
			return nil
		}
		numbers = append(numbers, x)
	}
	return numbers
}

// channelValues returns a constant that is one number, or has one for each channel of the
// last axis: its other axes have length 1.
func channelValues(v any) ([]float64, bool) {
	switch v := v.(type) {
	case float64:
		return []float64{v}, true
	case []any:
		if list := numbersOf(v); list != nil {
			return list, true
		}
		if len(v) == 1 {
			return channelValues(v[0])
		}
	}
	return nil, false
}

// arithmetic describes x + v, x − v, x·v and x/v for a constant v, and the first three with
// their sides exchanged, as a rescaling.
func (l *kerasLayer) arithmetic(op string, layer *Layer) {
	layer.Attributes = nil
	x, y := l.argument("x", 0), any(nil)
	for _, name := range []string{"y", "x2", "bias"} {
		if v, ok := l.call.kwargs[name]; ok {
			y = v
		}
	}
	if y == nil && len(l.call.args) > 1 {
		y = l.call.args[1]
	}
	_, left := x.(kerasRef)
	constant := y
	if !left {
		constant = x
	}
	v, ok := channelValues(constant)
	format, _ := l.call.kwargs["data_format"].(string)
	switch {
	case !ok || len(l.call.refs()) != 1, strings.HasPrefix(format, "NC"):
		layer.Problem = "want a number, or one for each channel"
		return
	case op == "/" && !left:
		layer.Problem = "a division of a constant, want one by it"
		return
	}
	layer.Op = "rescaling"
	scale, offset := []float64(nil), []float64(nil)
	for _, c := range v {
		switch op {
		case "+":
			offset = append(offset, c)
		case "*":
			scale = append(scale, c)
		case "/":
			scale = append(scale, 1/c)
		case "-":
			if left {
				offset = append(offset, -c)
			} else {
				scale, offset = []float64{-1}, append(offset, c)
			}
		}
	}
	if scale != nil {
		layer.attribute("scale", scale...)
	}
	if offset != nil {
		layer.attribute("offset", offset...)
	}
}

// cast describes a change of the type of numbers: nothing, if it is to a type of floating
// point.
func (l *kerasLayer) cast(layer *Layer) {
	layer.Op, layer.Attributes = "identity", nil
	to, _ := l.argument("dtype", 1).(string)
	if to == "" {
		_ = json.Unmarshal(l.config.DType, &to)
	}
	if !strings.Contains(to, "float") {
		layer.Problem = fmt.Sprintf("to %s, want a type of floating point", display(to))
	}
}

// exchange describes an exchange of channels.
func (l *kerasLayer) exchange(op string, layer *Layer) {
	layer.Op, layer.Attributes = "channels", nil
	axes := l.axes()
	last := len(axes) == 1 && (axes[0] == -1 || axes[0] == 3)
	order := []float64{2, 1, 0}
	switch op {
	case "take":
		indices, ok := l.argument("indices", 1).([]any)
		if order = numbersOf(indices); !ok || !last {
			order = nil
		}
	case "flip":
		if !last {
			order = nil
		}
	case "index":
		if !reversesChannels(l.call) {
			order = nil
		}
	}
	if len(order) == 0 {
		layer.Problem = "want an exchange of the channels of all pixels, as x[..., ::-1]"
		return
	}
	layer.attribute("order", order...)
}

// resize describes a function that rescales images.
func (l *kerasLayer) resize(layer *Layer) {
	layer.Op, layer.Attributes = "resizing", nil
	c := l.config
	size := []float64(c.Size)
	if v, ok := l.argument("size", 1).([]any); ok && size == nil {
		size = numbersOf(v)
	}
	if v, ok := l.call.kwargs["method"].(string); ok {
		c.Interpolation = v
	}
	on := func(name string) bool { v, _ := l.call.kwargs[name].(bool); return v }
	c.Antialias = c.Antialias || on("antialias")
	c.CropToAspect = c.CropToAspect || on("crop_to_aspect_ratio")
	c.PadToAspect = c.PadToAspect || on("pad_to_aspect_ratio")
	layer.attribute("size", size...)
	if c.resizing(layer); on("preserve_aspect_ratio") {
		layer.Problem = "it keeps the aspect without a crop: crop or squash images"
	}
}

// function adds the numbers of an activation function.
func (l *kerasLayer) function(layer *Layer) {
	number := func(names ...string) (float64, bool) {
		for _, name := range names {
			if v, ok := l.call.kwargs[name].(float64); ok {
				return v, true
			}
		}
		return 0, false
	}
	switch layer.Op {
	case "leakyrelu":
		slope := 0.2 // the default of both
		if v, ok := number("alpha", "negative_slope"); ok {
			slope = v
		} else if l.config.NegativeSlope != nil {
			slope = *l.config.NegativeSlope
		} else if len(l.call.args) > 1 {
			slope, _ = l.call.args[1].(float64)
		}
		layer.attribute("alpha", slope)
	case "elu":
		if v, ok := number("alpha"); ok {
			layer.attribute("alpha", v)
		} else if l.config.Alpha != nil {
			layer.attribute("alpha", *l.config.Alpha)
		}
	case "gelu":
		approximate := l.class == "Gelu" // Keras 3's default
		if l.config.Approximate != nil {
			approximate = *l.config.Approximate
		}
		if v, ok := l.call.kwargs["approximate"].(bool); ok {
			approximate = v
		}
		if approximate {
			layer.attribute("approximate", 1)
		}
	}
}
