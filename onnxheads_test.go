package vgg

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// onnxCase is what tools/oracle/onnxheads.py says of a file.
type onnxCase struct {
	Error      string
	Input      string // noise, unit or pixels
	Shape      [3]int // images, height, width
	Posteriors [][]float64
	Quantised  [][]float64 // with the activations in whole numbers
}

// onnxCases reads the expectations of the files in testdata/onnx.
func onnxCases(t *testing.T) map[string]onnxCase {
	t.Helper()
	text, err := os.ReadFile(vggtest.Fixture(t, "testdata/onnx/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string]json.RawMessage
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	all := map[string]onnxCase{}
	for name, raw := range cases {
		var c onnxCase
		if name != "t_class_only" && name != "h_headless" && json.Unmarshal(raw, &c) != nil {
			t.Fatal(name)
		}
		all[name] = c
	}
	return all
}

// input returns the case's input, as m's preprocessing makes it.
func (c onnxCase) input(m *Model) *tensor.Tensor {
	n, h, w := c.Shape[0], c.Shape[1], c.Shape[2]
	if c.Input == "noise" {
		x := oracleImage(n, h, w)
		for i := range x.Data {
			x.Data[i] /= 64
		}
		return x
	}
	x := tensor.New(n, 3, h, w)
	size := 3 * h * w
	for k := range n {
		im := &preprocess.Image{W: w, H: h, Pix: make([]uint8, size)}
		for i := range im.Pix {
			im.Pix[i] = uint8((k*size + i) * 40503 % 65536 / 256)
		}
		m.Preprocess.Tensor(x.Data[k*size:][:size], im, [3]float32{})
	}
	return x
}

// posteriors returns the model's posteriors of the case's input.
func (c onnxCase) posteriors(t *testing.T, m *Model) [][]float64 {
	t.Helper()
	y, err := m.Net.Forward(c.input(m))
	if err != nil {
		t.Fatal(err)
	}
	k := m.Net.Options().Classes
	var all [][]float64
	for i := 0; i < len(y.Data); i += k {
		row := y.Data[i : i+k]
		m.Net.Options().Posterior().Of(row, row)
		var p []float64
		for _, v := range row {
			p = append(p, float64(v))
		}
		all = append(all, p)
	}
	return all
}

// apart returns the largest difference of posteriors.
func apart(a, b [][]float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	most := 0.0
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return math.Inf(1)
		}
		for j := range a[i] {
			if d := math.Abs(a[i][j] - b[i][j]); !(d <= most) {
				most = d
			}
		}
	}
	return most
}

// openONNX opens a file of testdata/onnx. Noise is taken as it is.
func openONNX(t *testing.T, name string, c onnxCase) (*Model, *Description, error) {
	t.Helper()
	var d *Description
	o := OpenOptions{Described: func(is *Description) { d = is }}
	if c.Input == "noise" {
		o.Preprocess = "unit"
	}
	path := vggtest.Fixture(t, "testdata/onnx/"+name+".onnx")
	m, err := Open(t.Context(), path, o)
	if name == "t_view_sizes" && errors.As(err, new(*AmbiguousError)) { // any side, and a head for some
		o.Input = c.Shape[1]
		m, err = Open(t.Context(), path, o)
	}
	return m, d, err
}

