package weights

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// kerasRef is an argument of a layer's call that is the output of another layer.
type kerasRef struct {
	layer  string
	tensor int // among the layer's outputs
}

// kerasCall is a call of a layer. Arguments are a kerasRef, a float64, a string, a bool, a
// []any, a map[string]any or nil.
type kerasCall struct {
	args   []any
	kwargs map[string]any
}

// refs returns the layers whose outputs the call takes.
func (c kerasCall) refs() []kerasRef {
	var list []kerasRef
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case kerasRef:
			list = append(list, v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, k := range sortedKeys(v) {
				walk(v[k])
			}
		}
	}
	walk(c.args)
	walk(c.kwargs)
	return list
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// kerasCalls returns the calls of a layer, in whose results its model has use. Keras 2 writes
// a call as [["name", 0, 0, {}], …], or as ["name", 0, 0, {"y": 2}] for an operation; Keras 3 as
// {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["name", 0, 0]}}, …]}.
func kerasCalls(nodes json.RawMessage) []kerasCall {
	var list []any
	if json.Unmarshal(nodes, &list) != nil {
		return nil
	}
	var calls []kerasCall
	for _, node := range list {
		switch v := node.(type) {
		case map[string]any:
			if args, ok := v["args"].([]any); ok {
				kwargs, _ := v["kwargs"].(map[string]any)
				calls = append(calls, newCall(args, kwargs))
				continue
			}
			calls = append(calls, newCall(nil, v)) // inputs by name
		case []any:
			calls = append(calls, oldCall(v))
		}
	}
	return calls
}

func newCall(args []any, kwargs map[string]any) kerasCall {
	c := kerasCall{kwargs: make(map[string]any, len(kwargs))}
	for _, a := range args {
		c.args = append(c.args, argument(a))
	}
	for k, a := range kwargs {
		c.kwargs[k] = argument(a)
	}
	return c
}

// oldCall reads a call of Keras 2.
func oldCall(node []any) kerasCall {
	c := kerasCall{kwargs: map[string]any{}}
	if !isOldEntry(node) {
		for _, e := range node {
			entry, ok := e.([]any)
			if !ok || !isOldEntry(entry) {
				c.args = append(c.args, argument(e))
				continue
			}
			c.addOld(entry)
		}
		return c
	}
	c.addOld(node)
	return c
}

// isOldEntry tells whether v is the name of a layer with the numbers of its call and its
// output. The name _CONSTANT_VALUE stands for a value in place of the output.
func isOldEntry(v []any) bool {
	if len(v) < 3 {
		return false
	}
	_, isName := v[0].(string)
	_, isIndex := v[1].(float64)
	return isName && isIndex
}

func (c *kerasCall) addOld(entry []any) {
	c.args = append(c.args, argument(entry[:3]))
	if len(entry) > 3 {
		kwargs, _ := entry[3].(map[string]any)
		for k, a := range kwargs {
			c.kwargs[k] = argument(a)
		}
	}
}

// argument returns an argument with references and tensors resolved.
func argument(v any) any {
	switch v := v.(type) {
	case []any:
		if len(v) == 3 && isOldEntry(v) {
			if v[0] == "_CONSTANT_VALUE" {
				return argument(v[2])
			}
			return newRef(v)
		}
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = argument(e)
		}
		return list
	case map[string]any:
		config, _ := v["config"].(map[string]any)
		switch v["class_name"] {
		case "__keras_tensor__":
			history, _ := config["keras_history"].([]any)
			if isOldEntry(history) {
				return newRef(history)
			}
		case "__tensor__", "__numpy__":
			return argument(config["value"])
		case "__tuple__":
			items, _ := v["items"].([]any)
			return argument(items)
		}
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = argument(e)
		}
		return m
	}
	return v
}

func newRef(v []any) kerasRef {
	name, _ := v[0].(string)
	tensor, ok := v[2].(float64)
	if !ok || tensor != math.Trunc(tensor) || math.Abs(tensor) > 1<<20 {
		tensor = -1
	}
	return kerasRef{name, int(tensor)}
}

// kerasStep is a layer in its model's chain. channels is the order in which it, with layers
// before it that select them, stacks channels.
type kerasStep struct {
	layer    int
	call     kerasCall
	channels []int
}

