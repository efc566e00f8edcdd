package weights

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// evaluated is a value of the obvious evaluator below: row-major, in float64.
type evaluated struct {
	shape []int
	data  []float64
}

// oracleImage is tiny.image() of tools/oracle.
func oracleImage(n, h, w int) evaluated {
	x := evaluated{[]int{n, 3, h, w}, make([]float64, n*3*h*w)}
	for i := range x.data {
		x.data[i] = float64(i*40503%65536/256 - 128)
	}
	return x
}

// evaluateChain runs the chain of layers that f describes on x, by definition.
func evaluateChain(t *testing.T, f *File, x evaluated) evaluated {
	t.Helper()
	for _, l := range f.Layers() {
		read := func(role string) evaluated {
			name, ok := l.Tensors[role]
			if !ok {
				return evaluated{}
			}
			v, err := f.Read(name)
			if err != nil {
				t.Fatal(err)
			}
			e := evaluated{shape: v.Shape}
			for _, d := range v.Data {
				e.data = append(e.data, float64(d))
			}
			return e
		}
		number := func(name string, otherwise ...float64) []float64 {
			if v := l.Attributes[name]; v != nil {
				return v
			}
			return otherwise
		}
		switch l.Op {
		case "conv":
			w := read("weight")
			half := float64(w.shape[2] / 2)
			x = evaluateConv(x, w, read("bias"), number("pads", half, half, half, half))
		case "fc":
			x = evaluateFC(x, read("weight"), read("bias"), l.Attributes["transB"][0] != 0)
		case "relu":
			for i, v := range x.data {
				x.data[i] = max(v, 0)
			}
		case "maxpool":
			if k := number("kernel_shape", 2, 2); !slices.Equal(k, []float64{2, 2}) {
				t.Fatalf("%s: kernel %v", l.Name, k)
			}
			x = evaluatePool(x)
		case "lrn":
			x = evaluateLRN(x, int(l.Attributes["size"][0]), l.Attributes["alpha"][0], l.Attributes["beta"][0], l.Attributes["bias"][0])
		case "batchnorm":
			scale, shift, mean, variance := read("scale"), read("shift"), read("mean"), read("variance")
			plane := x.shape[2] * x.shape[3]
			for i := range x.data {
				c := i / plane % x.shape[1]
				x.data[i] = scale.data[c]*(x.data[i]-mean.data[c])/math.Sqrt(variance.data[c]+l.Attributes["epsilon"][0]) + shift.data[c]
			}
		case "transpose":
			x = evaluateTranspose(x, l.Attributes["perm"])
		case "flatten":
			x.shape = []int{x.shape[0], len(x.data) / x.shape[0]}
		case "dropout", "softmax": // the golden logits are those before it
		default:
			t.Fatalf("%s: op %q", l.Name, l.Op)
		}
		if l.Op == "fc" && len(x.shape) == 4 {
			t.Fatalf("%s: not flat", l.Name)
		}
	}
	return x
}

func evaluateConv(x, w, b evaluated, pads []float64) evaluated {
	n, c, h, wd := x.shape[0], x.shape[1], x.shape[2], x.shape[3]
	k, r, s := w.shape[0], w.shape[2], w.shape[3]
	top, left := int(pads[0]), int(pads[1])
	oh, ow := h+top+int(pads[2])-r+1, wd+left+int(pads[3])-s+1
	y := evaluated{[]int{n, k, oh, ow}, make([]float64, n*k*oh*ow)}
	for i := range y.data {
		col, row, ch, im := i%ow, i/ow%oh, i/ow/oh%k, i/ow/oh/k
		sum := 0.0
		if b.data != nil {
			sum = b.data[ch]
		}
		for cc := range c {
			for rr := max(0, top-row); rr < min(r, h+top-row); rr++ {
				for ss := max(0, left-col); ss < min(s, wd+left-col); ss++ {
					sum += w.data[((ch*c+cc)*r+rr)*s+ss] * x.data[((im*c+cc)*h+row+rr-top)*wd+col+ss-left]
				}
			}
		}
		y.data[i] = sum
	}
	return y
}

func evaluateFC(x, w, b evaluated, rows bool) evaluated {
	n, in := x.shape[0], len(x.data)/x.shape[0]
	out := len(w.data) / in
	y := evaluated{[]int{n, out}, make([]float64, n*out)}
	for i := range y.data {
		sum := 0.0
		if b.data != nil {
			sum = b.data[i%out]
		}
		for j := range in {
			at := j*out + i%out
			if rows {
				at = i%out*in + j
			}
			sum += w.data[at] * x.data[i/out*in+j]
		}
		y.data[i] = sum
	}
	return y
}

