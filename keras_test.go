package vgg

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// kerasFolder has the models that tools/oracle/kerasheads.py wrote with Keras 3 and Keras 2.
const kerasFolder = "testdata/keras"

// kerasImage is an image that their posteriors are of.
func kerasImage(t *testing.T, name string) *preprocess.Image {
	t.Helper()
	data, err := os.ReadFile(vggtest.Fixture(t, kerasFolder+"/"+name))
	if err != nil {
		t.Fatal(err)
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// TestKerasModels: a model of Keras's is followed layer by layer, with the preprocessing in it.
// Nothing is asked, and the posteriors are those of Keras.
func TestKerasModels(t *testing.T) {
	data, err := os.ReadFile(vggtest.Fixture(t, kerasFolder+"/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string]struct {
		Image      string // that the model rescales; "" for image.png
		Structure  string // to be said for weights alone
		Posteriors []float64
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for file, c := range cases {
		t.Run(file, func(t *testing.T) {
			path, o := vggtest.Fixture(t, kerasFolder+"/"+file), OpenOptions{}
			if c.Structure != "" {
				o.Input = 16
				if !strings.Contains(file, "norm") { // which has its preprocessing
					o.Preprocess = "unit"
				}
				if m, err := Open(context.Background(), path, o); !errors.As(err, new(*AmbiguousError)) || m != nil {
					t.Errorf("weights alone: %v, want a question", err)
				}
				o.Config = c.Structure
			}
			m, err := Open(context.Background(), path, o)
			if err != nil {
				t.Fatal(err)
			}
			if c.Image == "" {
				nearTool(t, m.Net.Options().Config, kerasPosteriors(t, m, kerasImage(t, "image.png")), c.Posteriors)
				return
			}
			// Rescaled images are rounded to grey levels.
			for i, p := range kerasPosteriors(t, m, kerasImage(t, c.Image)) {
				if d := math.Abs(float64(p) - c.Posteriors[i]); !(d <= 2e-3) {
					t.Errorf("posterior %d is %v, want %v; %+v", i, p, c.Posteriors[i], m.Preprocess)
				}
			}
		})
	}
}

// kerasPosteriors returns the posteriors of the image, or the scores of a network without them.
func kerasPosteriors(t *testing.T, m *Model, im *preprocess.Image) []float32 {
	t.Helper()
	if m.Net.Options().Posterior() != network.NoPosterior {
		p, err := m.Posteriors(im, m.Preprocess.Resize)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	side := m.Net.Options().Input
	x := tensor.New(1, 3, side, side)
	if err := m.centralCrop(x.Data, im, m.Preprocess.Resize); err != nil {
		t.Fatal(err)
	}
	y, err := m.Net.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	return y.Data
}

// eachKeras calls f with each file of a folder that tools/oracle/kerasheads.py wrote, and with
// what it expects of it.
func eachKeras[T any](t *testing.T, folder string, f func(t *testing.T, path string, expected T)) {
	t.Helper()
	folder = vggtest.Fixture(t, kerasFolder+"/"+folder)
	var expected map[string]T
	if err := json.Unmarshal(readFile(t, filepath.Join(folder, "expected.json")), &expected); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(expected) != len(entries)-1 || len(expected) < 20 {
		t.Fatalf("%d expectations of %d files, want at least 20; %v", len(expected), len(entries)-1, err)
	}
	for file, want := range expected {
		t.Run(file, func(t *testing.T) { f(t, filepath.Join(folder, file), want) })
	}
}

// TestKerasDrawn: models of drawn layers, in all forms that Keras has for them, give Keras's
// posteriors, and give them again once they are written for Keras.
func TestKerasDrawn(t *testing.T) {
	im := kerasImage(t, "image.png")
	eachKeras(t, "drawn", func(t *testing.T, path string, want []float64) {
		m, err := Open(t.Context(), path, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		nearTool(t, m.Net.Options().Config, kerasPosteriors(t, m, im), want)
		for _, name := range []string{"a.keras", "a.weights.h5"} {
			path := filepath.Join(t.TempDir(), name)
			if err := m.Export(t.Context(), path, ExportOptions{}); err != nil {
				t.Fatal(err)
			}
			again, err := Open(t.Context(), path, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			nearTool(t, name, kerasPosteriors(t, again, im), want)
		}
	})
}

// TestKerasRefused: what can't be followed is an error that names the layer or asks, for
// Keras 3 and Keras 2.
func TestKerasRefused(t *testing.T) {
	eachKeras(t, "refused", func(t *testing.T, path string, want string) {
		m, err := Open(t.Context(), path, OpenOptions{})
		if err == nil {
			t.Fatalf("opened as %q with %+v", m.Net.Options().Config, m.Preprocess)
		}
		if want == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
		t.Log(err)
	})
}

// TestKerasWritesOrRefuses: what Keras has no layer for is refused as .keras, with what to
// write instead. An adaptive pooling that the side of the input makes a plain one is written.
func TestKerasWritesOrRefuses(t *testing.T) {
	im := kerasImage(t, "image.png")
	for row, want := range map[string]string{
		"4 LRN M 6 M FC5 FC":     "lrn1: Keras has no local response normalisation: write .onnx, which has it, or .weights.h5",
		"4 M 6 M GMAP FC":        "Keras has no pooling to maxima and means (GMAP) in a Sequential model: write .onnx, which has it, or .weights.h5",
		"4 M 6 M ADAPT3 FC5 FC":  "Keras has no pooling of 4×4 pixels to 3×3: write .onnx, which has it, .weights.h5, which has the weights alone, or the network for another --input",
		"4 M 6 M ADAPT7 FC5 FC":  "Keras has no pooling of 4×4 pixels to 7×7: ",
		"4 M 6 M ADAPT4 FC5 FC":  "",
		"4 M 6 M FLATTEN FC5 FC": "",
	} {
		m := headModel(t, row, im.W, 3, 0)
		path := filepath.Join(t.TempDir(), "a.keras")
		err := m.Export(t.Context(), path, ExportOptions{})
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", row, err, want)
			}
			if err := m.Export(t.Context(), filepath.Join(t.TempDir(), "a.onnx"), ExportOptions{}); err != nil {
				t.Errorf("%s: %v, though the error proposes .onnx", row, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", row, err)
			continue
		}
		again, err := Open(t.Context(), path, OpenOptions{})
		if err != nil {
			t.Errorf("%s: %v", row, err)
			continue
		}
		vggtest.Near(t, row, kerasPosteriors(t, again, im), kerasPosteriors(t, m, im))
	}
}

// TestKerasUnhelpful: models whose weights are in int8, whose images aren't square, or that
// pool a vector, are refused with what to do, with their layers and as weights alone; so are the
// weights of a network with other activations or poolings than the paper's.
func TestKerasUnhelpful(t *testing.T) {
	folder := vggtest.Fixture(t, "testdata/kerasrefused")
	var expected map[string]string
	if err := json.Unmarshal(readFile(t, filepath.Join(folder, "expected.json")), &expected); err != nil {
		t.Fatal(err)
	}
	if len(expected) != 13 {
		t.Errorf("%d cases, want 13", len(expected))
	}
	for file, want := range expected {
		if strings.HasSuffix(file, ".weights.h5") && !strings.HasPrefix(file, "int8") && !strings.Contains(want, "the file has layers of the kinds") {
			want = "say the network (--config '4 M 6 M " // as names don't tell it
		}
		if m, err := Open(t.Context(), filepath.Join(folder, file), OpenOptions{Preprocess: "unit"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", file, m, err, want)
		}
	}
}

// TestKerasLoadsWhatIsWritten: Keras 3 loads a .keras file and a .weights.h5 file that Export
// wrote, and predicts the same from the pixels.
func TestKerasLoadsWhatIsWritten(t *testing.T) {
	python := vggtest.Python(t, "keras", "h5py")
	const script = `
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
x = np.load(sys.argv[1])
for i in range(int(sys.argv[2])):
    model = keras.saving.load_model(f"{sys.argv[3]}/{i}.keras")
    y = model.predict(x, verbose=0)
    model.set_weights([w * 0 for w in model.get_weights()])
    model.load_weights(f"{sys.argv[3]}/{i}.weights.h5")
    print(json.dumps([y.tolist(), model.predict(x, verbose=0).tolist()]))`
	rows := []string{
		"4 M 6 M FC5 FC5 FC", "4bn BN M 6 M GAP FC5 BN RELU FC", "4 M BN 6 M FLATTEN BN FC5 LEAKY0.2 FC SIGMOID", "4 M 6 M L2 GMP FC5 ELU FC5 GELU DROP0.3 FC LOGSOFTMAX",
		"4 M 6 M TANH GAP L2 FC5 SILU FC5 SIGMOID FC1 SIGMOID", "4 M 6 M GAP FC SCORES",
		"4 M 6 M ADAPT4 FC5 FC", "4 M 6 M ADAPT2 FC5 FC",
	}
	dir, im := t.TempDir(), kerasImage(t, "image.png")
	side := im.W
	pixels := make([]float32, len(im.Pix))
	for i, v := range im.Pix {
		pixels[i] = float32(v)
	}
	writeNPY(t, filepath.Join(dir, "x.npy"), pixels, 1, side, side, 3)
	var want [][]float32
	for i, row := range rows {
		classes := 3
		if strings.Contains(row, "FC1 ") {
			classes = 2
		}
		m := headModel(t, row, side, classes, 2e-3)
		m.Preprocess.Scale, m.Preprocess.Mean, m.Preprocess.Std = 1.0/255, [3]float32{0.4, 0.5, 0.6}, [3]float32{0.2, 0.3, 0.4}
		for _, ext := range []string{".keras", ".weights.h5"} {
			if err := m.Export(t.Context(), filepath.Join(dir, fmt.Sprint(i)+ext), ExportOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		p := kerasPosteriors(t, m, im)
		if m.Net.Options().Posterior() == network.BySoftmax && strings.Contains(row, "FC1 ") {
			p = p[1:]
		}
		if strings.Contains(row, "LOGSOFTMAX") {
			for c := range p {
				p[c] = float32(math.Log(float64(p[c])))
			}
		}
		want = append(want, p)
	}
	out, err := exec.Command(python, "-c", script, filepath.Join(dir, "x.npy"), fmt.Sprint(len(rows)), dir).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, err.(*exec.ExitError).Stderr)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(rows) {
		t.Fatalf("%d lines of %d models: %s", len(lines), len(rows), out)
	}
	for i, line := range lines {
		var got [2][1][]float64
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		nearTool(t, rows[i]+", .keras", want[i], got[0][0])
		nearTool(t, rows[i]+", .weights.h5", want[i], got[1][0])
	}
}

// writeNPY writes an array of float32 as NumPy does.
func writeNPY(t *testing.T, path string, v []float32, shape ...int) {
	t.Helper()
	dims := strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ", "), "[]")
	head := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }\n", dims)
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), byte(len(head)>>8))
	b = append(b, head...)
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
