package localize

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/train"
)

// tinyOptions fine-tune a network of a few units on squares.
func tinyOptions(t *testing.T, r vgg.Regression) train.Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "classes.safetensors")
	m := tinyModel(t, "", 3)
	if err := m.Save(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	recipe := PaperRecipe(file, m.Net.Options(), m.Preprocess, 36)
	recipe.Batch, recipe.Epochs, recipe.LearningRate, recipe.Dropout = 16, 30, 0.02, 0
	recipe.Schedule.Name = "constant"
	trainSet, valSet := squares(t, "train", 64), squares(t, "val", 80).Select(func(s dataset.Sample) bool { return s.Name >= "064" })
	head, err := MeanBoxes(t.Context(), trainSet, r, preprocess.Stored, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	return train.Options{Recipe: recipe, Task: NewTask(head, DefaultRule(), trainSet, valSet), Train: trainSet, Val: valSet, Dir: filepath.Join(t.TempDir(), "run"), Keep: 1, MaxBad: 1}
}

// TestLearns: both regressions find squares on noise better than any box that doesn't
// look, and what validation saw is what evaluation measures.
func TestLearns(t *testing.T) {
	for _, r := range []vgg.Regression{vgg.SCR, vgg.PCR} {
		o := tinyOptions(t, r)
		result, err := train.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(result.Init.Random, " "); got != "fc5" || len(result.Init.Taken) != 4 {
			t.Errorf("%s: random %s, taken %v", r, got, result.Init.Taken)
		}
		m, err := vgg.Open(t.Context(), result.BestWeights, vgg.OpenOptions{Localiser: true})
		if err != nil {
			t.Fatal(err)
		}
		measured, err := Evaluate(t.Context(), &Locator{Nets: []Net{{Model: m}}, Threshold: MergeThreshold}, o.Val, EvalOptions{Protocol: eval.Centre})
		if err != nil {
			t.Fatal(err)
		}
		if measured.Error != result.LocalisationError || measured.MeanIoU != result.MeanIoU || measured.Images != 16 {
			t.Errorf("%s: measured %v, %v on %d images; validation said %v, %v", r, measured.Error, measured.MeanIoU, measured.Images, result.LocalisationError, result.MeanIoU)
		}
		for _, b := range measured.Baselines {
			if b.MeanIoU >= measured.MeanIoU {
				t.Errorf("%s: mean IoU %.3f, %s has %.3f", r, measured.MeanIoU, b.Name, b.MeanIoU)
			}
		}
	}
}

// TestResume: a run of boxes that was stopped goes on to the same bits; with other boxes
// it doesn't.
func TestResume(t *testing.T) {
	whole := tinyOptions(t, vgg.PCR)
	whole.Recipe.Epochs = 3
	whole.Recipe.Freeze = ConnectedOnly()
	if _, err := train.Run(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	o := whole
	o.Dir = filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.OnIteration = func(it train.Iteration) {
		if it.Iteration == 6 {
			cancel()
		}
	}
	if _, err := train.Run(ctx, o); err != context.Canceled {
		t.Fatal(err)
	}
	o.OnIteration, o.Resume = nil, true
	other := o
	moved := o.Train.Select(func(dataset.Sample) bool { return true })
	moved.Samples[3].Boxes = []dataset.Box{{X0: 1, Y0: 1, X1: 9, Y1: 9, Class: 1}}
	other.Task = NewTask(*o.Task.Localisation(), DefaultRule(), moved, o.Val)
	if _, err := train.Run(t.Context(), other); err == nil || !strings.Contains(err.Error(), "boxes") {
		t.Errorf("other boxes: %v", err)
	}
	if _, err := train.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{train.LastFile, train.BestFile} {
		a, errA := os.ReadFile(filepath.Join(o.Dir, name))
		b, errB := os.ReadFile(filepath.Join(whole.Dir, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not that of the run that didn't stop (%v, %v)", name, errA, errB)
		}
	}
	// Only the fully connected layers moved.
	from, err := vgg.Open(t.Context(), o.Recipe.InitFrom, vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := vgg.Open(t.Context(), filepath.Join(o.Dir, train.LastFile), vgg.OpenOptions{Localiser: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range m.Net.Params()[:8] {
		was := from.Net.Params()[i]
		same := p.Value[0] == was.Value[0] && p.Value[len(p.Value)-1] == was.Value[len(was.Value)-1]
		if frozen := strings.HasPrefix(p.Name, "conv"); frozen != same {
			t.Errorf("%s: unchanged %v", p.Name, same)
		}
	}
}

func TestTargets(t *testing.T) {
	v := dataset.View{ImageW: 100, ImageH: 100, W: 100, H: 100, X: 20, Y: 20, Side: 40}
	box := func(x0, y0, x1, y1 float64, class int) dataset.Box {
		return dataset.Box{X0: x0, Y0: y0, X1: x1, Y1: y1, Class: class}
	}
	difficult := box(20, 20, 60, 60, 0)
	difficult.Difficult = true
	for _, c := range []struct {
		name  string
		rule  string
		boxes []dataset.Box
		want  []float32 // nil: nothing is learnt
	}{
		{"inside", "whole:0.5", []dataset.Box{box(30, 30, 40, 50, 0)}, []float32{0.375, 0.5, 0.25, 0.5}},
		{"none", "whole:0.5", nil, nil},
		{"of another class", "whole:0.5", []dataset.Box{box(30, 30, 40, 50, 1)}, nil},
		{"difficult", "whole:0.5", []dataset.Box{difficult}, nil},
		{"the one shown most of", "whole:0", []dataset.Box{box(0, 0, 30, 30, 0), box(40, 40, 52, 52, 0), box(58, 58, 60, 60, 0)}, []float32{0.65, 0.65, 0.3, 0.3}},
		{"the first of two alike", "whole:0", []dataset.Box{box(24, 24, 28, 28, 0), box(40, 40, 44, 44, 0)}, []float32{0.15, 0.15, 0.1, 0.1}},
		{"just enough of it", "whole:0.5", []dataset.Box{box(10, 20, 30, 60, 0)}, []float32{0, 0.5, 0.5, 1}},
		{"too little of it", "whole:0.5", []dataset.Box{box(9.9, 20, 29.9, 60, 0)}, nil},
		{"cut", "clip:0.5", []dataset.Box{box(10, 20, 30, 60, 0)}, []float32{0.125, 0.5, 0.25, 1}},
		{"beside the crop", "whole:0", []dataset.Box{box(0, 0, 20, 20, 0)}, nil},
		{"round the crop", "whole:0", []dataset.Box{box(0, 0, 100, 100, 0)}, []float32{0.75, 0.75, 2.5, 2.5}},
		{"round the crop, cut", "clip:0", []dataset.Box{box(0, 0, 100, 100, 0)}, []float32{0.5, 0.5, 1, 1}},
	} {
		rule, err := ParseRule(c.rule)
		if err != nil || rule.String() != c.rule {
			t.Fatal(rule, err)
		}
		got, ok := NewTask(vgg.Localisation{Regression: vgg.SCR}, rule, nil, nil).target(dataset.Sample{Boxes: c.boxes}, v)
		if ok != (c.want != nil) || ok && got != [4]float32(c.want) {
			t.Errorf("%s: %v %v, want %v", c.name, got, ok, c.want)
		}
	}
	// In PCR the outputs of the class alone take part.
	task := NewTask(vgg.Localisation{Regression: vgg.PCR, ClassBoxes: make([][4]float64, 3)}, DefaultRule(), nil, nil)
	s := dataset.Sample{Label: 1, Boxes: []dataset.Box{box(30, 30, 40, 50, 1)}}
	outputs, d := []float32{9, 9, 9, 9, 0.5, 0.5, 0.5, 0.5, 9, 9, 9, 9}, make([]float32, 12)
	for i := range d {
		d[i] = 7
	}
	if loss := task.Loss(s, v, outputs, d, 2); loss != (0.125*0.125+0.25*0.25)/2 {
		t.Errorf("loss %v", loss)
	}
	if want := [12]float32{4: 0.25, 6: 0.5}; [12]float32(d) != want {
		t.Errorf("derivatives %v, want %v", d, want)
	}
	for _, bad := range []string{"", "whole:", "whole:2", "whole:-1", "whole:NaN", "cut:0.5", "clip:a"} {
		if _, err := ParseRule(bad); err == nil || !strings.Contains(err.Error(), "box rule") {
			t.Errorf("rule %q: %v", bad, err)
		}
	}
	if a, b := NewTask(vgg.Localisation{Regression: vgg.SCR}, Rule{Clip: true}, nil, nil).Identity(), NewTask(vgg.Localisation{Regression: vgg.PCR}, Rule{Clip: true}, nil, nil).Identity(); a == b {
		t.Errorf("identities %s, %s", a, b)
	}
}

func TestBoxed(t *testing.T) {
	d := squares(t, "squares", 6, 1)
	d.Samples[0].Boxes[0].Class = 1        // another class
	d.Samples[2].Boxes[0].Difficult = true // passed over
	d.Samples[3].Boxes = nil               // none
	boxed, left, err := Boxed(d)
	if err != nil || left != 3 || boxed.Len() != 3 || boxed.Samples[0].Name != "001.png" {
		t.Fatalf("%v, %d, %v", boxed.Samples, left, err)
	}
	if _, left, err := Boxed(d.Select(func(s dataset.Sample) bool { return s.Name == "000.png" })); err == nil || left != 1 {
		t.Errorf("no boxes at all: %d, %v", left, err)
	}
	told := int64(0)
	head, err := MeanBoxes(t.Context(), boxed, vgg.SCR, preprocess.Stored, 2, func(done, total int64) { told = max(told, done*10+total) })
	if err != nil || told != 33 {
		t.Fatalf("%v, told %d", err, told)
	}
	// 001 is unreadable: what remains is 004 of class 0 and 005 of class 1.
	var want [2]corners
	for i, s := range boxed.Samples[1:] {
		data, err := boxed.Read(i + 1)
		if err != nil {
			t.Fatal(err)
		}
		w, h, err := preprocess.Size(data)
		if err != nil {
			t.Fatal(err)
		}
		b := s.Boxes[0]
		want[s.Label] = corners{b.X0 / float64(w), b.Y0 / float64(h), b.X1 / float64(w), b.Y1 / float64(h)}
	}
	var all corners
	for k := range all {
		all[k] = (want[0][k] + want[1][k]) / 2
	}
	if !closeTo(head.ClassBoxes[0], want[0], 1e-12) || !closeTo(head.ClassBoxes[1], want[1], 1e-12) || !closeTo(head.MeanBox, all, 1e-12) {
		t.Errorf("means %+v, want %v and %v", head, want, all)
	}
	if _, err := MeanBoxes(t.Context(), boxed.Select(func(s dataset.Sample) bool { return s.Name == "001.png" }), vgg.SCR, preprocess.Stored, 1, nil); err == nil || !strings.Contains(err.Error(), "001.png") {
		t.Errorf("nothing readable: %v", err)
	}
}

// TestMeanStart: a run that learns nothing gives every image the mean box of what validation sees
// of the training images; of classes it is refused.
func TestMeanStart(t *testing.T) {
	for _, r := range []vgg.Regression{vgg.SCR, vgg.PCR} {
		o := tinyOptions(t, r)
		o.Recipe.MeanStart, o.Recipe.LearningRate, o.Recipe.Epochs = true, 1e-30, 1
		result, err := train.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		m, err := vgg.Open(t.Context(), result.BestWeights, vgg.OpenOptions{Localiser: true})
		if err != nil {
			t.Fatal(err)
		}
		n := r.Outputs(len(o.Train.Classes))
		want, counts := make([]float64, n), make([]float64, n/4)
		loader := &dataset.Loader{Data: o.Train, Spec: m.Preprocess}
		for i, s := range o.Train.Samples {
			v, err := loader.CentralView(i)
			if err != nil {
				t.Fatal(err)
			}
			if v.Side != 32 || v.W != 36 && v.H != 36 {
				t.Fatalf("view %+v, want the central crop of 32 at the smallest side 36", v)
			}
			if target, ok := o.Task.(*Task).target(s, v); ok {
				counts[slot(r, s.Label)/4]++
				for k, x := range target {
					want[slot(r, s.Label)+k] += float64(x)
				}
			}
		}
		for k := range want {
			want[k] /= counts[k/4]
		}
		loader = &dataset.Loader{Data: o.Val, Spec: m.Preprocess, Batch: 4}
		for b, err := range loader.Epoch(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			y, err := m.Net.Forward(b.X)
			if err != nil {
				t.Fatal(err)
			}
			for i, got := range y.Data {
				if w := want[i%len(want)]; math.Abs(float64(got)-w) > 1e-6 {
					t.Fatalf("%s: output %d of %v is %v, want the mean %v", r, i%len(want), y.Data[:len(want)], got, want)
				}
			}
		}
		unseen, err := MeanBoxResult(t.Context(), o.Val, o.Task.(*Task).head, preprocess.Stored, 2)
		if err != nil {
			t.Fatal(err)
		}
		measured, err := Evaluate(t.Context(), &Locator{Nets: []Net{{Model: m}}, Threshold: MergeThreshold}, o.Val, EvalOptions{Protocol: eval.Centre})
		if err != nil {
			t.Fatal(err)
		}
		at := 1 // the mean box, of all or of the class
		if r == vgg.PCR {
			at = 2
		}
		if b := measured.Baselines[at]; b.Error != unseen.Error || !(math.Abs(b.MeanIoU-unseen.MeanIoU) < 1e-12) {
			t.Errorf("%s: the mean box has %+v, evaluation says %+v", r, unseen, b)
		}
	}
	o := tinyOptions(t, vgg.SCR)
	o.Task, o.Recipe.MeanStart = nil, true
	if _, err := train.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "mean_start") {
		t.Errorf("classes: %v, want a refusal of mean_start", err)
	}
}
