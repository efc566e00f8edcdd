package vgg

import (
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

func TestRows(t *testing.T) {
	for row, want := range map[string]string{
		"32BN 32 m  64bn 64 M\t128bn 128 M fc256 fc":               "32bn 32 M 64bn 64 M 128bn 128 M FC256 FC",
		"3x16 1x8 5×4bn LRN M FC8bn FC":                            "16 1×8 5×4bn LRN M FC8bn FC",
		"16 LRN(5,1,1e-4,0.75) M":                                  "16 LRN(5,1,0.0001,0.75) M",
		"64 M 128 M 256 256 M 512 512 M 512 512 M":                 "A",
		"64 LRN M 128 M 256 256 M 512 512 M 512 512 M FC FC FC":    "A-LRN",
		"64bn M 128bn M 256bn 256bn M 512bn 512bn M 512bn 512bn M": "A-BN",
		"64 M 128 M 256 256 M 512 512 M 512 512 M FC FC":           "64 M 128 M 256 256 M 512 512 M 512 512 M FC FC",
		"64 64 LRN M 128 128 M 256 256 M 512 512 M 512 512 M":      "B-LRN",
		"7": "7",
	} {
		a, err := parseConfig(row)
		if err != nil || a.name != want {
			t.Errorf("%q: %q, %v, want %q", row, a.name, err, want)
			continue
		}
		again, err := parseConfig(a.name)
		if err != nil || again.name != a.name || !slices.Equal(again.layers, a.layers) || !slices.Equal(again.head, a.head) {
			t.Errorf("%q: %+v when read again (%v), want %+v", a.name, again, err, a)
		}
	}
	for row, want := range map[string]string{
		"M M":                           "no convolution",
		"FC8 FC":                        "no convolution",
		"64 M x":                        `layer 3: "x"`,
		"64 2×64":                       "filters of side 2, want an odd number",
		"64 17×64 M":                    "filters of side 17",
		"0 M":                           "1 to 32768 channels",
		"99999 M":                       "1 to 32768 channels",
		"8 FC8 M FC":                    `"M" after a fully connected layer`,
		"8 M FC8":                       `"FC8" is last, want FC`,
		"8 M FC8 FCbn":                  `"FCbn" is last, want FC`,
		"8 FC0 FC":                      "units",
		"8 LRN(4,1,1,1) FC":             "want an odd number",
		"8 LRN(5,0,1,1) FC":             "k above 0",
		"8 LRN(5,1,nan,1) FC":           "nan, want a number",
		"8 " + strings.Repeat("M ", 15): "15 poolings",
		strings.Repeat("8 ", 513):       "513 layers",
	} {
		if a, err := parseConfig(row); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %q", row, a, err, want)
		}
	}
}

// TestTableIsInTheLanguage: every row of the table is its own canonical spelling.
func TestTableIsInTheLanguage(t *testing.T) {
	for _, c := range configurations {
		a, err := parseRow(c.layers)
		if err != nil || a.name != c.layers {
			t.Errorf("%s: row %q, %v, want %q", c.name, a.name, err, c.layers)
		}
	}
}

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
	if y := forward(t, n, ramp(tensor.New(2, 3, 12, 17))); !slices.Equal(y.Shape, []int{2, 5, 1, 2}) {
		t.Errorf("map of %v, want [2 5 1 2]", y.Shape)
	}
	if least, err := o.MinInput(); least != 4 || err != nil {
		t.Errorf("least input side %d, %v, want 4", least, err)
	}
	if s, err := Summarise(o); err != nil || s.Config != "32bn 1×32 LRN(3,1,0.5,0.5) M 64bn M FC20bn FC7 FC" || s.Layers[len(s.Layers)-1].Type != "FC-5" {
		t.Errorf("summary %+v, %v", s, err)
	}
	if m, err := EstimateMemory(o, 4, 1); err != nil || m.Inference < 1 || m.Training <= m.Inference {
		t.Errorf("memory %+v, %v", m, err)
	}
}

// TestHeadless: the features alone are those of the whole network.
func TestHeadless(t *testing.T) {
	for _, config := range []string{"A", "D-BN", "8 M 8bn 8 FC"} {
		o := Options{Config: config, Classes: 0, Width: 1.0 / 16, FC: 0, Input: 32, LRN: nn.Caffe}
		n, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Init(He, 3); err != nil {
			t.Fatal(err)
		}
		least, err := o.MinInput()
		if err != nil {
			t.Fatal(err)
		}
		y := forward(t, n, ramp(tensor.New(1, 3, 2*least, 3*least)))
		c := n.Params()[len(n.Params())-1].Shape[0]
		if !slices.Equal(y.Shape, []int{1, c, 2, 3}) {
			t.Errorf("%s: output %v, want [1 %d 2 3]", config, y.Shape, c)
		}
		if _, err := n.Forward(tensor.New(1, 3, least-1, 99)); err == nil {
			t.Errorf("%s: an image of side %d went through, want an error", config, least-1)
		}
		for _, p := range n.Params() {
			if strings.HasPrefix(p.Name, "fc") {
				t.Errorf("%s: %s in a headless network", config, p.Name)
			}
		}
		m := &Model{Net: n, Preprocess: tinyModel(t, "A").Preprocess}
		if _, err := m.Classify(noise(40, 40, 1), 1); err == nil || !strings.Contains(err.Error(), "features") {
			t.Errorf("%s: classified by the features alone: %v", config, err)
		}
		again, err := Open(save(t, m))
		if err != nil {
			t.Fatal(err)
		}
		if z := forward(t, again.Net, ramp(tensor.New(1, 3, 2*least, 3*least))); !sameBits(y.Data, z.Data) {
			t.Errorf("%s: saved and opened, the features differ", config)
		}
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
