package train

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
)

// tinyOptions are of a run of 2 epochs with 3 iterations each.
func tinyOptions(t *testing.T) Options {
	t.Helper()
	return Options{
		Recipe: tinyRecipe(), Train: colours(t, "train", 10), Val: colours(t, "val", 6),
		Dir: filepath.Join(t.TempDir(), "run"), CacheBytes: 1 << 20, Keep: KeepNone, MaxBad: 1,
	}
}

func mustRun(t *testing.T, o Options) *Result {
	t.Helper()
	res, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func read(t *testing.T, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// files lists a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if ok, err := filepath.Match(eventsPattern, name); err == nil && ok {
			name = "events" // for TensorBoard; named by the time
		}
		names = append(names, name)
	}
	return names
}

// wantFiles fails unless dir holds exactly the named files, which are in sorted order.
func wantFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	if got := files(t, dir); !slices.Equal(got, names) {
		t.Errorf("the run directory holds %q, want %q", got, names)
	}
}

// metricsLines parses metrics.jsonl.
func metricsLines(t *testing.T, dir string) (lines []map[string]any) {
	t.Helper()
	for s := bufio.NewScanner(bytes.NewReader(read(t, dir, MetricsFile))); s.Scan(); {
		var m map[string]any
		if err := json.Unmarshal(s.Bytes(), &m); err != nil {
			t.Fatalf("line %d of the metrics, %q: %v", len(lines)+1, s.Text(), err)
		}
		lines = append(lines, m)
	}
	return lines
}

func TestRunDirectory(t *testing.T) {
	o := tinyOptions(t)
	o.Dir = filepath.Join(o.Dir, "deeper") // made with its parents
	res := mustRun(t, o)
	wantFiles(t, o.Dir, BestFile, "events", LastFile, MetricsFile, RecipeFile)
	if got := read(t, o.Dir, RecipeFile); !bytes.Equal(got, o.Recipe.YAML()) {
		t.Errorf("the recipe left is\n%s\nwant\n%s", got, o.Recipe.YAML())
	}
	if res.Run != o.Dir || res.Epochs != 2 || res.Iterations != 6 || res.BestWeights != filepath.Join(o.Dir, BestFile) ||
		res.BestEpoch < 1 || res.BestEpoch > 2 || res.Unreadable != 0 || !(res.Seconds > 0) || !(res.WaitSeconds >= 0) {
		t.Errorf("result %+v", *res)
	}

	var kinds []string
	for _, m := range metricsLines(t, o.Dir) {
		kind := m["kind"].(string)
		kinds = append(kinds, kind)
		keys := []string{"epoch", "iteration", "loss", "learning_rate", "images", "images_per_second"}
		switch kind {
		case "start":
			keys = []string{"iterations", "epochs", "images", "validation", "classes", "batch"}
		case "epoch":
			if list, ok := m["mistakes"].([]any); ok { // not of an epoch without any
				checkMistakes(t, list, m["top1_error"].(float64)*float64(o.Val.Len()))
				delete(m, "mistakes")
			}
			keys = []string{"epoch", "iterations", "train_loss", "loss", "top1_error", "top5_error", "learning_rate", "seconds", "wait_seconds", "best"}
		}
		if len(m) != len(keys)+1 {
			t.Errorf("%s of the metrics: %v, want the keys kind and %v", kind, m, keys)
		}
		for _, k := range keys {
			if m[k] == nil {
				t.Errorf("%s of the metrics: no %s in %v", kind, k, m)
			}
		}
	}
	if got, want := strings.Join(kinds, " "), "start iteration iteration iteration epoch iteration iteration iteration epoch"; got != want {
		t.Errorf("the metrics hold %s, want %s", got, want)
	}
}

// checkMistakes checks the mistakes of an epoch, of which there are as many as the error says.
func checkMistakes(t *testing.T, list []any, want float64) {
	t.Helper()
	if math.Abs(float64(len(list))-want) > 1e-6 {
		t.Errorf("%d mistakes, the error tells %v: %v", len(list), want, list)
	}
	for _, one := range list {
		m := one.(map[string]any)
		if m["class"] == m["predicted"] || m["file"] == "" || !(m["probability"].(float64) > 1./4) {
			t.Errorf("mistake %v", m)
		}
	}
}