// sequence returns the layers as a Sequential model calls them.
func (m *kerasModel) sequence() []kerasStep {
	order := make([]kerasStep, len(m.Layers))
	for i := range order {
		order[i].layer = i
	}
	return order
}

// kerasNode is a layer of a Functional model.
type kerasNode struct {
	kerasStep
	calls int
	refs  []kerasRef
	gone  bool // part of another step
}

// chainOrder returns the layers of a Functional model from its input on, in which the only
// input of each is the layer before it. Where the chain ends early, it returns the layers
// before and an *unchainedError.
func (m *kerasModel) chainOrder() ([]kerasStep, error) {
	nodes := make([]kerasNode, len(m.Layers))
	for i := range m.Layers {
		calls := kerasCalls(m.Layers[i].InboundNodes)
		nodes[i] = kerasNode{kerasStep: kerasStep{layer: i}, calls: len(calls)}
		for _, c := range calls {
			nodes[i].call = c
			nodes[i].refs = append(nodes[i].refs, c.refs()...)
		}
	}
	m.joinChannels(nodes)
	follow := make(map[string][]int)
	first, total := -1, 0
	for i, n := range nodes {
		if n.gone {
			continue
		}
		total++
		if len(n.refs) == 0 {
			if first >= 0 {
				return nil, &unchainedError{reason: fmt.Sprintf("layers %s and %s have no input", m.name(first), m.name(i))}
			}
			first = i
		}
		seen := map[string]bool{}
		for _, r := range n.refs {
			if !seen[r.layer] {
				follow[r.layer] = append(follow[r.layer], i)
			}
			seen[r.layer] = true
		}
	}
	var order []kerasStep
	for i := first; i >= 0 && len(order) <= total; {
		order = append(order, nodes[i].kerasStep)
		next := follow[m.Layers[i].Name]
		if len(next) == 0 {
			break
		}
		i = next[0]
		if err := m.follows(nodes, next); err != nil {
			return order, err
		}
	}
	if len(order) != total {
		return order, &unchainedError{reason: fmt.Sprintf("%d of %d layers follow the input", min(len(order), total), total)}
	}
	return order, m.oneOutput(order)
}

// follows tells why the layers that take a layer's output aren't one that takes it alone.
func (m *kerasModel) follows(nodes []kerasNode, next []int) error {
	n := &nodes[next[0]]
	switch {
	case len(next) > 1:
		return &unchainedError{reason: fmt.Sprintf("layers %s and %s have the same input", m.name(next[0]), m.name(next[1]))}
	case n.calls > 1:
		return &unchainedError{reason: fmt.Sprintf("layer %s is called %d times", m.name(next[0]), n.calls)}
	case len(n.refs) > 1:
		return &unchainedError{reason: fmt.Sprintf("layer %s has %d inputs", m.name(next[0]), len(n.refs))}
	case n.refs[0].tensor != 0:
		return &unchainedError{reason: fmt.Sprintf("layer %s takes one of several outputs of layer %s", m.name(next[0]), display(n.refs[0].layer))}
	}
	return nil
}

// name shows a layer's name, and its class.
func (m *kerasModel) name(i int) string {
	l := &m.Layers[i]
	return fmt.Sprintf("%s (%s)", display(l.Name), display(l.ClassName))
}

// oneOutput checks that the model's output is that of the chain's last layer.
func (m *kerasModel) oneOutput(order []kerasStep) error {
	var tree any
	if json.Unmarshal(m.Outputs, &tree) != nil || len(order) == 0 {
		return nil
	}
	outputs := (kerasCall{args: []any{argument(tree)}}).refs()
	last := m.Layers[order[len(order)-1].layer].Name
	switch {
	case len(outputs) > 1:
		var names []string
		for _, o := range outputs {
			names = append(names, display(o.layer))
		}
		return &unchainedError{reason: fmt.Sprintf("the model has %d outputs, %s", len(outputs), strings.Join(names, ", "))}
	case len(outputs) == 1 && outputs[0].layer != last:
		return &unchainedError{reason: fmt.Sprintf("the model's output is that of layer %s, but layer %s is last", display(outputs[0].layer), display(last))}
	}
	return nil
}

