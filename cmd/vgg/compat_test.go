//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/train"
	"github.com/verydeep/vgg/transfer"
)

// compat copies testdata/compat/v0 to a new folder and returns it. It has one file of each
// kind that version 0 wrote (tools/compat/make.sh).
func compat(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "v0")
	if err := os.CopyFS(dir, os.DirFS("../../testdata/compat/v0")); err != nil {
		t.Fatal(err)
	}
	// Statistics and index know the pictures by these dates.
	date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	err := filepath.Walk(filepath.Join(dir, "data"), func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, date, date)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// vggIn runs the program in a folder, on the portable kernels that made the files, and
// returns standard output and standard error.
func vggIn(t *testing.T, dir string, args ...string) (stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asProgram+"=1", "VGG_CPU=go")
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil {
		t.Fatalf("vgg %s: %v\n%s%s", strings.Join(args, " "), err, &o, &e)
	}
	return o.String(), e.String()
}

func readFile(t *testing.T, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sameJSON compares lines of JSON: numbers within tolerance, and without the keys that
// differ from run to run.
func sameJSON(t *testing.T, what, got, want string, tolerance float64) {
	t.Helper()
	g, w := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(want), "\n")
	if len(g) != len(w) {
		t.Errorf("%s: %d lines, want %d:\n%s", what, len(g), len(w), got)
		return
	}
	for i := range w {
		var a, b any
		if err := json.Unmarshal([]byte(w[i]), &b); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(g[i]), &a); err != nil {
			t.Errorf("%s: %v in %s", what, err, g[i])
			return
		}
		if path, ok := sameValue(a, b, tolerance); !ok {
			t.Errorf("%s: line %d differs at %q:\n%s\nwant\n%s", what, i+1, path, g[i], w[i])
			return
		}
	}
}

// unstamped returns lines of JSON without what today's versions add of the contents of an image,
// and checks the number of lines that have it: those of images that were read again, which
// must be so many.
func unstamped(t *testing.T, lines string, want int) string {
	t.Helper()
	stamped := 0
	var out []string
	for line := range strings.Lines(lines) {
		var of map[string]any
		if err := json.Unmarshal([]byte(line), &of); err != nil {
			t.Fatal(err)
		}
		if _, ok := of["modified"]; ok {
			stamped++
			for _, key := range []string{"bytes", "modified", "sha256"} {
				delete(of, key)
			}
		}
		text, err := json.Marshal(of)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	if stamped != want {
		t.Errorf("images read again: %d, want %d", stamped, want)
	}
	return strings.Join(out, "\n")
}

// unstable are the keys that differ from run to run.
var unstable = []string{"seconds", "wait_seconds", "images_per_second", "memory_bytes", "peak_rss_bytes"}

// sameValue reports whether two values of JSON are the same, and if not, where.
func sameValue(got, want any, tolerance float64) (path string, ok bool) {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return "", false
		}
		for _, key := range unstable {
			delete(got, key)
			delete(want, key)
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if path, ok := sameValue(got[key], want[key], tolerance); !ok {
				return "." + key + path, false
			}
		}
		return "", len(got) == len(want)
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			return "", false
		}
		for i := range want {
			if path, ok := sameValue(got[i], want[i], tolerance); !ok {
				return fmt.Sprintf("[%d]%s", i, path), false
			}
		}
		return "", true
	case float64:
		got, ok := got.(float64)
		return "", ok && math.Abs(got-want) <= tolerance*max(1, math.Abs(want))
	}
	return "", reflect.DeepEqual(got, want)
}

func TestSameValue(t *testing.T) {
	want := `{"a":[1,{"b":"c"}],"seconds":1}`
	for got, path := range map[string]string{
		`{"a":[1.00001,{"b":"c"}],"seconds":2}`: "same",
		`{"a":[1.001,{"b":"c"}]}`:               ".a[0]",
		`{"a":[1,{"b":"d"}]}`:                   ".a[1].b",
		`{"a":[1]}`:                             ".a",
		`{"a":[1,{"b":"c"}],"d":0}`:             "",
	} {
		var g, w any
		if err := errors.Join(json.Unmarshal([]byte(got), &g), json.Unmarshal([]byte(want), &w)); err != nil {
			t.Fatal(err)
		}
		at, ok := sameValue(g, w, 1e-4)
		if ok {
			at = "same"
		}
		if at != path {
			t.Errorf("%s: %q, want %q", got, at, path)
		}
	}
}

// without removes a list that later versions write, by its name, from lines of JSON.
func without(lines, name string) string {
	return regexp.MustCompile(`,"`+name+`":\[[^\]]*\]`).ReplaceAllString(lines, "")
}

