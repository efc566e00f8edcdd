package train

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// savedModel is a file of a network with every parameter drawn, and that network.
func savedModel(t *testing.T, config string, change func(*network.Options)) (string, *network.Network) {
	t.Helper()
	o := tinyRecipe().Options(3)
	o.Config = config
	if change != nil {
		change(&o)
	}
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.Glorot, 77); err != nil {
		t.Fatal(err)
	}
	for _, p := range net.Params() {
		if len(p.Shape) == 1 { // biases and statistics, unlike those of a new network
			v := make([]float32, p.Len())
			for i := range v {
				v[i] = 0.5 + float32(i)/64
			}
			if err := p.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := &vgg.Model{Net: net, Preprocess: preprocess.Spec{Name: "of the file", Scale: 1. / 255, Mean: [3]float32{0.4, 0.5, 0.6}, Std: [3]float32{0.2, 0.2, 0.2}, Crop: 32, Resize: 32}}
	for i := range o.Classes {
		m.Classes = append(m.Classes, string(rune('a'+i)))
	}
	path := filepath.Join(t.TempDir(), "from.safetensors")
	if err := m.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path, net
}

// layersFrom lists the layers of net all of whose parameters are from's.
func layersFrom(t *testing.T, net, from *network.Network) (equal, other []string) {
	t.Helper()
	for _, l := range layersOf(net.Params()) {
		same := true
		for _, p := range net.Params() {
			if layerOf(p) != l {
				continue
			}
			i := slices.IndexFunc(from.Params(), func(q *nn.Param) bool { return q.Name == p.Name })
			if i < 0 {
				same = false
				continue
			}
			a, b := make([]float32, p.Len()), make([]float32, from.Params()[i].Len())
			if err := p.Get(a); err != nil {
				t.Fatal(err)
			}
			if err := from.Params()[i].Get(b); err != nil {
				t.Fatal(err)
			}
			same = same && slices.Equal(a, b)
		}
		if same {
			equal = append(equal, l)
		} else {
			other = append(other, l)
		}
	}
	return equal, other
}

// TestBeginWithWeights: what each rule takes, what it leaves, and that the rest is what
// a run without the file would draw.
func TestBeginWithWeights(t *testing.T) {
	for name, c := range map[string]struct {
		from, config        string
		rule, resolved      InitRule
		classes             int
		taken, random, left string
	}{
		"D from A, as the paper": {
			"A", "D", PreInitialisation, PreInitialisation, 3,
			"conv1_1 conv2_1 conv3_1 conv3_2 fc6 fc7 fc8",
			"conv1_2 conv2_2 conv3_3 conv4_1 conv4_2 conv4_3 conv5_1 conv5_2 conv5_3",
			"conv4_1 conv4_2 conv5_1 conv5_2",
		},
		"B from A by itself": {
			"A", "B", Auto, PreInitialisation, 3,
			"conv1_1 conv2_1 conv3_1 conv3_2 fc6 fc7 fc8", "conv1_2 conv2_2 conv4_1 conv4_2 conv5_1 conv5_2", "conv4_1 conv4_2 conv5_1 conv5_2",
		},
		"batch normalisation goes with its convolution": {
			"A-BN", "B-BN", Auto, PreInitialisation, 3,
			"conv1_1 conv1_1.bn conv2_1 conv2_1.bn conv3_1 conv3_1.bn conv3_2 conv3_2.bn fc6 fc7 fc8",
			"conv1_2 conv1_2.bn conv2_2 conv2_2.bn conv4_1 conv4_1.bn conv4_2 conv4_2.bn conv5_1 conv5_1.bn conv5_2 conv5_2.bn",
			"conv4_1 conv4_1.bn conv4_2 conv4_2.bn conv5_1 conv5_1.bn conv5_2 conv5_2.bn",
		},
		"the same configuration": {
			"A", "A", Auto, FineTune, 3,
			"conv1_1 conv2_1 conv3_1 conv3_2 conv4_1 conv4_2 conv5_1 conv5_2 fc6 fc7 fc8", "", "",
		},
		"other classes": {
			"A", "A", Auto, FineTune, 5,
			"conv1_1 conv2_1 conv3_1 conv3_2 conv4_1 conv4_2 conv5_1 conv5_2 fc6 fc7", "fc8", "fc8",
		},
		"all of A that B has": {
			"A", "B", FineTune, FineTune, 3,
			"conv1_1 conv2_1 conv3_1 conv3_2 conv4_1 conv4_2 conv5_1 conv5_2 fc6 fc7 fc8", "conv1_2 conv2_2", "",
		},
	} {
		file, from := savedModel(t, c.from, func(o *network.Options) { o.Classes = c.classes })
		r := tinyRecipe()
		r.Config, r.InitFrom, r.InitRule = c.config, file, c.rule
		net, err := network.New(r.Options(3))
		if err != nil {
			t.Fatal(err)
		}
		report, spec, err := initialise(t.Context(), net, &r, vgg.OpenOptions{}, false, []string{"a", "b", "c"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.InitRule != c.resolved || report.Rule != c.resolved || report.File != file || report.Config != c.from || spec.Name != "of the file" {
			t.Errorf("%s: rule %s, report %+v", name, r.InitRule, report)
		}
		for what, lists := range map[string][2]string{
			"taken": {strings.Join(report.Taken, " "), c.taken}, "random": {strings.Join(report.Random, " "), c.random}, "left": {strings.Join(report.Left, " "), c.left},
		} {
			if lists[0] != lists[1] {
				t.Errorf("%s: %s %q, want %q", name, what, lists[0], lists[1])
			}
		}
		equal, other := layersFrom(t, net, from)
		if strings.Join(equal, " ") != c.taken || strings.Join(other, " ") != c.random {
			t.Errorf("%s: equal to the file's are %q, others %q", name, equal, other)
		}
		fresh, err := network.New(r.Options(3))
		if err != nil {
			t.Fatal(err)
		}
		if err := fresh.Init(r.Init, r.Seed); err != nil {
			t.Fatal(err)
		}
		drawn, _ := layersFrom(t, net, fresh)
		for _, l := range report.Random {
			if !slices.Contains(drawn, l) {
				t.Errorf("%s: %s is neither the file's nor drawn", name, l)
			}
		}
	}
}

// TestBeginRefused: what doesn't fit is named with both shapes.
func TestBeginRefused(t *testing.T) {
	for want, c := range map[string]struct {
		from   func(*network.Options)
		change func(*Recipe)
	}{
		"fc6.weight: shape 24×32, want 16×32":                   {func(o *network.Options) { o.FC = 24 }, func(r *Recipe) {}},
		"fc6.weight: shape 16×32, want 16×128":                  {nil, func(r *Recipe) { r.Input, r.ScaleMin, r.ScaleMax, r.TestScale = 64, 64, 64, 64 }},
		"conv1_1.weight: shape 8×3×3×3, want 4×3×3×3":           {func(o *network.Options) { o.Width = 1. / 8 }, func(r *Recipe) {}},
		"conv1_1.weight: shape 4×3×5×5, want 4×3×3×3":           {func(o *network.Options) { o.Config = "B-shallow" }, func(r *Recipe) {}},
		"nowhere.safetensors: no such file or directory":        {nil, func(r *Recipe) { r.InitFrom = "nowhere.safetensors" }},
		`freeze: "conv9_*" matches none of the layers conv1_1,`: {nil, func(r *Recipe) { r.Freeze = []string{"conv1_1", "conv9_*"} }},
		"nothing is left to learn":                              {nil, func(r *Recipe) { r.Freeze = []string{"*"} }},
	} {
		o := tinyOptions(t)
		o.Recipe.InitFrom, _ = savedModel(t, "A", c.from)
		c.change(&o.Recipe)
		_, err := Run(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "train: ") {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// TestFineTune: a run from weights goes on with their preprocessing, says so in its
// results, and leaves frozen layers as they were.
func TestFineTune(t *testing.T) {
	file, from := savedModel(t, "A-BN", func(o *network.Options) { o.Classes = 7 })
	o := tinyOptions(t)
	o.Recipe.Config, o.Recipe.InitFrom, o.Recipe.Freeze, o.Keep = "A-BN", file, []string{"conv[1-4]_*", "fc6"}, 2
	stopAt(t, o, 4)
	o.Resume = true
	o.OnStart = func(s Start) {
		if s.Init == nil || s.Recipe.InitRule != FineTune || s.Preprocess.Name != "of the file" {
			t.Errorf("start %+v", s)
		}
	}
	res := mustRun(t, o)
	if res.Init == nil || !slices.Equal(res.Init.Random, []string{"fc8"}) || !slices.Equal(res.Init.Left, []string{"fc8"}) {
		t.Errorf("result %+v, init %+v", res, res.Init)
	}
	m, err := vgg.Open(t.Context(), filepath.Join(o.Dir, LastFile), vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	equal, other := layersFrom(t, m.Net, from)
	if got, want := strings.Join(other, " "), "conv5_1 conv5_1.bn conv5_2 conv5_2.bn fc7 fc8"; got != want {
		t.Errorf("learnt %q, frozen %q, want %q learnt", got, equal, want)
	}
	if p := m.Preprocess; p.Name != "of the file" || p.Scale != 1./255 || p.Mean != [3]float32{0.4, 0.5, 0.6} || p.Resize != 36 {
		t.Errorf("preprocessing %+v, want the file's", p)
	}
	if m := metricsLines(t, o.Dir)[1]; m["kind"] != "init" || m["rule"] != string(FineTune) || m["file"] != file {
		t.Errorf("the second line of metrics is %v", m)
	}
	if r, err := LoadRecipe(filepath.Join(o.Dir, RecipeFile), PaperRecipe()); err != nil || r.InitRule != FineTune {
		t.Errorf("recipe left: %v, rule %s", err, r.InitRule)
	}
}

// TestNonFinite: the error says where a number that is not finite was first met.
func TestNonFinite(t *testing.T) {
	for want, spoil := range map[string]func(net *network.Network){
		"first met in conv2_1.weight": func(net *network.Network) { set(t, net, "conv2_1.weight", float32(math.NaN())) },
		"first met in fc7.bias":       func(net *network.Network) { set(t, net, "fc7.bias", float32(math.Inf(1))) },
		"first met in conv4_1 ": func(net *network.Network) { // finite weights, products that are not
			set(t, net, "conv3_2.bias", 1e30)
			set(t, net, "conv4_1.weight", 1e30)
		},
	} {
		file, net := savedModel(t, "A", nil)
		spoil(net)
		m, err := vgg.Open(t.Context(), file, vgg.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m.Net = net
		if err := m.Save(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		o := tinyOptions(t)
		o.Recipe.InitFrom, o.Keep, o.NoRescue = file, 1, true
		_, err = Run(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "iteration 1") || !strings.Contains(err.Error(), "nothing is saved") {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

func set(t *testing.T, net *network.Network, name string, value float32) {
	t.Helper()
	for _, p := range net.Params() {
		if p.Name == name {
			v := make([]float32, p.Len())
			for i := range v {
				v[i] = value
			}
			if err := p.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestLastGoodCheckpoint: a run that diverges names the one before.
func TestLastGoodCheckpoint(t *testing.T) {
	o := tinyOptions(t)
	o.Keep, o.Recipe.Epochs = 2, 4
	// No schedule raises the rate so far, so the checkpoint's is changed.
	stopAt(t, o, 4)
	good := checkpointPath(o.Dir, 4)
	f, s, err := openWhole(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	net, err := network.New(o.Recipe.Options(3))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range net.Params() {
		if err := readRows(f, p.Name, p, p.SetRows); err != nil {
			t.Fatal(err)
		}
	}
	s.Schedule.Value = 1e25
	tensors := interchange.NativeTensors(net)
	for _, p := range net.Params() {
		tensors = append(tensors, momentumSource(p, make([]float32, len(p.Value))))
	}
	if err := writeCheckpoint(good, s, tensors); err != nil {
		t.Fatal(err)
	}
	o.Resume, o.NoRescue = true, true
	_, err = Run(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), "the last good checkpoint is "+good) || !strings.Contains(err.Error(), "first met in ") {
		t.Errorf("%v, want an error that names %s", err, good)
	}
	if _, _, err := openWhole(t.Context(), good); err != nil {
		t.Error(err)
	}
}
