package network

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// The files under testdata/oracle were computed by PyTorch in float64
// (tools/oracle/network.py); testdata/oracle.md says their contents.

// oracle reads all tensors of a net's files whose name starts with prefix.
func oracle(t *testing.T, net, prefix string) map[string]*tensor.Tensor {
	t.Helper()
	paths, err := filepath.Glob(vggtest.Fixture(t, "../testdata/oracle/"+net+"/"+prefix+"*.safetensors"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no oracle files %s/%s: %v", net, prefix, err)
	}
	all := map[string]*tensor.Tensor{}
	for _, p := range paths {
		f, err := weights.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range f.Tensors() {
			x, err := f.Read(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			all[e.Name] = x
		}
		f.Close()
	}
	return all
}

// tinyNet builds the net that the oracle's files are of.
func tinyNet(t *testing.T, config string, input int, init map[string]*tensor.Tensor) *Network {
	t.Helper()
	n, err := New(Options{Config: config, Classes: 5, Width: 1.0 / 128, FC: 8, Input: input, LRN: nn.Krizhevsky})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range n.Params() {
		v, ok := init[p.Name]
		if !ok {
			t.Fatalf("%s: no %s in the oracle's files", config, p.Name)
		}
		if err := p.Set(v.Data); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func eachISA(t *testing.T, f func(t *testing.T)) {
	for _, s := range kernel.ISAs() {
		t.Run(s.Name(), func(t *testing.T) {
			before := kernel.Current().Name()
			if err := kernel.Use(s.Name()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { kernel.Use(before) })
			f(t)
		})
	}
}

var oracleNets = []string{"A", "A-LRN", "B", "C", "D", "E", "D-BN", "B-shallow"}

// actName is the name under which the oracle keeps a layer's output; "" if it doesn't.
func actName(l nn.Layer, bn bool) string {
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

func TestNetworksAgainstPyTorch(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, net := range oracleNets {
			t.Run(net, func(t *testing.T) { testActivationsAndGradients(t, net) })
		}
	})
}

func testActivationsAndGradients(t *testing.T, net string) {
	init, acts, grads := oracle(t, net, "init"), oracle(t, net, "acts"), oracle(t, net, "grads")
	n := tinyNet(t, net, 32, init)
	x, labels := init["x"], labelsOf(init["labels"])
	tr, err := n.Chain().NewTraining(len(labels), 32, 32)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"input": "input"}
	for _, l := range n.Chain().Layers() {
		names[l.Name()] = actName(l, strings.HasSuffix(net, "-BN"))
	}
	compared := 0
	tr.Hook = func(layer string, act, grad *tensor.Tensor) {
		switch name := names[layer]; name {
		case "":
		case "input":
			vggtest.Near(t, "dx", grad.Data, grads["dx"].Data)
		default:
			compared++
			vggtest.Near(t, "act."+name, act.Data, want(t, acts, "act."+name).Data)
			vggtest.Near(t, "dact."+name, grad.Data, want(t, grads, "dact."+name).Data)
		}
	}
	loss, err := tr.Step(x, labels, nn.Pass{})
	if err != nil {
		t.Fatal(err)
	}
	if compared != len(acts)-1 {
		t.Errorf("%d activations compared, the oracle has %d", compared, len(acts)-1)
	}
	vggtest.Near(t, "loss", []float32{float32(loss / float64(len(labels)))}, want(t, acts, "loss").Data)
	for _, p := range n.Params() {
		if p.Running {
			continue
		}
		g := make([]float32, p.Len())
		if err := p.UnpackRows(0, g, p.Grad); err != nil {
			t.Fatal(err)
		}
		dw := want(t, grads, "grad."+p.Name).Data
		if _, ok := grads["grad."+strings.TrimSuffix(p.Name, ".bias")+".bn.bias"]; ok && strings.HasSuffix(p.Name, ".bias") {
			for i, v := range g { // the gradient of a bias before batch normalisation is 0 but for rounding
				if !(math.Abs(float64(v)-float64(dw[i])) <= 1e-5) {
					t.Errorf("grad.%s: element %d is %g, want %g", p.Name, i, v, dw[i])
				}
			}
			continue
		}
		vggtest.Near(t, "grad."+p.Name, g, dw)
	}
}

func want(t *testing.T, m map[string]*tensor.Tensor, name string) *tensor.Tensor {
	t.Helper()
	x, ok := m[name]
	if !ok {
		t.Fatalf("the oracle has no %s", name)
	}
	return x
}

func labelsOf(x *tensor.Tensor) []int {
	labels := make([]int, len(x.Data))
	for i, v := range x.Data {
		labels[i] = int(v)
	}
	return labels
}

// TestTenStepsAgainstPyTorch: momentum 0.9, weight decay 5e-4, rate 1e-2; the loss and
// every weight after each step.
func TestTenStepsAgainstPyTorch(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, net := range oracleNets {
			if net == "B-shallow" {
				continue // the oracle has its gradients only
			}
			t.Run(net, func(t *testing.T) { testTenSteps(t, net) })
		}
	})
}