func evaluatePool(x evaluated) evaluated {
	h, w := x.shape[2], x.shape[3]
	oh, ow := h/2, w/2
	y := evaluated{[]int{x.shape[0], x.shape[1], oh, ow}, nil}
	for plane := range x.shape[0] * x.shape[1] {
		for i := range oh * ow {
			at := plane*h*w + i/ow*2*w + i%ow*2
			y.data = append(y.data, max(x.data[at], x.data[at+1], x.data[at+w], x.data[at+w+1]))
		}
	}
	return y
}

func evaluateLRN(x evaluated, size int, alpha, beta, bias float64) evaluated {
	c, plane := x.shape[1], x.shape[2]*x.shape[3]
	y := evaluated{x.shape, make([]float64, len(x.data))}
	for i := range x.data {
		ch, sum := i/plane%c, 0.0
		for j := max(0, ch-size/2); j <= min(c-1, ch+size/2); j++ {
			v := x.data[i+(j-ch)*plane]
			sum += v * v
		}
		y.data[i] = x.data[i] / math.Pow(bias+alpha/float64(size)*sum, beta)
	}
	return y
}

func evaluateTranspose(x evaluated, perm []float64) evaluated {
	y := evaluated{data: make([]float64, len(x.data))}
	strides := make([]int, len(perm))
	for a := range perm {
		step := 1
		for _, d := range x.shape[int(perm[a])+1:] {
			step *= d
		}
		strides[a] = step
		y.shape = append(y.shape, x.shape[int(perm[a])])
	}
	for i := range y.data {
		at, rest := 0, i
		for a := len(perm) - 1; a >= 0; a-- {
			at += rest % y.shape[a] * strides[a]
			rest /= y.shape[a]
		}
		y.data[i] = x.data[at]
	}
	return y
}

// goldenLogits compares logits with those that PyTorch computed.
func goldenLogits(t *testing.T, f *File, x evaluated, golden string) {
	t.Helper()
	g := openProto(t, golden)
	want, err := g.Read("logits")
	if err != nil {
		t.Fatal(err)
	}
	got := evaluateChain(t, f, x)
	if !slices.Equal(got.shape, want.Shape) {
		t.Fatalf("logits of shape %v, want %v", got.shape, want.Shape)
	}
	largest := 0.0
	for _, v := range want.Data {
		largest = max(largest, math.Abs(float64(v)))
	}
	for i, v := range want.Data {
		if d := math.Abs(got.data[i] - float64(v)); !(d <= 1e-5*largest) {
			t.Errorf("logit %d is %v, PyTorch has %v", i, got.data[i], v)
		}
	}
}

// The chains that Caffe models describe compute what PyTorch computes.
func TestCaffeLogits(t *testing.T) {
	files, err := filepath.Glob(vggtest.Fixture(t, "testdata/caffe/*.caffemodel"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			goldenLogits(t, openProto(t, path), oracleImage(2, 64, 64), strings.TrimSuffix(path, ".caffemodel")+".safetensors")
		})
	}
}

// The chains of ONNX models, from any exporter, compute what PyTorch and ONNX Runtime
// compute.
func TestONNXLogits(t *testing.T) {
	files, err := filepath.Glob(vggtest.Fixture(t, "testdata/onnx/*.onnx"))
	if err != nil || len(files) < 14 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f := openProto(t, path)
			if f.Format() != ONNX {
				t.Errorf("format %s", f.Format())
			}
			x := oracleImage(2, 64, 64)
			if strings.Contains(path, "keras") {
				x = evaluateTranspose(x, []float64{0, 2, 3, 1})
			}
			goldenLogits(t, f, x, strings.TrimSuffix(path, ".onnx")+".safetensors")
		})
	}
}

