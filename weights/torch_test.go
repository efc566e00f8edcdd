package weights

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// The files under testdata/torch were written by torch.save (tools/oracle/pth.py).

func openTorch(t *testing.T, name string) *File {
	t.Helper()
	f, err := Open(t.Context(), vggtest.Fixture(t, "testdata/torch/"+name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// sameAsGolden compares the tensors of f with those of the golden file, bit for bit, the
// whole and in ranges. Those of the names in without are missing from f.
func sameAsGolden(t *testing.T, f, golden *File, without ...string) {
	t.Helper()
	for _, want := range golden.Tensors() {
		if want.Name == "logits" || slices.ContainsFunc(without, func(p string) bool { return strings.HasPrefix(want.Name, p) }) {
			continue
		}
		w, err := golden.Read(want.Name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Read(want.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if !slices.Equal(got.Shape, w.Shape) {
			t.Errorf("%s: shape %v, want %v", want.Name, got.Shape, w.Shape)
			continue
		}
		for i, v := range w.Data {
			if math.Float32bits(got.Data[i]) != math.Float32bits(v) {
				t.Errorf("%s: element %d is %v, want %v", want.Name, i, got.Data[i], v)
				break
			}
		}
		n := len(w.Data)
		for _, r := range [][2]int{{0, n / 2}, {n / 3, n}, {n / 2, n/2 + min(1, n-n/2)}} {
			part := make([]float32, r[1]-r[0])
			if err := f.ReadRange(want.Name, r[0], part); err != nil || !slices.Equal(part, w.Data[r[0]:r[1]]) {
				t.Errorf("%s: elements %v: %v, %v", want.Name, r, part, err)
			}
		}
	}
}

func TestTorchFiles(t *testing.T) {
	plain := map[string]string{}
	for _, c := range []struct {
		file, golden string
		others       int // tensors that aren't in golden
		meta         map[string]string
		without      []string
	}{
		{"a_zip", "a", 0, plain, nil},
		{"a_zip64", "a", 0, plain, nil},
		{"a_big", "a", 0, plain, nil},
		{"a_protocol4", "a", 0, plain, nil},
		{"a_half", "a_half", 0, plain, nil},
		{"a_script", "a", 0, map[string]string{"torch.state_dict": "module VGG"}, nil},
		{"a_features_legacy", "a", 0, map[string]string{"torch.state_dict": "module Sequential", "torch.stripped": "module."}, []string{"classifier."}},
		{"b_legacy", "b", 0, plain, nil},
		{"b_2017", "b", 0, plain, nil},
		{"b16", "b16", 0, plain, nil},
		{"c_dataparallel", "c", 0, map[string]string{"torch.stripped": "module."}, nil},
		{"d_checkpoint", "d", 0, map[string]string{"torch.state_dict": "state_dict", "torch.stripped": "module.",
			"checkpoint.epoch": "90", "checkpoint.arch": "vgg16", "checkpoint.best": "true"}, nil},
		{"e_module", "e", 0, map[string]string{"torch.state_dict": "module VGG"}, nil},
		{"d-bn_zip", "d-bn", 13, plain, nil},
		{"d-bn_nested", "d-bn", 13, map[string]string{"torch.state_dict": "model.state_dict", "torch.stripped": "_orig_mod., module."}, nil},
		{"trainer", "trainer", 0, map[string]string{"torch.state_dict": "module Trainer", MetaLayerOrder: "that of attributes: the file doesn't hold the forward of Trainer"}, nil},
		{"layer_module", "layer", 0, map[string]string{"torch.state_dict": "module Linear"}, nil},
		{"layer_script", "layer", 0, map[string]string{"torch.state_dict": "module Linear"}, nil},
		{"views", "views", 4, map[string]string{"checkpoint.note": "no tensor"}, nil},
		{"views_legacy", "views", 4, map[string]string{"checkpoint.note": "no tensor"}, nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			f, golden := openTorch(t, c.file+".pth"), openTorch(t, c.golden+".safetensors")
			if f.Format() != PyTorch {
				t.Errorf("format %s", f.Format())
			}
			sameAsGolden(t, f, golden, c.without...)
			want := 0
			for _, e := range golden.Tensors() {
				if e.Name != "logits" && !slices.ContainsFunc(c.without, func(p string) bool { return strings.HasPrefix(e.Name, p) }) {
					want++
				}
			}
			if got := len(f.Tensors()); got != want+c.others {
				t.Errorf("%d tensors, want %d and %d others", got, want, c.others)
			}
			if meta := f.Metadata(); len(meta) != len(c.meta) {
				t.Errorf("metadata %v, want %v", meta, c.meta)
			} else {
				for k, v := range c.meta {
					if meta[k] != v {
						t.Errorf("metadata %s is %q, want %q", k, meta[k], v)
					}
				}
			}
		})
	}
}

// A scalar view has an element, and integers are listed with their type.
func TestTorchTypes(t *testing.T) {
	for _, name := range []string{"views.pth", "views_legacy.pth"} {
		f := openTorch(t, name)
		whole, err := f.Read("whole")
		if err != nil {
			t.Fatal(err)
		}
		x, err := f.Read("scalar")
		if err != nil || len(x.Shape) != 0 || x.Data[0] != whole.At(2, 3, 4) {
			t.Errorf("%s: scalar %v, %v; want %v", name, x, err, whole.At(2, 3, 4))
		}
		for n, dtype := range map[string]string{"i64": "I64", "u8": "U8", "bool": "BOOL", "half": "F16", "bfloat16": "BF16", "double": "F64"} {
			e, err := f.Lookup(n)
			if err != nil || e.DType != dtype {
				t.Errorf("%s: %s is %v, %v; want %s", name, n, e, err, dtype)
			}
			if _, err := f.Read(n); (err == nil) != readable(dtype) {
				t.Errorf("%s: %s read with %v", name, n, err)
			}
		}
	}
}
