package network

import (
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// TestNetworkOfRow builds the network that a row says, layer by layer.
func TestNetworkOfRow(t *testing.T) {
	o := Options{Config: "32bn 1×32 LRN(3,1,0.5,0.5) M 64bn M FC20bn FC7 FC", Classes: 5, Width: 0.5, Input: 12, BNEps: 1e-3}
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range n.Chain().Layers() {
		got = append(got, l.Name())
		switch l := l.(type) {
		case *nn.BatchNorm:
			if l.Eps != 1e-3 || !l.ReLU {
				t.Errorf("%s: epsilon %v, rectified %v", l.Name(), l.Eps, l.ReLU)
			}
		case *nn.Conv:
			if want := l.Name() == "conv1_2" || l.Name() == "fc4"; l.ReLU != want {
				t.Errorf("%s: rectified %v, want %v", l.Name(), l.ReLU, want)
			}
		}
	}
	want := strings.Fields("conv1_1 conv1_1.bn conv1_2 lrn1 pool1 conv2_1 conv2_1.bn pool2 fc3 fc3.bn drop3 fc4 drop4 fc5")
	if !slices.Equal(got, want) {
		t.Errorf("layers %v, want %v", got, want)
	}
	shapes := map[string][]int{"conv1_2.weight": {16, 16, 1, 1}, "fc3.weight": {20, 32 * 9}, "fc5.weight": {5, 7}}
	for _, p := range n.Params() {
		if s, ok := shapes[p.Name]; ok && !slices.Equal(p.Shape, s) {
			t.Errorf("%s: shape %v, want %v", p.Name, p.Shape, s)
		}
	}
	if y := vggtest.Forward(t, n, vggtest.Ramp(tensor.New(2, 3, 12, 17))); !slices.Equal(y.Shape, []int{2, 5, 1, 2}) {
		t.Errorf("map of %v, want [2 5 1 2]", y.Shape)
	}
	if s, err := Summarise(o); err != nil || s.Config != "32bn 1×32 LRN(3,1,0.5,0.5) M 64bn M FC20bn FC7 FC" || s.Layers[len(s.Layers)-1].Type != "FC-5" {
		t.Errorf("summary %+v, %v", s, err)
	}
	if m, err := EstimateMemory(o, 4, 1); err != nil || m.Inference < 1 || m.Training <= m.Inference {
		t.Errorf("memory %+v, %v", m, err)
	}
}

func TestRowsTooLarge(t *testing.T) {
	for _, o := range []Options{
		{Config: "32768 32768 FC1000000 FC", Classes: 10, Width: 64, Input: 16384},
		{Config: strings.Repeat("32768 ", 400), Classes: 0, Width: 1, Input: 16384},
	} {
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "more than can be counted") {
			t.Errorf("%.20s…: %v, want an error", o.Config, err)
		}
	}
}