// The chains are those of the paper's Table 1. Networks on (N,H,W,C) have transpositions
// at both ends, and nowhere else.
func TestONNXChains(t *testing.T) {
	trim := func(chain string) string { return strings.TrimSuffix(chain, " softmax") }
	flat := func(chain string) string { return strings.Replace(chain, "maxpool fc", "maxpool flatten fc", 1) }
	undropped := func(chain string) string { return strings.ReplaceAll(chain, "dropout ", "") }
	nhwc := func(chain string) string {
		return "transpose " + strings.Replace(undropped(chain), "maxpool fc", "maxpool transpose flatten fc", 1)
	}
	for _, c := range []struct{ name, chain string }{
		{"torch_a_op9", undropped(trim(flat(vggChain("cMcMccMccMccM", "conv relu"))))},
		{"torch_b_dynamic_op16", undropped(trim(flat(vggChain("ccMccMccMccMccM", "conv relu"))))},
		{"torch_c_unfolded_op11", undropped(trim(flat(vggChain("ccMccMcccMcccMcccM", "conv relu"))))},
		{"torch_d-bn_op14", undropped(trim(flat(vggChain("ccMccMcccMcccMcccM", "conv batchnorm relu"))))},
		{"torch_e_op7", undropped(trim(flat(vggChain("ccMccMccccMccccMccccM", "conv relu"))))},
		{"dynamo_b_op18", undropped(trim(flat(vggChain("ccMccMccMccMccM", "conv relu"))))},
		{"keras_d_op13", nhwc(vggChain("ccMccMcccMcccMcccM", "conv relu"))},
		{"keras_c_unoptimised_op18", nhwc(vggChain("ccMccMcccMcccMcccM", "conv relu"))},
		{"zoo_e_caffe2_op7", flat(vggChain("ccMccMccccMccccMccccM", "conv relu"))},
		{"zoo_d_mxnet_op8", trim(flat(vggChain("ccMccMcccMcccMcccM", "conv relu")))},
		{"a-lrn_float_data_op22", flat(vggChain("cLMcMccMccMccM", "conv relu"))},
		{"a_half_op13", flat(vggChain("cMcMccMccMccM", "conv relu"))},
	} {
		f := openProto(t, vggtest.Fixture(t, "testdata/onnx/"+c.name+".onnx"))
		if got := chainOf(f); got != c.chain {
			t.Errorf("%s: layers %s\nwant %s", c.name, got, c.chain)
		}
	}
}

func TestONNXLayers(t *testing.T) {
	for _, c := range []struct{ file, layer, want string }{
		{"torch_a_op9", "/features/features.0/Conv", "{/features/features.0/Conv conv map[bias:features.0.bias weight:features.0.weight] map[kernel_shape:[3 3] pads:[1 1 1 1] strides:[1 1]]}"},
		{"keras_d_op13", "transpose_out", "{transpose_out transpose map[] map[perm:[0 2 3 1]]}"},
		{"torch_a_op9", "/classifier/classifier.0/Gemm", "{/classifier/classifier.0/Gemm fc map[bias:classifier.0.bias weight:classifier.0.weight] map[transB:[1]]}"},
		{"keras_d_op13", "StatefulPartitionedCall/vgg/fc8/MatMul", "{StatefulPartitionedCall/vgg/fc8/MatMul fc " +
			"map[bias:StatefulPartitionedCall/vgg/fc8/BiasAdd/ReadVariableOp:0 weight:StatefulPartitionedCall/vgg/fc8/MatMul/ReadVariableOp:0] map[transB:[0]]}"},
		{"keras_c_unoptimised_op18", "StatefulPartitionedCall/vgg/conv2_1/Conv2D", "{StatefulPartitionedCall/vgg/conv2_1/Conv2D conv " +
			"map[bias:StatefulPartitionedCall/vgg/conv2_1/bias weight:StatefulPartitionedCall/vgg/conv2_1/kernel_oihw] map[kernel_shape:[3 3] pads:[1 1 1 1] strides:[1 1]]}"},
		{"zoo_e_caffe2_op7", "MaxPool_5:0", "{MaxPool_5:0 maxpool map[] map[kernel_shape:[2 2] pads:[0 0 0 0] strides:[2 2]]}"},
		{"a-lrn_float_data_op22", "lrn1", "{lrn1 lrn map[] map[alpha:[0.0005000000237487257] beta:[0.75] bias:[2] size:[5]]}"},
		{"a_half_op13", "drop7", "{drop7 dropout map[] map[ratio:[0.5]]}"},
	} {
		f := openProto(t, vggtest.Fixture(t, "testdata/onnx/"+c.file+".onnx"))
		i := slices.IndexFunc(f.Layers(), func(l Layer) bool { return l.Name == c.layer })
		if i < 0 {
			var names []string
			for _, l := range f.Layers() {
				names = append(names, l.Name)
			}
			t.Errorf("%s: no layer %s among %s", c.file, c.layer, names)
		} else if got := fmt.Sprint(f.Layers()[i]); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.file, got, c.want)
		}
	}
}