// joinChannels makes one step of layers that select single channels of one input and the layer
// that stacks them again, as preprocess_input turns RGB into BGR.
func (m *kerasModel) joinChannels(nodes []kerasNode) {
	byName := make(map[string]int, len(nodes))
	users := make(map[string]int)
	for i := range nodes {
		byName[m.Layers[i].Name] = i
		for _, r := range nodes[i].refs {
			users[r.layer]++
		}
	}
	for i := range nodes {
		n := &nodes[i]
		if n.calls != 1 || len(n.refs) < 2 || !isStack(&m.Layers[i], n.call) {
			continue
		}
		var channels, parts []int
		var source kerasRef
		for _, r := range n.refs {
			j, ok := byName[r.layer]
			if !ok || r.tensor != 0 || users[r.layer] != 1 || nodes[j].calls != 1 || len(nodes[j].refs) != 1 {
				break
			}
			c, ok := oneChannel(nodes[j].call)
			if !ok || len(parts) > 0 && nodes[j].refs[0] != source {
				break
			}
			source = nodes[j].refs[0]
			channels, parts = append(channels, c), append(parts, j)
		}
		if len(parts) != len(n.refs) {
			continue
		}
		for _, j := range parts {
			nodes[j].gone = true
		}
		n.refs, n.channels = []kerasRef{source}, channels
	}
}

// isStack tells whether a layer stacks or joins its inputs along the last axis.
func isStack(l *kerasObject, c kerasCall) bool {
	var config struct {
		Axis     json.RawMessage `json:"axis"`
		Function string          `json:"function"`
	}
	if json.Unmarshal(l.Config, &config) != nil {
		return false
	}
	axis := numbers(config.Axis)
	for _, key := range []string{"axis"} {
		if v, ok := c.kwargs[key].(float64); ok {
			axis = []float64{v}
		}
	}
	switch {
	case l.ClassName == "Stack", l.ClassName == "Concatenate", l.ClassName == "TFOpLambda" && (config.Function == "stack" || config.Function == "concat"):
		return len(axis) == 1 && (axis[0] == -1 || axis[0] == 3)
	}
	return false
}

// oneChannel returns the channel that an indexing of (N,H,W,C) selects: x[..., 2] or
// x[..., 2:3].
func oneChannel(c kerasCall) (channel int, ok bool) {
	index, ok := indices(c)
	if !ok || !wholeBut(index) {
		return 0, false
	}
	number := func(v any) (int, bool) {
		x, ok := v.(float64)
		return int(x), ok && x >= 0 && x < 1<<20 && x == math.Trunc(x)
	}
	switch last := index[len(index)-1].(type) {
	case float64:
		return number(last)
	case map[string]any:
		start, stop, step := slice(last)
		from, ok := number(start)
		to, isNumber := number(stop)
		return from, ok && isNumber && to == from+1 && (step == nil || step == 1.0)
	}
	return 0, false
}

// reversesChannels tells whether an indexing of (N,H,W,C) turns the order of the channels
// round: x[..., ::-1].
func reversesChannels(c kerasCall) bool {
	index, ok := indices(c)
	if !ok || !wholeBut(index) {
		return false
	}
	last, ok := index[len(index)-1].(map[string]any)
	if !ok || isEllipsis(last) {
		return false
	}
	start, stop, step := slice(last)
	return start == nil && stop == nil && step == -1.0
}

// indices returns the index of each axis in an indexing.
func indices(c kerasCall) ([]any, bool) {
	if spec, ok := c.kwargs["slice_spec"].([]any); ok { // Keras 2
		return spec, len(spec) > 0
	}
	if len(c.args) == 2 {
		spec, ok := c.args[1].([]any)
		return spec, ok && len(spec) > 0
	}
	return nil, false
}

// wholeBut tells whether the last index is that of the channels, and all others take the
// whole axis.
func wholeBut(index []any) bool {
	ellipsis := 0
	for _, v := range index[:len(index)-1] {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		if isEllipsis(m) {
			ellipsis++
			continue
		}
		if start, stop, step := slice(m); start != nil || stop != nil || step != nil && step != 1.0 {
			return false
		}
	}
	return ellipsis == 1 || ellipsis == 0 && len(index) == 4
}

func isEllipsis(m map[string]any) bool { return m["class_name"] == "__ellipsis__" }

// slice returns the parts of start:stop:step.
func slice(m map[string]any) (start, stop, step any) {
	if config, ok := m["config"].(map[string]any); ok && m["class_name"] == "__slice__" {
		m = config
	}
	return m["start"], m["stop"], m["step"]
}