// TestFilesOfVersion0 gives a file of each kind that version 0 wrote to the commands that take
// it. They must print what version 0 printed, and not compute again what a file holds.
func TestFilesOfVersion0(t *testing.T) {
	const tolerance = 1e-4
	dir := compat(t)
	want := func(name string) string { return readFile(t, dir, "want", name+".json") }
	commands := func(t *testing.T, golden string, commands ...string) {
		t.Helper()
		for _, c := range commands {
			got, _ := vggIn(t, dir, append(strings.Fields(c), "--json")...)
			sameJSON(t, c, got, want(golden), tolerance)
		}
	}
	// cut cuts a file off in its last line, and returns its contents before.
	cut := func(t *testing.T, name string) string {
		t.Helper()
		text := readFile(t, dir, name)
		if err := os.Truncate(filepath.Join(dir, name), int64(len(text)-30)); err != nil {
			t.Fatal(err)
		}
		return text
	}
	unchanged := func(t *testing.T, files ...string) {
		t.Helper()
		for _, f := range files {
			if readFile(t, dir, f) != readFile(t, "../../testdata/compat/v0", f) {
				t.Errorf("%s was written again", f)
			}
		}
	}

	t.Run("weights", func(t *testing.T) {
		commands(t, "classify",
			"classify net.safetensors data/val/*/*.png",
			"classify net.onnx data/val/*/*.png",
			"classify net.pth data/val/*/*.png",
			"classify net.npz data/val/*/*.png")
		got, _ := vggIn(t, dir, "classify", "half.safetensors", "data/val/*/*.png", "--json")
		sameJSON(t, "half.safetensors", got, want("classify"), 2e-3)
	})
	t.Run("localisation", func(t *testing.T) {
		const command = "localize boxes.safetensors data/val/*/*.png --classifier net.safetensors --json"
		got, _ := vggIn(t, dir, strings.Fields(command)...)
		sameJSON(t, command, without(got, "scales"), want("localize"), tolerance) // scales came later
	})
	t.Run("headless", func(t *testing.T) {
		for _, name := range []string{"net", "headless"} {
			vggIn(t, dir, "features", name+".safetensors", "data", "--layer", "conv3_1", "--out", "conv-"+name+".npy")
		}
		if readFile(t, dir, "conv-net.npy") != readFile(t, dir, "conv-headless.npy") {
			t.Error("the activations of conv3_1 are not those of the whole network")
		}
	})
	t.Run("evaluation", func(t *testing.T) {
		run := strings.Fields("eval net.safetensors --data data --protocol dense --flip --json")
		got, stderr := vggIn(t, dir, append(run, "--out", "eval.jsonl")...)
		sameJSON(t, "result file", got, want("eval"), tolerance)
		if !strings.Contains(stderr, "0 images of data/val") {
			t.Errorf("images were evaluated again: %s", stderr)
		}
		commands(t, "eval", "eval --merge eval-2.jsonl eval-1.jsonl")
		unchanged(t, "eval.jsonl", "eval-1.jsonl", "eval-2.jsonl")

		// A file that was cut off in its last line is completed.
		cut(t, "eval.jsonl")
		got, stderr = vggIn(t, dir, append(run, "--out", "eval.jsonl")...)
		sameJSON(t, "cut result file", got, want("eval"), tolerance)
		if !strings.Contains(stderr, "1 images of data/val") {
			t.Errorf("want one image evaluated again: %s", stderr)
		}

		// The others' lines say nothing of what the images were. --verify evaluates them again, and says why.
		got, stderr = vggIn(t, dir, append(run, "--out", "eval.jsonl", "--verify")...)
		sameJSON(t, "result file, verified", got, want("eval"), tolerance)
		if !strings.Contains(stderr, "eval.jsonl says nothing of the contents of 5 images") || strings.Contains(stderr, "changed") {
			t.Errorf("want five images evaluated again, with the reason: %s", stderr)
		}
	})
	t.Run("localize eval", func(t *testing.T) {
		commands(t, "localize-eval", "localize eval boxes.safetensors --classifier net.safetensors --data data --protocol dense --out localize.jsonl")
		unchanged(t, "localize.jsonl")
		before := cut(t, "localize.jsonl")
		commands(t, "localize-eval", "localize eval boxes.safetensors --classifier net.safetensors --data data --protocol dense --out localize.jsonl")
		sameJSON(t, "localize.jsonl, completed", unstamped(t, readFile(t, dir, "localize.jsonl"), 1), before, tolerance)
	})
	t.Run("descriptors", func(t *testing.T) {
		for _, name := range []string{"f.npy", "f.safetensors"} {
			_, stderr := vggIn(t, dir, "features", "net.safetensors", "data", "--out", name)
			if strings.Contains(stderr, "images/s") {
				t.Errorf("%s: images were described again: %s", name, stderr)
			}
			unchanged(t, name)
		}
		// A .jsonl file is for other programs and is written anew.
		before := readFile(t, dir, "f.jsonl")
		vggIn(t, dir, "features", "net.safetensors", "data", "--out", "f.jsonl", "--overwrite")
		sameJSON(t, "f.jsonl", readFile(t, dir, "f.jsonl"), before, tolerance)
		before = cut(t, "f.npy.jsonl")
		if _, stderr := vggIn(t, dir, "features", "net.safetensors", "data", "--out", "f.npy"); !strings.Contains(stderr, "images/s") {
			t.Errorf("f.npy, whose list lacks an image, was not completed: %s", stderr)
		}
		sameJSON(t, "f.npy.jsonl, completed", unstamped(t, readFile(t, dir, "f.npy.jsonl"), 1), before, tolerance)
		for _, file := range []string{"f.npy", "f.safetensors"} {
			got, _ := vggIn(t, dir, "transfer", "eval", file, "--svm", "svm.safetensors", "--json")
			sameJSON(t, file, without(got, "confusions"), want("transfer-eval"), tolerance)
		}
	})
	t.Run("SVM", func(t *testing.T) {
		commands(t, "predict", "transfer predict svm.safetensors data/val/*/*.png")
	})
	t.Run("index", func(t *testing.T) {
		commands(t, "similar", "similar index.npy data/val/red/0.png --top 12 --weights net.safetensors")
		// The index has absolute paths.
		lines := strings.ReplaceAll(readFile(t, dir, "index.npy.jsonl"), "/tmp/vgg-compat", dir)
		if err := os.WriteFile(filepath.Join(dir, "index.npy.jsonl"), []byte(lines), 0o666); err != nil {
			t.Fatal(err)
		}
		stdout, _ := vggIn(t, dir, "index", "net.safetensors", "data/train", "--out", "index.npy", "--update")
		if !strings.Contains(stdout, "12 kept as they were, 0 described again, 0 new, 0 gone") {
			t.Errorf("an index that is up to date: %s", stdout)
		}
		unchanged(t, "index.npy")
	})
	t.Run("statistics", func(t *testing.T) {
		// Images are measured anew, as more of them can be read than by that version.
		text, _ := vggIn(t, dir, "stats", "data", "--json")
		var facts map[string]any
		if err := json.Unmarshal([]byte(text), &facts); err != nil {
			t.Fatal(err)
		}
		for _, later := range []string{"layout", "parts", "skipped", "empty", "boxes", "leaks", "unread"} {
			delete(facts, later)
		}
		got, err := json.Marshal(facts)
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, "stats", string(got), strings.Replace(want("stats"), `"kept":true`, `"kept":false`, 1), tolerance)
	})
	t.Run("shards", func(t *testing.T) {
		got, _ := vggIn(t, dir, strings.Fields("eval net.safetensors --data shards --protocol dense --flip --json")...)
		sameJSON(t, "shards", got, strings.Replace(want("eval"), `"data/val"`, `"shards/val"`, 1), tolerance)
	})
	for _, run := range []struct{ dir, command string }{{"run", "train"}, {"boxes", "localize train"}} {
		t.Run(run.command, func(t *testing.T) {
			before := map[string]string{}
			for _, name := range []string{"last.safetensors", "metrics.jsonl"} {
				before[name] = readFile(t, dir, run.dir, name)
			}
			if err := os.Remove(filepath.Join(dir, run.dir, "last.safetensors")); err != nil {
				t.Fatal(err)
			}
			stdout, _ := vggIn(t, dir, append(strings.Fields(run.command), "--resume", "--out", run.dir, "--data", "data")...)
			if !strings.Contains(stdout, "checkpoint-0000000020.safetensors: epoch 7, after iteration 20\n") {
				t.Errorf("not from the checkpoint:\n%s", stdout)
			}
			sameJSON(t, run.dir+"/metrics.jsonl", without(readFile(t, dir, run.dir, "metrics.jsonl"), "mistakes"), before["metrics.jsonl"], tolerance)
			if err := os.WriteFile(filepath.Join(dir, "wanted.safetensors"), []byte(before["last.safetensors"]), 0o666); err != nil {
				t.Fatal(err)
			}
			got, want := open(t, dir, run.dir, "last.safetensors"), open(t, dir, "wanted.safetensors")
			sameNetwork(t, got, want, tolerance)
		})
	}
}

