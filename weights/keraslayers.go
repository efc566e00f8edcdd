package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// kerasOps maps classes of layers to operations of Layer. The operation of any other
// class is its name in lower case.
var kerasOps = map[string]string{
	"InputLayer":             "input",
	"Rescaling":              "rescaling",
	"Normalization":          "normalization",
	"Resizing":               "resizing",
	"CenterCrop":             "centercrop",
	"RandomCrop":             "randomcrop",
	"Conv2D":                 "conv",
	"Convolution2D":          "conv",
	"Dense":                  "fc",
	"BatchNormalization":     "batchnorm",
	"UnitNormalization":      "l2",
	"ReLU":                   "relu",
	"LeakyReLU":              "leakyrelu",
	"ELU":                    "elu",
	"Softmax":                "softmax",
	"MaxPooling2D":           "maxpool",
	"AveragePooling2D":       "avgpool",
	"GlobalMaxPooling2D":     "globalmaxpool",
	"GlobalAveragePooling2D": "globalavgpool",
	"ZeroPadding2D":          "pad",
	"Flatten":                "flatten",
	"Reshape":                "reshape",
	"Dropout":                "dropout",
	"SpatialDropout2D":       "dropout",
	// Nothing in inference:
	"AlphaDropout": "identity", "GaussianDropout": "identity", "GaussianNoise": "identity", "ActivityRegularization": "identity",
	"Identity": "identity", "RandAugment": "identity", "AugMix": "identity", "MixUp": "identity", "CutMix": "identity",
}

// kerasOp returns the operation of a class of layers, "" for one that has none. Layers of
// data augmentation are nothing in inference, but for RandomCrop.
func kerasOp(class string) string {
	if op, ok := kerasOps[class]; ok {
		return op
	}
	if strings.HasPrefix(class, "Random") {
		return "identity"
	}
	return ""
}

// kerasRoles maps the roles of an operation's tensors to their names in the file.
var kerasRoles = map[string]map[string]string{
	"conv":          {"weight": "kernel", "bias": "bias"},
	"fc":            {"weight": "kernel", "bias": "bias"},
	"batchnorm":     {"scale": "gamma", "shift": "beta", "mean": "moving_mean", "variance": "moving_variance"},
	"normalization": {"mean": "mean", "variance": "variance", "count": "count"},
}

// describeLayers adds the layers of a chain to h, with the names of their tensors.
func describeLayers(h *header, chain []kerasLayer) {
	known := make(map[string]bool, len(h.entries))
	for _, e := range h.entries {
		known[e.Name] = true
	}
	names := kerasNames(chain)
	for i := range chain {
		l := &chain[i]
		layers := l.describe(names[i])
		for role, name := range kerasRoles[layers[0].Op] {
			tensor := names[i] + "/" + name
			if !known[tensor] { // the other layer of the same name has no tensors
				tensor = l.path[len(l.path)-1] + "/" + name
			}
			if known[tensor] {
				if layers[0].Tensors == nil {
					layers[0].Tensors = make(map[string]string)
				}
				layers[0].Tensors[role] = tensor
			}
		}
		h.layers = append(h.layers, layers...)
	}
}

// describe returns the layer, and its activation function as a layer of its own.
func (l *kerasLayer) describe(name string) []Layer {
	layer := Layer{Name: name, Attributes: l.config.attributes()}
	switch {
	case l.order != nil:
		layer.Op, layer.Attributes = "channels", map[string][]float64{}
		for _, c := range l.order {
			layer.Attributes["order"] = append(layer.Attributes["order"], float64(c))
		}
		return []Layer{layer}
	case l.isOperation():
		l.operation(&layer)
		return []Layer{layer}
	case l.class == "Activation":
		l.config.activation(&layer)
		return []Layer{layer}
	}
	if layer.Op = kerasOp(l.class); layer.Op == "" {
		layer.Op = strings.ToLower(l.class)
	}
	l.details(&layer)
	function := Layer{Name: name}
	if l.config.activation(&function); function.Op == "linear" {
		return []Layer{layer}
	}
	function.Name += "/" + function.Op
	return []Layer{layer, function}
}