// TestMistakes keeps those of the greatest loss, in their order.
func TestMistakes(t *testing.T) {
	c := &classJudge{classes: []string{"a", "b"}}
	for i := range 40 {
		margin := float32((i * 7) % 40)
		see(c, dataset.Sample{Name: fmt.Sprint((i * 7) % 40), Label: 0}, []float32{0, margin/10 + 0.01})
		see(c, dataset.Sample{Name: "right", Label: 1}, []float32{0, margin + 1})
	}
	var e Epoch
	c.into(&e)
	var names []string
	for _, m := range e.Mistakes {
		names = append(names, m.File)
	}
	if got, want := strings.Join(names, " "), "39 38 37 36 35 34 33 32 31 30 29 28"; got != want {
		t.Errorf("mistakes %s, want %s", got, want)
	}
	if want := 1 / (1 + math.Exp(-3.91)); math.Abs(float64(e.Mistakes[0].Probability)-want) > 1e-6 {
		t.Errorf("probability %v, want %v", e.Mistakes[0].Probability, want)
	}
}

func TestWeightsCarryTheirOrigin(t *testing.T) {
	o := tinyOptions(t)
	mustRun(t, o)
	for _, name := range []string{BestFile, LastFile} {
		m, err := vgg.Open(t.Context(), filepath.Join(o.Dir, name), vgg.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := m.Net.Options(), o.Recipe.Options(3); got != want {
			t.Errorf("%s: network %+v, want %+v", name, got, want)
		}
		if !slices.Equal(m.Classes, o.Train.Classes) {
			t.Errorf("%s: classes %q, want %q", name, m.Classes, o.Train.Classes)
		}
		p := m.Preprocess
		if p.Scale != 1 || p.Crop != 32 || p.Resize != 36 || p.Filter != o.Recipe.Filter {
			t.Errorf("%s: preprocessing %+v", name, p)
		}
		// Noise of mean 63.5, in 4, 3 and 3 of 10 pictures brighter by 100.
		for c, want := range []float64{103.5, 93.5, 93.5} {
			if math.Abs(float64(p.Mean[c])-want) > 1 {
				t.Errorf("%s: mean RGB %v, want %v in channel %d", name, p.Mean, want, c)
			}
		}
		if p.Std[0] < 50 || p.Std[0] > 70 { // √(128²/12 + 100²·0.24) = 61
			t.Errorf("%s: standard deviation %v, want about 61", name, p.Std)
		}
		if m.Provenance["trained_on"] != "train" || m.Provenance["recipe"] != string(o.Recipe.YAML()) {
			t.Errorf("%s: provenance %q", name, m.Provenance)
		}
	}
}

// TestMeanOnly: without Standardise the paper's preprocessing, pixel minus mean RGB.
func TestMeanOnly(t *testing.T) {
	o := tinyOptions(t)
	o.Recipe.Standardise, o.Recipe.LearningRate, o.Recipe.Epochs = false, 1e-6, 1
	mustRun(t, o)
	m, err := vgg.Open(t.Context(), filepath.Join(o.Dir, LastFile), vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Preprocess.Std != [3]float32{1, 1, 1} {
		t.Errorf("standard deviation %v, want none", m.Preprocess.Std)
	}
}

func TestLearns(t *testing.T) {
	o := tinyOptions(t)
	o.Train, o.Val = colours(t, "train", 24), colours(t, "val", 12)
	o.Recipe.Epochs, o.Recipe.Batch, o.Recipe.Dropout = 12, 8, 0
	var losses []float64
	o.OnEpoch = func(e Epoch) { losses = append(losses, e.TrainLoss) }
	res := mustRun(t, o)
	if first, last := losses[0], losses[len(losses)-1]; !(last < 0.3*first) {
		t.Errorf("the loss fell from %.3f to %.3f, want a third or less: %.3v", first, last, losses)
	}
	if res.Top1Error > 0.1 || res.Top5Error != 0 { // of three classes
		t.Errorf("top-1 error %.2f, top-5 %.2f of an easy set", res.Top1Error, res.Top5Error)
	}
}

// TestSameBits: a run is determined by recipe and data, not by threads (which are the
// workers that prepare images, too) or by what is kept in memory.
func TestSameBits(t *testing.T) {
	for _, config := range []string{"A", "A-BN", "A-LRN"} {
		run := func(change func(*Options)) (last, best []byte) {
			o := tinyOptions(t)
			o.Recipe.Config = config
			change(&o)
			mustRun(t, o)
			return read(t, o.Dir, LastFile), read(t, o.Dir, BestFile)
		}
		last, best := run(func(o *Options) { o.Workers = 1 })
		others := map[string]func(*Options){
			"2 threads": func(o *Options) { o.Workers = 2 },
			"3 threads": func(o *Options) { o.Workers = 3 },
		}
		if config == "A" {
			others["the threads there are"] = func(o *Options) { o.Workers = 0 }
			others["no cache"] = func(o *Options) { o.Workers, o.CacheBytes = 2, NoCache }
		}
		for what, change := range others {
			if l, b := run(change); !bytes.Equal(l, last) || !bytes.Equal(b, best) {
				t.Errorf("%s: %s: other weights than with 1 thread", config, what)
			}
		}
		if other, _ := run(func(o *Options) { o.Recipe.Seed = 2 }); bytes.Equal(tensorData(t, other), tensorData(t, last)) {
			t.Errorf("%s: another seed gave the same weights", config)
		}
	}
}

// tensorData is a safetensors file without its header, in which the seed is noted.
func tensorData(t *testing.T, file []byte) []byte {
	t.Helper()
	n := int(file[0]) | int(file[1])<<8 | int(file[2])<<16
	if 8+n >= len(file) {
		t.Fatalf("header of %d bytes in a file of %d", n, len(file))
	}
	return file[8+n:]
}

// TestBest: best.safetensors is the epoch of least error and, of equal errors, of the
// lower loss.
func TestBest(t *testing.T) {
	o := tinyOptions(t)
	o.Recipe.Epochs = 6
	var epochs []Epoch
	var saved [][]byte
	o.OnEpoch = func(e Epoch) {
		epochs = append(epochs, e)
		saved = append(saved, read(t, o.Dir, LastFile))
	}
	res := mustRun(t, o)
	best := 0
	for i, e := range epochs {
		better := i == 0 || e.Top1Error < epochs[best].Top1Error || e.Top1Error == epochs[best].Top1Error && e.Loss < epochs[best].Loss
		if e.Best != better {
			t.Errorf("epoch %d: best %v, want %v", e.Epoch, e.Best, better)
		}
		if better {
			best = i
		}
	}
	if res.BestEpoch != best+1 || res.Top1Error != epochs[best].Top1Error || res.Top5Error != epochs[best].Top5Error {
		t.Errorf("best epoch %d with error %v, want %d with %v", res.BestEpoch, res.Top1Error, best+1, epochs[best].Top1Error)
	}
	if !bytes.Equal(read(t, o.Dir, BestFile), saved[best]) {
		t.Errorf("best.safetensors is not what epoch %d left", best+1)
	}
	if !bytes.Equal(read(t, o.Dir, LastFile), saved[len(saved)-1]) {
		t.Error("last.safetensors is not what the last epoch left")
	}
}

func TestProgress(t *testing.T) {
	o := tinyOptions(t)
	o.Recipe.Epochs = 3
	o.Recipe.Schedule.Steps = []int{2}
	var calls []string
	var its []Iteration
	var epochs []Epoch
	o.OnIteration = func(it Iteration) {
		calls = append(calls, fmt.Sprintf("%d.%d", it.Epoch, it.Iteration))
		its = append(its, it)
	}
	o.OnEpoch = func(e Epoch) {
		calls = append(calls, fmt.Sprintf("epoch %d", e.Epoch))
		epochs = append(epochs, e)
		if n := len(metricsLines(t, o.Dir)) - 1; n != len(calls) { // the first line tells the beginning
			t.Errorf("after epoch %d: %d lines of metrics on disk, want %d", e.Epoch, n, len(calls))
		}
		if _, err := vgg.Open(t.Context(), filepath.Join(o.Dir, LastFile), vgg.OpenOptions{}); err != nil {
			t.Errorf("after epoch %d: %v", e.Epoch, err)
		}
	}
	mustRun(t, o)
	if got, want := strings.Join(calls, ", "), "1.1, 1.2, 1.3, epoch 1, 2.4, 2.5, 2.6, epoch 2, 3.7, 3.8, 3.9, epoch 3"; got != want {
		t.Fatalf("calls %s, want %s", got, want)
	}
	rates := []float64{1e-2, 1e-2, 1e-3}
	for i, it := range its {
		wantImages := []int{4, 4, 2}[i%3]
		if it.Iterations != 9 || it.Images != wantImages || !(it.Loss > 0) || !(it.ImagesPerSecond > 0) || !near(it.LearningRate, rates[i/3]) {
			t.Errorf("iteration %+v, want %d images of 9 iterations at rate %v", it, wantImages, rates[i/3])
		}
	}
	for i, e := range epochs {
		var loss float64
		for _, it := range its[3*i : 3*i+3] {
			loss += it.Loss * float64(it.Images) / 10
		}
		if !near(e.TrainLoss, loss) {
			t.Errorf("epoch %d: loss %v, want the mean over its images %v", e.Epoch, e.TrainLoss, loss)
		}
		if e.Epochs != 3 || e.Iterations != 3*i+3 || !near(e.LearningRate, rates[i]) || !(e.Seconds > 0) || !(e.WaitSeconds >= 0) || len(e.Bad) != 0 {
			t.Errorf("epoch %+v", e)
		}
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(b) }

func TestPlateauStopsTheRun(t *testing.T) {
	o := tinyOptions(t)
	o.Recipe.Epochs, o.Recipe.LearningRate = 9, 1e-12 // nothing is learnt
	o.Recipe.Schedule = Schedule{Name: "plateau", WarmupFactor: 1, Factor: 0.1, Decreases: 1, Patience: 1}
	var rates []float64
	o.OnEpoch = func(e Epoch) { rates = append(rates, e.LearningRate) }
	res := mustRun(t, o)
	// The first epoch's error is the least; the second decreases the rate; the third stops.
	if res.Epochs != 3 || len(rates) != 3 || !near(rates[1], 1e-12) || !near(rates[2], 1e-13) {
		t.Errorf("%d epochs at rates %v, want 3 with a decrease after the second", res.Epochs, rates)
	}
}

// TestWithoutValidation: the last weights are the best, and errors are null.
func TestWithoutValidation(t *testing.T) {
	o := tinyOptions(t)
	o.Val = nil
	res := mustRun(t, o)
	if res.BestEpoch != 2 || !math.IsNaN(res.Top1Error) || !math.IsNaN(res.Top5Error) {
		t.Errorf("best epoch %d, errors %v, %v, want the last and none", res.BestEpoch, res.Top1Error, res.Top5Error)
	}
	if !bytes.Equal(read(t, o.Dir, BestFile), read(t, o.Dir, LastFile)) {
		t.Error("best and last weights differ")
	}
	nulls := func(what string, m map[string]any, keys ...string) {
		for _, k := range keys {
			if v, ok := m[k]; !ok || v != nil {
				t.Errorf("%s: %s is %v (there: %v), want null", what, k, v, ok)
			}
		}
	}
	for _, m := range metricsLines(t, o.Dir) {
		if m["kind"] == "epoch" {
			nulls("metrics", m, "loss", "top1_error", "top5_error")
			if m["best"] != true || m["train_loss"] == nil {
				t.Errorf("epoch of the metrics %v", m)
			}
		}
	}
	text, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	nulls("result", m, "top1_error", "top5_error")
	for _, k := range []string{"run", "epochs", "iterations", "seconds", "best_epoch", "best_weights"} {
		if m[k] == nil {
			t.Errorf("result: no %s in %s", k, text)
		}
	}
}

func TestRunDirectoryRefused(t *testing.T) {
	o := tinyOptions(t)
	o.OnIteration = func(Iteration) { t.Error("training began") }
	refused := func(what string, want ...string) {
		t.Helper()
		_, err := Run(context.Background(), o)
		if err == nil {
			t.Errorf("%s: no error", what)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q in it", what, err, w)
			}
		}
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "notes.txt"), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	o.Dir = full
	refused("a directory with a file", full, "notes.txt", "empty")
	wantFiles(t, full, "notes.txt")

	o.Dir = filepath.Join(full, "notes.txt")
	refused("a file", o.Dir)
	o.Dir = filepath.Join(full, "notes.txt", "run")
	refused("a directory below a file", o.Dir)

	locked := t.TempDir()
	if err := os.Chmod(locked, 0o555); err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(locked, "probe")
	if os.Mkdir(probe, 0o777) == nil {
		os.Remove(probe)
		t.Log("this user may write anywhere: not tried on a directory without permission")
		return
	}
	o.Dir = filepath.Join(locked, "run")
	refused("a directory that can't be made", o.Dir)
	o.Dir = locked
	refused("a directory that can't be written", locked)
}

func TestEmptyRunDirectoryIsTaken(t *testing.T) {
	o := tinyOptions(t)
	o.Recipe.Epochs = 1
	o.Dir = t.TempDir()
	mustRun(t, o)
	wantFiles(t, o.Dir, BestFile, "events", LastFile, MetricsFile, RecipeFile)
}

// TestUnwritableWeights: what can't be saved ends the run, with nothing half-written.
func TestUnwritableWeights(t *testing.T) {
	o := tinyOptions(t)
	o.OnIteration = func(it Iteration) {
		if it.Iteration == 5 { // takes the place of epoch 2's weights
			last := filepath.Join(o.Dir, LastFile)
			if err := errors.Join(os.Remove(last), os.Mkdir(last, 0o777)); err != nil {
				t.Error(err)
			}
		}
	}
	res, err := Run(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(o.Dir, LastFile)) {
		t.Fatalf("%v, want an error that names the file", err)
	}
	if res.BestEpoch != 1 {
		t.Errorf("best epoch %d, want 1", res.BestEpoch)
	}
	wantFiles(t, o.Dir, BestFile, "events", LastFile, MetricsFile, RecipeFile)
}

func TestUnreadableImages(t *testing.T) {
	o := tinyOptions(t)
	o.Train, o.Val = colours(t, "train", 10, 3, 7), colours(t, "val", 6, 1)
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	images := 0
	o.OnIteration = func(it Iteration) { images += it.Images }
	var bad [][]string
	o.OnEpoch = func(e Epoch) {
		var names []string
		for _, b := range e.Bad {
			names = append(names, b.Name)
		}
		slices.Sort(names)
		bad = append(bad, names)
	}
	res := mustRun(t, o)
	if res.Unreadable != 3 {
		t.Errorf("%d unreadable images, want 3", res.Unreadable)
	}
	if images != 2*8 {
		t.Errorf("trained on %d images, want 2 epochs of 8", images)
	}
	want := []string{"01.png", "03.png", "07.png"}
	for i, names := range bad {
		if !slices.Equal(names, want) {
			t.Errorf("epoch %d: unreadable %q, want %q", i+1, names, want)
		}
	}
	for _, name := range want {
		if n := strings.Count(log.String(), "image="+name); n != 1 {
			t.Errorf("%s is logged %d times, want once:\n%s", name, n, log.String())
		}
	}
}

// TestTooManyUnreadable: training images past the share that is allowed stop a run before
// it begins, since their survey meets them; validation images when they are met.
func TestTooManyUnreadable(t *testing.T) {
	o := tinyOptions(t)
	o.Train, o.Val = colours(t, "train", 10, 3, 7), colours(t, "val", 6, 1)
	o.OnIteration = func(Iteration) { t.Error("training began") }
	o.MaxBad = 1. / 16
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "2 of 16 images are unreadable, 12.5 %, max-bad allows 6.25 %; the last is 07.png") {
		t.Errorf("two bad training images: %v", err)
	}
	if _, err := os.Stat(o.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a run directory was made: %v", err)
	}
	o.MaxBad, o.OnIteration = 2./16, nil
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "3 of 16 images") || !strings.Contains(err.Error(), "01.png") {
		t.Errorf("and one of validation: %v", err)
	}
	o.Dir, o.MaxBad = filepath.Join(t.TempDir(), "run"), 3./16
	mustRun(t, o)
}