func testTenSteps(t *testing.T, net string) {
	init, steps := oracle(t, net, "init"), oracle(t, net, "steps")
	n := tinyNet(t, net, 32, init)
	x, labels := init["x"], labelsOf(init["labels"])
	tr, err := n.Chain().NewTraining(len(labels), 32, 32)
	if err != nil {
		t.Fatal(err)
	}
	opt := nn.NewSGD(n.Chain())
	for i := 1; i <= 10; i++ {
		n.Chain().ZeroGrad()
		loss, err := tr.Step(x, labels, nn.Pass{Iteration: i})
		if err != nil {
			t.Fatal(err)
		}
		vggtest.Near(t, fmt.Sprintf("step %d: loss", i), []float32{float32(loss / float64(len(labels)))}, want(t, steps, "loss").Data[i-1:i])
		opt.Step(nn.Update{Rate: 1e-2, Momentum: 0.9, Decay: 5e-4, DecayBiases: true})
		for _, p := range n.Params() {
			v := make([]float32, p.Len())
			if err := p.Get(v); err != nil {
				t.Fatal(err)
			}
			vggtest.Near(t, fmt.Sprintf("step %d: %s", i, p.Name), v, want(t, steps, "w."+p.Name).Index(i-1).Data)
		}
		if t.Failed() {
			return
		}
	}
}

// TestDenseAgainstPyTorch: the class score map on larger images of any aspect is that
// of PyTorch's fully convolutional net.
func TestDenseAgainstPyTorch(t *testing.T) {
	sizes := []string{"1x3x32x32", "1x3x48x64", "1x3x41x75", "2x3x64x33"}
	eachISA(t, func(t *testing.T) {
		for _, c := range []struct {
			net, config string
			input       int
			sizes       []string
		}{
			{"A", "A", 32, sizes}, {"D", "D", 32, sizes},
			{"A64", "A", 64, []string{"1x3x64x64", "1x3x96x80", "1x3x70x129"}},
		} {
			n := tinyNet(t, c.config, c.input, oracle(t, c.net, "init"))
			maps := oracle(t, c.net, "dense")
			for seed, size := range c.sizes {
				x := generatedImages(t, size, uint32(seed+1))
				vggtest.Near(t, "head."+size, x.Data[:16], want(t, maps, "head."+size).Data)
				y, err := n.Forward(x)
				if err != nil {
					t.Fatal(err)
				}
				vggtest.Near(t, c.net+" "+size, y.Data, want(t, maps, "y."+size).Data)
			}
		}
	})
}

// generatedImages makes the images whose class score maps the oracle keeps.
func generatedImages(t *testing.T, size string, s uint32) *tensor.Tensor {
	t.Helper()
	var n, c, h, w int
	if _, err := fmt.Sscanf(size, "%dx%dx%dx%d", &n, &c, &h, &w); err != nil {
		t.Fatal(err)
	}
	x := tensor.New(n, c, h, w)
	for i := range x.Data {
		s = s*1664525 + 1013904223
		x.Data[i] = (float32(s>>24) - 128) / 64
	}
	return x
}
