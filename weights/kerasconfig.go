package weights

import (
	"encoding/json"
	"fmt"
	"strings"
)

// kerasDepth is how deep models may stand within models.
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
	// path is the layer's name under those of the models that it stands in; stored is
	// where .weights.h5 files have it: the names of the classes, counted.
	path, stored []string
	config       kerasConfig
}

// kerasConfig is what is read of the config of a layer. Of numbers that a class doesn't
// have, the pointer is nil.
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
	Scale        json.RawMessage `json:"scale"` // a number of Rescaling, a truth of BatchNormalization
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

// kerasChain returns the layers of a model's config, first to last; those of a model
// within it stand in its place. It is an error if the config is malformed or if the
// layers are no chain; the latter is an *unchainedError.
func kerasChain(config []byte) ([]kerasLayer, error) {
	var model kerasObject
	if err := json.Unmarshal(config, &model); err != nil {
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

func (m *kerasObject) appendTo(chain *[]kerasLayer, path, stored []string, depth int) error {
	if !m.isModel() {
		return &unchainedError{fmt.Sprintf("a model of class %s, want Sequential or Functional", display(m.ClassName))}
	}
	if depth > kerasDepth {
		return malformed("", "model's config: models stand more than %d deep in each other", kerasDepth)
	}
	var config struct {
		Layers []kerasObject `json:"layers"`
	}
	// A Sequential of old has the list itself for its config.
	if m.ClassName != "Sequential" || json.Unmarshal(m.Config, &config.Layers) != nil {
		if err := json.Unmarshal(m.Config, &config); err != nil {
			return malformed("", "model's config: %v", err)
		}
	}
	counts := make(map[string]int)
	places := make([]string, len(config.Layers))
	for i, l := range config.Layers {
		places[i] = snakeCase(l.ClassName)
		if n := counts[places[i]]; n > 0 {
			places[i] = fmt.Sprintf("%s_%d", places[i], n)
		}
		counts[snakeCase(l.ClassName)]++
	}
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
		under := append(stored[:len(stored):len(stored)], "layers", places[i])
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

// chainOrder returns the order in which the layers of a Functional model follow each
// other: each has the one before it for its only input.
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

// inboundLayers returns the names of the layers that feed a layer: of Keras 2
// [[["name", 0, 0, {}], …]], of Keras 3 [{"args": [{"class_name": "__keras_tensor__",
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

// snakeCase is how Keras makes the name of a variable from that of a class:
// MaxPooling2D is max_pooling2d.
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
