package weights

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/verydeep/vgg/internal/boundedjson"
)

// kerasDepth is the most levels of models in models.
const kerasDepth = 8

// kerasObject is how Keras writes a layer, a model or an activation function.
type kerasObject struct {
	Module       string          `json:"module"`
	ClassName    string          `json:"class_name"`
	Config       json.RawMessage `json:"config"`
	Name         string          `json:"name"`
	InboundNodes json.RawMessage `json:"inbound_nodes"`
}

// kerasLayer is one layer of a model's config, in the order of the chain.
type kerasLayer struct {
	module, class string
	// path is the names of the models that the layer is in, and its own. stored is its
	// path in .weights.h5 files, of the classes' names with numbers: layers, conv2d_1.
	path, stored []string
	config       kerasConfig
	call         kerasCall // the arguments, unless a Sequential model calls the layer
	order        []int     // of channels, for several layers that exchange them
}

// kerasConfig is the part of a layer's config that is read. A number that its class
// doesn't have is nil.
type kerasConfig struct {
	Name          string          `json:"name"`
	KernelSize    kerasSizes      `json:"kernel_size"`
	PoolSize      kerasSizes      `json:"pool_size"`
	Strides       kerasSizes      `json:"strides"`
	DilationRate  kerasSizes      `json:"dilation_rate"`
	Groups        *float64        `json:"groups"`
	Padding       json.RawMessage `json:"padding"` // "same", or [[top, bottom], [left, right]]
	DataFormat    string          `json:"data_format"`
	Activation    json.RawMessage `json:"activation"`
	Epsilon       *float64        `json:"epsilon"`
	Center        *bool           `json:"center"`
	Scale         json.RawMessage `json:"scale"` // a number for Rescaling, a bool for BatchNormalization
	Offset        json.RawMessage `json:"offset"`
	Rate          *float64        `json:"rate"`
	MaxValue      *float64        `json:"max_value"`
	NegativeSlope *float64        `json:"negative_slope"` // of Keras 3, and of ReLU
	Alpha         *float64        `json:"alpha"`          // of Keras 2, and of ELU
	Threshold     *float64        `json:"threshold"`
	Approximate   *bool           `json:"approximate"`
	Axis          json.RawMessage `json:"axis"`
	Mean          json.RawMessage `json:"mean"`
	Variance      json.RawMessage `json:"variance"`
	Invert        bool            `json:"invert"`
	Height        *float64        `json:"height"`
	Width         *float64        `json:"width"`
	Size          kerasSizes      `json:"size"`
	Interpolation string          `json:"interpolation"`
	CropToAspect  bool            `json:"crop_to_aspect_ratio"`
	PadToAspect   bool            `json:"pad_to_aspect_ratio"`
	Antialias     bool            `json:"antialias"`
	TargetShape   kerasSizes      `json:"target_shape"`
	NewShape      kerasSizes      `json:"newshape"`
	Function      json.RawMessage `json:"function"` // the name of an operation of TensorFlow's
	DType         json.RawMessage `json:"dtype"`
	BatchShape    json.RawMessage `json:"batch_shape"`       // Keras 3
	BatchInput    json.RawMessage `json:"batch_input_shape"` // Keras 1 and 2
}

// kerasSizes is a number or a list of numbers; anything else is nil.
type kerasSizes []float64

func (s *kerasSizes) UnmarshalJSON(b []byte) error {
	*s = numbers(b)
	return nil
}

// decodeKeras decodes a text in JSON within limits. Errors begin with what it is.
func decodeKeras(what string, text []byte, v any) error {
	if err := boundedjson.Unmarshal(text, v); err != nil {
		return malformed("", "%s: %v", what, err)
	}
	return nil
}

// kerasChain returns the layers of a model's config, first to last. A model among them is
// replaced by its own layers. Layers that are no chain are an *unchainedError, with the
// layers before the place where the chain ends. A malformed config is another error.
func kerasChain(config []byte) ([]kerasLayer, error) {
	var model kerasObject
	if err := decodeKeras("model's config", config, &model); err != nil {
		return nil, err
	}
	if !model.isModel() {
		return nil, &unchainedError{reason: fmt.Sprintf("a model of class %s, want Sequential or Functional", display(model.ClassName)), unknown: true}
	}
	var chain []kerasLayer
	err := model.appendTo(&chain, nil, nil, 0)
	return chain, err
}

// unchainedError says why a model's layers are no chain, or end early.
type unchainedError struct {
	reason  string
	unknown bool // nothing is known of the layers
}

func (e *unchainedError) Error() string { return e.reason }

func (m *kerasObject) isModel() bool {
	switch m.ClassName {
	case "Sequential", "Functional", "Model":
		return true
	}
	return false
}

