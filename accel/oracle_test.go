package accel

import (
	"fmt"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/oracle"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
)

// tinyNet builds the net that the oracle's files are of.
func tinyNet(t *testing.T, config string, input int, init oracle.Tensors) *network.Network {
	t.Helper()
	n, err := network.New(network.Options{Config: config, Classes: 5, Width: 1.0 / 128, FC: 8, Input: input, LRN: nn.Krizhevsky})
	if err != nil {
		t.Fatal(err)
	}
	init.Set(t, n.Params())
	return n
}

// TestDenseAgainstPyTorch: the class score map on images of any size is that of PyTorch's
// fully convolutional net.
func TestDenseAgainstPyTorch(t *testing.T) {
	d := testDevice(t, Options{})
	for _, c := range oracle.Denses {
		n := tinyNet(t, c.Config, c.Input, oracle.Read(t, "..", c.Net, "init"))
		r := d.Runner()
		n.Chain().SetRunner(r)
		maps := oracle.Read(t, "..", c.Net, "dense")
		for place, size := range c.Sizes {
			y, err := n.Forward(oracle.Images(t, size, place))
			if err != nil {
				t.Fatal(err)
			}
			vggtest.Near(t, c.Net+" "+size, y.Data, maps.Want(t, "y."+size).Data)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTenStepsAgainstPyTorch: momentum 0.9, weight decay 5e-4, rate 1e-2; the loss and every
// weight after each step.
func TestTenStepsAgainstPyTorch(t *testing.T) {
	d := testDevice(t, Options{})
	for _, net := range oracle.Nets {
		if !oracle.Stepped(net) {
			continue // the oracle has its gradients only
		}
		t.Run(net, func(t *testing.T) { testTenSteps(t, d, net) })
	}
}

func testTenSteps(t *testing.T, d *Device, net string) {
	init, steps := oracle.Read(t, "..", net, "init"), oracle.Read(t, "..", net, "steps")
	n := tinyNet(t, net, 32, init)
	x, labels := init["x"], init.Labels(t)
	tr := newTrainer(t, d, n.Chain(), nn.TrainerOptions{Batch: len(labels), Groups: 1, Ranks: 1, H: 32, W: 32})
	sgd := nn.NewSGD(n.Chain())
	for i := 1; i <= 10; i++ {
		loss, err := tr.Step(t.Context(), nn.TrainerBatch{X: x, Labels: labels, Iteration: i}, nn.Update{Rate: 1e-2, Momentum: 0.9, Decay: 5e-4, DecayBiases: true})
		if err != nil {
			t.Fatal(err)
		}
		vggtest.Near(t, fmt.Sprintf("step %d: loss", i), []float32{float32(loss / float64(len(labels)))}, steps.Want(t, "loss").Data[i-1:i])
		if err := tr.Fetch(sgd.Momentum); err != nil {
			t.Fatal(err)
		}
		for _, p := range n.Params() {
			v := make([]float32, p.Len())
			if err := p.Get(v); err != nil {
				t.Fatal(err)
			}
			vggtest.Near(t, fmt.Sprintf("step %d: %s", i, p.Name), v, steps.Want(t, "w."+p.Name).Index(i-1).Data)
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
