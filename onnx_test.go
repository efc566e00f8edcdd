package vgg

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// onnxModel is a tiny model of a configuration for crops of 64 pixels, with random
// parameters.
func onnxModel(t *testing.T, config string, form nn.LRNForm) *Model {
	t.Helper()
	n, err := network.New(network.Options{Config: config, Classes: 5, Width: 1. / 64, FC: 7, Input: 64, Dropout: 0.5, LRN: form})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range n.Params() {
		v := vggtest.Ramp(tensor.New(p.Shape...))
		for i := range v.Data {
			if strings.HasSuffix(p.Name, "running_var") {
				v.Data[i] = 0.5 + v.Data[i]*v.Data[i]
			}
		}
		if err := p.Set(v.Data); err != nil {
			t.Fatal(err)
		}
	}
	s, err := preprocess.Preset("torchvision")
	if err != nil {
		t.Fatal(err)
	}
	s.Crop, s.Resize = 64, 73
	return &Model{Net: n, Classes: []string{"tench", "Bär", "犬", "\"q\"", "e"}, Preprocess: s, Provenance: map[string]string{"by": "test"}}
}

var onnxConfigs = []struct {
	config string
	form   nn.LRNForm
}{{"A", ""}, {"A-LRN", nn.Krizhevsky}, {"B-LRN", nn.Caffe}, {"C", ""}, {"D", ""}, {"E", ""}, {"D-BN", ""}, {"B-shallow", ""}}