// kerasModel is the config of a model.
type kerasModel struct {
	Layers  []kerasObject   `json:"layers"`
	Inputs  json.RawMessage `json:"input_layers"`
	Outputs json.RawMessage `json:"output_layers"`
}

// appendTo appends the layers of the model to the chain. path and stored are its own.
func (m *kerasObject) appendTo(chain *[]kerasLayer, path, stored []string, depth int) error {
	if depth > kerasDepth {
		return malformed("", "model's config: models in models, over %d deep", kerasDepth)
	}
	var config kerasModel
	// The config of an old Sequential is the list of its layers.
	if m.ClassName != "Sequential" || json.Unmarshal(m.Config, &config.Layers) != nil {
		if err := json.Unmarshal(m.Config, &config); err != nil {
			return malformed("", "model's config: %v", err)
		}
	}
	groups := storedNames(config.Layers)
	order, ends := config.sequence(), error(nil)
	if m.ClassName != "Sequential" {
		order, ends = config.chainOrder()
	}
	for _, step := range order {
		l := &config.Layers[step.layer]
		under := append(stored[:len(stored):len(stored)], "layers", groups[step.layer])
		if l.isModel() {
			var named struct {
				Name string `json:"name"`
			}
			_ = json.Unmarshal(l.Config, &named) // an old Sequential's config is a list
			name := append(path[:len(path):len(path)], firstOf(l.Name, named.Name))
			if err := l.appendTo(chain, name, under, depth+1); err != nil {
				return err
			}
			continue
		}
		layer := kerasLayer{module: l.Module, class: l.ClassName, stored: under, call: step.call, order: step.channels}
		if err := json.Unmarshal(l.Config, &layer.config); err != nil {
			return malformed("", "model's config: layer %s: %v", display(firstOf(l.Name, l.ClassName)), err)
		}
		layer.path = append(path[:len(path):len(path)], firstOf(l.Name, layer.config.Name))
		*chain = append(*chain, layer)
	}
	return ends
}

// storedNames returns the names that layers have in .weights.h5 files: of their classes,
// and from the second of a class on with a number.
func storedNames(layers []kerasObject) []string {
	counts := make(map[string]int)
	names := make([]string, len(layers))
	for i, l := range layers {
		class := snakeCase(l.ClassName)
		names[i] = class
		if n := counts[class]; n > 0 {
			names[i] = fmt.Sprintf("%s_%d", class, n)
		}
		counts[class]++
	}
	return names
}

// snakeCase returns a class's name in the form that Keras uses for variables:
// max_pooling2d for MaxPooling2D.
func snakeCase(class string) string {
	lower := func(c byte) bool { return 'a' <= c && c <= 'z' }
	upper := func(c byte) bool { return 'A' <= c && c <= 'Z' }
	var b strings.Builder
	for i := range len(class) {
		if i > 0 && upper(class[i]) && (lower(class[i-1]) || i+1 < len(class) && lower(class[i+1])) {
			b.WriteByte('_')
		}
		b.WriteByte(class[i])
	}
	return strings.ToLower(b.String())
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// MetaLoss is the key of the metadata that has the loss function that a model of Keras's was
// compiled with: its name, and " from_logits" behind it if it takes scores.
const MetaLoss = "keras.loss"

// noteLoss adds the loss function to the metadata. training is the config of a model's
// training, or nil.
func noteLoss(h *header, training []byte) error {
	var config struct {
		Loss json.RawMessage `json:"loss"`
	}
	if len(training) == 0 || string(training) == "null" {
		return nil
	}
	if err := decodeKeras("config of the training", training, &config); err != nil {
		return err
	}
	if loss := lossName(config.Loss, 0); loss != "" {
		h.meta[MetaLoss] = loss
	}
	return nil
}

// lossName returns the name of a loss function: a text, an object, or one of these in a list or
// by the name of the only output.
func lossName(text json.RawMessage, depth int) string {
	var name string
	if json.Unmarshal(text, &name) == nil {
		return snakeCase(name)
	}
	var object struct {
		ClassName string          `json:"class_name"`
		Config    json.RawMessage `json:"config"`
	}
	var list []json.RawMessage
	var outputs map[string]json.RawMessage
	switch {
	case json.Unmarshal(text, &list) == nil:
	case json.Unmarshal(text, &object) == nil && object.ClassName == "function":
		return lossName(object.Config, depth+1)
	case object.ClassName != "":
		var config struct {
			FromLogits bool `json:"from_logits"`
		}
		_ = json.Unmarshal(object.Config, &config)
		if config.FromLogits {
			return snakeCase(object.ClassName) + " from_logits"
		}
		return snakeCase(object.ClassName)
	case json.Unmarshal(text, &outputs) == nil:
		for _, v := range outputs {
			list = append(list, v)
		}
	}
	if len(list) != 1 || depth > 2 {
		return ""
	}
	return lossName(list[0], depth+1)
}
