package eval

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/dataset"
)

// The plans that are built in follow the paper's two rules for the test scales, name
// configurations that there are, and have figures in every row of the paper's networks.
func TestPlans(t *testing.T) {
	rows := map[string]int{"table3": 12, "table4": 10, "table5": 6, "table6": 4, "table7": 15}
	for _, name := range PlanNames()[:5] {
		p, err := NamedPlan(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Rows) != rows[name] || !strings.HasPrefix(p.Title, "Table "+name[5:]) || p.Protocol != Dense || !p.Flip {
			t.Errorf("%s: %d rows of %q, want %d", name, len(p.Rows), p.Title, rows[name])
		}
		for _, row := range p.Rows {
			if row.Paper.Top1 == nil && len(row.Nets) > 0 || row.Paper.Top1 != nil && row.Paper.Top5 != nil && *row.Paper.Top1 <= *row.Paper.Top5 {
				t.Errorf("%s: %v: figures %+v", name, row.Labels, row.Paper)
			}
			for _, n := range row.Nets {
				config, s, ok := ConventionalName(n.Weights)
				if !ok || !slices.Contains(architecture.Names(), config) {
					t.Errorf("%s: weights %s are not called by the convention", name, n.Weights)
				}
				want := s.MultiScale()
				if name == "table3" {
					want = s.SingleScale()
				}
				if !slices.Equal(n.Scales, want) {
					t.Errorf("%s: %s at %v, want %v", name, n.Weights, n.Scales, want)
				}
			}
		}
	}
	if _, err := NamedPlan("table10"); err == nil || !strings.Contains(err.Error(), "table3") {
		t.Errorf("table10: error %v", err)
	}
	// Spot checks against the paper.
	p, _ := NamedPlan("table4")
	last := p.Rows[len(p.Rows)-1]
	if *last.Paper.Top1 != 24.8 || *last.Paper.Top5 != 7.5 || last.Nets[0].Weights != "E-256-512" {
		t.Errorf("table 4 ends with %+v", last)
	}
}