func TestNothingReadable(t *testing.T) {
	o := tinyOptions(t)
	o.Train = colours(t, "train", 3, 0, 1, 2)
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "00.png") {
		t.Errorf("training images: %v, want an error that names the first", err)
	}
	if _, err := os.Stat(o.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a run directory was made: %v", err)
	}
	o.Train, o.Val = colours(t, "train", 3), colours(t, "val", 2, 0, 1)
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "val") {
		t.Errorf("validation images: %v, want an error that names them", err)
	}
}

// TestUnfitData: what can't be trained on is refused before anything is made.
func TestUnfitData(t *testing.T) {
	empty, err := dataset.New("nothing", nil, []string{"a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := colours(t, "val", 3)
	other.Classes = []string{"red", "green", "violet"}
	more := colours(t, "val", 3)
	more.Classes = append(more.Classes, "violet")
	for want, change := range map[string]func(*Options){
		"training images":                      func(o *Options) { o.Train = nil },
		"nothing":                              func(o *Options) { o.Train, o.Val = empty, nil },
		"violet":                               func(o *Options) { o.Val = other },
		"4 classes (red, green, blue, violet)": func(o *Options) { o.Val = more },
		"train: recipe: batch":                 func(o *Options) { o.Recipe.Batch = 0 },
		"workers":                              func(o *Options) { o.Workers = -1 },
	} {
		o := tinyOptions(t)
		change(&o)
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
		if _, err := os.Stat(o.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a run directory was made: %v", want, err)
		}
	}
}

// TestDivergence: a loss that is not finite stops the run; the weights of the last
// epoch stay.
func TestDivergence(t *testing.T) {
	o := tinyOptions(t)
	o.Val = nil
	o.Recipe.Batch, o.Recipe.Epochs, o.Recipe.LearningRate = 10, 9, 1e12
	var last []byte
	epochs, iterations := 0, 0
	o.OnIteration = func(Iteration) { iterations++ }
	o.OnEpoch = func(Epoch) {
		epochs++
		last = read(t, o.Dir, LastFile)
	}
	res, err := Run(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("the loss is NaN at iteration %d, first met in conv", iterations+1)) ||
		!strings.Contains(err.Error(), fmt.Sprintf("(epoch %d, learning rate 1e+12)", epochs+1)) {
		t.Fatalf("%v, want an error that names iteration %d, epoch %d and the learning rate", err, iterations+1, epochs+1)
	}
	if epochs == 0 {
		t.Fatal("no epoch was finished: nothing to keep")
	}
	if res.Epochs != epochs || res.Iterations != iterations {
		t.Errorf("result %d epochs, %d iterations, want %d, %d", res.Epochs, res.Iterations, epochs, iterations)
	}
	if !bytes.Equal(read(t, o.Dir, LastFile), last) {
		t.Error("last.safetensors is not what the last epoch left")
	}
	wantFiles(t, o.Dir, BestFile, "events", LastFile, MetricsFile, RecipeFile)
	if n := len(metricsLines(t, o.Dir)) - 1; n != epochs+iterations {
		t.Errorf("%d lines of metrics, want %d", n, epochs+iterations)
	}
}

// TestDivergenceInTheFirstEpoch: there are no weights to keep, and none are left.
func TestDivergenceInTheFirstEpoch(t *testing.T) {
	o := tinyOptions(t)
	o.Recipe.LearningRate = 1e30
	_, err := Run(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), "(epoch 1,") || strings.Contains(err.Error(), "kept") {
		t.Errorf("%v, want an error that names epoch 1 and speaks of no kept weights", err)
	}
	wantFiles(t, o.Dir, "events", MetricsFile, RecipeFile)
}

// TestDivergenceInValidation: the epoch's last update breaks the weights, which no
// training loss shows; they are not saved.
func TestDivergenceInValidation(t *testing.T) {
	o := tinyOptions(t)
	o.Recipe.Batch, o.Recipe.LearningRate = 10, 1e30
	_, err := Run(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), "validation") || !strings.Contains(err.Error(), "epoch 1,") {
		t.Errorf("%v, want an error that names the validation and epoch 1", err)
	}
	wantFiles(t, o.Dir, "events", MetricsFile, RecipeFile)
}

