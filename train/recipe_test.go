package train

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// otherRecipe differs from the paper's recipe in every value.
func otherRecipe() Recipe {
	return Recipe{
		Config: "A-LRN", Width: 0.1, FC: 24, Input: 40, Dropout: 0.25, LRN: nn.Caffe, Init: network.Normal001,
		Views: 3, InitFrom: "a.safetensors", InitRule: FineTune, Freeze: []string{"conv1_*", "fc6"}, LayerRates: []string{"conv*=0.1", "fc8=2"},
		Batch: 3, Groups: 3, Epochs: 7, MaxIterations: 9, LearningRate: 3e-3, Momentum: 0.5, Nesterov: true, WeightDecay: 1e-5,
		ClipNorm: 2, LabelSmoothing: 0.1,
		Schedule: Schedule{Name: "step", Factor: 0.3, Decreases: 5, Patience: 2, Threshold: 0.02, Steps: []int{2, 5}, FinalRate: 1e-6,
			WarmupIterations: 3, WarmupEpochs: 2, WarmupFactor: 0.5},
		ScaleMin: 41, ScaleMax: 80, Flip: false, ColourShift: 0.5, Filter: preprocess.Bicubic, Resize: preprocess.Squash, Orient: preprocess.Upright, Standardise: true, TestScale: 50,
		Winograd: 4, MeanStart: true, Seed: math.MaxUint64, Exchange: Factored,
	}
}

func writeRecipe(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.yaml")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// differ fails for every field that two structs have in common.
func differ(t *testing.T, a, b reflect.Value) {
	t.Helper()
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if f.Type.Kind() == reflect.Struct {
			differ(t, a.Field(i), b.Field(i))
		} else if reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			t.Errorf("%s: both recipes have %v, so that a lost value would not show", f.Name, a.Field(i))
		}
	}
}

func TestRecipeRoundTrip(t *testing.T) {
	differ(t, reflect.ValueOf(otherRecipe()), reflect.ValueOf(PaperRecipe()))
	for name, pair := range map[string][2]Recipe{
		"other":  {otherRecipe(), PaperRecipe()},
		"paper":  {PaperRecipe(), otherRecipe()},
		"sample": {SampleRecipe(), otherRecipe()},
	} {
		want, base := pair[0], pair[1]
		got, err := LoadRecipe(writeRecipe(t, string(want.YAML())), base)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, want.YAML())
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read back as\n%s\nwant\n%s", name, got.YAML(), want.YAML())
		}
	}
}

func TestRecipeOverBase(t *testing.T) {
	base := otherRecipe()
	got, err := LoadRecipe(writeRecipe(t, "# two values\nbatch: 8\nschedule:\n  steps: [1, 2, 3]\n"), base)
	if err != nil {
		t.Fatal(err)
	}
	want := otherRecipe()
	want.Batch, want.Schedule.Steps = 8, []int{1, 2, 3}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read as\n%s\nwant\n%s", got.YAML(), want.YAML())
	}
	if !reflect.DeepEqual(base, otherRecipe()) {
		t.Error("the base was changed")
	}
	for _, empty := range []string{"", "# nothing\n"} {
		if got, err := LoadRecipe(writeRecipe(t, empty), base); err != nil || !reflect.DeepEqual(got, base) {
			t.Errorf("%q: %v, want the base", empty, err)
		}
	}
}

