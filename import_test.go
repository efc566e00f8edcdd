package vgg

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// oracleImage is tiny.image() of tools/oracle, the input of the logits beside the fixtures
// of package weights.
func oracleImage(n, h, w int) *tensor.Tensor {
	x := tensor.New(n, 3, h, w)
	for i := range x.Data {
		x.Data[i] = float32(i*40503%65536/256 - 128)
	}
	return x
}

// bgrImage is oracleImage with the first and the last channel swapped.
func bgrImage(x *tensor.Tensor) *tensor.Tensor {
	y := tensor.New(x.Shape...)
	plane := x.Shape[2] * x.Shape[3]
	for i := range x.Shape[0] {
		for c := range 3 {
			copy(y.Data[(i*3+c)*plane:], x.Data[(i*3+2-c)*plane:][:plane])
		}
	}
	return y
}

func goldenLogits(t *testing.T, path string) []float32 {
	t.Helper()
	f, err := weights.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	y, err := f.Read("logits")
	if err != nil {
		t.Fatal(err)
	}
	return y.Data
}

// TestImport opens files that other tools wrote. The configuration is inferred, and the
// class scores equal the tool's.
func TestImport(t *testing.T) {
	for _, c := range []struct{ file, golden, config string }{
		{"torch/a_zip.pth", "a", "A"},
		{"torch/a_protocol4.pth", "a", "A"},
		{"torch/a_zip64.pth", "a", "A"},
		{"torch/a_big.pth", "a", "A"},
		{"torch/a_script.pth", "a", "A"},
		{"torch/b_legacy.pth", "b", "B"},
		{"torch/b_2017.pth", "b", "B"},
		{"torch/c_dataparallel.pth", "c", "C"},
		{"torch/d_checkpoint.pth", "d", "D"},
		{"torch/e_module.pth", "e", "E"},
		{"torch/d-bn_zip.pth", "d-bn", "D-BN"},
		{"torch/d-bn_nested.pth", "d-bn", "D-BN"},
		{"torch/d-bn.safetensors", "d-bn", "D-BN"},
		{"caffe/a_v2.caffemodel", "a_v2", "A"},
		{"caffe/a-lrn_v1.caffemodel", "a-lrn_v1", "A-LRN"},
		{"caffe/b_double.caffemodel", "b_double", "B"},
		{"caffe/c_v2.caffemodel", "c_v2", "C"},
		{"caffe/d_v1.caffemodel", "d_v1", "D"},
		{"caffe/d_weights.caffemodel", "d_weights", "D"},
		{"caffe/d-bn_v2.caffemodel", "d-bn_v2", "D-BN"},
		{"caffe/e_v1.caffemodel", "e_v1", "E"},
		{"keras/a.h5", "a", "A"},
		{"keras/b.h5", "b", "B"},
		{"keras/c.h5", "c", "C"},
		{"keras/d.h5", "d", "D"},
		{"keras/e.h5", "e", "E"},
		{"onnx/a-lrn_float_data_op22.onnx", "a-lrn_float_data_op22", "A-LRN"},
		{"onnx/a_external_op17.onnx", "a_external_op17", "A"},
		{"onnx/a_half_op13.onnx", "a_half_op13", "A"},
		{"onnx/a_bhalf_op13.onnx", "a_bhalf_op13", "A"},
		{"onnx/dynamo_b_op18.onnx", "dynamo_b_op18", "B"},
		{"onnx/keras_c_unoptimised_op18.onnx", "keras_c_unoptimised_op18", "C"},
		{"onnx/keras_d_op13.onnx", "keras_d_op13", "D"},
		{"onnx/torch_a_op9.onnx", "torch_a_op9", "A"},
		{"onnx/torch_b_dynamic_op16.onnx", "torch_b_dynamic_op16", "B"},
		{"onnx/torch_c_unfolded_op11.onnx", "torch_c_unfolded_op11", "C"},
		{"onnx/torch_d-bn_op14.onnx", "torch_d-bn_op14", "D-BN"},
		{"onnx/torch_e_op7.onnx", "torch_e_op7", "E"},
		{"onnx/zoo_d_mxnet_op8.onnx", "zoo_d_mxnet_op8", "D"},
		{"onnx/zoo_e_caffe2_op7.onnx", "zoo_e_caffe2_op7", "E"},
	} {
		t.Run(c.file, func(t *testing.T) {
			path := vggtest.Fixture(t, "weights/testdata/"+c.file)
			golden := filepath.Join(filepath.Dir(path), c.golden+".safetensors")
			if strings.HasSuffix(c.file, ".safetensors") {
				path = withoutLogits(t, path)
			}
			testImport(t, path, golden, c.config)
		})
	}
}

