package network

import (
	"fmt"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/oracle"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// tinyNet builds the net that the oracle's files are of.
func tinyNet(t *testing.T, config string, input int, init oracle.Tensors) *Network {
	t.Helper()
	n, err := New(Options{Config: config, Classes: 5, Width: 1.0 / 128, FC: 8, Input: input, LRN: nn.Krizhevsky})
	if err != nil {
		t.Fatal(err)
	}
	init.Set(t, n.Params())
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

func TestNetworksAgainstPyTorch(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, net := range oracle.Nets {
			t.Run(net, func(t *testing.T) { testActivationsAndGradients(t, net) })
		}
	})
}

func testActivationsAndGradients(t *testing.T, net string) {
	init, acts, grads := oracle.Read(t, "..", net, "init"), oracle.Read(t, "..", net, "acts"), oracle.Read(t, "..", net, "grads")
	n := tinyNet(t, net, 32, init)
	x, labels := init["x"], init.Labels(t)
	tr, err := n.Chain().NewTraining(len(labels), 32, 32)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"input": "input"}
	for _, l := range n.Chain().Layers() {
		names[l.Name()] = oracle.Activation(l, strings.HasSuffix(net, "-BN"))
	}
	compared := 0
	tr.Hook = func(layer string, act, grad *tensor.Tensor) {
		switch name := names[layer]; name {
		case "":
		case "input":
			vggtest.Near(t, "dx", grad.Data, grads["dx"].Data)
		default:
			compared++
			vggtest.Near(t, "act."+name, act.Data, acts.Want(t, "act."+name).Data)
			vggtest.Near(t, "dact."+name, grad.Data, grads.Want(t, "dact."+name).Data)
		}
	}
	loss, err := tr.Step(x, labels, nn.Pass{})
	if err != nil {
		t.Fatal(err)
	}
	if compared != len(acts)-1 {
		t.Errorf("%d activations compared, the oracle has %d", compared, len(acts)-1)
	}
	vggtest.Near(t, "loss", []float32{float32(loss / float64(len(labels)))}, acts.Want(t, "loss").Data)
	for _, p := range n.Params() {
		if p.Running {
			continue
		}
		g := make([]float32, p.Len())
		if err := p.UnpackRows(0, g, p.Grad); err != nil {
			t.Fatal(err)
		}
		grads.NearGradient(t, p, g)
	}
}

// TestTenStepsAgainstPyTorch: momentum 0.9, weight decay 5e-4, rate 1e-2; the loss and
// every weight after each step.
func TestTenStepsAgainstPyTorch(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, net := range oracle.Nets {
			if !oracle.Stepped(net) {
				continue // the oracle has its gradients only
			}
			t.Run(net, func(t *testing.T) { testTenSteps(t, net) })
		}
	})
}

func testTenSteps(t *testing.T, net string) {
	init, steps := oracle.Read(t, "..", net, "init"), oracle.Read(t, "..", net, "steps")
	n := tinyNet(t, net, 32, init)
	x, labels := init["x"], init.Labels(t)
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
		vggtest.Near(t, fmt.Sprintf("step %d: loss", i), []float32{float32(loss / float64(len(labels)))}, steps.Want(t, "loss").Data[i-1:i])
		opt.Step(nn.Update{Rate: 1e-2, Momentum: 0.9, Decay: 5e-4, DecayBiases: true})
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

// TestDenseAgainstPyTorch: the class score map on larger images of any aspect is that
// of PyTorch's fully convolutional net.
func TestDenseAgainstPyTorch(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, c := range oracle.Denses {
			n := tinyNet(t, c.Config, c.Input, oracle.Read(t, "..", c.Net, "init"))
			maps := oracle.Read(t, "..", c.Net, "dense")
			for place, size := range c.Sizes {
				x := oracle.Images(t, size, place)
				vggtest.Near(t, "head."+size, x.Data[:16], maps.Want(t, "head."+size).Data)
				y, err := n.Forward(x)
				if err != nil {
					t.Fatal(err)
				}
				vggtest.Near(t, c.Net+" "+size, y.Data, maps.Want(t, "y."+size).Data)
			}
		}
	})
}