func TestMalformedRecipes(t *testing.T) {
	for text, want := range map[string][]string{
		"batch: 8\nbatchsize: 3\n":             {"line 2", "unknown key batchsize"},
		"batch: 8\nschedule:\n  patiense: 3\n": {"line 3", "unknown key patiense"},
		"epochs: 3\nbatch: many\n":             {"line 2", "many"},
		"epochs: 3\nfilter: nearest\n":         {"nearest", "bilinear"},
		"epochs: 3\nepochs: 4\n":               {"line 2", "epochs"},
		"- 1\n":                                {"line 1"},
		"batch: 8\n---\nbatch: 9\n":            {"more than one document, want one"},
		"batch: 8\n---\n: [\n":                 {"more than one document, want one"},
		"epochs: [\n":                          {"line"},
	} {
		path := writeRecipe(t, text)
		base := PaperRecipe()
		r, err := LoadRecipe(path, base)
		if err == nil {
			t.Errorf("%q: read without error", text)
			continue
		}
		for _, w := range append(want, path) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v, want %q in it", text, err, w)
			}
		}
		if !reflect.DeepEqual(r, base) {
			t.Errorf("%q: the recipe returned with the error is not the base", text)
		}
	}
	for text, want := range map[string][]string{
		"learning_rate: .nan\n":                    {"learning_rate: NaN"},
		"batch: 0\n":                               {"batch: 0", "want at least 1"},
		"input: 64\nscale_min: 50\nscale_max: 80":  {"scale_min: 50", "64"},
		"schedule:\n  name: step\n  steps: [3, 3]": {"schedule.steps: [3, 3]"},
	} {
		r, err := LoadRecipe(writeRecipe(t, text), PaperRecipe())
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		err = r.Validate()
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v, want %q in it", text, err, w)
			}
		}
	}
	if _, err := LoadRecipe(filepath.Join(t.TempDir(), "none.yaml"), PaperRecipe()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("a file that isn't there: %v", err)
	}
}