// TestONNXHeads: files of other tools, with heads, preprocessing and quantisation of all
// kinds, give the posteriors of ONNX Runtime, or an error that says what isn't followed.
func TestONNXHeads(t *testing.T) {
	for name, c := range onnxCases(t) {
		if name == "t_class_only" || name == "h_headless" {
			continue // their outputs are no posteriors
		}
		t.Run(name, func(t *testing.T) {
			m, _, err := openONNX(t, name, c)
			if c.Error != "" {
				if err == nil || !strings.Contains(err.Error(), c.Error) {
					t.Errorf("%v, want %q", err, c.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := c.posteriors(t, m)
			if d := apart(got, c.Posteriors); !(d <= 1e-4) {
				t.Errorf("head %q: posteriors differ by %.2g: %.4f, want %.4f", m.Net.Options().Head(), d, got, c.Posteriors)
			}
			if c.Quantised != nil {
				if d := apart(got, c.Quantised); !(d <= 0.05) {
					t.Errorf("head %q: posteriors differ from the quantised network's by %.2g", m.Net.Options().Head(), d)
				}
			}
		})
	}
}

// TestONNXNotes: what is left out of a graph is told.
func TestONNXNotes(t *testing.T) {
	cases := onnxCases(t)
	for name, want := range map[string]string{
		"t_argmax":               "/ArgMax (ArgMax): tells the class",
		"t_class_only":           "/ArgMax (ArgMax): tells the class",
		"t_features_too":         "outputs before the last",
		"h_idle":                 "nodes that the output doesn't need",
		"h_unused_input":         "keras_learning_phase: an input that no node takes",
		"h_headless":             "GAP",
		"h_weights_uint8":        "quantisation: 6 tensors of whole numbers",
		"q_vgg_flat_qdq":         "quantisation of the values between layers, in ",
		"q_gap_bn_dynamic":       "quantisation of the values between layers, in ",
		"q_vgg_flat_qoperator":   "quantisation of the values between layers, in ",
		"h_weights_rounded":      "quantisation: 1 tensor of whole numbers",
		"k_one_sigmoid":          "",
		"t_gap_bn":               "",
		"t_gmp_leaky_logsoftmax": "",
	} {
		c := cases[name]
		if c.Input == "" {
			c.Input = "noise"
		}
		_, d, err := openONNX(t, name, c)
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case want == "" && len(d.Ignored) > 0:
			t.Errorf("%s: left out %q", name, d.Ignored)
		case want != "" && !slices.ContainsFunc(d.Ignored, func(s string) bool { return strings.Contains(s, want) }):
			t.Errorf("%s: left out %q, want %q", name, d.Ignored, want)
		}
	}
}

// TestONNXClasses: names of classes in the metadata are taken.
func TestONNXClasses(t *testing.T) {
	cases := onnxCases(t)
	for _, name := range []string{"h_names", "h_classes"} {
		m, _, err := openONNX(t, name, cases[name])
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"tabby cat", "dog's", "écureuil"}; !slices.Equal(m.Classes, want) {
			t.Errorf("%s: classes %q, want %q", name, m.Classes, want)
		}
	}
}

// bareONNX writes a model's graph without anything beside it.
func bareONNX(t interface{ Fatal(...any) }, m *Model, path string, o interchange.ONNXOptions) error {
	s, err := interchange.Tensors(m.Net, interchange.Native, "F32")
	if err != nil {
		t.Fatal(err)
	}
	g, err := interchange.ONNX(m.Net, s, o)
	if err != nil {
		return err
	}
	return weights.WriteONNX(path, g)
}

// TestONNXGraphTellsHead: the graph of a network with any head, with nothing beside it,
// opens as the same network. One with an adaptive pooling, and a dense one, whose layers are
// all convolutions, is opened as the same or not at all.
func TestONNXGraphTellsHead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	rapid.Check(t, func(t *rapid.T) {
		head := drawHead(t)
		poolings := rapid.IntRange(1, 2).Draw(t, "poolings")
		input := rapid.IntRange(1, 3).Draw(t, "side")<<poolings + rapid.IntRange(0, 1<<poolings-1).Draw(t, "more")
		classes := 3
		if strings.Contains(head, "FC1 SIGMOID") {
			classes = 2
		}
		bn := rapid.SampledFrom([]string{"", "bn"}).Draw(t, "normalised")
		m := headModel(t, strings.Repeat("4"+bn+" M ", poolings)+head, input, classes, 0)
		posterior := m.Net.Options().Posterior()
		o := interchange.ONNXOptions{Softmax: posterior != network.NoPosterior, Dense: rapid.Bool().Draw(t, "dense")}
		if err := bareONNX(t, m, path, o); err != nil {
			if !o.Dense || !strings.Contains(err.Error(), "which has no meaning on other maps") && !strings.Contains(err.Error(), "maps of any size") {
				t.Fatalf("%s, %+v: %v", head, o, err)
			}
			return
		}
		open := OpenOptions{Preprocess: "unit"}
		if posterior == network.NoPosterior {
			open.Head = m.Net.Options().Head()
		}
		if o.Dense {
			open.Input = input
		}
		got, err := Open(t.Context(), path, open)
		switch {
		case err != nil && strings.Contains(head, "ADAPT"): // products of matrices, which aren't followed
			return
		case err != nil && o.Dense: // a convolution of 1×1 may be one of the features
			return
		case err != nil:
			t.Fatalf("%s, %+v: %v", head, o, err)
		}
		if !samePosteriors(posteriorsOf(t, got, input), posteriorsOf(t, m, input)) {
			t.Fatalf("%s, %+v: opened as %q with other posteriors", head, o, got.Net.Options().Config)
		}
	})
}

// TestONNXAdaptive: the graph of an adaptive pooling, without the metadata that tell it, is an
// error that says what to do.
func TestONNXAdaptive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	for _, head := range []string{"ADAPT2 FC", "ADAPT3 L2 FC5 FC", "BN ADAPT7 FC"} {
		if err := bareONNX(t, headModel(t, "4 M "+head, 8, 3, 0), path, interchange.ONNXOptions{Softmax: true}); err != nil {
			t.Fatal(err)
		}
		if m, err := Open(t.Context(), path, OpenOptions{Preprocess: "unit"}); err == nil || !strings.Contains(err.Error(), "open the file as it was exported") {
			t.Errorf("%s: %v, %v", head, m, err)
		}
	}
}

// TestONNXDenseRectified: fully connected layers as convolutions of 1×1 keep their
// rectification.
func TestONNXDenseRectified(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	for _, head := range []string{"FC5 FC", "FC5bn FC", "FC5 BN RELU FC6 FC"} {
		m := headModel(t, "4 M "+head, 2, 3, 0)
		if err := bareONNX(t, m, path, interchange.ONNXOptions{Dense: true, Softmax: true}); err != nil {
			t.Fatal(err)
		}
		got, err := Open(t.Context(), path, OpenOptions{Preprocess: "unit", Input: 2})
		if err != nil {
			t.Errorf("%s: %v", head, err)
		} else if !samePosteriors(posteriorsOf(t, got, 2), posteriorsOf(t, m, 2)) {
			t.Errorf("%s: opened as %q with other posteriors", head, got.Net.Options().Config)
		}
	}
}