func TestCancellation(t *testing.T) {
	for _, at := range []int{2, 5} { // in the middle of the first and of the second epoch
		o := tinyOptions(t)
		ctx, cancel := context.WithCancel(context.Background())
		iterations := 0
		o.OnIteration = func(it Iteration) {
			if iterations++; iterations == at {
				cancel()
			}
		}
		var first []byte
		o.OnEpoch = func(Epoch) { first = read(t, o.Dir, LastFile) }
		res, err := Run(ctx, o)
		cancel()
		if err != context.Canceled {
			t.Fatalf("cancelled at iteration %d: %v, want context.Canceled", at, err)
		}
		if iterations != at || res.Epochs != at/3 || res.Iterations != at || res.Run != o.Dir {
			t.Errorf("cancelled at iteration %d: %d iterations, result %+v", at, iterations, *res)
		}
		if _, err := vgg.Open(t.Context(), filepath.Join(o.Dir, LastFile), vgg.OpenOptions{}); err != nil {
			t.Errorf("cancelled at iteration %d: %v", at, err)
		}
		if bytes.Equal(read(t, o.Dir, LastFile), first) {
			t.Errorf("cancelled at iteration %d: the last weights are those of epoch 1", at)
		}
		if n := len(metricsLines(t, o.Dir)) - 1; n != at+at/3 {
			t.Errorf("cancelled at iteration %d: %d lines of metrics, want %d", at, n, at+at/3)
		}
		if at < 3 {
			wantFiles(t, o.Dir, "events", LastFile, MetricsFile, RecipeFile)
			if text, err := json.Marshal(res); err != nil || !strings.Contains(string(text), `"top1_error":null`) || !strings.Contains(string(text), `"best_epoch":0`) {
				t.Errorf("cancelled before the first validation: %s, %v, want no error measured", text, err)
			}
		} else {
			wantFiles(t, o.Dir, BestFile, "events", LastFile, MetricsFile, RecipeFile)
			if !bytes.Equal(read(t, o.Dir, BestFile), first) || res.BestEpoch != 1 {
				t.Errorf("cancelled at iteration %d: the best weights are not those of epoch 1", at)
			}
		}
	}
}

