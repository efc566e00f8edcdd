package reproduce

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/transfer"
)

// The built-in plans follow the paper's two rules for the test scales, name existing
// configurations, and have figures in every row of the paper's networks.
func TestPlans(t *testing.T) {
	rows := map[string]int{"table3": 12, "table4": 10, "table5": 6, "table6": 4, "table7": 15}
	for _, name := range PlanNames()[:5] {
		p, err := NamedPlan(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Rows) != rows[name] || !strings.HasPrefix(p.Title, "Table "+name[5:]) || p.Protocol != eval.Dense || !p.Flip {
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
	if _, err := NamedPlan("table11"); err == nil || !strings.Contains(err.Error(), "table3") {
		t.Errorf("table11: error %v", err)
	}
	// Spot checks against the paper.
	p, _ := NamedPlan("table4")
	last := p.Rows[len(p.Rows)-1]
	if *last.Paper.Top1 != 24.8 || *last.Paper.Top5 != 7.5 || last.Nets[0].Weights != "E-256-512" {
		t.Errorf("table 4 ends with %+v", last)
	}
}

// The plans of localisation name weights by the convention, and rate the boxes of each
// scale by its classification network.
func TestPlansOfLocalisation(t *testing.T) {
	for name, want := range map[string]struct {
		measure Measure
		rows    int
		weights string
	}{
		"table8": {GTClass, 3, "D-256-SCR-fc D-256-PCR-fc D-256-PCR"},
		"table9": {Top5Localisation, 4, "D-256-PCR D-256 D-384-PCR D-384"},
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
			if want.measure == Top5Localisation {
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
		if _, err := Classification(t.Context(), p, &dataset.Dataset{Samples: make([]dataset.Sample, 1)}, ClassificationOptions{}); err == nil || !strings.Contains(err.Error(), "a plan of localisation") {
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
	if err != nil || p.Protocol != eval.Dense || !p.Flip {
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
		"more than one":     {good, good + "---\n" + good},
		"unknown key scal":  {"scales", "scal"},
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

// The labels of a row are what its networks and scales say, and rows of the same networks
// shown images in the same way have the same figures in every table.
func TestPlansClaimWhatTheyRun(t *testing.T) {
	type figures struct {
		table string
		paper PaperErrors
	}
	seen := map[string]figures{}
	again := 0
	for _, name := range PlanNames()[:5] {
		p, err := NamedPlan(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range p.Rows {
			if len(row.Nets) == 0 {
				continue
			}
			key := ""
			for _, n := range row.Nets {
				key += fmt.Sprint(n.Weights, p.Setting(n), " ")
			}
			if other, ok := seen[key]; ok {
				again++
				if *other.paper.Top1 != *row.Paper.Top1 || *other.paper.Top5 != *row.Paper.Top5 {
					t.Errorf("%s: %v: %v and %v, but %v and %v in %s", name, row.Labels, *row.Paper.Top1, *row.Paper.Top5, *other.paper.Top1, *other.paper.Top5, other.table)
				}
			}
			seen[key] = figures{name, row.Paper}
			if name != "table3" && name != "table4" {
				continue
			}
			config, s, _ := ConventionalName(row.Nets[0].Weights)
			scale := s.String()
			if s.Min != s.Max {
				scale = fmt.Sprintf("[%d;%d]", s.Min, s.Max)
			}
			want := []string{config, scale, joinScales(row.Nets[0].Scales, ",")}
			if !slices.Equal(row.Labels, want) {
				t.Errorf("%s: labels %q, want %q", name, row.Labels, want)
			}
		}
	}
	if again < 5 {
		t.Errorf("%d rows occur in several tables, want at least 5", again)
	}
}

// The built-in transfer plans measure by the paper's protocols: deviations where there are
// random splits and nowhere else, and a fusion at least as good as its best network.
func TestTransferPlans(t *testing.T) {
	rows := map[string]int{"table11": 7, "table12": 5}
	for _, name := range TransferPlanNames() {
		p, err := NamedTransferPlan(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Rows) != rows[name] || !strings.HasPrefix(p.Title, "Table "+name[5:]+":") || !slices.Equal(p.Weights(), []string{"D-256-512", "E-256-512"}) {
			t.Errorf("%s: %q, %d rows, want %d; weights %v", name, p.Title, len(p.Rows), rows[name], p.Weights())
		}
		for i, set := range p.Sets {
			voc := strings.HasPrefix(set.Name, "VOC")
			if scales := len(set.Scales); set.Scales[0] != 256 || set.Average != voc || (scales == 5) != voc || (set.AveragePrecision != "") != voc {
				t.Errorf("%s: %+v", name, set)
			}
			best := 0.0
			for _, row := range p.Rows {
				paper := row.Paper[i]
				if paper.Mean == 0 != (paper.Mean == 0 && paper.Deviation == 0) || paper.Mean > 0 && paper.Deviation > 0 != (set.Splits.Count > 0) {
					t.Errorf("%s: %s on %s: %+v with %d splits", name, row.Label, set.Name, paper, set.Splits.Count)
				}
				if len(row.Nets) == 0 {
					continue
				}
				if len(row.Nets) > 1 && paper.Mean < best {
					t.Errorf("%s: %s on %s: %v, less than a network of it has, %v", name, row.Label, set.Name, paper.Mean, best)
				}
				best = max(best, paper.Mean)
			}
		}
	}
	p, err := NamedTransferPlan("table11")
	if err != nil {
		t.Fatal(err)
	}
	if last := p.Rows[6].Paper; last[0].Mean != 89.7 || last[3] != (PaperMean{86.2, 0.3}) || p.Sets[3].protocol().String() != "3 random splits, 60 training and all other test images a class" {
		t.Errorf("table 11 ends with %+v", last)
	}
	if _, err := NamedTransferPlan("table3"); err == nil || !strings.Contains(err.Error(), "want one of table11, table12") {
		t.Errorf("table3: error %v", err)
	}
}

func TestLoadTransferPlanErrors(t *testing.T) {
	name := filepath.Join(t.TempDir(), "plan.yaml")
	good := `title: x
sets:
  - {name: s, folders: [f], layout: classes, scales: [32], splits: {count: 2, train: 3}}
rows:
  - {label: a, nets: [w], regions: [image], paper: [{mean: 50}]}
`
	if err := os.WriteFile(name, []byte(good), 0o666); err != nil {
		t.Fatal(err)
	}
	if p, err := LoadTransferPlan(name); err != nil || p.Sets[0].Splits != (TransferSplits{Count: 2, Train: 3}) {
		t.Fatalf("%+v, %v", p, err)
	}
	for want, change := range map[string][2]string{
		"unknown key folder":        {"folders", "folder"},
		"unknown key seed":          {"train: 3", "train: 3, seed: 4"},
		"no sets or no rows":        {good, "title: x\n"},
		"no name, folders":          {"[f]", "[]"},
		`layout "heap"`:             {"classes", "heap"},
		`average precision "point"`: {"scales: [32]", "scales: [32], average_precision: point"},
		"at least 1 training image": {"train: 3", "train: 0"},
		"want a count":              {"count: 2", "count: 0"},
		"figures for 1 sets":        {"rows:", "  - {name: t, folders: [g], layout: voc, scales: [32]}\nrows:"},
		`weights "../w"`:            {"[w]", "[../w]"},
		`region "corner"`:           {"[image]", "[corner]"},
	} {
		changed := strings.Replace(good, change[0], change[1], 1)
		if changed == good {
			t.Fatalf("no %q in the plan", change[0])
		}
		if err := os.WriteFile(name, []byte(changed), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadTransferPlan(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := LoadTransferPlan(name + "s"); err == nil {
		t.Error("no error for a plan that isn't there")
	}
}

func TestConventionalLocaliser(t *testing.T) {
	for name, want := range map[string]string{"D-256-PCR": "D-256 PCR false", "D-256-512-SCR-fc": "D-256-512 SCR true"} {
		classifier, regression, fcOnly, ok := ConventionalLocaliser(name)
		if got := fmt.Sprint(classifier, " ", regression, " ", fcOnly); !ok || got != want {
			t.Errorf("%s: %s, %v; want %s", name, got, ok, want)
		}
	}
	for _, name := range []string{"D-256", "best-PCR", "D-256-XCR"} {
		if _, _, _, ok := ConventionalLocaliser(name); ok {
			t.Errorf("%s is read as localisation weights", name)
		}
	}
}

// TestDefaultTraining: without options of the SVMs a table takes the commands', and keeps what
// the caller wants to be told.
func TestDefaultTraining(t *testing.T) {
	told := 0
	o := TransferOptions{Train: transfer.TrainOptions{OnStage: func(string) { told++ }}}
	o.Train.Workers = 3
	got, want := o.training(), transfer.DefaultTraining()
	got.OnStage("")
	if told != 1 || got.Workers != 3 || got.SVMOptions.Loss != want.Loss || got.Tolerance != want.Tolerance || !slices.Equal(got.Cs, want.Cs) || got.HoldOut != want.HoldOut {
		t.Errorf("%+v, want %+v", got, want)
	}
	o.Train = transfer.TrainOptions{SVMOptions: transfer.SVMOptions{Loss: transfer.L1Hinge, C: 7}}
	if got := o.training(); got.Loss != transfer.L1Hinge || got.C != 7 || got.Cs != nil {
		t.Errorf("%+v, want the options that were given", got)
	}
}