func TestImpossibleRecipes(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		want   string
		change func(*Recipe)
	}{
		{`configuration "F"`, func(r *Recipe) { r.Config = "F" }},
		{"width 0", func(r *Recipe) { r.Width = 0 }},
		{"width NaN", func(r *Recipe) { r.Width = nan }},
		{"0 units", func(r *Recipe) { r.FC = 0 }},
		{"units of fc6 and fc7", func(r *Recipe) { r.FC = 1 << 40 }},
		{"input side 31", func(r *Recipe) { r.Input = 31 }},
		{"dropout ratio 1", func(r *Recipe) { r.Dropout = 1 }},
		{"dropout ratio -0.5", func(r *Recipe) { r.Dropout = -0.5 }},
		{`LRN form "x"`, func(r *Recipe) { r.Config, r.LRN = "A-LRN", "x" }},
		{`LRN form "x"`, func(r *Recipe) { r.LRN = "x" }},
		{`initialisation "x"`, func(r *Recipe) { r.Init = "x" }},
		{"batch: 0", func(r *Recipe) { r.Batch = 0 }},
		{"epochs: 0", func(r *Recipe) { r.Epochs = 0 }},
		{"learning_rate: 0", func(r *Recipe) { r.LearningRate = 0 }},
		{"learning_rate: NaN", func(r *Recipe) { r.LearningRate = nan }},
		{"learning_rate: +Inf", func(r *Recipe) { r.LearningRate = inf }},
		{"momentum: 1", func(r *Recipe) { r.Momentum = 1 }},
		{"momentum: -0.1", func(r *Recipe) { r.Momentum = -0.1 }},
		{"momentum: NaN", func(r *Recipe) { r.Momentum = nan }},
		{"weight_decay: -1", func(r *Recipe) { r.WeightDecay = -1 }},
		{"weight_decay: NaN", func(r *Recipe) { r.WeightDecay = nan }},
		{"weight_decay: +Inf", func(r *Recipe) { r.WeightDecay = inf }},
		{"colour_shift: -1", func(r *Recipe) { r.ColourShift = -1 }},
		{"colour_shift: NaN", func(r *Recipe) { r.ColourShift = nan }},
		{"colour_shift: 11", func(r *Recipe) { r.ColourShift = 11 }},
		{"filter", func(r *Recipe) { r.Filter = 7 }},
		{"fit", func(r *Recipe) { r.Resize = 7 }},
		{"orient", func(r *Recipe) { r.Orient = 7 }},
		{"scale_min: 31", func(r *Recipe) { r.ScaleMin = 31 }},
		{"scale_max: 31", func(r *Recipe) { r.ScaleMax = 31 }},
		{"test_scale: 31", func(r *Recipe) { r.TestScale = 31 }},
		{`schedule.name: "cosinus", want one of plateau, step, cosine, constant`, func(r *Recipe) { r.Schedule.Name = "cosinus" }},
		{"schedule.final_rate: -1", func(r *Recipe) { r.Schedule.FinalRate = -1 }},
		{"schedule.final_rate: NaN", func(r *Recipe) { r.Schedule.FinalRate = nan }},
		{"schedule.warmup_iterations: -1", func(r *Recipe) { r.Schedule.WarmupIterations = -1 }},
		{"schedule.warmup_epochs: -1", func(r *Recipe) { r.Schedule.WarmupEpochs = -1 }},
		{"schedule.warmup_epochs: 1, want 0 with schedule.warmup_iterations 2", func(r *Recipe) { r.Schedule.WarmupIterations, r.Schedule.WarmupEpochs = 2, 1 }},
		{"schedule.warmup_factor: 0", func(r *Recipe) { r.Schedule.WarmupFactor = 0 }},
		{"schedule.warmup_factor: 1.5", func(r *Recipe) { r.Schedule.WarmupFactor = 1.5 }},
		{"schedule.warmup_factor: NaN", func(r *Recipe) { r.Schedule.WarmupFactor = nan }},
		{`init_rule: "all"`, func(r *Recipe) { r.InitRule = "all" }},
		{`init_from: "", want a file of weights, which init_rule fine-tune`, func(r *Recipe) { r.InitRule = FineTune }},
		{`freeze: "conv["`, func(r *Recipe) { r.Freeze = []string{"fc6", "conv["} }},
		{`freeze: ""`, func(r *Recipe) { r.Freeze = []string{""} }},
		{"groups: 0", func(r *Recipe) { r.Groups = 0 }},
		{"groups: 5, want 1 to the batch's 4", func(r *Recipe) { r.Groups = 5 }},
		{"max_iterations: 0", func(r *Recipe) { r.MaxIterations = 0 }},
		{"nesterov: true, want a momentum", func(r *Recipe) { r.Nesterov, r.Momentum = true, 0 }},
		{"clip_norm: -1", func(r *Recipe) { r.ClipNorm = -1 }},
		{"clip_norm: NaN", func(r *Recipe) { r.ClipNorm = nan }},
		{"label_smoothing: 1", func(r *Recipe) { r.LabelSmoothing = 1 }},
		{"label_smoothing: NaN", func(r *Recipe) { r.LabelSmoothing = nan }},
		{"schedule.factor: 1", func(r *Recipe) { r.Schedule.Factor = 1 }},
		{"schedule.factor: 0", func(r *Recipe) { r.Schedule.Factor = 0 }},
		{"schedule.factor: NaN", func(r *Recipe) { r.Schedule.Factor = nan }},
		{"schedule.decreases: -1", func(r *Recipe) { r.Schedule.Decreases = -1 }},
		{"schedule.patience: 0", func(r *Recipe) { r.Schedule.Patience = 0 }},
		{"schedule.threshold: -1", func(r *Recipe) { r.Schedule.Threshold = -1 }},
		{"schedule.threshold: NaN", func(r *Recipe) { r.Schedule.Threshold = nan }},
		{"schedule.steps: [0]", func(r *Recipe) { r.Schedule = Schedule{Name: "step", Factor: 0.1, WarmupFactor: 1, Steps: []int{0}} }},
		{"schedule.steps: [4, 2]", func(r *Recipe) { r.Schedule = Schedule{Name: "step", Factor: 0.1, WarmupFactor: 1, Steps: []int{4, 2}} }},
	} {
		r := tinyRecipe()
		r.Schedule.Name = "plateau"
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		c.change(&r)
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), "train: recipe: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q in it", err, c.want)
		}
	}
}