// TestCancelledWeights: those saved on cancellation are those of that moment.
func TestCancelledWeights(t *testing.T) {
	whole := tinyOptions(t)
	whole.Recipe.Epochs = 1
	mustRun(t, whole)
	o := tinyOptions(t)
	o.Recipe.Epochs = 1
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.OnIteration = func(it Iteration) {
		if it.Iteration == 3 { // the epoch's last
			cancel()
		}
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want context.Canceled", err)
	}
	if !bytes.Equal(read(t, o.Dir, LastFile), read(t, whole.Dir, LastFile)) {
		t.Error("the weights after three iterations differ from those of the whole run")
	}
}

// TestCause: the error of a cancelled run says why it was cancelled.
func TestCause(t *testing.T) {
	o := tinyOptions(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the lights went out")
	o.OnIteration = func(Iteration) { cancel(why) }
	if res, err := Run(ctx, o); err != why || res.Iterations != 1 {
		t.Errorf("%v, want the cause, after one iteration", err)
	}
}

// TestErrorAndCancellation: what went wrong is not hidden by a cancellation.
func TestErrorAndCancellation(t *testing.T) {
	o := tinyOptions(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.Recipe.Batch = 10 // one iteration an epoch
	o.OnEpoch = func(e Epoch) {
		last := filepath.Join(o.Dir, LastFile)
		if err := errors.Join(os.Remove(last), os.Mkdir(last, 0o777)); err != nil {
			t.Error(err)
		}
		cancel()
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), LastFile) {
		t.Errorf("%v, want the cancellation and the file that could not be saved", err)
	}
}

func TestCancelledBeforeItBegins(t *testing.T) {
	o := tinyOptions(t)
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	if _, err := Run(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want context.DeadlineExceeded", err)
	}
	if _, err := os.Stat(o.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a run directory was made: %v", err)
	}
}

// see lets a judge judge an image.
func see(j judge, s dataset.Sample, outputs []float32) {
	j.add(s, j.see(s, dataset.View{}, outputs))
}
