package weights

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// kerasChainText writes a chain of layers: name:op attribute=numbers role=tensor.
func kerasChainText(layers []Layer) string {
	var b strings.Builder
	for _, l := range layers {
		fmt.Fprintf(&b, "%s:%s", l.Name, l.Op)
		for _, a := range []string{"kernel_shape", "strides", "padding", "pads", "epsilon", "scale", "ratio", "shape"} {
			if v, ok := l.Attributes[a]; ok {
				fmt.Fprintf(&b, " %s=%.4g", a, v)
			}
		}
		for _, r := range []string{"weight", "bias", "scale", "shift", "mean", "variance"} {
			if v, ok := l.Tensors[r]; ok {
				fmt.Fprintf(&b, " %s=%s", r, v)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestKerasLayers(t *testing.T) {
	const normalised = `input_layer:input shape=[8 8 3]
rescaling:rescaling scale=[0.003922]
conv2d:conv kernel_shape=[3 3] strides=[1 1] padding=[1] weight=conv2d/kernel
batch_normalization:batchnorm epsilon=[0.002] shift=batch_normalization/beta mean=batch_normalization/moving_mean variance=batch_normalization/moving_variance
activation:relu
zero_padding2d:pad pads=[1 2 0 1]
conv2d_1:conv kernel_shape=[3 2] strides=[1 2] padding=[0] weight=conv2d_1/kernel bias=conv2d_1/bias
conv2d_1/relu:relu
batch_normalization_1:batchnorm epsilon=[0.001] scale=batch_normalization_1/gamma shift=batch_normalization_1/beta mean=batch_normalization_1/moving_mean variance=batch_normalization_1/moving_variance
max_pooling2d:maxpool kernel_shape=[2 2] strides=[2 2] padding=[0]
dropout:dropout ratio=[0.25]
global_average_pooling2d:globalavgpool
dense:fc weight=dense/kernel bias=dense/bias
dense/softmax:softmax
`
	const nested = `input_layer_1:input shape=[8 8 3]
input_layer:input shape=[8 8 3]
block1_conv1:conv kernel_shape=[3 3] strides=[1 1] padding=[1] weight=block1_conv1/kernel bias=block1_conv1/bias
block1_conv1/relu:relu
block1_pool:maxpool kernel_shape=[2 2] strides=[2 2] padding=[0]
block2_conv1:conv kernel_shape=[3 3] strides=[1 1] padding=[1] weight=block2_conv1/kernel bias=block2_conv1/bias
block2_conv1/relu:relu
block2_pool:maxpool kernel_shape=[2 2] strides=[2 2] padding=[0]
flatten:flatten
fc1:fc weight=fc1/kernel bias=fc1/bias
fc1/relu:relu
fc2:fc weight=fc2/kernel bias=fc2/bias
fc2/relu:relu
functional/predictions:fc weight=functional/predictions/kernel bias=functional/predictions/bias
predictions:fc weight=predictions/kernel bias=predictions/bias
`
	for file, want := range map[string]string{
		"normalised.h5":    normalised,
		"normalised.keras": normalised,
		"nested.h5":        nested,
		"nested.keras":     nested,
		"a.h5":             "",
	} {
		f, err := Open(t.Context(), vggtest.Fixture(t, kerasFolder+"/"+file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got := kerasChainText(f.Layers()); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
		}
	}
	f, err := Open(t.Context(), vggtest.Fixture(t, kerasFolder+"/"+"branched.keras"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := "[{input_layer input map[] map[shape:[4 4 3]]} {the model no chain map[] map[]}: layers left (Conv2D) and right (Conv2D) have the same input, want layers one after another]"
	if got := fmt.Sprint(f.Layers()); got != want {
		t.Errorf("a graph with branches: %s, want %s", got, want)
	}
}

// The forms of older versions that the fixtures don't have.
func TestKerasConfigForms(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"Sequential of Keras 1: a list", `{"class_name":"Sequential","config":[
			{"class_name":"Convolution2D","config":{"name":"c","border_mode":"same"}},
			{"class_name":"Activation","config":{"name":"s","activation":"softmax"}}]}`, "c:conv s:softmax"},
		{"Functional of Keras 2", `{"class_name":"Model","config":{"layers":[
			{"class_name":"Flatten","name":"f","config":{"name":"f"},"inbound_nodes":[[["i",0,0,{}]]]},
			{"class_name":"InputLayer","name":"i","config":{"name":"i"},"inbound_nodes":[]}]}}`, "i:input f:flatten"},
		{"activation as an object", `{"class_name":"Sequential","config":{"layers":[
			{"class_name":"Dense","config":{"name":"d","activation":{"class_name":"function","config":"relu"}}}]}}`, "d:fc d/relu:relu"},
		{"a layer of an unknown class", `{"class_name":"Sequential","config":{"layers":[
			{"class_name":"LayerNormalization","config":{"name":"l"}}]}}`, "l:layernormalization"},
		{"a rectifier with a bound", `{"class_name":"Sequential","config":{"layers":[
			{"class_name":"ReLU","config":{"name":"r","max_value":6.0,"negative_slope":0.0,"threshold":0.0}},
			{"class_name":"ReLU","config":{"name":"s","max_value":null,"negative_slope":0.0,"threshold":0.0}}]}}`, "r:relu (a rectification with the bound 6, want one without) s:relu"},
		{"a loop", `{"class_name":"Functional","config":{"layers":[
			{"class_name":"Flatten","name":"a","config":{},"inbound_nodes":[[["b",0,0]]]},
			{"class_name":"Flatten","name":"b","config":{},"inbound_nodes":[[["a",0,0]]]}]}}`, "0 of 2 layers follow the input"},
		{"a custom class of model", `{"class_name":"MyModel","config":{}}`, "a model of class MyModel, want Sequential or Functional"},
		{"two inputs", `{"class_name":"Functional","config":{"layers":[
			{"class_name":"InputLayer","name":"i","config":{},"inbound_nodes":[]},
			{"class_name":"Add","name":"a","config":{},"inbound_nodes":[[["i",0,0,{}],["i",0,0,{}]]]}]}}`, "layer a (Add) has 2 inputs"},
	} {
		chain, err := kerasChain([]byte(c.config))
		if err != nil {
			if _, ok := err.(*unchainedError); !ok || err.Error() != c.want {
				t.Errorf("%s: %v, want %s", c.name, err, c.want)
			}
			continue
		}
		var h header
		describeLayers(&h, chain)
		var got []string
		for _, l := range h.layers {
			got = append(got, l.Name+":"+l.Op)
			if l.Problem != "" {
				got[len(got)-1] += " (" + l.Problem + ")"
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %s", c.name, got, c.want)
		}
	}
	deep := strings.Repeat(`{"class_name":"Sequential","config":{"layers":[`, 20) + strings.Repeat(`]}}`, 20)
	if _, err := kerasChain([]byte(deep)); err == nil || !strings.Contains(err.Error(), "models in models, over 8 deep") {
		t.Errorf("models in models in models: %v", err)
	}
}

func TestSnakeCase(t *testing.T) { // Keras's own names of these classes
	for class, want := range map[string]string{
		"Conv2D": "conv2d", "BatchNormalization": "batch_normalization", "MaxPooling2D": "max_pooling2d",
		"ReLU": "re_lu", "Dense": "dense", "GlobalAveragePooling2D": "global_average_pooling2d",
		"Conv2DTranspose": "conv2d_transpose", "InputLayer": "input_layer", "ZeroPadding2D": "zero_padding2d",
	} {
		if got := snakeCase(class); got != want {
			t.Errorf("%s is %s, want %s", class, got, want)
		}
	}
}

func TestNaturalOrder(t *testing.T) {
	want := []string{"conv2d", "conv2d_2", "conv2d_10", "conv2d_10/a", "dense"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareNatural)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