// details adds what a class has of its own: attributes that others lack, or a reason why it
// can't be followed.
func (l *kerasLayer) details(layer *Layer) {
	c := &l.config
	switch l.class {
	case "Lambda":
		layer.Problem = "its Python code isn't run: replace it by Keras's own layers and save the model again"
	case "ReLU":
		switch {
		case c.MaxValue != nil:
			layer.Problem = fmt.Sprintf("a rectification with the bound %v, want one without", *c.MaxValue)
		case c.Threshold != nil && *c.Threshold != 0:
			layer.Problem = fmt.Sprintf("a rectification with the threshold %v, want one without", *c.Threshold)
		case c.NegativeSlope != nil && *c.NegativeSlope != 0:
			layer.Op = "leakyrelu"
			layer.attribute("alpha", *c.NegativeSlope)
		}
	case "LeakyReLU":
		slope := 0.3 // Keras's default
		if c.NegativeSlope != nil {
			slope = *c.NegativeSlope
		} else if c.Alpha != nil {
			slope = *c.Alpha
		}
		layer.attribute("alpha", slope)
	case "ELU":
		if c.Alpha != nil {
			layer.attribute("alpha", *c.Alpha)
		}
	case "Normalization":
		if c.Invert {
			layer.attribute("invert", 1)
		}
		for name, text := range map[string]json.RawMessage{"mean": c.Mean, "variance": c.Variance} {
			var tree any
			if text == nil || json.Unmarshal(text, &tree) != nil || tree == nil {
				continue
			}
			v, ok := channelValues(argument(tree))
			if !ok {
				layer.Problem = fmt.Sprintf("its %s in the model's config, want a number or one for each channel", name)
			}
			layer.attribute(name, v...)
		}
	case "Resizing", "CenterCrop", "RandomCrop":
		if c.Height != nil && c.Width != nil {
			layer.attribute("size", *c.Height, *c.Width)
		}
		c.resizing(layer)
	}
}

// resizing adds how an image is rescaled.
func (c *kerasConfig) resizing(layer *Layer) {
	switch {
	case c.PadToAspect:
		layer.Problem = "it pads images to their aspect: crop or squash them"
	case c.Interpolation != "" && c.Interpolation != "bilinear" && c.Interpolation != "bicubic":
		layer.Problem = fmt.Sprintf("interpolation %s, want bilinear or bicubic", display(c.Interpolation))
	}
	for name, on := range map[string]bool{"crop_to_aspect": c.CropToAspect, "antialias": c.Antialias, "bicubic": c.Interpolation == "bicubic"} {
		if on {
			layer.attribute(name, 1)
		}
	}
}

// attribute sets an attribute.
func (l *Layer) attribute(name string, v ...float64) {
	if l.Attributes == nil {
		l.Attributes = make(map[string][]float64)
	}
	l.Attributes[name] = v
}

// kerasFunctions maps names of activation functions to operations.
var kerasFunctions = map[string]string{
	"": "linear", "linear": "linear", "relu": "relu", "elu": "elu", "gelu": "gelu", "silu": "silu", "swish": "silu", "tanh": "tanh",
	"sigmoid": "sigmoid", "softmax": "softmax", "softmax_v2": "softmax", "log_softmax": "logsoftmax", "log_softmax_v2": "logsoftmax",
	"leaky_relu": "leakyrelu",
}

// activation makes the layer the config's activation function, which is a name, an object
// that has one, or a layer.
func (c *kerasConfig) activation(layer *Layer) {
	layer.Attributes = nil
	name := functionName(c.Activation)
	var object kerasObject
	if op := kerasOp(classOf(c.Activation, &object)); op != "" {
		as := kerasLayer{class: object.ClassName}
		if json.Unmarshal(object.Config, &as.config) == nil {
			layer.Op = op
			as.details(layer)
			return
		}
	}
	op, ok := kerasFunctions[name]
	if !ok {
		layer.Op = name
		layer.Problem = fmt.Sprintf("the activation %s, want relu, leaky_relu, elu, gelu, silu, tanh, sigmoid, softmax, log_softmax or none", display(name))
		return
	}
	layer.Op = op
	if op == "leakyrelu" {
		layer.attribute("alpha", 0.2) // of the function, in Keras 2 and 3
	}
}

// classOf returns the class of an object, "" for anything else.
func classOf(text json.RawMessage, o *kerasObject) string {
	if json.Unmarshal(text, o) != nil || o.ClassName == "Activation" {
		return ""
	}
	return o.ClassName
}