func saveONNX(t *testing.T, m *Model, o ExportOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.Export(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestExportONNXAndOpen: every form of ONNX file opens as the same model.
func TestExportONNXAndOpen(t *testing.T) {
	x := oracleImage(2, 64, 64)
	for _, c := range onnxConfigs {
		m := onnxModel(t, c.config, c.form)
		want := vggtest.Forward(t, m.Net, x)
		for _, o := range []ExportOptions{{}, {ONNX: ONNXOptions{Batch: 2, Softmax: true}}, {ONNX: ONNXOptions{Dense: true}}, {ONNX: ONNXOptions{Dense: true, Softmax: true, Batch: 1}}, {DType: "f16"}, {ONNX: ONNXOptions{Dense: true}, DType: "bf16"}} {
			t.Run(fmt.Sprintf("%s %+v", c.config, o), func(t *testing.T) {
				again, err := Open(t.Context(), saveONNX(t, m, o), OpenOptions{})
				if err != nil {
					t.Fatal(err)
				}
				a, b := m.Net.Options(), again.Net.Options()
				if a.Config != b.Config || a.Width != b.Width || a.Classes != b.Classes || a.Input != b.Input {
					t.Errorf("opened as %+v, saved as %+v", b, a)
				}
				if !slices.Equal(again.Classes, m.Classes) || again.Preprocess != m.Preprocess {
					t.Errorf("classes %q, preprocessing %+v", again.Classes, again.Preprocess)
				}
				if o.DType == "" {
					vggtest.Near(t, "scores", vggtest.Forward(t, again.Net, x).Data, want.Data)
				}
				for i, p := range again.Net.Params() {
					got, want := make([]float32, p.Len()), make([]float32, p.Len())
					q := m.Net.Params()[i]
					if p.Get(got) != nil || q.Get(want) != nil || p.Name != q.Name {
						t.Fatal(p.Name, q.Name)
					}
					for j := range want {
						bits := map[string]float32{"f16": 1. / 2048, "bf16": 1. / 256}[o.DType]
						if d := got[j] - want[j]; !(max(d, -d) <= bits*max(want[j], -want[j])) {
							t.Fatalf("%s: element %d is %v, want %v", p.Name, j, got[j], want[j])
						}
					}
				}
			})
		}
	}
}

// TestExportONNXLayers: nodes and tensors have the names of the layers.
func TestExportONNXLayers(t *testing.T) {
	m := onnxModel(t, "A-LRN", nn.Krizhevsky)
	f, err := weights.Open(t.Context(), saveONNX(t, m, ExportOptions{ONNX: ONNXOptions{Softmax: true}}))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names, tensors, params []string
	for _, l := range f.Layers() {
		names = append(names, l.Name+":"+l.Op)
	}
	for _, e := range f.Tensors() {
		tensors = append(tensors, fmt.Sprint(e))
	}
	for _, p := range m.Net.Params() {
		params = append(params, fmt.Sprint(weights.Entry{Name: p.Name, DType: "F32", Shape: p.Shape}))
	}
	want := "conv1_1:conv relu1_1:relu lrn1:lrn pool1:maxpool conv2_1:conv relu2_1:relu pool2:maxpool conv3_1:conv relu3_1:relu conv3_2:conv relu3_2:relu pool3:maxpool " +
		"conv4_1:conv relu4_1:relu conv4_2:conv relu4_2:relu pool4:maxpool conv5_1:conv relu5_1:relu conv5_2:conv relu5_2:relu pool5:maxpool " +
		"flatten:flatten fc6:fc relu6:relu fc7:fc relu7:relu fc8:fc prob:softmax"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("layers %s\nwant %s", got, want)
	}
	if !slices.Equal(tensors, params) {
		t.Errorf("tensors %v\nwant %v", tensors, params)
	}
	for _, l := range f.Layers() {
		alpha := float32(1e-4) // ONNX divides by the size, this value isn't divided
		if l.Name == "lrn1" && fmt.Sprint(l.Attributes["alpha"], l.Attributes["size"], l.Attributes["bias"]) != fmt.Sprint([]float64{float64(5 * alpha)}, []float64{5}, []float64{2}) {
			t.Errorf("LRN %v", l.Attributes)
		}
	}
}

// TestONNXRuntime: ONNX Runtime gives the scores of the network.
func TestONNXRuntime(t *testing.T) {
	python := vggtest.Python(t, "numpy", "onnx", "onnxruntime")
	type saved struct {
		name    string
		m       *Model
		o       ExportOptions
		path    string
		n, h, w int
	}
	var files []saved
	args := []string{"tools/oracle/onnxfiles.py", "check"}
	for _, c := range onnxConfigs {
		m := onnxModel(t, c.config, c.form)
		for _, o := range []ExportOptions{{}, {ONNX: ONNXOptions{Batch: 3}}, {ONNX: ONNXOptions{Dense: true}}, {DType: "f16", ONNX: ONNXOptions{Softmax: true}}, {DType: "bf16", ONNX: ONNXOptions{Dense: true}}} {
			f := saved{fmt.Sprintf("%s %+v", c.config, o), m, o, saveONNX(t, m, o), 2, 64, 64}
			if o.ONNX.Batch > 0 {
				f.n = o.ONNX.Batch
			}
			if o.ONNX.Dense {
				f.h, f.w = 101, 135
			}
			files = append(files, f)
			args = append(args, f.path, fmt.Sprint(f.n), fmt.Sprint(f.h), fmt.Sprint(f.w))
		}
	}
	out, err := exec.Command(python, args...).Output()
	if err != nil {
		if ee, ok := err.(*exec.ExitError); ok {
			t.Fatalf("%v: %s", err, ee.Stderr)
		}
		t.Fatal(err)
	}
	var results []struct {
		Shape    []int
		Output   []float32
		Metadata map[string]string
	}
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(files) {
		t.Fatalf("%d results of %d files, %v", len(results), len(files), err)
	}
	for i, f := range files {
		t.Run(f.name, func(t *testing.T) {
			// In half precision, the network of the rounded weights.
			net := f.m.Net
			if f.o.DType != "" {
				again, err := Open(t.Context(), f.path, OpenOptions{})
				if err != nil {
					t.Fatal(err)
				}
				net = again.Net
			}
			want := vggtest.Forward(t, net, oracleImage(f.n, f.h, f.w))
			if f.o.ONNX.Softmax {
				want = softmaxed(want)
			}
			shape := want.Shape
			if !f.o.ONNX.Dense {
				shape = shape[:2]
			}
			got := results[i]
			if !slices.Equal(got.Shape, shape) {
				t.Fatalf("shape %v, want %v", got.Shape, shape)
			}
			vggtest.Near(t, "output", got.Output, want.Data)
			var classes []string
			if err := json.Unmarshal([]byte(got.Metadata[metaClasses]), &classes); err != nil || !slices.Equal(classes, f.m.Classes) {
				t.Errorf("metadata %v", got.Metadata)
			}
		})
	}
}

// softmaxed is the soft-max of scores (N,K,1,1) over K.
func softmaxed(scores *tensor.Tensor) *tensor.Tensor {
	y := tensor.New(scores.Shape...)
	k := scores.Shape[1]
	for i := range scores.Shape[0] {
		metrics.Softmax(y.Data[i*k:][:k], scores.Data[i*k:][:k])
	}
	return y
}

func TestExportONNXErrors(t *testing.T) {
	m := onnxModel(t, "A", "")
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	short := *m
	short.Classes = short.Classes[1:]
	headless, err := network.New(network.Options{Config: "A", Width: 1. / 64, Input: 64, Dropout: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		m    *Model
		o    ExportOptions
		want string
	}{
		{m, ExportOptions{ONNX: ONNXOptions{Batch: -1}}, "batch of -1 images, want 1 or more"},
		{m, ExportOptions{DType: "f64"}, `dtype "f64", want f32, f16 or bf16`},
		{&short, ExportOptions{}, "4 class names, want 5"},
		{&Model{Net: headless, Preprocess: m.Preprocess}, ExportOptions{ONNX: ONNXOptions{Softmax: true}}, "without a classifier"},
	} {
		err := c.m.Export(t.Context(), path, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// A headless network is a graph, too.
	if err := (&Model{Net: headless, Preprocess: m.Preprocess}).Export(t.Context(), path, ExportOptions{ONNX: ONNXOptions{Dense: true}}); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), path, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if o := again.Net.Options(); !o.Headless() || o.Config != "A" {
		t.Errorf("features opened as %+v", o)
	}
}

// Equal models give equal bytes.
func TestExportONNXTwice(t *testing.T) {
	var files [][]byte
	for range 2 {
		m := onnxModel(t, "D-BN", "")
		m.Provenance = maps.Clone(map[string]string{"a": "1", "b": "2", "c": "3"})
		b, err := os.ReadFile(saveONNX(t, m, ExportOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	if !slices.Equal(files[0], files[1]) {
		t.Error("other bytes")
	}
}

// TestImportONNX opens files that other tools exported. The class scores equal the tools'.
func TestImportONNX(t *testing.T) {
	for file, config := range map[string]string{
		"torch_a_op9": "A", "torch_b_dynamic_op16": "B", "torch_c_unfolded_op11": "C", "torch_d-bn_op14": "D-BN", "torch_e_op7": "E", "dynamo_b_op18": "B",
		"keras_d_op13": "D", "keras_c_unoptimised_op18": "C", "zoo_e_caffe2_op7": "E", "zoo_d_mxnet_op8": "D",
		"a-lrn_float_data_op22": "A-LRN", "a_half_op13": "A", "a_bhalf_op13": "A", "a_external_op17": "A",
	} {
		t.Run(file, func(t *testing.T) {
			path := vggtest.Fixture(t, "weights/testdata/onnx/"+file)
			m, err := Open(t.Context(), path+".onnx", OpenOptions{Preprocess: "torchvision"})
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Net.Options(); got.Config != config || got.Input != 64 || got.Classes != 5 {
				t.Errorf("options %+v, want configuration %s", got, config)
			}
			vggtest.Near(t, "logits", vggtest.Forward(t, m.Net, oracleImage(2, 64, 64)).Data, goldenLogits(t, path+".safetensors"))
		})
	}
}
