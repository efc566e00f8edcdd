package vgg

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/tensor"
)

var updateONNX = flag.Bool("update-onnx", false, "rewrite testdata/onnxexported.json by ONNX Runtime")

// exportedHeads are heads with every layer and every ending of the language.
var exportedHeads = []string{
	"FC5 FC7 FC", "GAP FC", "GMP FC5 BN RELU FC", "GMAP FC5bn FC", "L2 FC LOGSOFTMAX", "GAP L2 FC5 L2 FC", "BN GAP BN FC", "FLATTEN BN FC5 RELU FC",
	"GAP FC5 LEAKY0.2 FC5 ELU FC", "FC5 GELU FC5 SILU FC", "FC6 TANH FC5 SIGMOID DROP0.3 FC", "FC5 LINEAR FC", "GAP FC1 SIGMOID", "FC5 TANH FC1 SIGMOID", "GAP FC5 RELU FC SIGMOID",
	"GAP FC TANH", "FC BN", "GAP FC5 RELU FC SCORES",
}

// exportedHead is what ONNX Runtime gives for the exported file of that hash.
type exportedHead struct {
	SHA256 string
	Output []float32
}

const exportedSide = 13

// exportHead writes the ONNX file of a head on tiny features.
func exportHead(t *testing.T, head, path string) *Model {
	t.Helper()
	classes := 3
	if strings.Contains(head, "FC1 SIGMOID") {
		classes = 2
	}
	m := headModel(t, "4bn M 6 M "+head, exportedSide, classes, 0)
	for _, p := range m.Net.Params() { // so that posteriors of pixels of −128 … 127 tell something
		v := make([]float32, p.Len())
		if err := p.Get(v); err != nil {
			t.Fatal(err)
		}
		for i := range v {
			switch {
			case p.Name == "conv1_1.weight":
				v[i] /= 128
			case len(p.Shape) > 1:
				v[i] /= 2
			}
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	o := interchange.ONNXOptions{Softmax: m.Net.Options().Posterior() != network.NoPosterior}
	if err := bareONNX(t, m, path, o); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestONNXHeadsInONNXRuntime: ONNX Runtime gives the posteriors of networks with any head,
// and the graphs come back equal. Where ONNX Runtime isn't there, what it gave for the same
// bytes is in testdata/onnxexported.json; -update-onnx writes it.
func TestONNXHeadsInONNXRuntime(t *testing.T) {
	golden := filepath.Join("testdata", "onnxexported.json")
	dir := t.TempDir()
	models := make([]*Model, len(exportedHeads))
	paths := make([]string, len(exportedHeads))
	for i, head := range exportedHeads {
		paths[i] = filepath.Join(dir, fmt.Sprintf("%d.onnx", i))
		models[i] = exportHead(t, head, paths[i])
	}
	given := map[string]exportedHead{}
	if *updateONNX {
		for i, output := range onnxRuntime(t, paths) {
			given[exportedHeads[i]] = exportedHead{fileHash(t, paths[i]), output}
		}
		text, err := json.MarshalIndent(given, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &given); err != nil {
		t.Fatal(err)
	}
	for i, head := range exportedHeads {
		t.Run(head, func(t *testing.T) {
			if got := fileHash(t, paths[i]); got != given[head].SHA256 {
				t.Errorf("SHA-256 %s, want %s, of the file that ONNX Runtime was given (-update-onnx)", got, given[head].SHA256)
			}
			x := oracleImage(2, exportedSide, exportedSide)
			vggtest.Near(t, "posteriors", exportedPosteriors(t, models[i], x), given[head].Output)
			open := OpenOptions{Preprocess: "unit"}
			if strings.HasSuffix(head, "SCORES") {
				open.Head = head
			}
			again, err := Open(t.Context(), paths[i], open)
			if err != nil {
				t.Fatal(err)
			}
			vggtest.Near(t, "posteriors of the file", exportedPosteriors(t, again, x), given[head].Output)
		})
	}
}

// TestONNXRuntimeHeads: this ONNX Runtime gives what the golden file says.
func TestONNXRuntimeHeads(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	var models []*Model
	for i, head := range exportedHeads {
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("%d.onnx", i)))
		models = append(models, exportHead(t, head, paths[i]))
	}
	for i, output := range onnxRuntime(t, paths) {
		vggtest.Near(t, exportedHeads[i], output, exportedPosteriors(t, models[i], oracleImage(2, exportedSide, exportedSide)))
	}
}

// onnxRuntime returns the outputs of the files for the image of the oracles, by ONNX
// Runtime.
func onnxRuntime(t *testing.T, paths []string) [][]float32 {
	t.Helper()
	python := vggtest.Python(t, "numpy", "onnx", "onnxruntime")
	args := []string{"tools/oracle/onnxfiles.py", "check"}
	for _, path := range paths {
		args = append(args, path, "2", fmt.Sprint(exportedSide), fmt.Sprint(exportedSide))
	}
	out, err := exec.Command(python, args...).Output()
	if err != nil {
		if ee, ok := err.(*exec.ExitError); ok {
			t.Fatalf("%v: %s", err, ee.Stderr)
		}
		t.Fatal(err)
	}
	var results []struct{ Output []float32 }
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(paths) {
		t.Fatalf("%d results of %d files, %v", len(results), len(paths), err)
	}
	var outputs [][]float32
	for _, r := range results {
		outputs = append(outputs, r.Output)
	}
	return outputs
}

// exportedPosteriors returns the posteriors of x, or the scores of a network without.
func exportedPosteriors(t *testing.T, m *Model, x *tensor.Tensor) []float32 {
	t.Helper()
	y, err := m.Net.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	k := m.Net.Options().Classes
	if p := m.Net.Options().Posterior(); p != network.NoPosterior {
		for i := 0; i < len(y.Data); i += k {
			p.Of(y.Data[i:i+k], y.Data[i:i+k])
		}
	}
	return y.Data
}

func fileHash(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestImageNetConvolutions: Keras's ImageNet convolutions go out to every format and come back
// with the same bits and, where the format can hold it, their preprocessing.
func TestImageNetConvolutions(t *testing.T) {
	vggtest.SkipShort(t, "writes and reads the convolutions of D at full width")
	m, err := Open(t.Context(), vggtest.Shared(t, "weights/vgg16-imagenet/vgg16_notop.h5"), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file    string
		options ExportOptions
	}{
		{"m.onnx", ExportOptions{ONNX: ONNXOptions{Dense: true}}},
		{"native.safetensors", ExportOptions{}},
		{"torchvision.safetensors", ExportOptions{Names: "torchvision"}},
		{"m.pth", ExportOptions{}},
		{"m.npz", ExportOptions{}},
		{"m.keras", ExportOptions{}},
		{"m.weights.h5", ExportOptions{}},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		if err := m.Export(t.Context(), path, c.options); err != nil {
			t.Fatal(err)
		}
		for _, preprocessing := range []string{"", m.Preprocess.Name} {
			t.Run(c.file+" "+preprocessing, func(t *testing.T) {
				// What is exported is in RGB, also for whoever says where the weights are from.
				again, err := Open(t.Context(), path, OpenOptions{Preprocess: preprocessing})
				if err != nil {
					t.Fatal(err)
				}
				if again.Net.Options().Config != "D" || again.Preprocess.Mean != m.Preprocess.Mean || again.Preprocess.Scale != m.Preprocess.Scale {
					t.Errorf("opened as %+v with %+v", again.Net.Options(), again.Preprocess)
				}
				for i, p := range m.Net.Params() {
					q := again.Net.Params()[i]
					want, got := make([]float32, p.Len()), make([]float32, q.Len())
					if err := p.Get(want); err != nil {
						t.Fatal(err)
					}
					if err := q.Get(got); err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(got, want) {
						t.Errorf("%s differs", p.Name)
					}
				}
			})
		}
	}
}
