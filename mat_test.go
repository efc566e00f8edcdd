package vgg

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/weights"
)

// matLabels are the classes' descriptions in the fixtures of tools/oracle/matconvnet.py.
var matLabels = []string{"kit fox, Vulpes macrotis", "English setter", "Siberian husky", "tench, Tinca tinca", "Ménière's fox"}

// TestImportMatConvNet opens networks in every layout of MatConvNet's: classes, mean and
// preprocessing come with them, and the class scores are those of numpy.
func TestImportMatConvNet(t *testing.T) {
	for _, c := range []struct{ name, config, filter string }{
		{"d_old", "D", "bilinear"},
		{"a_plain", "A", "bilinear"},
		{"a_new", "A", "bicubic"},
		{"a-lrn_old", "A-LRN", "bilinear"},
		{"d-bn_new", "D-BN", "bicubic"},
		{"v73", "1 M", "bicubic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := vggtest.Fixture(t, "weights/testdata/mat/"+c.name+".mat")
			m, err := Open(t.Context(), path, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			o := m.Net.Options()
			side, width := 64, 1.0/64
			if c.name == "v73" {
				side, width = 16, 1
			}
			if o.Config != c.config || o.Width != width || o.FC != 8 || o.Classes != 5 || o.Input != side {
				t.Errorf("taken for %+v, want configuration %s", o, c.config)
			}
			x := oracleImage(2, side, side)
			want := goldenLogits(t, vggtest.Fixture(t, "weights/testdata/mat/"+c.name+".safetensors"))
			vggtest.Near(t, "logits", vggtest.Forward(t, m.Net, x).Data, want)
			if !slices.Equal(m.Classes, matLabels) {
				t.Errorf("classes %q, want %q", m.Classes, matLabels)
			}
			p := m.Preprocess
			for i, mean := range []float64{123.68, 116.779, 103.939} {
				if math.Abs(float64(p.Mean[i])-mean) > 1e-3 {
					t.Errorf("mean %v of channel %d, want %v", p.Mean[i], i, mean)
				}
			}
			if p.Scale != 1 || p.Std != [3]float32{1, 1, 1} || p.Filter.String() != c.filter || p.Crop != side || p.Resize != side+8 {
				t.Errorf("preprocessing %+v, want %s, a border of 8 round crops of %d", p, c.filter, side)
			}
			again, err := Open(t.Context(), save(t, m), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			vggtest.Near(t, "logits when saved", vggtest.Forward(t, again.Net, x).Data, want)
		})
	}
}

// The way of SciPy's loadmat: biases are (K,1) or (1,K), in an npz or a .mat.
func TestImportLoadmat(t *testing.T) {
	want := goldenLogits(t, vggtest.Fixture(t, "weights/testdata/mat/d_old.safetensors"))
	for _, name := range []string{"d_loadmat.npz", "d_arrays.mat"} {
		m, err := Open(t.Context(), vggtest.Fixture(t, "weights/testdata/mat/"+name), OpenOptions{Preprocess: "vgg", Input: 64})
		if err != nil {
			t.Error(err)
			continue
		}
		vggtest.Near(t, name+": logits", vggtest.Forward(t, m.Net, oracleImage(2, 64, 64)).Data, want)
	}
}

// The names of ImageNet's synsets in a file make its classes those of ImageNet.
func TestMatConvNetSynsets(t *testing.T) {
	f, err := weights.Open(t.Context(), vggtest.Fixture(t, "weights/testdata/mat/a_new.mat"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var synsets []string
	if err := json.Unmarshal([]byte(f.Metadata()["synsets"]), &synsets); err != nil || len(synsets) != 5 || synsets[3] != "n01440764" {
		t.Errorf("synsets %q, %v", synsets, err)
	}
	if got, want := f.Metadata()["averageImage"], "an image of 64×64 pixels, of which the mean is subtracted"; got != want {
		t.Errorf("averageImage: %q, want %q", got, want)
	}
}

// TestAxesOfLengthOne: vectors of shape (1,n) or (n,1), and axes of length 1 after a
// weight's own, make no difference in any format whose shapes are free. Caffe's files have
// biases of shape (1,1,1,n), which TestImport opens.
func TestAxesOfLengthOne(t *testing.T) {
	m := exported(t, "A-BN", 3)
	x := oracleImage(2, 48, 48)
	want := vggtest.Forward(t, m.Net, x).Data
	for _, name := range []string{"a.safetensors", "a.pth", "a.npz", "a.weights.h5", "model.json"} {
		t.Run(name, func(t *testing.T) {
			written, names := name, ""
			if name == "a.safetensors" {
				names = "torchvision"
			}
			if name == "model.json" {
				written = "a.weights.h5"
			}
			plain := filepath.Join(t.TempDir(), written)
			if err := m.Export(t.Context(), plain, ExportOptions{Names: names}); err != nil {
				t.Fatal(err)
			}
			f, err := weights.Open(t.Context(), plain)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var sources []weights.Source
			vectors := 0
			for _, e := range f.Tensors() {
				v, err := f.Read(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				switch len(v.Shape) {
				case 1:
					v.Shape = [][]int{{1, v.Shape[0]}, {v.Shape[0], 1}}[vectors%2]
					vectors++
				case 4:
					if name == "a.weights.h5" { // cannot be written
						break
					}
					v.Shape = append(v.Shape, 1)
				}
				sources = append(sources, weights.FromTensor(e.Name, v))
			}
			path := filepath.Join(t.TempDir(), name)
			switch name {
			case "a.safetensors":
				err = weights.WriteSafetensors(path, f.Metadata(), sources)
			case "a.pth":
				err = weights.WritePyTorch(path, f.Metadata(), sources)
			case "a.npz":
				err = weights.WriteNPZ(path, f.Metadata(), sources)
			case "a.weights.h5":
				err = weights.WriteKeras(path, nil, sources)
			default:
				err = writeTFJS(path, sources)
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := Open(t.Context(), path, OpenOptions{Preprocess: "vgg", Input: 32})
			if err != nil {
				t.Fatal(err)
			}
			vggtest.Near(t, "logits", vggtest.Forward(t, got.Net, x).Data, want)
		})
	}
}

// writeTFJS writes a TensorFlow.js model without a topology, in one shard.
func writeTFJS(path string, sources []weights.Source) error {
	type weight struct {
		Name  string `json:"name"`
		Shape []int  `json:"shape"`
		DType string `json:"dtype"`
	}
	var list []weight
	var data []byte
	for _, s := range sources {
		list = append(list, weight{s.Name, s.Shape, "float32"})
		for part := range s.Data {
			for _, v := range part {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
			}
		}
	}
	text, err := json.Marshal(map[string]any{"format": "layers-model", "modelTopology": map[string]string{"keras_version": "3.0.0"},
		"weightsManifest": []any{map[string]any{"paths": []string{"shard.bin"}, "weights": list}}})
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path, text, 0o644), os.WriteFile(filepath.Join(filepath.Dir(path), "shard.bin"), data, 0o644))
}

// TestMatConvNetFullSize reads a file of imagenet-vgg-verydeep-16's size, whose values are
// zeros that take no space, but for three.
func TestMatConvNetFullSize(t *testing.T) {
	text, number := vggtest.MATText, vggtest.MATNumber
	var layers []vggtest.MAT
	conv := func(name string, pad, side, in, out int) {
		single := func(shape ...int) vggtest.MAT {
			n := int64(4)
			for _, axis := range shape {
				n *= int64(axis)
			}
			return vggtest.MATArray(7, "", shape, vggtest.MATElement(7, vggtest.MATHole(n)))
		}
		layers = append(layers, vggtest.MATStruct("", []string{"type", "name", "weights", "pad", "stride"}, text("conv"), text(name),
			vggtest.MATCell("", single(side, side, in, out), single(1, out)), number(pad), number(1)))
		if name != "fc8" {
			layers = append(layers, vggtest.MATStruct("", []string{"type", "name"}, text("relu"), text("relu"+name)))
		}
	}
	in := 3
	for block, row := range [][]int{{64, 64}, {128, 128}, {256, 256, 256}, {512, 512, 512}, {512, 512, 512}} {
		for i, k := range row {
			conv(fmt.Sprintf("conv%d_%d", block+1, i+1), 1, 3, in, k)
			in = k
		}
		layers = append(layers, vggtest.MATStruct("", []string{"type", "name", "method", "pool", "stride", "pad"},
			text("pool"), text(fmt.Sprint("pool", block+1)), text("max"), number(2), number(2), number(0)))
	}
	conv("fc6", 0, 7, 512, 4096)
	conv("fc7", 0, 1, 4096, 4096)
	conv("fc8", 0, 1, 4096, 1000)
	layers = append(layers, vggtest.MATStruct("", []string{"type"}, text("softmax")))
	path := filepath.Join(t.TempDir(), "imagenet-vgg-verydeep-16.mat")
	file := vggtest.MATFile(vggtest.MATCell("layers", layers...))
	holes := file.Write(t, path)
	if file.Len() < 553_430_000 {
		t.Fatalf("a file of %d bytes", file.Len())
	}
	// fc6's filters are the hole after those of thirteen convolutions, each with biases.
	const fc6 = 26
	raw, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Column-major (7,7,512,4096): element (row, column, channel, unit).
	for i, at := range [][4]int{{0, 0, 0, 0}, {6, 1, 300, 2500}, {6, 6, 511, 4095}} {
		element := at[0] + 7*(at[1]+7*(at[2]+512*at[3]))
		if _, err := raw.WriteAt(binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(i+1))), holes[fc6]+int64(4*element)); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}

	f, err := weights.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := Identify(t.Context(), f, OpenOptions{Preprocess: "vgg"})
	if err != nil {
		t.Fatal(err)
	}
	if o := d.Options; o.Config != "D" || o.Width != 1 || o.FC != 4096 || o.Classes != 1000 || o.Input != 224 {
		t.Errorf("taken for %+v, want D at full size", o)
	}
	units := []int{0, 1, 2499, 2500, 2501, 4095}
	if !testing.Short() {
		for u := 64; u < 4096; u += 64 {
			units = append(units, u)
		}
	}
	row, found := make([]float32, 512*7*7), 0
	for _, u := range units {
		if err := f.ReadRange("fc6/weight", u*len(row), row); err != nil {
			t.Fatal(err)
		}
		for i, v := range row {
			if v != 0 {
				// Row-major (unit, channel, row, column).
				if want := map[[2]int]float32{{0, 0}: 1, {2500, (300*7+6)*7 + 1}: 2, {4095, len(row) - 1}: 3}[[2]int{u, i}]; v != want {
					t.Errorf("unit %d, element %d is %v, want %v", u, i, v, want)
				}
				found++
			}
		}
	}
	if found != 3 {
		t.Errorf("%d values other than 0, want 3", found)
	}
}

// TestSubclassedKeras: the weights of subclassed models are in groups named after
// attributes, which don't tell the layers' order.
func TestSubclassedKeras(t *testing.T) {
	folder := vggtest.Fixture(t, "weights/testdata/keras")
	// An edge network on VGG-16 gives its backbone, and the side outputs are listed.
	edges := filepath.Join(folder, "subclassed_edges.weights.h5")
	f, err := weights.Open(t.Context(), edges)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := Identify(t.Context(), f, OpenOptions{Preprocess: "vgg", Headless: true})
	if err != nil {
		t.Fatal(err)
	}
	if d.Options.Config != "D" || d.Options.Width != 1.0/32 || !d.Options.Headless() {
		t.Errorf("taken for %+v, want the features of D", d.Options)
	}
	if left := strings.Join(d.Ignored, "; "); !strings.Contains(left, "fuse") || !strings.Contains(left, "1×1 convolutions beside the chain") || strings.Contains(left, "block") {
		t.Errorf("left out %q, want the side outputs", left)
	}
	m, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g, err := weights.Open(t.Context(), filepath.Join(folder, "subclassed_edges.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	want, err := g.Read("features") // (N,H,W,C)
	if err != nil {
		t.Fatal(err)
	}
	got := vggtest.Forward(t, m.Net, oracleImage(2, 64, 64))
	if !slices.Equal(got.Shape, []int{2, 16, 2, 2}) {
		t.Fatalf("features of shape %v", got.Shape)
	}
	ordered := make([]float32, len(got.Data))
	for i := range ordered {
		n, h, w, c := i/64, i/32%2, i/16%2, i%16
		ordered[i] = got.Data[((n*16+c)*2+h)*2+w]
	}
	vggtest.Near(t, "features", ordered, want.Data)
	if _, err := Identify(t.Context(), f, OpenOptions{Preprocess: "vgg"}); err == nil || !strings.Contains(err.Error(), "--headless opens the chain without them") {
		t.Errorf("with its side outputs: %v", err)
	}

	// Convolutions in a list follow by their shapes. Poolings are asked for.
	list := filepath.Join(folder, "subclassed_list.weights.h5")
	if _, err := Open(t.Context(), list, OpenOptions{Preprocess: "vgg"}); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("without a structure: %v", err)
	}
	m, err = Open(t.Context(), list, OpenOptions{Preprocess: "vgg", Config: "4 M 6 M 6 M FC", Input: 16})
	if err != nil {
		t.Fatal(err)
	}
	vggtest.Near(t, "logits", vggtest.Forward(t, m.Net, oracleImage(2, 16, 16)).Data, goldenLogits(t, filepath.Join(folder, "subclassed_list.safetensors")))

	// Two orders fit: an error with both.
	_, err = Open(t.Context(), filepath.Join(folder, "subclassed_twins.weights.h5"), OpenOptions{Preprocess: "vgg", Config: "4 M 4 M 4 M FC"})
	if err == nil || !strings.Contains(err.Error(), "entry → back → front; or entry → front → back") {
		t.Errorf("two convolutions of one shape: %v", err)
	}
}
