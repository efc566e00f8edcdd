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
	ClassName    string          `json:"class_name"`
	Config       json.RawMessage `json:"config"`
	Name         string          `json:"name"`
	InboundNodes json.RawMessage `json:"inbound_nodes"`
}

// kerasLayer is one layer of a model's config, in the order of the chain.
type kerasLayer struct {
	class string
	// path is the names of the models that the layer is in, and its own. stored is its
	// path in .weights.h5 files, of the classes' names with numbers: layers, conv2d_1.
	path, stored []string
	config       kerasConfig
}

// kerasConfig is the part of a layer's config that is read. A number that its class
// doesn't have is nil.
type kerasConfig struct {
	Name         string          `json:"name"`
	KernelSize   kerasSizes      `json:"kernel_size"`
	PoolSize     kerasSizes      `json:"pool_size"`
	Strides      kerasSizes      `json:"strides"`
	DilationRate kerasSizes      `json:"dilation_rate"`
	Groups       *float64        `json:"groups"`
	Padding      json.RawMessage `json:"padding"` // "same", or [[top, bottom], [left, right]]
	DataFormat   string          `json:"data_format"`
	Activation   json.RawMessage `json:"activation"`
	Epsilon      *float64        `json:"epsilon"`
	Center       *bool           `json:"center"`
	Scale        json.RawMessage `json:"scale"` // a number for Rescaling, a bool for BatchNormalization
	Offset       json.RawMessage `json:"offset"`
	Rate         *float64        `json:"rate"`
	MaxValue     *float64        `json:"max_value"`
	Slope        json.RawMessage `json:"negative_slope"`
	Threshold    *float64        `json:"threshold"`
	Axis         json.RawMessage `json:"axis"`
	BatchShape   json.RawMessage `json:"batch_shape"`       // Keras 3
	BatchInput   json.RawMessage `json:"batch_input_shape"` // Keras 1 and 2
}

// kerasSizes is a number or a list of numbers.
type kerasSizes []float64

func (s *kerasSizes) UnmarshalJSON(b []byte) error {
	var one float64
	if json.Unmarshal(b, &one) == nil {
		if string(b) != "null" {
			*s = kerasSizes{one}
		}
		return nil
	}
	return json.Unmarshal(b, (*[]float64)(s))
}

// kerasChain returns the layers of a model's config, first to last. A model among them is
// replaced by its own layers. Layers that are no chain are an *unchainedError, a malformed
// config is another error.
func kerasChain(config []byte) ([]kerasLayer, error) {
	var model kerasObject
	if err := boundedjson.Unmarshal(config, &model); err != nil {
		return nil, malformed("", "model's config: %v", err)
	}
	var chain []kerasLayer
	err := model.appendTo(&chain, nil, nil, 0)
	return chain, err
}

// unchainedError says why a model's layers are no chain.
type unchainedError struct{ reason string }

func (e *unchainedError) Error() string { return e.reason }

func (m *kerasObject) isModel() bool {
	switch m.ClassName {
	case "Sequential", "Functional", "Model":
		return true
	}
	return false
}

// appendTo appends the layers of the model to the chain. path and stored are its own.
func (m *kerasObject) appendTo(chain *[]kerasLayer, path, stored []string, depth int) error {
	if !m.isModel() {
		return &unchainedError{fmt.Sprintf("a model of class %s, want Sequential or Functional", display(m.ClassName))}
	}
	if depth > kerasDepth {
		return malformed("", "model's config: models in models, over %d deep", kerasDepth)
	}
	var config struct {
		Layers []kerasObject `json:"layers"`
	}
	// The config of an old Sequential is the list of its layers.
	if m.ClassName != "Sequential" || json.Unmarshal(m.Config, &config.Layers) != nil {
		if err := json.Unmarshal(m.Config, &config); err != nil {
			return malformed("", "model's config: %v", err)
		}
	}
	groups := storedNames(config.Layers)
	order := make([]int, len(config.Layers))
	for i := range order {
		order[i] = i
	}
	if m.ClassName != "Sequential" {
		var err error
		if order, err = chainOrder(config.Layers); err != nil {
			return err
		}
	}
	for _, i := range order {
		l := &config.Layers[i]
		under := append(stored[:len(stored):len(stored)], "layers", groups[i])
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
		layer := kerasLayer{class: l.ClassName, stored: under}
		if err := json.Unmarshal(l.Config, &layer.config); err != nil {
			return malformed("", "model's config: layer %s: %v", display(firstOf(l.Name, l.ClassName)), err)
		}
		layer.path = append(path[:len(path):len(path)], firstOf(l.Name, layer.config.Name))
		*chain = append(*chain, layer)
	}
	return nil
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

// chainOrder returns the order of the layers of a Functional model, in which the only
// input of each is the layer before it.
func chainOrder(layers []kerasObject) ([]int, error) {
	follower := make(map[string]int, len(layers))
	first := -1
	for i, l := range layers {
		inputs := inboundLayers(l.InboundNodes)
		switch {
		case len(inputs) > 1:
			return nil, &unchainedError{fmt.Sprintf("layer %s has %d inputs", display(l.Name), len(inputs))}
		case len(inputs) == 0 && first >= 0:
			return nil, &unchainedError{fmt.Sprintf("layers %s and %s have no input", display(layers[first].Name), display(l.Name))}
		case len(inputs) == 0:
			first = i
		default:
			if other, ok := follower[inputs[0]]; ok {
				return nil, &unchainedError{fmt.Sprintf("layers %s and %s have the same input", display(layers[other].Name), display(l.Name))}
			}
			follower[inputs[0]] = i
		}
	}
	var order []int
	for i, ok := first, first >= 0; ok && len(order) <= len(layers); i, ok = follower[layers[i].Name] {
		order = append(order, i)
	}
	if len(order) != len(layers) {
		return nil, &unchainedError{fmt.Sprintf("%d of %d layers follow the input", min(len(order), len(layers)), len(layers))}
	}
	return order, nil
}

// inboundLayers returns the names of a layer's inputs. Keras 2 writes them as
// [[["name", 0, 0, {}], …]], Keras 3 as [{"args": [{"class_name": "__keras_tensor__",
// "config": {"keras_history": ["name", 0, 0]}}, …]}].
func inboundLayers(nodes json.RawMessage) []string {
	var tree any
	if json.Unmarshal(nodes, &tree) != nil {
		return nil
	}
	var names []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			if len(v) >= 3 {
				name, isName := v[0].(string)
				_, isIndex := v[1].(float64)
				if isName && isIndex {
					names = append(names, name)
					return
				}
			}
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if history, ok := v["keras_history"]; ok {
				walk(history)
				return
			}
			for _, k := range []string{"args", "kwargs", "config"} {
				walk(v[k])
			}
		}
	}
	walk(tree)
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
