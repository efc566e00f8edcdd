package network

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/oracle"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// oracleHeads are the heads of tools/oracle/heads.py.
var oracleHeads = []string{
	"GAP FC", "GAP FC5 BN RELU FC", "GMP FC5 TANH FC", "L2 FC5 LEAKY0.2 FC", "FLATTEN BN FC5 GELU FC LOGSOFTMAX",
	"GAP L2 FC5 ELU BN FC", "BN SILU GAP FC5 SIGMOID FC7 LINEAR L2 FC SIGMOID", "GAP FC1 SIGMOID", "FC5 RELU FC TANH",
	"GMAP BN FC5 RELU BN FC",
}

// oracleHead returns the tensors of net i and the network with its parameters.
func oracleHead(t *testing.T, i int) (map[string]*tensor.Tensor, *Network) {
	t.Helper()
	all := map[string]*tensor.Tensor{}
	for name, x := range oracle.Read(t, "..", "heads", "heads") {
		if key, ok := strings.CutPrefix(name, fmt.Sprintf("%d/", i)); ok {
			all[key] = x
		}
	}
	o := Options{Config: "4 M 6 M " + oracleHeads[i], Classes: 3, Width: 1, Input: 8}
	if strings.Contains(o.Config, "FC1 ") {
		o.Classes = 2
	}
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range n.Params() {
		v, ok := all[p.Name]
		if !ok {
			t.Fatalf("%s: no %s in the oracle's file", o.Config, p.Name)
		}
		if err := p.Set(v.Data); err != nil {
			t.Fatal(err)
		}
	}
	return all, n
}

func relativeDifference(got, want []float32) float64 {
	diff, scale := 0.0, 1e-6
	for i := range want {
		diff = math.Max(diff, math.Abs(float64(got[i])-float64(want[i])))
		scale = math.Max(scale, math.Abs(float64(want[i])))
	}
	return diff / scale
}

// TestHeadsOfPyTorch compares posteriors, the loss and every gradient with PyTorch's, on
// any number of threads to the same bits.
func TestHeadsOfPyTorch(t *testing.T) {
	for i, head := range oracleHeads {
		t.Run(strings.ReplaceAll(head, " ", "_"), func(t *testing.T) {
			var first []float32
			for threads := 1; threads <= 3; threads++ {
				all, n := oracleHead(t, i)
				n.SetThreads(threads)
				scores := vggtest.Forward(t, n, all["x"])
				classes := n.Options().Classes
				p := make([]float32, len(scores.Data))
				for at := 0; at < len(p); at += classes {
					n.Options().Posterior().Of(p[at:at+classes], scores.Data[at:at+classes])
				}
				if d := relativeDifference(p, all["posteriors"].Data); d > 1e-5 {
					t.Errorf("posteriors differ by %g", d)
				}
				training, err := n.Chain().NewTraining(4, 8, 8)
				if err != nil {
					t.Fatal(err)
				}
				var dx *tensor.Tensor
				training.Hook = func(layer string, _, grad *tensor.Tensor) {
					if layer == "input" {
						dx = grad
					}
				}
				var labels []int
				for _, l := range all["labels"].Data {
					labels = append(labels, int(l))
				}
				step := func() (float64, error) { return training.Step(all["x"], labels, nn.Pass{}) }
				if n.Options().Posterior() == ByLabel {
					step = func() (float64, error) {
						return training.StepLoss(all["x"], func(i int, scores, d []float32, scale float32) float64 {
							return nn.LabelsCrossEntropy(scores, labels[i:i+1], 0, scale, d)
						}, nn.Pass{})
					}
				}
				loss, err := step()
				if err != nil {
					t.Fatal(err)
				}
				if want := float64(all["loss"].Data[0]); math.Abs(loss/4-want) > 1e-5*want {
					t.Errorf("loss %g, want %g", loss/4, want)
				}
				var bits []float32
				for _, p := range n.Params() {
					if p.Running {
						continue
					}
					g := make([]float32, p.Len())
					if err := p.Unpack(g, p.Grad); err != nil {
						t.Fatal(err)
					}
					bits = append(bits, g...)
					// Batch normalisation takes the gradient of a bias before it.
					if want := all["grad."+p.Name].Data; slices.IndexFunc(want, func(x float32) bool { return math.Abs(float64(x)) > 1e-12 }) < 0 {
						if slices.IndexFunc(g, func(x float32) bool { return math.Abs(float64(x)) > 1e-6 }) >= 0 {
							t.Errorf("%s: gradient %v, want 0", p.Name, g)
						}
					} else if d := relativeDifference(g, want); d > 1e-3 {
						t.Errorf("gradient of %s differs by %g", p.Name, d)
					}
				}
				if d := relativeDifference(dx.Data, all["grad.x"].Data); d > 1e-3 {
					t.Errorf("gradient of x differs by %g", d)
				}
				bits = append(append(bits, p...), dx.Data...)
				if first == nil {
					first = bits
				} else if vggtest.SameBits(bits, first) != nil {
					t.Errorf("other bits on %d threads than on one", threads)
				}
			}
		})
	}
}

