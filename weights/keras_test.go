package weights

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

const kerasFolder = "testdata/keras"

// kerasGolden returns the tensors that a file must hold, in order, and the network's
// outputs.
func kerasGolden(t *testing.T, name string) (*File, []Entry) {
	t.Helper()
	f, err := Open(t.Context(), vggtest.Fixture(t, kerasFolder+"/"+name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, slices.DeleteFunc(f.Tensors(), func(e Entry) bool { return !strings.Contains(e.Name, "/") })
}

func sortedEntries(es []Entry) []Entry {
	return slices.SortedFunc(slices.Values(es), func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
}

// Every layout gives the tensors that Keras itself wrote, bit by bit, in the layers' order.
func TestKerasFiles(t *testing.T) {
	for _, c := range []struct {
		file, golden string
		ordered      bool
		rename       map[string]string // of files without the layers' names
	}{
		{"a.h5", "a", true, nil},
		{"b.h5", "b", true, nil},
		{"c.h5", "c", true, nil},
		{"d.h5", "d", true, nil},
		{"e.h5", "e", true, nil},
		{"a_notop.h5", "a_notop", true, nil},
		{"normalised.h5", "normalised", true, nil},
		{"normalised.keras", "normalised", true, nil},
		// Of three vectors, only the config says whether scale or shift is missing.
		{"normalised.weights.h5", "normalised", false, map[string]string{
			"batch_normalization/beta": "batch_normalization/0", "batch_normalization/moving_mean": "batch_normalization/1",
			"batch_normalization/moving_variance": "batch_normalization/2",
		}},
		{"nested.h5", "nested", true, nil},
		{"nested.keras", "nested", true, nil},
		{"bfloat16.weights.h5", "bfloat16", true, nil},
		{"branched.keras", "branched", true, nil},
		{"checkpoint.weights.h5", "checkpoint", true, map[string]string{
			"block1_conv1": "conv2d", "block1_conv2": "conv2d_1", "block2_conv1": "conv2d_2",
			"fc1": "dense", "fc2": "dense_1", "predictions": "dense_2",
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			g, want := kerasGolden(t, c.golden)
			f, err := Open(t.Context(), vggtest.Fixture(t, kerasFolder+"/"+c.file))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Format() != Keras {
				t.Errorf("format %s, want %s", f.Format(), Keras)
			}
			got := f.Tensors()
			if len(got) != len(want) {
				t.Fatalf("%d tensors, want %d: %v", len(got), len(want), got)
			}
			if !c.ordered {
				got, want = sortedEntries(got), sortedEntries(want)
			}
			for i, w := range want {
				name := w.Name
				layer, tensor, _ := strings.Cut(name, "/")
				if other, ok := c.rename[layer]; ok {
					name = other + "/" + tensor
				} else if other, ok := c.rename[name]; ok {
					name = other
				}
				if got[i].Name != name || got[i].DType != w.DType || !slices.Equal(got[i].Shape, w.Shape) {
					t.Fatalf("tensor %d is %v, want %s %s %v", i, got[i], name, w.DType, w.Shape)
				}
				x, err := f.Read(got[i].Name)
				if err != nil {
					t.Fatal(err)
				}
				y, err := g.Read(w.Name)
				if err != nil {
					t.Fatal(err)
				}
				for j := range y.Data {
					if math.Float32bits(x.Data[j]) != math.Float32bits(y.Data[j]) {
						t.Fatalf("%s: element %d is %v, want %v", name, j, x.Data[j], y.Data[j])
					}
				}
			}
		})
	}
}
