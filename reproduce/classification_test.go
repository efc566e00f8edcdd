package reproduce

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// narrowModel has random weights and classes a to c.
func narrowModel(t testing.TB, config string) *vgg.Model {
	t.Helper()
	o := network.DefaultOptions(config)
	o.Classes, o.Width, o.FC, o.Input = 3, 1./16, 16, 32
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.Glorot, 3); err != nil {
		t.Fatal(err)
	}
	spec, err := preprocess.Preset("torchvision")
	if err != nil {
		t.Fatal(err)
	}
	spec.Crop, spec.Resize = 32, 40
	return &vgg.Model{Net: net, Classes: []string{"a", "b", "c"}, Preprocess: spec}
}

// noisy is a set of pictures of growing width.
func noisy(t testing.TB, images int) *dataset.Dataset {
	t.Helper()
	fsys := fstest.MapFS{}
	var samples []dataset.Sample
	for i := range images {
		name := string(rune('a'+i)) + ".png"
		fsys[name] = &fstest.MapFile{Data: vggtest.PNG(40+5*i, 44, vggtest.Noise(uint64(i)))}
		samples = append(samples, dataset.Sample{Name: name, Label: i % 3})
	}
	d, err := dataset.New("noise", fsys, []string{"a", "b", "c"}, samples)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A row has the figures of its own evaluation, and what one table has computed another
// doesn't compute again.
func TestClassification(t *testing.T) {
	m, other := narrowModel(t, "A"), narrowModel(t, "B")
	other.Classes = []string{"c", "b", "a"} // in another order
	d := noisy(t, 9)
	multi := eval.MultiCropDense
	plan := Plan{Title: "t", Labels: []string{"l"}, Protocol: eval.Dense, Flip: true, Rows: []PlanRow{
		{Labels: []string{"one"}, Nets: []PlanNet{{Weights: "A-32", Scales: []int{32}}}},
		{Labels: []string{"three"}, Nets: []PlanNet{{Weights: "A-32", Scales: []int{32, 40, 48}}}},
		{Labels: []string{"both"}, Nets: []PlanNet{{Weights: "A-32", Scales: []int{32, 40}, Protocol: &multi}, {Weights: "B-32", Scales: []int{36}}}},
		{Labels: []string{"missing"}, Nets: []PlanNet{{Weights: "C-32", Scales: []int{32}}}},
		{Labels: []string{"others"}},
	}}
	images, nets := 0, []string{}
	o := ClassificationOptions{
		Results: filepath.Join(t.TempDir(), "results"),
		Find: func(name string) (eval.Net, bool, error) {
			model := map[string]*vgg.Model{"A-32": m, "B-32": other}[name]
			return eval.Net{Weights: name, SHA256: strings.Repeat(name, 8), Open: func() (*vgg.Model, error) { return model, nil }}, model != nil, nil
		},
		OnNet: func(name string) progress.Func {
			nets = append(nets, name)
			return func(_, total int64) {
				if images++; total != int64(d.Len()) {
					t.Errorf("%s: %d images in all, want %d", name, total, d.Len())
				}
			}
		},
	}
	work, err := ClassificationWork(t.Context(), plan, d, o, false)
	if err != nil || work.Images != 2*d.Len() || work.MACs <= 0 {
		t.Errorf("work %+v, %v; want %d images", work, err, 2*d.Len())
	}
	r, err := Classification(t.Context(), plan, d, o)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(nets, []string{"A-32", "B-32"}) {
		t.Errorf("networks %v told, want A-32 and B-32 once", nets)
	}
	if images != 2*d.Len() || !slices.Equal(r.Missing, []string{"C-32"}) || r.ImageNet {
		t.Errorf("%d images through the networks, want %d; missing %v", images, 2*d.Len(), r.Missing)
	}
	if r.Rows[3].Result != nil || !r.Rows[4].Others || r.Rows[0].Paper != nil {
		t.Errorf("rows %+v", r.Rows)
	}
	files, err := os.ReadDir(o.Results)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	print, err := dataset.Fingerprint(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A-32.dense.32.flip.A-32A-32", "A-32.dense.40.flip.A-32A-32", "A-32.dense.48.flip.A-32A-32",
		"A-32.multi-crop.32.A-32A-32", "A-32.multi-crop.40.A-32A-32", "B-32.dense.36.flip.B-32B-32",
	} {
		if want += "." + print[:8] + ".jsonl"; !slices.Contains(names, want) {
			t.Errorf("no result file %s, but %q", want, names)
		}
	}
	if len(names) != 6 {
		t.Errorf("%d result files, want 6", len(names))
	}
	var first *eval.Results
	for i, row := range plan.Rows[:3] {
		var nets []eval.Net
		for _, n := range row.Nets {
			net, _, _ := o.Find(n.Weights)
			net.Setting = plan.Setting(n)
			nets = append(nets, net)
		}
		file := filepath.Join(t.TempDir(), "row.jsonl")
		want, err := eval.RunNets(t.Context(), nets, d, eval.Options{Out: file})
		if err != nil {
			t.Fatal(err)
		}
		results, err := eval.OpenResults(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		defer results.Close()
		got := r.Rows[i].Result
		if i == 0 {
			if first = results; got.P != nil {
				t.Errorf("the first row differs from itself with p = %v", *got.P)
			}
		} else if c, err := eval.Compare(t.Context(), first, results); err != nil || got.P == nil || *got.P != c.Top1.P {
			t.Errorf("row %d: p %v, want %v, %v", i, got.P, c.Top1.P, err)
		}
		if got.Top1Error != want.Top1Error || got.Top1Range != want.Top1Range || got.Images != d.Len() {
			t.Errorf("row %d: %+v, want %v", i, got, want.Top1Error)
		}
	}
	images = 0
	plan.Rows = plan.Rows[1:3]
	again, err := Classification(t.Context(), plan, d, o)
	if err != nil || images != 0 || again.Rows[0].Result.Top1Range != r.Rows[1].Result.Top1Range {
		t.Errorf("again: %d images through the networks, %+v, %v", images, again, err)
	}
}

// Classification and localisation each refuse the other's plans, and sets without images.
func TestPlansOfAnotherKind(t *testing.T) {
	d := noisy(t, 1)
	p, err := NamedPlan("table8")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Classification(t.Context(), p, d, ClassificationOptions{}); err == nil || !strings.Contains(err.Error(), "a plan of localisation") {
		t.Errorf("table8: %v", err)
	}
	if p, err = NamedPlan("table3"); err != nil {
		t.Fatal(err)
	}
	if _, err := Localisation(t.Context(), p, d, LocalisationOptions{}); err == nil || !strings.Contains(err.Error(), "a plan of classification") {
		t.Errorf("table3: %v", err)
	}
	if _, err := Classification(t.Context(), p, &dataset.Dataset{Name: "none"}, ClassificationOptions{}); err == nil || !strings.Contains(err.Error(), "none: no images") {
		t.Errorf("no images: %v", err)
	}
}