// TestFilesOfVersion0InTheLibrary opens the same files through the library.
func TestFilesOfVersion0InTheLibrary(t *testing.T) {
	dir := compat(t)
	want := open(t, dir, "net.safetensors")
	for _, name := range []string{"net.onnx", "net.pth", "net.npz", "net.weights.h5"} {
		o := vgg.OpenOptions{Classes: want.Classes, Preprocess: "vgg"}
		if strings.HasSuffix(name, ".h5") { // it tells neither the input side nor where the poolings are
			o.Input, o.Config = want.Net.Options().Input, want.Net.Options().Config
		}
		got, err := vgg.Open(t.Context(), filepath.Join(dir, name), o)
		if err != nil {
			t.Error(err)
			continue
		}
		sameNetwork(t, got, want, 0)
	}
	top, err := want.ClassifyFile(filepath.Join(dir, "data/val/red/1.png"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(top) != 1 || top[0].Class != "red" || math.Abs(float64(top[0].Probability)-0.81295) > 1e-4 {
		t.Errorf("val/red/1.png: %+v, want red with 0.81295", top)
	}
	if m := open(t, dir, "boxes.safetensors"); m.Localisation == nil || m.Localisation.Regression != vgg.PCR || len(m.Classes) != 3 {
		t.Errorf("boxes.safetensors: %+v of %v, want PCR of 3 classes", m.Localisation, m.Classes)
	}

	checkpoint, err := train.LatestCheckpoint(t.Context(), filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	base := train.PaperRecipe()
	base.Winograd = 4 // the only tiles that there were
	recipe, err := train.LoadRecipe(filepath.Join(dir, "run", "recipe.yaml"), base)
	if err != nil {
		t.Fatal(err)
	}
	if differences := train.Differences(checkpoint.Recipe, recipe); checkpoint.Epoch != 7 || checkpoint.Iteration != 20 || len(differences) > 0 {
		t.Errorf("checkpoint of epoch %d, iteration %d, with another recipe in %v", checkpoint.Epoch, checkpoint.Iteration, differences)
	}

	results, err := eval.OpenResults(t.Context(), filepath.Join(dir, "eval-1.jsonl"), filepath.Join(dir, "eval-2.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer results.Close()
	result, err := results.Evaluate(t.Context(), eval.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if result.Images != 6 || math.Abs(result.Top1Error-2./6) > 1e-9 || math.Abs(result.Loss-0.66403) > 1e-4 {
		t.Errorf("shards of a result file: %d images, top-1 error %v, loss %v, want 6, 1/3 and 0.66403", result.Images, result.Top1Error, result.Loss)
	}
	descriptors, err := transfer.Open(t.Context(), filepath.Join(dir, "f.npy"))
	if err != nil {
		t.Fatal(err)
	}
	numbers, err := descriptors.Load(t.Context())
	if err != nil || len(numbers) != 18*8 {
		t.Errorf("f.npy: %d numbers, %v, want 18 descriptors of 8", len(numbers), err)
	}
	descriptors.Close()
	svm, err := transfer.OpenSVM(t.Context(), filepath.Join(dir, "svm.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"blue", "green", "red"}; !slices.Equal(svm.Info.Classes, want) {
		t.Errorf("svm.safetensors: classes %v, want %v", svm.Info.Classes, want)
	}
	trainSet, valSet, err := dataset.Open(t.Context(), filepath.Join(dir, "shards"), dataset.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if trainSet.Len() != 12 || valSet.Len() != 6 || !slices.Equal(trainSet.Classes, want.Classes) {
		t.Errorf("shards: %d and %d images of %v, want 12 and 6 of %v", trainSet.Len(), valSet.Len(), trainSet.Classes, want.Classes)
	}
}

// open opens native weights of either kind.
func open(t *testing.T, elem ...string) *vgg.Model {
	t.Helper()
	path := filepath.Join(elem...)
	m, err := vgg.Open(t.Context(), path, vgg.OpenOptions{})
	if err != nil {
		m, err = vgg.Open(t.Context(), path, vgg.OpenOptions{Localiser: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sameNetwork compares parameters; the tolerance is in the largest number of a tensor.
func sameNetwork(t *testing.T, got, want *vgg.Model, tolerance float64) {
	t.Helper()
	p, q := got.Net.Params(), want.Net.Params()
	if len(p) != len(q) {
		t.Fatalf("%d parameters, want %d", len(p), len(q))
	}
	for i := range q {
		if p[i].Name != q[i].Name || !slices.Equal(p[i].Shape, q[i].Shape) {
			t.Fatalf("%s of shape %v, want %s, %v", p[i].Name, p[i].Shape, q[i].Name, q[i].Shape)
		}
		x, y := make([]float32, p[i].Len()), make([]float32, q[i].Len())
		if err := p[i].Get(x); err != nil {
			t.Fatal(err)
		}
		if err := q[i].Get(y); err != nil {
			t.Fatal(err)
		}
		var most, differ float64
		for j := range y {
			most = max(most, math.Abs(float64(y[j])))
			differ = max(differ, math.Abs(float64(x[j]-y[j])))
		}
		if most == 0 || differ > tolerance*most {
			t.Errorf("%s: differs by up to %g, the largest number is %g", q[i].Name, differ, most)
		}
	}
}
