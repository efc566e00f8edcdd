package interchange

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/weights"
)

func TestKerasPositions(t *testing.T) {
	f := func(block, index int) position { return position{block: block, index: index} }
	c := func(index int) position { return position{part: classifier, index: index} }
	for _, test := range []struct {
		name, layers string
		sides        []int // of the filters
		want         []position
	}{
		{"head of convolutions", "zero_padding2d_1 conv2d_1 max_pooling2d_1 conv2d_2 dropout_1 conv2d_3 flatten_1 activation_1", []int{3, 7, 1}, []position{f(1, 1), c(1), c(2)}},
		{"convolutions after the last pooling", "conv2d_1 max_pooling2d_1 conv2d_2 conv2d_3", []int{3, 3, 3}, []position{f(1, 1), f(2, 1), f(2, 2)}},
		{"several in a block", "input_1 conv2d conv2d_1 max_pooling2d conv2d_2 max_pooling2d_1", []int{3, 3, 3}, []position{f(1, 1), f(1, 2), f(2, 1)}},
		{"a layer of another kind", "conv2d_1 average_pooling2d_1 conv2d_2", []int{3, 3}, nil},
		{"a name of its owner's", "conv2d_1 max_pooling2d_1 last", []int{3}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			names := strings.Fields(test.layers)
			text, err := json.Marshal(names)
			if err != nil {
				t.Fatal(err)
			}
			var sources []weights.Source
			var convs []string
			for _, name := range names {
				if strings.HasPrefix(name, "conv2d") {
					side := test.sides[len(convs)]
					convs = append(convs, name)
					sources = append(sources, weights.Source{Name: name + "/kernel", Shape: []int{side, side, 1, 1}, Data: func(yield func([]float32) bool) { yield(make([]float32, side*side)) }})
				}
			}
			path := filepath.Join(t.TempDir(), "x.safetensors")
			if err := weights.WriteSafetensors(path, map[string]string{weights.MetaLayerNames: string(text)}, sources); err != nil {
				t.Fatal(err)
			}
			file, err := weights.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			got := kerasPositions(file)
			if test.want == nil && len(got) > 0 || len(got) != len(test.want) {
				t.Fatalf("%v, want %v", got, test.want)
			}
			for i, want := range test.want {
				if p := got[convs[i]]; p != want {
					t.Errorf("%s: %+v, want %+v", convs[i], p, want)
				}
			}
		})
	}
}

// TestKerasDoubt: layers without weights that the paper's networks don't have leave a doubt.
func TestKerasDoubt(t *testing.T) {
	for _, test := range []struct{ layers, want string }{
		{"dropout flatten input_layer max_pooling2d max_pooling2d_1 re_lu", ""},
		{"average_pooling2d average_pooling2d_1 flatten", "average_pooling2d"},
		{"elu elu_1 leaky_re_lu max_pooling2d", "elu, leaky_re_lu"},
		{"my_elu block1_pool", ""}, // names of the user's own tell nothing
		{"", ""},
	} {
		text, err := json.Marshal(strings.Fields(test.layers))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "x.safetensors")
		one := weights.Source{Name: "conv2d/kernel", Shape: []int{1}, Data: func(yield func([]float32) bool) { yield(make([]float32, 1)) }}
		if err := weights.WriteSafetensors(path, map[string]string{weights.MetaLayerKinds: string(text)}, []weights.Source{one}); err != nil {
			t.Fatal(err)
		}
		file, err := weights.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		got := kerasDoubt(file)
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.layers, got, test.want)
		}
	}
}
