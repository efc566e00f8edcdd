package weights

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// The files under testdata/caffe were written by protobuf's own encoder
// (tools/oracle/caffe.py).

func openProto(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// sameTensors compares tensors of f with those of the golden file, by the golden file's
// names less what rename makes of them.
func sameTensors(t *testing.T, f, golden *File) {
	t.Helper()
	count := 0
	for _, want := range golden.Tensors() {
		if want.Name == "logits" {
			continue
		}
		count++
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
			if !(math.Abs(float64(got.Data[i]-v)) <= 1e-6*math.Abs(float64(v))) {
				t.Errorf("%s: element %d is %v, want %v", want.Name, i, got.Data[i], v)
				break
			}
		}
		// A range equals that part of the whole tensor.
		half := make([]float32, len(got.Data)-len(got.Data)/2)
		if err := f.ReadRange(want.Name, len(got.Data)/2, half); err != nil || !slices.Equal(half, got.Data[len(got.Data)/2:]) {
			t.Errorf("%s: second half %v, %v", want.Name, half, err)
		}
	}
	if n := len(f.Tensors()); n != count {
		t.Errorf("%d tensors, want %d", n, count)
	}
}

// chainOf writes layers as text: the ops in order.
func chainOf(f *File) string {
	var ops []string
	for _, l := range f.Layers() {
		ops = append(ops, l.Op)
	}
	return strings.Join(ops, " ")
}

// vggChain returns the ops of a row of the paper's Table 1, in which c is a convolution
// with its ReLU, M a pooling and L a normalisation.
func vggChain(row, conv string) string {
	row = strings.NewReplacer("c", conv+" ", "M", "maxpool ", "L", "lrn ").Replace(row)
	return row + "fc relu dropout fc relu dropout fc softmax"
}

func TestCaffe(t *testing.T) {
	for _, c := range []struct{ name, chain string }{
		{"a_v2", vggChain("cMcMccMccMccM", "conv relu")},
		{"a-lrn_v1", vggChain("cLMcMccMccMccM", "conv relu")},
		{"b_double", vggChain("ccMccMccMccMccM", "conv relu")},
		{"c_v2", vggChain("ccMccMcccMcccMcccM", "conv relu")},
		{"d_v1", vggChain("ccMccMcccMcccMcccM", "conv relu")},
		{"d_weights", vggChain("ccMccMcccMcccMcccM", "conv relu")},
		{"d-bn_v2", vggChain("ccMccMcccMcccMcccM", "conv batchnorm relu")},
		{"e_v1", vggChain("ccMccMccccMccccMccccM", "conv relu")},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := openProto(t, vggtest.Fixture(t, "testdata/caffe/"+c.name+".caffemodel"))
			if f.Format() != CaffeModel {
				t.Errorf("format %s", f.Format())
			}
			golden := openProto(t, vggtest.Fixture(t, "testdata/caffe/"+c.name+".safetensors"))
			sameTensors(t, f, golden)
			if got := chainOf(f); got != c.chain {
				t.Errorf("layers %s\nwant %s", got, c.chain)
			}
			if got, want := f.Metadata()["name"], "VGG "+golden.Metadata()["config"]; got != want {
				t.Errorf("name %q, want %q", got, want)
			}
		})
	}
}

// The attributes of layers have ONNX's names.
func TestCaffeAttributes(t *testing.T) {
	for _, c := range []struct{ file, layer, want string }{
		{"a_v2", "conv1_1", "{conv1_1 conv map[bias:conv1_1/bias weight:conv1_1/weight] map[kernel_shape:[3 3] pads:[1 1 1 1] strides:[1 1]]}"},
		{"c_v2", "conv3_3", "{conv3_3 conv map[bias:conv3_3/bias weight:conv3_3/weight] map[kernel_shape:[1 1] pads:[0 0 0 0] strides:[1 1]]}"},
		{"d_v1", "pool5", "{pool5 maxpool map[] map[ceil_mode:[1] kernel_shape:[2 2] pads:[0 0 0 0] strides:[2 2]]}"},
		{"d_v1", "fc6", "{fc6 fc map[bias:fc6/bias weight:fc6/weight] map[transB:[1]]}"},
		{"d_v1", "drop7", "{drop7 dropout map[] map[ratio:[0.5]]}"},
		{"d_weights", "conv5_3", "{conv5_3 conv map[bias:conv5_3/bias weight:conv5_3/weight] map[kernel_shape:[3 3]]}"},
		{"d_weights", "pool1", "{pool1 maxpool map[] map[]}"},
		{"d-bn_v2", "conv1_1.bn", "{conv1_1.bn batchnorm map[mean:conv1_1.bn/mean scale:conv1_1.scale/scale shift:conv1_1.scale/shift variance:conv1_1.bn/variance] map[epsilon:[1e-05]]}"},
		{"a-lrn_v1", "lrn1", "{lrn1 lrn map[] map[alpha:[0.0005000000237487257] beta:[0.75] bias:[2] size:[5]]}"},
	} {
		f := openProto(t, vggtest.Fixture(t, "testdata/caffe/"+c.file+".caffemodel"))
		i := slices.IndexFunc(f.Layers(), func(l Layer) bool { return l.Name == c.layer })
		if i < 0 {
			t.Errorf("%s: no layer %s", c.file, c.layer)
		} else if got := fmt.Sprint(f.Layers()[i]); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.file, got, c.want)
		}
	}
}

// A truncated file is an error or a shorter chain, never a panic, and its format is still
// recognised.
func TestCaffeTruncated(t *testing.T) {
	whole, err := os.ReadFile(vggtest.Fixture(t, "testdata/caffe/d_v1.caffemodel"))
	if err != nil {
		t.Fatal(err)
	}
	for n := 200; n < len(whole); n += 97 {
		_, err := open(whole[:n])
		if err != nil && !strings.Contains(err.Error(), "truncated") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