// The plans of localisation: weights by the convention, the classification network of
// each scale beside its boxes.
func TestPlansOfLocalisation(t *testing.T) {
	for name, want := range map[string]struct {
		measure Measure
		rows    int
		weights string
	}{
		"table8": {GTClass, 3, "D-256-SCR-fc D-256-PCR-fc D-256-PCR"},
		"table9": {Localisation, 4, "D-256-PCR D-256 D-384-PCR D-384"},
	} {
		p, err := NamedPlan(name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Measure != want.measure || len(p.Rows) != want.rows || strings.Join(p.Weights(), " ") != want.weights || !strings.HasPrefix(p.Title, "Table "+name[5:]) {
			t.Errorf("%s: %+v", name, p)
		}
		last := 100.0
		for _, row := range p.Rows {
			figure := row.Paper.GTClass
			if want.measure == Localisation {
				figure = row.Paper.Top5
				for i, n := range row.Nets {
					if n.Weights != row.Classifiers[i]+"-PCR" {
						t.Errorf("%s: %v rated by %v", name, row.Nets, row.Classifiers)
					}
				}
			}
			if figure == nil || *figure >= last {
				t.Errorf("%s: %v: the paper's figures fall from row to row", name, row.Labels)
				continue
			}
			last = *figure
		}
		if _, err := Reproduce(t.Context(), p, &dataset.Dataset{Samples: make([]dataset.Sample, 1)}, ReproduceOptions{}); err == nil || !strings.Contains(err.Error(), "package localize") {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "plan.yaml")
	for want, text := range map[string]string{
		`measure "boxes"`:        "measure: boxes",
		"no classifiers":         "measure: localisation\nprotocol: dense\nflip: false",
		"several networks":       "measure: gt-class\nprotocol: centre\nflip: false",
		"want protocol centre":   "measure: gt-class\nprotocol: dense\nflip: true",
		"classifiers, want none": "",
	} {
		row := "    nets: [{weights: w, scales: [32, 40]}]\n"
		if text == "" {
			row += "    classifiers: [c]\n"
		}
		if err := os.WriteFile(file, []byte("title: x\nlabels: [a]\n"+text+"\nrows:\n  - labels: [b]\n"+row), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadPlan(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

func TestConventionalName(t *testing.T) {
	for name, want := range map[string]string{"D-256": "D 256", "A-LRN-256": "A-LRN 256", "E-256-512": "E 256-512", "D-BN-64": "D-BN 64"} {
		if config, s, ok := ConventionalName(name); !ok || config+" "+s.String() != want {
			t.Errorf("%s: %s %v, %v; want %s", name, config, s, ok, want)
		}
	}
	for _, name := range []string{"D", "best", "D-512-256", "d-256", "D-256-384-512"} {
		if _, _, ok := ConventionalName(name); ok {
			t.Errorf("%s is read as a conventional name", name)
		}
	}
}

func TestLoadPlanErrors(t *testing.T) {
	name := filepath.Join(t.TempDir(), "plan.yaml")
	good := "title: x\nlabels: [a]\nrows:\n  - labels: [b]\n    nets: [{weights: w, scales: [32]}]\n"
	if err := os.WriteFile(name, []byte(good), 0o666); err != nil {
		t.Fatal(err)
	}
	p, err := LoadPlan(name)
	if err != nil || p.Protocol != Dense || !p.Flip {
		t.Fatalf("%+v, %v", p, err)
	}
	for want, change := range map[string][2]string{
		"unknown key rowz":  {"rows:", "rowz:"},
		"no labels":         {"labels: [a]", "labels: []"},
		"row 1: 1 labels":   {"labels: [a]", "labels: [a, c]"},
		`weights "../w"`:    {"weights: w", "weights: ../w"},
		"at least one":      {"[32]", "[]"},
		"scale 0":           {"[32]", "[0]"},
		`protocol "corner"`: {"title: x", "protocol: corner\ntitle: x"},
		"empty":             {good, ""},
	} {
		if err := os.WriteFile(name, []byte(strings.Replace(good, change[0], change[1], 1)), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadPlan(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := LoadPlan(name + "s"); err == nil {
		t.Error("no error for a plan that isn't there")
	}
}

// A reproduction is what the evaluation of each row is, and what one table has found
// another doesn't compute again.
func TestReproduce(t *testing.T) {
	m, other := narrowModel(t, "A"), narrowModel(t, "B")
	other.Classes = []string{"c", "b", "a"} // in another order
	var sizes [][2]int
	for i := range 9 {
		sizes = append(sizes, [2]int{40 + 5*i, 44})
	}
	d := noisy(t, sizes)
	multi := MultiCropDense
	plan := Plan{Title: "t", Labels: []string{"l"}, Protocol: Dense, Flip: true, Rows: []PlanRow{
		{Labels: []string{"one"}, Nets: []PlanNet{{Weights: "A-32", Scales: []int{32}}}},
		{Labels: []string{"three"}, Nets: []PlanNet{{Weights: "A-32", Scales: []int{32, 40, 48}}}},
		{Labels: []string{"both"}, Nets: []PlanNet{{Weights: "A-32", Scales: []int{32, 40}, Protocol: &multi}, {Weights: "B-32", Scales: []int{36}}}},
		{Labels: []string{"missing"}, Nets: []PlanNet{{Weights: "C-32", Scales: []int{32}}}},
		{Labels: []string{"others"}},
	}}
	images := 0
	o := ReproduceOptions{
		Results: filepath.Join(t.TempDir(), "results"),
		Find: func(name string) (Net, bool, error) {
			model := map[string]*vgg.Model{"A-32": m, "B-32": other}[name]
			return Net{Weights: name, SHA256: strings.Repeat(name, 8), Open: func() (*vgg.Model, error) { return model, nil }}, model != nil, nil
		},
		OnImage: func(string, int, int) { images++ },
	}
	r, err := Reproduce(t.Context(), plan, d, o)
	if err != nil {
		t.Fatal(err)
	}
	if images != 2*d.Len() || !slices.Equal(r.Missing, []string{"C-32"}) || r.ImageNet {
		t.Errorf("%d images through the networks, want %d; missing %v", images, 2*d.Len(), r.Missing)
	}
	if r.Rows[3].Result != nil || !r.Rows[4].Others || r.Rows[0].Paper != nil {
		t.Errorf("rows %+v", r.Rows)
	}
	files, err := os.ReadDir(o.Results)
	if err != nil || len(files) != 6 { // A dense at 32, 40, 48, multi-crop at 32, 40; B
		t.Errorf("%d result files, %v; want 6", len(files), err)
	}
	var first *Results
	for i, row := range plan.Rows[:3] {
		var nets []Net
		for _, n := range row.Nets {
			net, _, _ := o.Find(n.Weights)
			net.Setting = plan.setting(n)
			nets = append(nets, net)
		}
		file := filepath.Join(t.TempDir(), "row.jsonl")
		want, err := RunNets(t.Context(), nets, d, Options{Out: file})
		if err != nil {
			t.Fatal(err)
		}
		results, err := OpenResults(file)
		if err != nil {
			t.Fatal(err)
		}
		defer results.Close()
		got := r.Rows[i].Result
		if i == 0 {
			if first = results; got.P != nil {
				t.Errorf("the first row differs from itself with p = %v", *got.P)
			}
		} else if c, err := Compare(first, results); err != nil || got.P == nil || *got.P != c.Top1.P {
			t.Errorf("row %d: p %v, want %v, %v", i, got.P, c.Top1.P, err)
		}
		if got.Top1Error != want.Top1Error || got.Top1Range != want.Top1Range || got.Images != d.Len() {
			t.Errorf("row %d: %+v, want %v", i, got, want.Top1Error)
		}
	}
	images = 0
	plan.Rows = plan.Rows[1:3]
	again, err := Reproduce(t.Context(), plan, d, o)
	if err != nil || images != 0 || again.Rows[0].Result.Top1Range != r.Rows[1].Result.Top1Range {
		t.Errorf("again: %d images through the networks, %+v, %v", images, again, err)
	}
	// Posteriors of a row, to the bit: by its own evaluation and from the parts' files.
	whole := filepath.Join(t.TempDir(), "whole.jsonl")
	net, _, _ := o.Find("A-32")
	net.Setting = Setting{MultiCropDense, []int{32, 40}, true}
	if _, err := RunNets(t.Context(), []Net{net}, d, Options{Out: whole}); err != nil {
		t.Fatal(err)
	}
	want, err := OpenResults(whole)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	rep := &reproduction{plan: plan, data: d, o: o, files: map[netView]*file{}, found: map[string]bool{}}
	defer rep.close()
	for _, f := range files {
		opened, err := openFile(filepath.Join(o.Results, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		n := opened.header.Nets[0]
		rep.files[netView{n.Weights, n.views()[0]}] = opened
	}
	for i := range d.Len() {
		var parts meanOf
		for _, p := range MultiCropDense.parts() {
			var scales meanOf
			for _, v := range (Setting{p, []int{32, 40}, true}).views() {
				scales = append(scales, rep.files[netView{"A-32", v}].net(0))
			}
			parts = append(parts, scales)
		}
		got, ok, err := parts.answer(i)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		a, err := want.Answer(i)
		if err != nil || !slices.Equal(got.Posterior, a.Posterior) {
			t.Errorf("image %d: %v, want %v (%v)", i, got.Posterior, a.Posterior, err)
		}
	}
}

func TestImageNetClasses(t *testing.T) {
	if !IsImageNet(vgg.ImageNetSynsets()) || !IsImageNet(vgg.ImageNetClasses()) || IsImageNet([]string{"a"}) || IsImageNet(vgg.ImageNetSynsets()[1:]) {
		t.Error("ILSVRC's classes are not told from others")
	}
	m := narrowModel(t, "A")
	m.Classes = vgg.ImageNetClasses()
	d := noisy(t, [][2]int{{40, 40}})
	if got := classesFor(m, d); !slices.Equal(got, m.Classes) {
		t.Error("a set of a, b, c is taken for synsets")
	}
	d.Classes = []string{"n02012849", "n03126707"} // crane the bird, crane the machine
	if got := classesFor(m, d); !slices.Equal(got, vgg.ImageNetSynsets()) {
		t.Error("folders called by synsets are not matched by them")
	}
}
