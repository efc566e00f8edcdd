package weights

import (
	"strings"
	"testing"
)

// Graphs that no version of Keras writes so, or that must not be taken for a chain.
func TestKerasGraphs(t *testing.T) {
	const input = `{"class_name":"InputLayer","name":"i","config":{},"inbound_nodes":[]},`
	channel := func(name, of, index string) string {
		return `{"class_name":"GetItem","name":"` + name + `","config":{},"inbound_nodes":[{"args":[{"class_name":"__keras_tensor__","config":{"keras_history":["` + of + `",0,0]}},[{"class_name":"__ellipsis__","config":{}},` + index + `]],"kwargs":{}}]},`
	}
	stack := func(axis string, of ...string) string {
		var refs []string
		for _, name := range of {
			refs = append(refs, `{"class_name":"__keras_tensor__","config":{"keras_history":["`+name+`",0,0]}}`)
		}
		return `{"class_name":"Stack","name":"s","config":{"axis":` + axis + `},"inbound_nodes":[{"args":[[` + strings.Join(refs, ",") + `]],"kwargs":{}}]}`
	}
	three := channel("a", "i", "2") + channel("b", "i", "1") + channel("c", "i", "0")
	add := func(kwargs string) string {
		return `{"class_name":"TFOpLambda","name":"t","config":{"function":"math.add"},"inbound_nodes":[["f",0,0,` + kwargs + `]]}`
	}
	const flatten = `{"class_name":"Flatten","name":"f","config":{},"inbound_nodes":[[["i",0,0,{}]]]},`
	for _, c := range []struct{ name, layers, outputs, want string }{
		{"BGR", input + three + stack("-1", "a", "b", "c"), `["s",0,0]`, "i:input s:channels[2 1 0]"},
		{"along the rows", input + three + stack("1", "a", "b", "c"), `["s",0,0]`, "have the same input"},
		{"a channel is used twice", input + three + stack("-1", "a", "b", "b"), `["s",0,0]`, "have the same input"},
		{"a negative channel", input + channel("a", "i", "-1") + channel("b", "i", "1") + channel("c", "i", "0") + stack("-1", "a", "b", "c"), `["s",0,0]`, "have the same input"},
		{"a sum of two layers by a keyword", input + flatten + add(`{"y":["i",0,0]}`), `[["t",0,0]]`, "have the same input"},
		{"a sum with itself", input + flatten + add(`{"y":["f",0,0]}`), `[["t",0,0]]`, "layer t (TFOpLambda) has 2 inputs"},
		{"a sum with a constant", input + flatten + add(`{"y":[1,2,3]}`), `[["t",0,0]]`, "i:input f:flatten t:rescaling"},
		{"a sum with a constant before it", input + flatten + `{"class_name":"TFOpLambda","name":"t","config":{"function":"math.add"},"inbound_nodes":[["_CONSTANT_VALUE",-1,2.0,{"y":["f",0,0]}]]}`, `[["t",0,0]]`, "i:input f:flatten t:rescaling"},
		{"a constant for each row", input + flatten + add(`{"y":[[1],[2],[3]]}`), `[["t",0,0]]`, "t:tf.math.add (want a number, or one for each channel)"},
		{"called twice", input + `{"class_name":"Flatten","name":"f","config":{},"inbound_nodes":[[["i",0,0,{}]],[["f",0,0,{}]]]}`, `[["f",1,0]]`, "layer f (Flatten) is called 2 times"},
		{"another output of a layer", input + `{"class_name":"Flatten","name":"f","config":{},"inbound_nodes":[[["i",0,1,{}]]]}`, `[["f",0,0]]`, "takes one of several outputs of layer i"},
		{"two outputs", input + `{"class_name":"Flatten","name":"f","config":{},"inbound_nodes":[[["i",0,0,{}]]]}`, `[["f",0,0],["i",0,0]]`, "the model has 2 outputs, f, i"},
		{"an output before the end", input + `{"class_name":"Flatten","name":"f","config":{},"inbound_nodes":[[["i",0,0,{}]]]}`, `[["i",0,0]]`, "the model's output is that of layer i, but layer f is last"},
	} {
		var h header
		chain, err := kerasChain([]byte(`{"class_name":"Functional","config":{"layers":[` + c.layers + `],"output_layers":` + c.outputs + `}}`))
		if err := describeChain(&h, chain, err); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, l := range h.layers {
			text := l.Name + ":" + l.Op
			if l.Op == "channels" {
				text += strings.ReplaceAll(strings.Trim(l.String()[strings.Index(l.String(), "order:"):], "}]"), "order:", "") + "]"
			}
			if l.Problem != "" {
				text += " (" + l.Problem + ")"
			}
			got = append(got, text)
		}
		if text := strings.Join(got, " "); !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
	}
}

// The names of loss functions in all forms that versions of Keras write.
func TestKerasLoss(t *testing.T) {
	for text, want := range map[string]string{
		`"categorical_crossentropy"`: "categorical_crossentropy",
		`{"class_name":"SparseCategoricalCrossentropy","config":{"from_logits":true}}`: "sparse_categorical_crossentropy from_logits",
		`{"class_name":"BinaryCrossentropy","config":{"from_logits":false}}`:           "binary_crossentropy",
		`["mse"]`: "mse",
		`{"dense":{"class_name":"MeanSquaredError","config":{}}}`: "mean_squared_error",
		`{"class_name":"function","config":"own_loss"}`:           "own_loss",
		`["mse","mae"]`: "",
		`null`:          "",
		`3`:             "",
	} {
		if got := lossName([]byte(text), 0); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// FuzzKerasConfig: any text is an error or layers that can be described.
func FuzzKerasConfig(f *testing.F) {
	f.Add([]byte(`{"class_name":"Functional","config":{"layers":[{"class_name":"InputLayer","name":"i","config":{"batch_shape":[null,8,8,3]},"inbound_nodes":[]},` +
		`{"class_name":"TFOpLambda","name":"t","config":{"function":"math.add"},"inbound_nodes":[["i",0,0,{"y":[1,2,3]}]]},` +
		`{"class_name":"Dense","name":"d","config":{"activation":{"class_name":"LeakyReLU","config":{"alpha":0.1}}},"inbound_nodes":[[["t",0,0,{}]]]}],"output_layers":[["d",0,0]]}}`))
	f.Add([]byte(`{"class_name":"Sequential","config":[{"class_name":"Normalization","config":{"mean":[[1,2,3]],"variance":null,"axis":-1}},{"class_name":"Resizing","config":{"height":8,"width":8}}]}`))
	f.Add([]byte(`{"module":"keras","class_name":"Functional","config":{"layers":[{"module":"keras.src.ops.numpy","class_name":"GetItem","name":"g","config":{},"inbound_nodes":[{"args":[{"class_name":"__keras_tensor__","config":{"keras_history":["i",0,0]}},[{"class_name":"__ellipsis__"},{"class_name":"__slice__","config":{"step":-1}}]]}]}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		h := header{meta: map[string]string{}}
		chain, err := kerasChain(text)
		if describeChain(&h, chain, err) == nil && noteLoss(&h, text) == nil {
			for _, l := range h.layers {
				_ = l.String()
			}
		}
	})
}
