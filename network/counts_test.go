package network

import (
	"fmt"
	"strings"
	"testing"

	"github.com/verydeep/vgg/architecture"
)

// facts are the sizes that follow from Table 1 and Table 2 of the paper.
var facts = []struct {
	config                      string
	weights, biases, parameters int64
	millions                    int64 // Table 2
	gmac                        string
}{
	{"A", 132_851_392, 11_944, 132_863_336, 133, "7.609"},
	{"A-LRN", 132_851_392, 11_944, 132_863_336, 133, "7.609"},
	{"B", 133_035_712, 12_136, 133_047_848, 133, "11.308"},
	{"C", 133_625_536, 13_416, 133_638_952, 134, "11.771"},
	{"D", 138_344_128, 13_416, 138_357_544, 138, "15.470"},
	{"E", 143_652_544, 14_696, 143_667_240, 144, "19.632"},
	{"B-shallow", 134_492_864, 10_664, 134_503_528, 0, "9.356"},
}

func TestCounts(t *testing.T) {
	if len(facts) != len(architecture.Names()) {
		t.Fatalf("%d configurations, facts of %d", len(architecture.Names()), len(facts))
	}
	for _, f := range facts {
		s, err := Summarise(DefaultOptions(f.config))
		if err != nil {
			t.Fatal(err)
		}
		if s.Weights != f.weights || s.Biases != f.biases || s.Parameters != f.parameters {
			t.Errorf("%s: %d weights, %d biases, %d parameters, want %d, %d, %d", f.config, s.Weights, s.Biases, s.Parameters, f.weights, f.biases, f.parameters)
		}
		// Table 2 has millions, E's 143.67 rounded up.
		if m := (s.Parameters + 500_000) / 1_000_000; f.millions != 0 && m != f.millions {
			t.Errorf("%s: %d million parameters, want %d", f.config, m, f.millions)
		}
		if g := fmt.Sprintf("%.3f", float64(s.MACs)/1e9); g != f.gmac {
			t.Errorf("%s: %s GMAC, want %s", f.config, g, f.gmac)
		}
		built := int64(0)
		for _, p := range plannedParams(t, DefaultOptions(f.config)) {
			built += p
		}
		if built != f.parameters {
			t.Errorf("%s: the layers have %d parameters, want %d", f.config, built, f.parameters)
		}
	}
}

func plannedParams(t *testing.T, o Options) []int64 {
	t.Helper()
	chain, err := Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	var n []int64
	for _, l := range chain.Layers() {
		for _, p := range l.Params() {
			if !p.Running {
				n = append(n, int64(p.Len()))
			}
		}
	}
	return n
}

// TestReportOfD is the layer list of D that the report prints, without biases.
func TestReportOfD(t *testing.T) {
	s, err := Summarise(DefaultOptions("D"))
	if err != nil {
		t.Fatal(err)
	}
	want := []int64{1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648,
		2_359_296, 2_359_296, 2_359_296, 2_359_296, 2_359_296, 102_760_448, 16_777_216, 4_096_000}
	var got []int64
	var names, types []string
	for _, l := range s.Layers {
		if l.Weights > 0 {
			got = append(got, l.Weights)
			names, types = append(names, l.Name), append(types, l.Type)
		}
	}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("weights %v, want %v", got, want)
		}
	}
	if n := strings.Join(names, " "); n != "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2 conv4_3 conv5_1 conv5_2 conv5_3 fc6 fc7 fc8" {
		t.Errorf("layers %s", n)
	}
	if types[0] != "conv3-64" || types[15] != "FC-1000" {
		t.Errorf("types %v", types)
	}
}

func TestWeightLayers(t *testing.T) {
	for config, want := range map[string]int{"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19, "B-shallow": 8, "D-BN": 16} {
		s, err := Summarise(DefaultOptions(config))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, l := range s.Layers {
			if l.Biases > 0 && l.Type != "BN" {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d weight layers, want %d", config, n, want)
		}
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"configuration \"F\"": func(o *Options) { o.Config = "F" },
		"-1 classes":          func(o *Options) { o.Classes = -1 },
		"width -1":            func(o *Options) { o.Width = -1 },
		"0 units":             func(o *Options) { o.FC = 0 },
		"input side 31":       func(o *Options) { o.Input = 31 },
		"dropout ratio 1":     func(o *Options) { o.Dropout = 1 },
		"LRN form \"x\"":      func(o *Options) { o.Config, o.LRN = "A-LRN", "x" },
	} {
		o := DefaultOptions("A")
		o.Width, o.FC, o.Input = 0.1, 8, 32
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

func TestBuiltAsSummarised(t *testing.T) {
	for _, c := range architecture.Names() {
		for _, suffix := range []string{"", "-BN", "-LRN"} {
			if c == "A-LRN" && suffix == "-LRN" {
				continue
			}
			o := DefaultOptions(c + suffix)
			o.Width, o.FC, o.Input, o.Classes = 1.0/16, 12, 40, 7
			n, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Summarise(o)
			if err != nil {
				t.Fatal(err)
			}
			var have int64
			for _, p := range n.Params() {
				if !p.Running {
					have += int64(p.Len())
				}
			}
			if have != s.Parameters || n.Options().Config != s.Config {
				t.Errorf("%s: %d parameters built, %d summarised", s.Config, have, s.Parameters)
			}
		}
	}
}