// TestPaperRecipe has the values that §3.1 states.
func TestPaperRecipe(t *testing.T) {
	for name, r := range map[string]Recipe{"paper": PaperRecipe(), "sample": SampleRecipe()} {
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := PaperRecipe()
	if r.Batch != 256 || r.Momentum != 0.9 || r.WeightDecay != 5e-4 || r.Dropout != 0.5 || r.LearningRate != 1e-2 || r.Epochs != 74 || r.MaxIterations != 370_000 ||
		r.Schedule.Name != "plateau" || r.Schedule.Factor != 0.1 || r.Schedule.Decreases != 3 ||
		r.Input != 224 || r.ScaleMin != 256 || r.ScaleMax != 256 || !r.Flip || r.ColourShift != 0.1 || r.Standardise {
		t.Errorf("not the recipe of §3.1:\n%s", r.YAML())
	}
	if o, want := r.Options(1000), network.DefaultOptions("D"); o != want {
		t.Errorf("network %+v, want the paper's %+v", o, want)
	}
}

// TestNamedRecipes: §3.1's for S = 384 and for scale jittering begin with weights.
func TestNamedRecipes(t *testing.T) {
	for _, name := range RecipeNames() {
		r, err := NamedRecipe(name)
		if err != nil {
			t.Fatal(err)
		}
		err = r.Validate()
		if from := name == "paper-384" || name == "paper-multiscale"; from != (err != nil) {
			t.Errorf("%s without weights: %v", name, err)
		} else if from && !strings.Contains(err.Error(), "init_from") {
			t.Errorf("%s: %v, want an error that names init_from", name, err)
		}
		r.InitFrom = "s256.safetensors"
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NamedRecipe("papers"); err == nil || !strings.Contains(err.Error(), "paper-multiscale") {
		t.Errorf("%v, want an error that lists the names", err)
	}
	for name, want := range map[string][]Difference{
		"paper-384":        {{"init_rule", "fine-tune", "auto"}, {"learning_rate", "0.001", "0.01"}, {"scale_min", "384", "256"}, {"scale_max", "384", "256"}, {"test_scale", "384", "256"}},
		"paper-multiscale": {{"init_rule", "fine-tune", "auto"}, {"learning_rate", "0.001", "0.01"}, {"scale_max", "512", "256"}, {"test_scale", "384", "256"}},
	} {
		r, err := NamedRecipe(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := Differences(r, PaperRecipe()); !reflect.DeepEqual(got, want) {
			t.Errorf("%s differs from the paper's recipe in %v, want %v", name, got, want)
		}
	}
}

// TestWith: every key can be changed by itself, to any value that another recipe has.
func TestWith(t *testing.T) {
	r, other := PaperRecipe(), otherRecipe()
	for _, d := range Differences(other, r) {
		changed, err := r.With(d.Key, d.A)
		if err != nil {
			t.Errorf("%s=%s: %v", d.Key, d.A, err)
			continue
		}
		if got := Differences(changed, r); len(got) != 1 || got[0] != d {
			t.Errorf("%s=%s changes %v", d.Key, d.A, got)
		}
		r = changed
	}
	if !reflect.DeepEqual(r, other) {
		t.Errorf("all keys changed:\n%s\nwant\n%s", r.YAML(), other.YAML())
	}
	for _, c := range [][3]string{
		{"batchsize", "3", "unknown key batchsize"},
		{"schedule.patiense", "3", "unknown key schedule.patiense"},
		{"schedule", "{name: step}", "unknown key schedule"},
		{"batch.size", "3", "unknown key batch.size"},
		{"batch", "many", "batch: cannot unmarshal"},
		{"batch", "[3]", "batch: cannot unmarshal"},
		{"batch", "", `batch: "", want a value`},
		{"batch", "3: [", `batch: "3: [", want a value`},
		{"init", "[3", "init"},
		{"filter", "nearest", "filter: "},
	} {
		if _, err := r.With(c[0], c[1]); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s=%s: %v, want %q in it", c[0], c[1], err, c[2])
		}
	}
}

// TestEarlierRunKeepsItsWinograd: a run whose recipe doesn't name Winograd's tiles, as earlier
// versions wrote it, goes on by those of 4×4; one that names them must be given the same.
func TestEarlierRunKeepsItsWinograd(t *testing.T) {
	text := string(PaperRecipe().YAML())
	earlier := strings.Replace(text, "winograd: 6\n", "", 1)
	if earlier == text {
		t.Fatal("the recipe has no key winograd")
	}
	r := PaperRecipe()
	if err := (runState{Recipe: earlier}).checkRecipe("run", &r, "c"); err != nil || r.Winograd != 4 {
		t.Errorf("resumed by winograd %d, %v: want 4", r.Winograd, err)
	}
	r = PaperRecipe()
	if err := (runState{Recipe: text}).checkRecipe("run", &r, "c"); err != nil || r.Winograd != 6 {
		t.Errorf("resumed by winograd %d, %v: want 6", r.Winograd, err)
	}
	r.Winograd = 4
	var other *OtherRunError
	if err := (runState{Recipe: text}).checkRecipe("run", &r, "c"); !errors.As(err, &other) || other.Key != "winograd" {
		t.Errorf("resumed with other tiles: %v, want an error of the key winograd", err)
	}
}
