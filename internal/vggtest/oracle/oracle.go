// Package oracle reads the small networks that PyTorch computed in float64
// (tools/oracle/network.py); testdata/oracle.md says the files' contents.
package oracle

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// Nets are the networks whose activations and gradients there are: with 5 classes, 1/128 of the
// width, fully connected layers of 8 units and inputs of 32×32.
var Nets = []string{"A", "A-LRN", "B", "C", "D", "E", "D-BN", "B-shallow"}

// Stepped tells whether there are ten steps of a network, too.
func Stepped(net string) bool { return net != "B-shallow" }

// Tensors are named tensors of a network's files.
type Tensors map[string]*tensor.Tensor

// Read reads all tensors of a network's files whose name starts with prefix. dir is the
// repository's folder.
func Read(t testing.TB, dir, net, prefix string) Tensors {
	t.Helper()
	paths, err := filepath.Glob(vggtest.Fixture(t, dir+"/testdata/oracle/"+net+"/"+prefix+"*.safetensors"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no oracle files %s/%s: %v", net, prefix, err)
	}
	all := Tensors{}
	for _, p := range paths {
		f, err := weights.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range f.Tensors() {
			if all[e.Name], err = f.Read(e.Name); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	return all
}

// Want returns a tensor that must be there.
func (m Tensors) Want(t testing.TB, name string) *tensor.Tensor {
	t.Helper()
	x, ok := m[name]
	if !ok {
		t.Fatalf("the oracle has no %s", name)
	}
	return x
}

// Set sets parameters to the tensors of their names.
func (m Tensors) Set(t testing.TB, params []*nn.Param) {
	t.Helper()
	for _, p := range params {
		if err := p.Set(m.Want(t, p.Name).Data); err != nil {
			t.Fatal(err)
		}
	}
}

// Labels returns the images' labels.
func (m Tensors) Labels(t testing.TB) []int {
	t.Helper()
	x := m.Want(t, "labels")
	labels := make([]int, len(x.Data))
	for i, v := range x.Data {
		labels[i] = int(v)
	}
	return labels
}

// NearGradient compares a parameter's gradient with that of its name.
func (m Tensors) NearGradient(t testing.TB, p *nn.Param, got []float32) {
	t.Helper()
	want := m.Want(t, "grad."+p.Name).Data
	if _, ok := m["grad."+strings.TrimSuffix(p.Name, ".bias")+".bn.bias"]; !ok || !strings.HasSuffix(p.Name, ".bias") {
		vggtest.Near(t, "grad."+p.Name, got, want)
		return
	}
	for i, v := range got { // the gradient of a bias before batch normalisation is 0 but for rounding
		if !(math.Abs(float64(v)-float64(want[i])) <= 1e-5) {
			t.Errorf("grad.%s: element %d is %g, want %g", p.Name, i, v, want[i])
		}
	}
}

// Activation is the name under which the oracle keeps a layer's output; "" if it doesn't. bn
// tells of batch normalisation.
func Activation(l nn.Layer, bn bool) string {
	switch l.(type) {
	case *nn.Dropout:
		return ""
	case *nn.BatchNorm:
		return strings.TrimSuffix(l.Name(), ".bn")
	case *nn.Conv:
		if bn && strings.HasPrefix(l.Name(), "conv") {
			return ""
		}
	}
	return l.Name()
}

// Dense is a network of which there are class score maps, and the images' sizes, as NxCxHxW.
type Dense struct {
	Net, Config string
	Input       int // that fully connected layers are built for
	Sizes       []string
}

// Denses are those networks.
var Denses = []Dense{
	{"A", "A", 32, denseSizes}, {"D", "D", 32, denseSizes},
	{"A64", "A", 64, []string{"1x3x64x64", "1x3x96x80", "1x3x70x129"}},
}

var denseSizes = []string{"1x3x32x32", "1x3x48x64", "1x3x41x75", "2x3x64x33"}

// Images makes the images of a size whose class score maps there are, those of the size's place
// in [Dense.Sizes].
func Images(t testing.TB, size string, place int) *tensor.Tensor {
	t.Helper()
	var n, c, h, w int
	if _, err := fmt.Sscanf(size, "%dx%dx%dx%d", &n, &c, &h, &w); err != nil {
		t.Fatal(err)
	}
	x, s := tensor.New(n, c, h, w), uint32(place+1)
	for i := range x.Data {
		s = s*1664525 + 1013904223
		x.Data[i] = (float32(s>>24) - 128) / 64
	}
	return x
}
