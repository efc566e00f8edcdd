package weights

import (
	"bytes"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/verydeep/vgg/internal/vggtest"
)

// The tensors of MatConvNet's networks in every layout are those of the script that wrote
// them, as (out,in,height,width).
func TestMAT(t *testing.T) {
	for _, name := range []string{"d_old", "a_plain", "a_new", "a-lrn_old", "d-bn_new", "v73"} {
		f, err := Open(t.Context(), Fixture(t, "testdata/mat/"+name+".mat"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		golden, err := Open(t.Context(), Fixture(t, "testdata/mat/"+name+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		defer golden.Close()
		if f.Format() != MATLAB {
			t.Errorf("%s: format %s", name, f.Format())
		}
		found := 0
		for _, e := range golden.Tensors() {
			want, err := golden.Read(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			name, ok := strings.CutSuffix(e.Name, "/sigma")
			if ok { // the file has √(variance + ε)
				name += "/variance"
				for i, s := range want.Data {
					want.Data[i] = float32(float64(s)*float64(s) - 1e-4)
				}
			}
			if name == "logits" || name == "posteriors" {
				continue
			}
			found++
			x, err := f.Read(name)
			if err != nil {
				t.Error(err)
				continue
			}
			if !slices.Equal(x.Shape, want.Shape) {
				t.Errorf("%s: shape %v, want %v", name, x.Shape, want.Shape)
				continue
			}
			for i, v := range want.Data {
				if math.Abs(float64(x.Data[i]-v)) > 1e-6*math.Abs(float64(v)) {
					t.Errorf("%s: element %d is %v, want %v", name, i, x.Data[i], v)
					break
				}
			}
		}
		if found != len(f.Tensors()) {
			t.Errorf("%s: %d tensors, want %d", name, len(f.Tensors()), found)
		}
	}
}

// network is a variable net with these layers.
func network(layers ...MAT) []byte {
	return MATFile(MATStruct("net", []string{"layers"}, MATCell("", layers...))).Bytes()
}

func matConv(name string, stride int, shape []int) MAT {
	n := int64(4)
	for _, axis := range shape {
		n *= int64(axis)
	}
	return MATStruct("", []string{"type", "name", "filters", "biases", "pad", "stride"}, MATText("conv"), MATText(name),
		MATArray(7, "", shape, MATElement(7, MATHole(n))),
		MATArray(7, "", []int{1, 4}, MATElement(2, MATBytes([]byte{1, 2, 3, 4}))), // whole numbers in bytes
		MATNumber(1), MATNumber(stride))
}

// MATLAB stores whole numbers in bytes, and drops a last axis of length 1.
func TestMATNarrow(t *testing.T) {
	f, err := open(network(matConv("conv1_1", 1, []int{3, 3, 1, 4}), MATStruct("", []string{"type"}, MATText("relu"))))
	if err != nil {
		t.Fatal(err)
	}
	x, err := f.Read("conv1_1/bias")
	if err != nil || !slices.Equal(x.Data, []float32{1, 2, 3, 4}) {
		t.Errorf("%v, %v", x, err)
	}
	part := make([]float32, 2)
	if err := f.ReadRange("conv1_1/bias", 1, part); err != nil || !slices.Equal(part, []float32{2, 3}) {
		t.Errorf("%v, %v", part, err)
	}
	if layers := f.Layers(); len(layers) != 2 || layers[1].Op != "relu" || layers[1].Name == "" {
		t.Errorf("%+v", layers)
	}
}

// Networks that aren't read are named, with the reason and the way out.
func TestMATRefused(t *testing.T) {
	for name, wants := range map[string][]string{
		"cnn_f": {"imagenet-vgg-f", "Chatfield", "11×11 filters with stride 4", "imagenet-vgg-verydeep-16"},
		"cnn_m": {"imagenet-vgg-m", "7×7 filters with stride 2"},
		"dagnn": {"a DagNN of MatConvNet", "scipy.io.loadmat", "conv1_1_W"},
	} {
		path := Fixture(t, "testdata/mat/"+name+".mat")
		_, err := Open(t.Context(), path)
		if _, ok := errors.AsType[*LayerError](err); !ok {
			t.Errorf("%s: %v, want a *LayerError", name, err)
			continue
		}
		for _, want := range append(wants, path) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, want %q in it", name, err, want)
			}
		}
	}
}

func badMAT() map[string]struct {
	file []byte
	want string
} {
	type c = struct {
		file []byte
		want string
	}
	conv := matConv("c", 1, []int{3, 3, 1, 4})
	layer := func(fields string, values ...MAT) []byte {
		return network(MATStruct("", strings.Fields(fields), values...))
	}
	normalized := func(fields string, values ...MAT) []byte {
		return MATFile(MATCell("layers", conv), MATStruct("normalization", strings.Fields(fields), values...)).Bytes()
	}
	size := MATArray(6, "", []int{1, 3}, MATElement(2, MATBytes([]byte{64, 64, 3})))
	return map[string]c{
		"header alone": {MATFile().Bytes(), "without a network"},
		"a text":       {MATFile(MATStruct("x", []string{"a"}, MATText("b"))).Bytes(), "without a network"},
		"no type":      {layer("name", MATText("x")), "a struct with a type"},
		"two names":    {network(conv, conv), "name given to two layers"},
		"no weights":   {layer("type name", MATText("conv"), MATText("x")), "without weights"},
		"five axes":    {network(matConv("c", 1, []int{3, 3, 1, 2, 2})), "want numbers with axes"},
		"biases":       {network(matConv("c", 1, []int{3, 3, 1, 5})), "want 5 numbers for filters"},
		"stride":       {layer("type stride filters", MATText("conv"), size, MATNumber(1)), "one number or two"},
		"pooling":      {layer("type method", MATText("pool"), MATText("stochastic")), "want max or avg"},
		"moments":      {layer("type filters biases moments", MATText("bnorm"), MATNumber(1), MATNumber(2), MATNumber(3)), "two moments"},
		"lrn":          {layer("type param", MATText("lrn"), MATNumber(1)), "n, κ, α and β"},
		"mean":         {normalized("imageSize averageImage", size, MATArray(6, "", []int{1, 4}, MATElement(2, MATHole(4)))), "averageImage of shape [1 4]"},
		"mean of NaN":  {normalized("imageSize averageImage", size, MATArray(7, "", []int{1, 3}, MATElement(7, MATBytes(bytes.Repeat([]byte{0, 0, 0xc0, 0x7f}, 3))))), "averageImage: mean"},
		"truncated":    {network(conv)[:400], "truncated"},
		"magic alone":  {[]byte("MATLAB 5.0 MAT-file"), "no level 5"},
		"7.3 alone":    {[]byte("MATLAB 7.3 MAT-file"), "signature"},
	}
}

func TestBadMAT(t *testing.T) {
	for name, c := range badMAT() {
		_, err := open(c.file)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "weights: t.safetensors: ") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A truncated download is an error wherever it ends.
func TestTruncatedMAT(t *testing.T) {
	for _, name := range []string{"d_old", "a_plain", "v73"} {
		b, err := os.ReadFile(Fixture(t, "testdata/mat/"+name+".mat"))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := open(b)
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n < len(b); n += 97 {
			f, err := open(b[:n])
			if err == nil && len(f.Layers()) == len(whole.Layers()) && n < len(b)-8 && len(f.Metadata()) == len(whole.Metadata()) {
				t.Fatalf("%s: its first %d of %d bytes are a file", name, n, len(b))
			}
		}
	}
}

func FuzzMAT(f *testing.F) {
	for _, name := range []string{"a-lrn_old.mat", "a_new.mat", "d-bn_new.mat", "v73.mat", "cnn_f.mat", "dagnn.mat"} {
		b, err := os.ReadFile(Fixture(f, "testdata/mat/"+name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, c := range badMAT() {
		f.Add(c.file)
	}
	f.Add(network(matConv("conv1_1", 1, []int{3, 3, 1, 4})))
	f.Fuzz(func(t *testing.T, b []byte) { fuzzReads(t, b) })
}
