package weights

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// kerasOps maps classes of layers to operations of Layer. The operation of any other
// class is its name in lower case.
var kerasOps = map[string]string{
	"InputLayer":             "input",
	"Rescaling":              "rescaling",
	"Conv2D":                 "conv",
	"Convolution2D":          "conv",
	"Dense":                  "fc",
	"BatchNormalization":     "batchnorm",
	"ReLU":                   "relu",
	"Softmax":                "softmax",
	"MaxPooling2D":           "maxpool",
	"AveragePooling2D":       "avgpool",
	"GlobalMaxPooling2D":     "globalmaxpool",
	"GlobalAveragePooling2D": "globalavgpool",
	"ZeroPadding2D":          "pad",
	"Flatten":                "flatten",
	"Dropout":                "dropout",
	"SpatialDropout2D":       "dropout",
}

// kerasRoles maps the roles of an operation's tensors to their names in the file.
var kerasRoles = map[string]map[string]string{
	"conv":      {"weight": "kernel", "bias": "bias"},
	"fc":        {"weight": "kernel", "bias": "bias"},
	"batchnorm": {"scale": "gamma", "shift": "beta", "mean": "moving_mean", "variance": "moving_variance"},
}

// describeLayers adds the layers of a chain to h, with the names of their tensors.
func describeLayers(h *header, chain []kerasLayer) {
	known := make(map[string]bool, len(h.entries))
	for _, e := range h.entries {
		known[e.Name] = true
	}
	names := kerasNames(chain)
	for i, l := range chain {
		layer := Layer{Name: names[i], Op: kerasOps[l.class], Attributes: l.config.attributes()}
		if layer.Op == "" {
			layer.Op = strings.ToLower(l.class)
		}
		for role, name := range kerasRoles[layer.Op] {
			tensor := names[i] + "/" + name
			if !known[tensor] { // the other layer of the same name has no tensors
				tensor = l.path[len(l.path)-1] + "/" + name
			}
			if known[tensor] {
				if layer.Tensors == nil {
					layer.Tensors = make(map[string]string)
				}
				layer.Tensors[role] = tensor
			}
		}
		// ReLU with a bound or a slope is another function.
		if c := &l.config; layer.Op == "relu" && (c.MaxValue != nil || number(c.Slope) != 0 || c.Threshold != nil && *c.Threshold != 0) {
			layer.Op = "boundedrelu"
		}
		function := functionName(l.config.Activation)
		if l.class == "Activation" {
			layer.Op = function
			function = ""
		}
		h.layers = append(h.layers, layer)
		if function != "" && function != "linear" {
			h.layers = append(h.layers, Layer{Name: layer.Name + "/" + function, Op: function})
		}
	}
}

// unchained adds to the metadata why the model is no chain of layers.
func unchained(h *header, why *unchainedError) {
	h.meta["layers"] = "no chain: " + why.reason
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

// number returns a number, 0 for anything else.
func number(text json.RawMessage) float64 {
	if v := numbers(text); len(v) == 1 && !math.IsNaN(v[0]) {
		return v[0]
	}
	return 0
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
