package train

import (
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

// TestFineTuneHeads: the rates of every head are of layers that it has, the greatest those of
// the layers that are drawn at random.
func TestFineTuneHeads(t *testing.T) {
	for config, want := range map[string]string{
		"A":                             "conv*=0.1 fc*=0.1 fc8=1",
		"A GAP FC1 SIGMOID":             "conv*=0.1 fc*=0.1 fc6=1",
		"A GAP FC16 BN RELU FC SIGMOID": "conv*=0.1 fc*=0.1 fc7=1",
		"A FC16 TANH BN FC BN":          "conv*=0.1 fc*=0.1 norm*=0.1 fc7=1 fc7.bn=1",
		"A GAP L2 FC TANH SCORES":       "conv*=0.1 fc*=0.1 fc6=1",
	} {
		o := tinyRecipe().Options(2)
		o.Config = config
		r, err := FineTuneRecipe("f", o, preprocess.Spec{Resize: 32}, 50)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.LayerRates, " "); got != want {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
		net, err := network.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := setRates(net.Params(), r.LayerRates); err != nil {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestFineTuneRecipe(t *testing.T) {
	spec := preprocess.Spec{Resize: 256, Crop: 224, Filter: preprocess.Bicubic}
	for _, c := range []struct {
		side, low, high, q int
	}{{100, 256, 256, 256}, {300, 256, 300, 278}, {2000, 256, 384, 320}} {
		o := network.DefaultOptions("E-BN")
		o.Width, o.FC = 0.5, 100
		r, err := FineTuneRecipe("e.safetensors", o, spec, c.side)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		if r.ScaleMin != c.low || r.ScaleMax != c.high || r.TestScale != c.q || r.Filter != preprocess.Bicubic {
			t.Errorf("images of %d: S %d to %d, Q %d, want %v", c.side, r.ScaleMin, r.ScaleMax, r.TestScale, c)
		}
		if r.Config != "E-BN" || r.Width != 0.5 || r.FC != 100 || r.InitRule != FineTune || r.InitFrom != "e.safetensors" || !slices.Equal(r.LayerRates, []string{"conv*=0.1", "fc*=0.1", "fc8=1"}) {
			t.Errorf("%+v", r)
		}
	}
	o := network.DefaultOptions("32 M 64 M FC256 FC")
	r, err := FineTuneRecipe("f", o, preprocess.Spec{Resize: 224}, 50)
	if err != nil || !slices.Equal(r.LayerRates, []string{"conv*=0.1", "fc*=0.1", "fc4=1"}) {
		t.Errorf("a row: %v, %v", r.LayerRates, err)
	}
	o.Classes = 0
	if r, err = FineTuneRecipe("f", o, preprocess.Spec{Resize: 224}, 50); err != nil || !slices.Equal(r.LayerRates, []string{"conv*=0.1"}) || r.FC != 4096 {
		t.Errorf("features alone: %v, FC %d, %v", r.LayerRates, r.FC, err)
	}
}

func TestLayerRates(t *testing.T) {
	net, err := network.New(network.Options{Config: "A-BN", Classes: 2, Width: 0.05, FC: 8, Input: 32})
	if err != nil {
		t.Fatal(err)
	}
	if err := setRates(net.Params(), []string{"conv*=0.1", "conv5_2=2", "fc8=3"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range net.Params() {
		want := float32(0) // that of the others
		switch l := layerOf(p); {
		case l == "conv5_2":
			want = 2
		case l == "fc8":
			want = 3
		case strings.HasPrefix(l, "conv"):
			want = 0.1
		}
		if p.RateFactor != want {
			t.Errorf("%s: factor %v, want %v", p.Name, p.RateFactor, want)
		}
	}
	if err := setRates(net.Params(), []string{"fc9=1"}); err == nil || !strings.Contains(err.Error(), `"fc9" matches none of the layers conv1_1,`) {
		t.Errorf("a layer that isn't there: %v", err)
	}
	for _, bad := range []string{"", "conv*", "conv*=", "conv*=0", "conv*=-1", "conv*=NaN", "[=1", "=1"} {
		r := PaperRecipe()
		r.LayerRates = []string{bad}
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), "layer_rates") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if r, err := PaperRecipe().With("layer_rates", "[fc8=10]"); err != nil || !slices.Equal(r.LayerRates, []string{"fc8=10"}) {
		t.Errorf("--set: %v, %v", r.LayerRates, err)
	}
}

// As many classes of other names have a last layer of their own.
func TestOtherNames(t *testing.T) {
	file, _ := savedModel(t, "A", func(o *network.Options) { o.Classes = 3 })
	r := tinyRecipe()
	r.Config, r.InitFrom, r.InitRule = "A", file, FineTune
	net, err := network.New(r.Options(3))
	if err != nil {
		t.Fatal(err)
	}
	report, _, err := initialise(t.Context(), net, &r, vgg.OpenOptions{}, false, []string{"a", "b", "z"})
	if err != nil || strings.Join(report.Random, " ") != "fc8" || strings.Join(report.Left, " ") != "fc8" {
		t.Errorf("%+v, %v", report, err)
	}
}
