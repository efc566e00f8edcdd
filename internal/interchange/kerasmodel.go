package interchange

import (
	"encoding/json"
	"fmt"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// kerasWriter writes a network's layers as those of a Sequential model of Keras 3.
type kerasWriter struct {
	layers []map[string]any
	side   int  // of the map
	vector bool // whether the activation is a vector
}

// KerasModel describes a network as a Sequential model of Keras 3, in the JSON of .keras
// files. The model takes RGB pixels of 0 … 255: the preprocessing of their values is its first
// layers, and the ending its last. Its layers that have tensors are those of [Tensors] with the
// scheme Keras, in their order. Local response normalisation, GMAP and most adaptive poolings are errors:
// Keras has no such layers.
func KerasModel(n *network.Network, s preprocess.Spec) ([]byte, error) {
	o := n.Options()
	a, err := architecture.Parse(o.Config)
	if err != nil {
		return nil, err
	}
	w := &kerasWriter{side: o.Input}
	w.add("InputLayer", "pixels", map[string]any{"batch_shape": []any{nil, o.Input, o.Input, 3}, "sparse": false})
	w.preprocess(s)
	for _, l := range n.Chain().Layers() {
		if err := w.layer(l); err != nil {
			return nil, err
		}
	}
	if !o.Headless() {
		switch ending := a.Ending; {
		case ending == architecture.Sigmoids:
			w.activation("posteriors", "sigmoid")
		case ending == architecture.LogSoftmax:
			w.activation("posteriors", "log_softmax")
		case ending == architecture.Softmax:
			w.activation("posteriors", "softmax")
		}
	}
	config := map[string]any{"name": "vgg", "trainable": true, "layers": w.layers, "build_input_shape": []any{nil, o.Input, o.Input, 3}}
	return json.Marshal(map[string]any{
		"module": "keras", "class_name": "Sequential", "config": config, "registered_name": nil,
		"build_config": map[string]any{"input_shape": []any{nil, o.Input, o.Input, 3}},
	})
}

// add appends a layer.
func (w *kerasWriter) add(class, name string, config map[string]any) {
	config["name"] = name
	config["dtype"] = "float32"
	if class != "InputLayer" {
		config["trainable"] = true
	}
	w.layers = append(w.layers, map[string]any{"module": "keras.layers", "class_name": class, "config": config, "registered_name": nil})
}

func (w *kerasWriter) activation(name, function string) {
	w.add("Activation", name, map[string]any{"activation": function})
}

// preprocess appends y = (x·scale − mean)/std.
func (w *kerasWriter) preprocess(s preprocess.Spec) {
	var mean, variance []float64
	for c := range 3 {
		mean = append(mean, float64(s.Mean[c]))
		variance = append(variance, float64(s.Std[c])*float64(s.Std[c]))
	}
	if s.Scale != 1 {
		w.add("Rescaling", "scale", map[string]any{"scale": float64(s.Scale), "offset": 0.0})
	}
	w.add("Normalization", "normalize", map[string]any{"axis": []int{-1}, "invert": false, "mean": mean, "variance": variance})
}

// layer appends a layer of the network, with its rectification.
func (w *kerasWriter) layer(l nn.Layer) error {
	rectified := false
	switch l := l.(type) {
	case *nn.Conv:
		rectified = l.ReLU
		w.weights(l)
	case *nn.BatchNorm:
		rectified = l.ReLU
		w.add("BatchNormalization", l.Name(), map[string]any{"axis": -1, "epsilon": float64(l.Eps), "momentum": 1 - float64(l.Momentum), "center": true, "scale": true})
	case *nn.MaxPool:
		w.side /= 2
		w.add("MaxPooling2D", l.Name(), map[string]any{"pool_size": []int{2, 2}, "strides": []int{2, 2}, "padding": "valid", "data_format": "channels_last"})
	case *nn.GlobalPool:
		class := "GlobalAveragePooling2D"
		if l.Max {
			class = "GlobalMaxPooling2D"
		}
		w.add(class, l.Name(), map[string]any{"data_format": "channels_last", "keepdims": false})
		w.vector = true
	case *nn.AdaptivePool:
		return w.adaptive(l)
	case *nn.Flatten:
		w.flatten(l.Name())
	case *nn.Euclidean:
		axis := []int{-1}
		if !w.vector {
			axis = []int{1, 2, 3}
		}
		w.add("UnitNormalization", l.Name(), map[string]any{"axis": axis})
	case *nn.Dropout:
		w.add("Dropout", l.Name(), map[string]any{"rate": float64(l.Ratio)})
	case *nn.ReLU:
		w.add("ReLU", l.Name(), map[string]any{})
	case *nn.Activation:
		return w.function(l)
	case *nn.Binary: // the model gives the probability of the second class
	default:
		kind := "layer of this kind"
		switch l.(type) {
		case *nn.LRN:
			kind = "local response normalisation"
		case *nn.GlobalMaxAverage:
			kind = "pooling to maxima and means (GMAP) in a Sequential model"
		}
		return fmt.Errorf("%s: Keras has no %s: write .onnx, which has it, or .weights.h5, which has the weights alone", l.Name(), kind)
	}
	if rectified {
		w.add("ReLU", l.Name()+".relu", map[string]any{})
	}
	return nil
}

// adaptive appends what an adaptive pooling is for the model's input, whose side is fixed: of a
// map of that side nothing, of one of a multiple an average pooling.
func (w *kerasWriter) adaptive(l *nn.AdaptivePool) error {
	switch k := w.side / l.Side; {
	case w.side%l.Side != 0 || k == 0:
		return fmt.Errorf("%s: Keras has no pooling of %d×%d pixels to %d×%d: write .onnx, which has it, .weights.h5, which has the weights alone, or the network for another --input", l.Name(), w.side, w.side, l.Side, l.Side)
	case k > 1:
		w.add("AveragePooling2D", l.Name(), map[string]any{"pool_size": []int{k, k}, "strides": []int{k, k}, "padding": "valid", "data_format": "channels_last"})
	}
	w.side = l.Side
	return nil
}

// flatten makes a vector of a map.
func (w *kerasWriter) flatten(name string) {
	if !w.vector {
		w.add("Flatten", name, map[string]any{"data_format": "channels_last"})
		w.vector = true
	}
}

// weights appends a convolution, or a fully connected layer.
func (w *kerasWriter) weights(l *nn.Conv) {
	shape := l.Weight.Shape
	if len(shape) == 2 {
		w.flatten(l.Name() + ".flatten")
		w.add("Dense", l.Name(), map[string]any{"units": shape[0], "activation": "linear", "use_bias": true})
		return
	}
	w.add("Conv2D", l.Name(), map[string]any{
		"filters": shape[0], "kernel_size": []int{shape[2], shape[3]}, "strides": []int{1, 1}, "padding": "same", "data_format": "channels_last",
		"dilation_rate": []int{1, 1}, "groups": 1, "activation": "linear", "use_bias": true,
	})
}

// function appends an activation.
func (w *kerasWriter) function(l *nn.Activation) error {
	switch l.Function {
	case nn.LeakyReLU:
		w.add("LeakyReLU", l.Name(), map[string]any{"negative_slope": float64(l.Slope)})
		return nil
	}
	name, ok := map[nn.Function]string{nn.ELU: "elu", nn.GELU: "gelu", nn.SiLU: "silu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}[l.Function]
	if !ok {
		return fmt.Errorf("%s: activation %s, which isn't written for Keras", l.Name(), l.Function)
	}
	w.activation(l.Name(), name)
	return nil
}