func testImport(t *testing.T, path, golden, config string) {
	t.Helper()
	want := goldenLogits(t, golden)
	x := oracleImage(2, 64, 64)
	m, err := Open(t.Context(), path, OpenOptions{Preprocess: "vgg", Input: 64})
	if err != nil {
		t.Fatal(err)
	}
	o := m.Net.Options()
	if o.Config != config || o.Width != 1.0/64 || o.FC != 8 || o.Classes != 5 || o.Input != 64 {
		t.Errorf("taken for %+v, want configuration %s", o, config)
	}
	vggtest.Near(t, "logits", vggtest.Forward(t, m.Net, x).Data, want)
	if !slices.Equal(m.Classes, []string{"0", "1", "2", "3", "4"}) || m.Preprocess.Crop != 64 || m.Preprocess.Resize != 73 {
		t.Errorf("classes %v, preprocessing %+v", m.Classes, m.Preprocess)
	}
	// The same weights, opened as BGR, see the channels swapped.
	m, err = Open(t.Context(), path, OpenOptions{Preprocess: "caffe", Config: config, Input: 64, Classes: []string{"a", "b", "c", "d", "e"}})
	if err != nil {
		t.Fatal(err)
	}
	vggtest.Near(t, "logits of BGR", vggtest.Forward(t, m.Net, bgrImage(x)).Data, want)
	// Saved and opened again, the channels are not swapped a second time.
	again, err := Open(t.Context(), save(t, m), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	vggtest.Near(t, "logits when saved", vggtest.Forward(t, again.Net, bgrImage(x)).Data, want)
	if again.Classes[4] != "e" || again.Preprocess.Name != "caffe" {
		t.Errorf("saved with classes %v, preprocessing %+v", again.Classes, again.Preprocess)
	}
	// The features alone.
	head, err := Open(t.Context(), path, OpenOptions{Preprocess: "vgg", Headless: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := head.Net.Options(); !got.Headless() || got.Config != config {
		t.Errorf("without its head: %+v", got)
	}
	if _, err := Open(t.Context(), path, OpenOptions{Input: 64}); err == nil || !strings.Contains(err.Error(), "say vgg, caffe, keras, torchvision, unit") {
		t.Errorf("opened without preprocessing: %v", err)
	}
	if _, err := Open(t.Context(), path, OpenOptions{Preprocess: "vgg", Config: "B-shallow"}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("taken for B-shallow: %v", err)
	}
}

// withoutLogits copies a fixture of safetensors without the tensors that are no weights.
func withoutLogits(t *testing.T, path string) string {
	t.Helper()
	f, err := weights.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var sources []weights.Source
	for _, e := range f.Tensors() {
		if e.Name == "logits" {
			continue
		}
		x, err := f.Read(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, weights.FromTensor(e.Name, x))
	}
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := weights.WriteSafetensors(out, nil, sources); err != nil {
		t.Fatal(err)
	}
	return out
}

// source is a tensor of a shape, with random values.
func source(name string, shape ...int) weights.Source {
	x := tensor.New(shape...)
	return weights.FromTensor(name, vggtest.Ramp(x))
}

// torchTensors returns the tensors of a tiny VGG with the names of torchvision, from the
// indices and channels of the convolutions and the units of the classifier.
func torchTensors(side int, convs [][2]int, units ...int) []weights.Source {
	var s []weights.Source
	c := 3
	for _, v := range convs {
		name := "features." + itoa(v[0])
		s = append(s, source(name+".weight", v[1], c, 3, 3), source(name+".bias", v[1]))
		c = v[1]
	}
	in := c * side * side
	for i, u := range units {
		name := "classifier." + itoa(3*i)
		s = append(s, source(name+".weight", u, in), source(name+".bias", u))
		in = u
	}
	return s
}

func itoa(n int) string { return fmt.Sprint(n) }

func written(t *testing.T, meta map[string]string, s []weights.Source) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weights.safetensors")
	if err := weights.WriteSafetensors(path, meta, s); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestInferred: networks of other sizes than the table's are recognised, too.
func TestInferred(t *testing.T) {
	a := [][2]int{{0, 4}, {3, 8}, {6, 16}, {8, 16}, {11, 32}, {13, 32}, {16, 32}, {18, 32}}
	for _, c := range []struct {
		what string
		s    []weights.Source
		want network.Options
	}{
		{"a sixteenth of A", torchTensors(2, a, 7, 7, 3), network.Options{Config: "A", Classes: 3, Width: 1. / 16, FC: 7, Input: 64}},
		{"timm's names", append(torchTensors(2, a),
			source("pre_logits.fc1.weight", 7, 32, 2, 2), source("pre_logits.fc1.bias", 7), source("pre_logits.fc2.weight", 7, 7, 1, 1), source("pre_logits.fc2.bias", 7),
			source("head.fc.weight", 3, 7), source("head.fc.bias", 3)), network.Options{Config: "A", Classes: 3, Width: 1. / 16, FC: 7, Input: 64}},
		{"other units", torchTensors(1, a, 7, 6, 3), network.Options{Config: "4 M 8 M 16 16 M 32 32 M 32 32 M FC7 FC6 FC", Classes: 3, Width: 1, Input: 32}},
		{"one fully connected layer", torchTensors(1, a, 3), network.Options{Config: "4 M 8 M 16 16 M 32 32 M 32 32 M FC", Classes: 3, Width: 1, Input: 32}},
		{"the features", torchTensors(1, a), network.Options{Config: "A", Width: 1. / 16, Input: 224}},
		{"odd channels", torchTensors(3, [][2]int{{0, 5}, {2, 7}, {5, 9}}, 2), network.Options{Config: "5 7 M 9 M FC", Classes: 2, Width: 1, Input: 12}},
		{"a width that rounds", torchTensors(1, [][2]int{{0, 6}, {3, 13}, {6, 26}, {8, 26}, {11, 51}, {13, 51}, {16, 51}, {18, 51}}, 7, 7, 3), network.Options{Config: "A", Classes: 3, Width: 51. / 512, FC: 7, Input: 32}},
	} {
		path, input := written(t, nil, c.s), c.want.Input
		if c.want.Headless() {
			input = 0
		} else if _, err := Open(t.Context(), path, OpenOptions{Preprocess: "unit"}); !errors.As(err, new(*AmbiguousError)) {
			t.Errorf("%s: %v, want an error that asks for the input side", c.what, err)
		}
		o := OpenOptions{Preprocess: "unit", Input: input}
		if c.what == "odd channels" { // in none of the paper's configurations
			if _, err := Open(t.Context(), path, o); err == nil || !strings.Contains(err.Error(), "--config '"+c.want.Config+"'") {
				t.Errorf("%s: %v, want an error that asks for the structure", c.what, err)
			}
			o.Config = c.want.Config
		}
		m, err := Open(t.Context(), path, o)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		got := m.Net.Options()
		c.want.Dropout, c.want.LRN = got.Dropout, got.LRN
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
		if m.Preprocess.Scale != 1./255 || m.Preprocess.Crop != c.want.Input {
			t.Errorf("%s: preprocessing %+v", c.what, m.Preprocess)
		}
	}
}

// TestNaNClassifier: a network whose classifier is NaN, such as torchvision's
// vgg16_features, is headless.
func TestNaNClassifier(t *testing.T) {
	s := torchTensors(1, [][2]int{{0, 4}, {2, 4}}, 6, 6, 3)
	for i := range s {
		if strings.HasPrefix(s[i].Name, "classifier") {
			n, _ := tensor.Size(s[i].Shape...)
			x := make([]float32, n)
			for j := range x {
				x[j] = float32(math.NaN())
			}
			s[i].Data = func(yield func([]float32) bool) { yield(x) }
		}
	}
	m, err := Open(t.Context(), written(t, nil, s), OpenOptions{Preprocess: "vgg", Config: "4 4 M"})
	if err != nil {
		t.Fatal(err)
	}
	if o := m.Net.Options(); !o.Headless() || o.Config != "4 4 M" || len(m.Classes) != 0 {
		t.Errorf("%+v, classes %v", o, m.Classes)
	}
}

// TestMisfits: a file that doesn't fit is an error that names the file and the tensor.
func TestMisfits(t *testing.T) {
	a := [][2]int{{0, 4}, {3, 8}, {6, 16}, {8, 16}, {11, 32}, {13, 32}, {16, 32}, {18, 32}}
	good := func() []weights.Source { return torchTensors(1, a, 7, 7, 3) }
	replace := func(name string, shape ...int) []weights.Source {
		s := good()
		for i := range s {
			if s[i].Name == name {
				s[i] = source(name, shape...)
			}
		}
		return s
	}
	without := func(name string) []weights.Source {
		return slices.DeleteFunc(good(), func(s weights.Source) bool { return s.Name == name })
	}
	for _, c := range []struct {
		what string
		s    []weights.Source
		o    OpenOptions
		want []string
	}{
		{"another number of in-channels", replace("features.8.weight", 16, 15, 3, 3), OpenOptions{}, []string{"features.8.weight: shape [16 15 3 3], want [16 16 3 3]"}},
		{"grey images", replace("features.0.weight", 4, 1, 3, 3), OpenOptions{}, []string{"features.0.weight: it takes 1 channel, want the 3 of RGB images"}},
		{"another length of a bias", replace("features.3.bias", 9), OpenOptions{}, []string{"features.3.bias: shape [9], want [8]"}},
		{"another fan-in of fc7", replace("classifier.3.weight", 7, 8), OpenOptions{}, []string{"classifier.3.weight: shape [7 8], want [7 7]"}},
		{"a fan-in of fc6 that is no square", replace("classifier.0.weight", 7, 96), OpenOptions{}, []string{"classifier.0.weight: fan-in 96, want the 32 channels"}},
		{"two at once", append(replace("features.3.bias", 9), source("other.weight", 2), source("thing", 2)), OpenOptions{}, []string{"features.3.bias: shape [9], want [8]", "thing: the network has no such parameter"}},
		{"oblong filters", replace("features.3.weight", 8, 4, 3, 5), OpenOptions{}, []string{"features.3.weight: shape [8 4 3 5], want square filters"}},
		{"filters of an even side", replace("features.3.weight", 8, 4, 4, 4), OpenOptions{}, []string{"features.3.weight", "odd side"}},
		{"five axes", replace("features.3.weight", 8, 4, 3, 3, 3), OpenOptions{}, []string{"features.3.weight: shape [8 4 3 3 3], want 4 axes"}},
		{"a gap in the numbers", without("features.11.weight"), OpenOptions{}, []string{"features.13: its number leaves room for 4 modules"}},
		{"another configuration asked for", good(), OpenOptions{Config: "D"}, []string{"8 convolutions, want the 13 of configuration \"D\""}},
		{"normalisation asked for", good(), OpenOptions{Config: "A-BN"}, []string{"features.0: batch normalisation false, want true"}},
		{"no configuration at all", good(), OpenOptions{Config: "Q"}, []string{`configuration "Q"`}},
		{"unknown preprocessing", good(), OpenOptions{Preprocess: "tf"}, []string{`preprocessing "tf": want one of vgg, caffe, keras, torchvision, unit`}},
		{"too few class names", good(), OpenOptions{Classes: []string{"x"}}, []string{"1 class names given, want 3"}},
		{"no network", []weights.Source{source("a.weight", 2, 2)}, OpenOptions{}, []string{"no convolution among the 1 tensors"}},
		{"empty lengths", replace("features.3.weight", 0, 4, 3, 3), OpenOptions{}, []string{"features.3.weight: shape [0 4 3 3]"}},
	} {
		path := written(t, nil, c.s)
		if c.o.Preprocess == "" {
			c.o.Preprocess = "vgg"
		}
		c.o.Input = 32
		m, err := Open(t.Context(), path, c.o)
		if err == nil {
			t.Errorf("%s: opened as %+v", c.what, m.Net.Options())
			continue
		}
		if c.what != "unknown preprocessing" && c.what != "no configuration at all" {
			c.want = append(c.want, path)
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q in it", c.what, err, w)
			}
		}
	}
}

// TestForeignMetadata: preprocessing and class names are read from any safetensors file.
func TestForeignMetadata(t *testing.T) {
	meta := map[string]string{
		metaPreprocess: `{"name":"own","scale":0.5,"mean":[1,2,3],"std":[4,5,6],"filter":"bicubic","crop":8,"resize":9}`,
		"classes":      `["x","y"]`,
	}
	m, err := Open(t.Context(), written(t, meta, torchTensors(2, [][2]int{{0, 4}, {2, 4}}, 2)), OpenOptions{Input: 4, Config: "4 4 M FC"})
	if err != nil {
		t.Fatal(err)
	}
	want := preprocess.Spec{Name: "own", Scale: 0.5, Mean: [3]float32{1, 2, 3}, Std: [3]float32{4, 5, 6}, Filter: preprocess.Bicubic, Crop: 8, Resize: 9, Orient: preprocess.Upright}
	if m.Preprocess != want || !slices.Equal(m.Classes, []string{"x", "y"}) {
		t.Errorf("preprocessing %+v, classes %v", m.Preprocess, m.Classes)
	}
	m, err = Open(t.Context(), written(t, meta, torchTensors(2, [][2]int{{0, 4}, {2, 4}}, 2)), OpenOptions{Input: 4, Config: "4 4 M FC", Preprocess: `{"scale": 2, "mean": [1, 1, 1]}`})
	if err != nil || m.Preprocess.Scale != 2 || m.Preprocess.Std != [3]float32{1, 1, 1} || m.Preprocess.Crop != 4 {
		t.Errorf("%+v, %v", m, err)
	}
}

// What a file says of aspect and orientation, what options say, and what neither says.
func TestShownAs(t *testing.T) {
	squash, keep, stored, upright := preprocess.Squash, preprocess.Keep, preprocess.Stored, preprocess.Upright
	native := func(fit preprocess.Fit, orient preprocess.Orient, earlier bool) string {
		m := tinyModel(t, "A")
		m.Preprocess.Resize, m.Preprocess.Fit, m.Preprocess.Orient = m.Preprocess.Crop+4, fit, orient
		path := filepath.Join(t.TempDir(), "net.safetensors")
		if err := m.Save(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		if earlier { // of the same length, as the header's length is at its beginning
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			said := []byte(`\"orient\":\"stored\"`)
			if !bytes.Contains(data, said) {
				t.Fatal("the file doesn't say its orientation")
			}
			data = bytes.Replace(data, said, []byte(`\"unsaid\":\"stored\"`), 1)
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	crop := tinyModel(t, "A").Preprocess.Crop
	for _, c := range []struct {
		what   string
		path   string
		o      OpenOptions
		resize int
		fit    preprocess.Fit
		orient preprocess.Orient
	}{
		{"an earlier version's", native(keep, stored, true), OpenOptions{}, crop + 4, keep, upright},
		{"an earlier version's, stored", native(keep, stored, true), OpenOptions{Orient: &stored}, crop + 4, keep, stored},
		{"stored", native(keep, stored, false), OpenOptions{}, crop + 4, keep, stored},
		{"squashed", native(squash, upright, false), OpenOptions{}, crop + 4, squash, upright},
		{"squashed, another preprocessing", native(squash, stored, false), OpenOptions{Preprocess: "torchvision"}, crop + 4, squash, stored},
		{"squashed, told so", native(squash, upright, false), OpenOptions{Fit: &squash}, crop + 4, squash, upright},
		{"squashed, told otherwise", native(squash, upright, false), OpenOptions{Fit: &keep, Orient: &stored}, crop + 4, keep, stored},
		{"kept, told to squash", native(keep, upright, false), OpenOptions{Fit: &squash}, crop, squash, upright},
		{"kept, told to squash to more", native(keep, upright, false), OpenOptions{Fit: &squash, Preprocess: fmt.Sprintf(`{"resize":%d}`, crop+8)}, crop + 8, squash, upright},
		{"JSON", native(keep, upright, false), OpenOptions{Preprocess: `{"fit":"squash","orient":"stored"}`}, crop + 4, squash, stored},
	} {
		m, err := Open(t.Context(), c.path, c.o)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if p := m.Preprocess; p.Resize != c.resize || p.Fit != c.fit || p.Orient != c.orient {
			t.Errorf("%s: %+v, want resize %d, %v, %v", c.what, p, c.resize, c.fit, c.orient)
		}
	}
	if m, err := Open(t.Context(), written(t, nil, torchTensors(2, [][2]int{{0, 4}, {2, 4}}, 2)), OpenOptions{Input: 4, Config: "4 4 M FC", Preprocess: "torchvision", Fit: &squash}); err != nil || m.Preprocess.Orient != upright || m.Preprocess.Resize != m.Preprocess.Crop {
		t.Errorf("from elsewhere: %+v, %v", m.Preprocess, err)
	}
}