// TestHeadsOfOracle: the oracle's file holds the heads of this list.
func TestHeadsOfOracle(t *testing.T) {
	f, err := weights.Open(t.Context(), vggtest.Fixture(t, "../testdata/oracle/heads/heads-1.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, head := range oracleHeads {
		if got := f.Metadata()[fmt.Sprint("head", i)]; got != head {
			t.Errorf("head %d is %q, want %q", i, got, head)
		}
	}
}

// TestHeadLayers builds a network of every kind of layer.
func TestHeadLayers(t *testing.T) {
	o := Options{Config: "8 M 8 M DROP0.1 BN TANH GMP RELU L2 FC20 BN RELU DROP0.3 FC7 DROP FC9 LEAKY0.1 BN FC TANH BN", Classes: 5, Width: 1, Input: 12, Dropout: 0.4}
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range n.Chain().Layers() {
		got = append(got, l.Name())
		if d, ok := l.(*nn.Dropout); ok {
			if want := map[string]float32{"drop2": 0.1, "drop3": 0.3, "drop4": 0.4}[l.Name()]; d.Ratio != want {
				t.Errorf("%s: ratio %v, want %v", l.Name(), d.Ratio, want)
			}
		}
	}
	want := strings.Fields("conv1_1 pool1 conv2_1 pool2 drop2 norm2 tanh2 gmp2 relu2 l2_2 fc3 fc3.bn drop3 fc4 drop4 fc5 leaky5 norm5 fc6 tanh6 norm6")
	if !slices.Equal(got, want) {
		t.Errorf("layers %v, want %v", got, want)
	}
	if n.DescriptorLayer() != "norm5" {
		t.Errorf("descriptor layer %q, want norm5", n.DescriptorLayer())
	}
	for layer, shape := range map[string][]int{"gmp2": {2, 8, 1, 1}, "fc5": {2, 9, 1, 1}, "norm5": {2, 9, 1, 1}, "conv2_1": {2, 8, 7, 8}} {
		u, err := n.Until(layer, true)
		if err != nil {
			t.Fatal(err)
		}
		if y := vggtest.Forward(t, u, vggtest.Ramp(tensor.New(2, 3, 14, 16))); !slices.Equal(y.Shape, shape) {
			t.Errorf("%s: shape %v, want %v", layer, y.Shape, shape)
		}
	}
	if s, err := Summarise(o); err != nil || s.Layers[len(s.Layers)-1].Type != "BN" {
		t.Errorf("summary %+v, %v", s, err)
	}
	if m, err := EstimateMemory(o, 4, 1); err != nil || m.Training <= m.Inference {
		t.Errorf("memory %+v, %v", m, err)
	}
}

// TestHeadsOnLargerImages: a global pooling gives one pixel; heads whose units have a place
// refuse other images.
func TestHeadsOnLargerImages(t *testing.T) {
	for head, want := range map[string]string{
		"GAP FC": "[1 2 1 1]", "FC4 FC": "[1 2 1 3]", "GAP L2 FC": "[1 2 1 1]", "FC4 L2 FC1 SIGMOID": "[1 2 1 3]",
		"FLATTEN BN FC": "no meaning on other maps", "L2 FC": "no meaning on other maps",
	} {
		n, err := New(Options{Config: "4 M " + head, Classes: 2, Width: 1, Input: 8})
		if err != nil {
			t.Fatal(err)
		}
		y, err := n.Forward(vggtest.Ramp(tensor.New(1, 3, 8, 12)))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(y.Shape)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", head, got, want)
		}
	}
	if err := (Options{Config: "4 M GAP FC1 SIGMOID", Classes: 3, Width: 1, Input: 8}).Validate(); err == nil || !strings.Contains(err.Error(), "want the 2") {
		t.Errorf("one unit for 3 classes: %v", err)
	}
}
