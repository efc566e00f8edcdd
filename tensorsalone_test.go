package vgg

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/weights"
)

// TestTensorsAlone opens what tools/oracle/tensorsalone.py wrote with PyTorch and Keras: tensors
// whose names don't tell the network. Without a word each is a question, which has the row that
// it is; with that row the posteriors are the framework's.
func TestTensorsAlone(t *testing.T) {
	cases, err := filepath.Glob(filepath.Join(vggtest.Fixture(t, "testdata/tensorsalone"), "*.json"))
	if err != nil || len(cases) < 14 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				Row        string // "" where the side alone is open
				Side       int
				Posteriors []float64
			}
			if err := json.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			file, o := strings.TrimSuffix(path, ".json"), OpenOptions{Preprocess: "unit"}
			_, err = Open(t.Context(), file, o)
			want := "--config '" + c.Row + "'"
			if c.Row == "" {
				want = "--head 'GAP FC' --input 32"
			}
			if !errors.As(err, new(*AmbiguousError)) || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v, want a question with %s", err, want)
			}
			if c.Row != "" { // a head alone doesn't tell what stands between the convolutions
				if _, err := Open(t.Context(), file, OpenOptions{Preprocess: "unit", Head: "GAP FC", Input: c.Side}); err == nil {
					t.Error("opened by its head alone")
				}
				o.Config = c.Row
			}
			o.Input = c.Side
			heads := []string{""}
			if c.Row == "" {
				heads = append(heads, "GAP FC")
			}
			for _, o.Head = range heads {
				m, err := Open(t.Context(), file, o)
				if err != nil {
					t.Fatal(err)
				}
				y, err := m.Net.Forward(moduleImage(c.Side))
				if err != nil {
					t.Fatal(err)
				}
				m.Net.Options().Posterior().Of(y.Data, y.Data)
				nearTool(t, "posteriors", y.Data, c.Posteriors)
			}
		})
	}
}

// TestContradictedNumbers: a configuration that needs more layers between two convolutions than
// their numbers leave room for is refused, and so is one with batch normalisation elsewhere.
func TestContradictedNumbers(t *testing.T) {
	for _, c := range []struct{ features, config, err string }{
		{"4 4 M ", "4 M 4 M FC", "features.2: its number leaves room for one module"},
		{"4bn 4bn M ", "4 BN 4 BN M FC", "batch normalisation true, want false"},
		{"4 BN 4 BN M ", "4bn 4bn M FC", "batch normalisation false, want true"},
		{"4 M 4 M ", "4 LRN M 4 M FC", "features.3: its number leaves room for 2 modules"},
		{"4 4 M ", "4 4 4 M FC", "2 convolutions, want the 3"},
	} {
		path := filepath.Join(t.TempDir(), "bare.safetensors")
		bareTensors(t, headModel(t, c.features+"FC", 8, 3, 0), path)
		m, err := Open(t.Context(), path, OpenOptions{Preprocess: "unit", Config: c.config, Input: 8})
		if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s as %s: %v, %v, want %q", c.features, c.config, m, err, c.err)
		}
	}
}

// TestOrderOfNumbers: normalisations of a safetensors file, which has its tensors by name, belong
// to the layers whose numbers are next to theirs: classifier.1 not to classifier.10.
func TestOrderOfNumbers(t *testing.T) {
	const row = "1bn M 2bn M BN GAP BN FC5 BN FC7 SIGMOID FC5bn FC"
	m := headModel(t, row, 8, 3, 0)
	s, err := interchange.Tensors(m.Net, interchange.Torchvision, "F32")
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range s {
		s[i].Name = strings.NewReplacer("features.0", "conv1", "features.1", "bn1", "features.4", "conv2", "features.5", "bn2").Replace(x.Name)
	}
	slices.SortStableFunc(s, func(a, b weights.Source) int { return strings.Compare(a.Name, b.Name) })
	path := filepath.Join(t.TempDir(), "state.safetensors")
	if err := weights.WriteSafetensors(path, nil, s); err != nil {
		t.Fatal(err)
	}
	got, err := Open(t.Context(), path, OpenOptions{Preprocess: "unit", Config: row, Input: 8})
	if err != nil {
		t.Fatal(err)
	}
	if !samePosteriors(posteriorsOf(t, got, 8), posteriorsOf(t, m, 8)) {
		t.Error("other posteriors")
	}
}

// TestAssumed: what only convention tells of a network behind a global pooling is said.
func TestAssumed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bare.safetensors")
	bareTensors(t, headModel(t, "1 M 2 M 4 4 M 8 8 M 8 8 M GAP FC", 64, 3, 0), path)
	d := identified(t, path, OpenOptions{Preprocess: "unit", Head: "GAP FC"})
	for _, want := range []string{"--config '1 M 2 M 4 4 M 8 8 M 8 8 GAP FC'", "images of 224 pixels"} {
		if !strings.Contains(d.Assumed, want) {
			t.Errorf("assumed %q, want %q in it", d.Assumed, want)
		}
	}
	if d := identified(t, path, OpenOptions{Preprocess: "unit", Config: "A GAP FC", Input: 64}); d.Assumed != "" {
		t.Errorf("assumed %q of what was given", d.Assumed)
	}
	const a = "1 M 2 M 4 4 M 8 8 M 8 8 M "
	bareTensors(t, headModel(t, a+"FC5 FC5 FC", 224, 3, 0), path)
	d = identified(t, path, OpenOptions{Preprocess: "unit"})
	for _, want := range []string{"a ReLU behind every layer but the last, and max-poolings (if it has others, save the whole model", "a soft-max at the end (for labels that exclude no other: --head 'FC FC FC SIGMOID')"} {
		if !strings.Contains(d.Assumed, want) {
			t.Errorf("assumed %q, want %q in it", d.Assumed, want)
		}
	}
	d = identified(t, path, OpenOptions{Preprocess: "unit", Head: "FC FC FC SIGMOID"})
	if !strings.Contains(d.Assumed, "a ReLU behind every convolution") || strings.Contains(d.Assumed, "soft-max") {
		t.Errorf("assumed %q with the head given", d.Assumed)
	}
	// A file with its layers leaves nothing to assume.
	m := headModel(t, a+"FC5 FC5 FC", 224, 3, 0)
	whole := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.Export(t.Context(), whole, ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if d := identified(t, whole, OpenOptions{}); d.Assumed != "" {
		t.Errorf("assumed %q of a graph", d.Assumed)
	}
}
