package vgg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// TestSaveNetworkThatEndsEarly: a network that ends with any of its layers is saved and
// opened as the same network.
func TestSaveNetworkThatEndsEarly(t *testing.T) {
	for _, config := range []string{"A", "A-LRN", "D-BN", "8 LRN M 8bn M FC6bn FC5 FC"} {
		m := tinyModel(t, config)
		x := ramp(tensor.New(2, 3, 32, 47))
		for _, l := range m.Net.Chain().Layers() {
			if strings.HasPrefix(l.Name(), "drop") || strings.HasSuffix(l.Name(), ".bn") {
				continue
			}
			for _, rectified := range []bool{true, false} {
				part, err := m.Until(l.Name(), rectified)
				if err != nil {
					t.Fatal(err)
				}
				again, err := Open(t.Context(), save(t, part), OpenOptions{})
				if err != nil {
					t.Fatalf("%s until %s, rectified %v: %v", config, l.Name(), rectified, err)
				}
				if a, b := again.Net.Options(), part.Net.Options(); a != b || !a.Headless() || again.Classes != nil {
					t.Errorf("%s until %s: opened as %+v with classes %v, saved as %+v", config, l.Name(), a, again.Classes, b)
				}
				if y, z := forward(t, part.Net, x), forward(t, again.Net, x); !slices.Equal(y.Shape, z.Shape) || !sameBits(y.Data, z.Data) {
					t.Errorf("%s until %s, rectified %v: saved and opened, the activation differs", config, l.Name(), rectified)
				}
				if _, err := again.Classify(preprocess.NewImage(40, 40), 1); !errors.Is(err, ErrHeadless) {
					t.Errorf("%s until %s: classified: %v", config, l.Name(), err)
				}
			}
		}
	}
}

// TestPartOfNetworkInOthersNames: a network that ends early is exported for other tools,
// and opens again from the formats that keep its options.
func TestPartOfNetworkInOthersNames(t *testing.T) {
	m := tinyModel(t, "D-BN")
	x := ramp(tensor.New(1, 3, 32, 32))
	for _, layer := range []string{"conv3_2", "pool4", "fc6"} {
		part, err := m.Until(layer, true)
		if err != nil {
			t.Fatal(err)
		}
		want := forward(t, part.Net, x)
		for _, file := range []string{"a.pth", "a.npz", "a.safetensors"} {
			path := filepath.Join(t.TempDir(), file)
			if err := part.Export(t.Context(), path, ExportOptions{}); err != nil {
				t.Fatal(err)
			}
			again, err := Open(t.Context(), path, OpenOptions{})
			if err != nil {
				t.Errorf("%s, %s: %v", layer, file, err)
				continue
			}
			if got := forward(t, again.Net, x); !sameBits(got.Data, want.Data) {
				t.Errorf("%s, %s: the activation differs", layer, file)
			}
		}
	}
}

func TestHeadOfNetworkThatEndsEarly(t *testing.T) {
	m := tinyModel(t, "A")
	for layer, last := range map[string]string{"fc7": "pool5", "conv3_1": "conv3_1"} {
		part, err := m.Until(layer, true)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(t.Context(), save(t, part), OpenOptions{Headless: true})
		if err != nil {
			t.Fatal(err)
		}
		layers := again.Net.Chain().Layers()
		if got := layers[len(layers)-1].Name(); got != last {
			t.Errorf("without the head of a network that ends with %s, the last layer is %s, want %s", layer, got, last)
		}
	}
	bad := m.Net.Options()
	bad.Until = "conv9_9"
	if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), `layer "conv9_9", want one of conv1_1,`) {
		t.Errorf("an unknown layer: %v", err)
	}
}

// TestOpenFromMemory: a file's bytes give the same model as its path.
func TestOpenFromMemory(t *testing.T) {
	m := tinyModel(t, "B-BN")
	path := save(t, m)
	data := readFile(t, path)
	again, err := OpenReader(t.Context(), "memory", strings.NewReader(string(data)), int64(len(data)), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	x := ramp(tensor.New(1, 3, 32, 32))
	if !sameBits(forward(t, again.Net, x).Data, forward(t, m.Net, x).Data) {
		t.Error("the scores differ")
	}
	if _, err := OpenReader(t.Context(), "memory", strings.NewReader(string(data[:99])), 99, OpenOptions{}); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("a part of a file: %v, want an error that names it", err)
	}
}

// TestOpenEnds: when the context ends, opening and saving stop with its cause.
func TestOpenEnds(t *testing.T) {
	m := tinyModel(t, "A")
	cause := errors.New("no longer wanted")
	for _, file := range []string{"a.safetensors", "a.pth", "a.npz"} {
		path := filepath.Join(t.TempDir(), file)
		if err := m.Export(t.Context(), path, ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		reported := false
		o := OpenOptions{Progress: func(done, total int64) {
			if done > total {
				t.Errorf("%d of %d values", done, total)
			}
			reported = true
			cancel(cause)
		}}
		if _, err := Open(ctx, path, o); !errors.Is(err, cause) || !reported {
			t.Errorf("%s: %v, want %v", file, err, cause)
		}
		before := readFile(t, path)
		if err := m.Export(ctx, path, ExportOptions{}); !errors.Is(err, cause) {
			t.Errorf("%s: written: %v, want %v", file, err, cause)
		}
		if after := readFile(t, path); string(after) != string(before) {
			t.Errorf("%s: the earlier file has changed", file)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
			t.Errorf("%s: left behind %v (%v)", file, left, err)
		}
	}
}

func TestErrorsOfTask(t *testing.T) {
	m := boxModel(t, SCR)
	path := filepath.Join(t.TempDir(), "boxes.safetensors")
	if err := m.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	var localiser *LocaliserError
	if _, err := Open(t.Context(), path, OpenOptions{}); !errors.As(err, &localiser) || localiser.Classes != 3 || localiser.Regression != SCR {
		t.Errorf("%v, want a LocaliserError", err)
	}
	if _, err := Open(t.Context(), save(t, tinyModel(t, "A")), OpenOptions{Localiser: true}); !errors.Is(err, ErrNotLocaliser) {
		t.Errorf("%v, want ErrNotLocaliser", err)
	}
}
