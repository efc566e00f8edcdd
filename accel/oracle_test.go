package accel

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
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
			if all[e.Name], err = f.Read(e.Name); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	return all
}

func want(t *testing.T, m map[string]*tensor.Tensor, name string) *tensor.Tensor {
	t.Helper()
	x, ok := m[name]
	if !ok {
		t.Fatalf("the oracle has no %s", name)
	}
	return x
}

// tinyNet builds the net that the oracle's files are of.
func tinyNet(t *testing.T, config string, input int, init map[string]*tensor.Tensor) *network.Network {
	t.Helper()
	n, err := network.New(network.Options{Config: config, Classes: 5, Width: 1.0 / 128, FC: 8, Input: input, LRN: nn.Krizhevsky})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range n.Params() {
		if err := p.Set(want(t, init, p.Name).Data); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestDenseAgainstPyTorch: the class score map on images of any size is that of PyTorch's
// fully convolutional net.
func TestDenseAgainstPyTorch(t *testing.T) {
	d := testDevice(t, Options{})
	sizes := []string{"1x3x32x32", "1x3x48x64", "1x3x41x75", "2x3x64x33"}
	for _, c := range []struct {
		net, config string
		input       int
		sizes       []string
	}{
		{"A", "A", 32, sizes}, {"D", "D", 32, sizes},
		{"A64", "A", 64, []string{"1x3x64x64", "1x3x96x80", "1x3x70x129"}},
	} {
		n := tinyNet(t, c.config, c.input, oracle(t, c.net, "init"))
		r := d.Runner()
		n.Chain().SetRunner(r)
		maps := oracle(t, c.net, "dense")
		for seed, size := range c.sizes {
			y, err := n.Forward(generatedImages(t, size, uint32(seed+1)))
			if err != nil {
				t.Fatal(err)
			}
			vggtest.Near(t, c.net+" "+size, y.Data, want(t, maps, "y."+size).Data)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
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

var oracleNets = []string{"A", "A-LRN", "B", "C", "D", "E", "D-BN", "B-shallow"}

func labelsOf(x *tensor.Tensor) []int {
	labels := make([]int, len(x.Data))
	for i, v := range x.Data {
		labels[i] = int(v)
	}
	return labels
}

// TestTenStepsAgainstPyTorch: momentum 0.9, weight decay 5e-4, rate 1e-2; the loss and every
// weight after each step.
func TestTenStepsAgainstPyTorch(t *testing.T) {
	d := testDevice(t, Options{})
	for _, net := range oracleNets {
		if net == "B-shallow" {
			continue // the oracle has its gradients only
		}
		t.Run(net, func(t *testing.T) { testTenSteps(t, d, net) })
	}
}

func testTenSteps(t *testing.T, d *Device, net string) {
	init, steps := oracle(t, net, "init"), oracle(t, net, "steps")
	n := tinyNet(t, net, 32, init)
	x, labels := init["x"], labelsOf(init["labels"])
	tr := newTrainer(t, d, n.Chain(), nn.TrainerOptions{Batch: len(labels), Groups: 1, Ranks: 1, H: 32, W: 32})
	sgd := nn.NewSGD(n.Chain())
	for i := 1; i <= 10; i++ {
		loss, err := tr.Step(t.Context(), nn.TrainerBatch{X: x, Labels: labels, Iteration: i}, nn.Update{Rate: 1e-2, Momentum: 0.9, Decay: 5e-4, DecayBiases: true})
		if err != nil {
			t.Fatal(err)
		}
		vggtest.Near(t, fmt.Sprintf("step %d: loss", i), []float32{float32(loss / float64(len(labels)))}, want(t, steps, "loss").Data[i-1:i])
		if err := tr.Fetch(sgd.Momentum); err != nil {
			t.Fatal(err)
		}
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

// newTrainer returns a trainer, which is closed after the test.
func newTrainer(t *testing.T, d *Device, c *nn.Chain, o nn.TrainerOptions) *Trainer {
	t.Helper()
	tr, err := d.NewTrainer(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}