// describeChain adds the layers of a chain to h, and where it ends early by an
// *unchainedError, a layer that says why. Any other error is returned.
func describeChain(h *header, chain []kerasLayer, err error) error {
	why, ends := errors.AsType[*unchainedError](err)
	switch {
	case err != nil && !ends:
		return err
	case ends && why.unknown:
		h.meta["layers"] = "no chain: " + why.reason
		return nil
	}
	describeLayers(h, chain)
	if ends {
		h.layers = append(h.layers, Layer{Name: "the model", Op: "no chain", Problem: why.reason + ", want layers one after another"})
	}
	return nil
}

// kerasNames returns a name for every layer: its own, with those of the models around it
// if another layer has the same name.
func kerasNames(chain []kerasLayer) []string {
	paths := make([][]string, len(chain))
	for i, l := range chain {
		paths[i] = l.path
	}
	return shortNames(paths)
}

// shortNames returns the last part of each path, or the whole path if several end in the
// same part.
func shortNames(paths [][]string) []string {
	count := make(map[string]int, len(paths))
	for _, p := range paths {
		count[p[len(p)-1]]++
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = p[len(p)-1]
		if count[names[i]] > 1 {
			names[i] = strings.Join(p, "/")
		}
	}
	return names
}

// attributes returns the numbers of a layer's config, by their names in ONNX if they have
// one. A padding of 1 is "same", of 0 "valid"; pads are top, left, bottom, right.
func (c *kerasConfig) attributes() map[string][]float64 {
	a := make(map[string][]float64)
	sizes := func(name string, s kerasSizes) {
		if len(s) == 1 {
			s = kerasSizes{s[0], s[0]}
		}
		if s != nil {
			a[name] = slices.Clone(s)
		}
	}
	one := func(name string, v *float64) {
		if v != nil {
			a[name] = []float64{*v}
		}
	}
	sizes("kernel_shape", c.KernelSize)
	sizes("kernel_shape", c.PoolSize)
	sizes("strides", c.Strides)
	if c.PoolSize != nil && c.Strides == nil {
		sizes("strides", c.PoolSize)
	}
	sizes("dilations", c.DilationRate)
	one("group", c.Groups)
	one("epsilon", c.Epsilon)
	one("ratio", c.Rate)
	one("max_value", c.MaxValue)
	var padding string
	var sides [][]float64
	switch {
	case json.Unmarshal(c.Padding, &padding) == nil && padding == "same":
		a["padding"] = []float64{1}
	case padding == "valid":
		a["padding"] = []float64{0}
	case json.Unmarshal(c.Padding, &sides) == nil && len(sides) == 2 && len(sides[0]) == 2 && len(sides[1]) == 2:
		a["pads"] = []float64{sides[0][0], sides[1][0], sides[0][1], sides[1][1]}
	}
	if c.DataFormat == "channels_first" {
		a["channels_first"] = []float64{1}
	}
	for name, text := range map[string]json.RawMessage{"scale": c.Scale, "offset": c.Offset, "axis": c.Axis} {
		if v := numbers(text); v != nil {
			a[name] = v
		}
	}
	if c.TargetShape != nil {
		a["to"] = c.TargetShape
	} else if len(c.NewShape) > 1 {
		a["to"] = c.NewShape[1:] // without the axis of images
	}
	shape := c.BatchShape
	if shape == nil {
		shape = c.BatchInput
	}
	var axes []*float64 // null for any length
	if json.Unmarshal(shape, &axes) == nil && len(axes) > 1 {
		for _, s := range axes[1:] {
			if s == nil {
				s = new(float64)
			}
			a["shape"] = append(a["shape"], *s)
		}
	}
	if len(a) == 0 {
		return nil
	}
	return a
}

// numbers returns the numbers of a number or a list, nil for anything else.
func numbers(text json.RawMessage) []float64 {
	var one *float64
	if json.Unmarshal(text, &one) == nil && one != nil {
		return []float64{*one}
	}
	var list []float64
	if json.Unmarshal(text, &list) == nil {
		return list
	}
	return nil
}

// functionName returns the name of an activation function, which may be an object.
func functionName(text json.RawMessage) string {
	var name string
	if json.Unmarshal(text, &name) == nil {
		return strings.ToLower(name)
	}
	var object kerasObject
	if json.Unmarshal(text, &object) == nil && json.Unmarshal(object.Config, &name) == nil {
		return strings.ToLower(name)
	}
	return strings.ToLower(object.ClassName)
}
