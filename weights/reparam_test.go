package weights

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reparamFile writes tensors of these values and opens them.
func reparamFile(t *testing.T, tensors map[string][]float32, shapes map[string][]int) (*File, error) {
	t.Helper()
	var list []Source
	for name, values := range tensors {
		shape := shapes[name]
		if shape == nil {
			shape = []int{len(values)}
		}
		list = append(list, Source{Name: name, Shape: shape, Data: func(yield func([]float32) bool) { yield(values) }})
	}
	slices.SortFunc(list, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	path := filepath.Join(t.TempDir(), "a.safetensors")
	if err := WriteSafetensors(path, nil, list); err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), path)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

// Parameters are the same however few elements are read at a time.
func TestReparametrisedParts(t *testing.T) {
	third := float32(1 / math.Sqrt(3))
	for name, c := range map[string]struct {
		tensors map[string][]float32
		shapes  map[string][]int
		want    []float32
	}{
		"mask": {
			map[string][]float32{"a.weight_orig": {1, 2, 3, 4, 5, 6}, "a.weight_mask": {1, 0, 1, 0, 0, 1}},
			map[string][]int{"a.weight_orig": {2, 3}, "a.weight_mask": {2, 3}}, []float32{1, 0, 3, 0, 0, 6},
		},
		"length of rows": {
			map[string][]float32{"a.weight_g": {10, 2}, "a.weight_v": {3, 4, 0, 1, 1, 1}},
			map[string][]int{"a.weight_g": {2, 1}, "a.weight_v": {2, 3}}, []float32{6, 8, 0, 2 * third, 2 * third, 2 * third},
		},
		"length of columns": {
			map[string][]float32{"a.parametrizations.weight.original0": {10, 1, 2}, "a.parametrizations.weight.original1": {3, 1, 0, 4, 0, 1}},
			map[string][]int{"a.parametrizations.weight.original0": {1, 3}, "a.parametrizations.weight.original1": {2, 3}}, []float32{6, 1, 0, 8, 0, 2},
		},
		"one length": {
			map[string][]float32{"a.weight_g": {6}, "a.weight_v": {2, 2, 1, 0}},
			map[string][]int{"a.weight_g": {}, "a.weight_v": {2, 2}}, []float32{4, 4, 2, 0},
		},
		"spectral norm": {
			map[string][]float32{"a.weight_orig": {2, 0, 0, 0, 4, 0}, "a.weight_u": {0, 1}, "a.weight_v": {0, 1, 0}},
			map[string][]int{"a.weight_orig": {2, 3}}, []float32{0.5, 0, 0, 0, 1, 0},
		},
	} {
		f, err := reparamFile(t, c.tensors, c.shapes)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if es := f.Tensors(); len(es) != 1 || es[0].Name != "a.weight" {
			t.Errorf("%s: %v, want a.weight", name, es)
			continue
		}
		for step := 1; step <= len(c.want); step++ {
			for start := 0; start < len(c.want); start += step {
				got := make([]float32, min(step, len(c.want)-start))
				if err := f.ReadRange("a.weight", start, got); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				for i, v := range got {
					if w := c.want[start+i]; math.Abs(float64(v-w)) > 1e-6 {
						t.Errorf("%s: element %d by %d is %v, want %v", name, start+i, step, v, w)
					}
				}
			}
		}
	}
}

// What contradicts itself is an error that names the tensor.
func TestReparametrisedErrors(t *testing.T) {
	p := "a.parametrizations.weight."
	for name, c := range map[string]struct {
		tensors map[string][]float32
		shapes  map[string][]int
		want    string
	}{
		"mask of another shape":   {map[string][]float32{"a.weight_orig": {1, 2}, "a.weight_mask": {1}}, nil, "a.weight_mask: shape [1], want [2]"},
		"length of another shape": {map[string][]float32{"a.weight_g": {1, 2, 3}, "a.weight_v": {1, 2}}, nil, "a.weight_g: shape [3], want [2] with all axes but one of length 1"},
		"vector":                  {map[string][]float32{"a.weight_orig": {1, 2}, "a.weight_u": {1}, "a.weight_v": {1}}, nil, "want at least two axes"},
		"left of another shape":   {map[string][]float32{"a.weight_orig": {1, 2}, "a.weight_u": {1, 2}, "a.weight_v": {1}}, map[string][]int{"a.weight_orig": {1, 2}}, "want [1] and [2]"},
		"no right side":           {map[string][]float32{"a.weight_orig": {1, 2}, "a.weight_u": {1}}, map[string][]int{"a.weight_orig": {1, 2}}, "before 1.1"},
		"unknown":                 {map[string][]float32{p + "original": {1, 2}, p + "0.base": {1}}, nil, `a parametrization of torch.nn.utils.parametrize other than weight_norm and spectral_norm, with 0.base, original: call parametrize.remove_parametrizations(layer, "weight")`},
		"half":                    {map[string][]float32{p + "original0": {1, 2}}, nil, "other than weight_norm"},
		"twice":                   {map[string][]float32{"a.weight_orig": {1}, "a.weight_mask": {1}, "a.weight": {1}}, nil, "a.weight: it is in the file beside a.weight_orig"},
		"two ways":                {map[string][]float32{"a.weight_orig": {1}, "a.weight_mask": {1}, p + "original0": {1}, p + "original1": {1}}, nil, "a.weight: computed from several tensors"},
	} {
		if f, err := reparamFile(t, c.tensors, c.shapes); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", name, f, err, c.want)
		}
	}
	// Of a square matrix, the shapes don't tell which side is the left one.
	f, err := reparamFile(t, map[string][]float32{"a.weight_orig": {0, 3, 1, 0}, "a.weight_u": {1, 0}, "a.weight_v": {0, 1}}, map[string][]int{"a.weight_orig": {2, 2}})
	if err == nil {
		_, err = f.Read("a.weight")
		if err != nil {
			t.Errorf("norm by the first axis: %v", err)
		}
	}
	f, err = reparamFile(t, map[string][]float32{"a.weight_orig": {0, 3, 1, 0}, "a.weight_u": {0, 1}, "a.weight_v": {1, 0}}, map[string][]int{"a.weight_orig": {2, 2}})
	if err == nil {
		_, err = f.Read("a.weight")
	}
	if err == nil || !strings.Contains(err.Error(), "is 1 by the first axis and 3 by the second: call remove_spectral_norm") {
		t.Errorf("norm by the second axis: %v", err)
	}
}
