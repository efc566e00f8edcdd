package vgg_test

import (
	"bytes"
	"errors"
	"image/color"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/train"
	"github.com/verydeep/vgg/transfer"
	"github.com/verydeep/vgg/weights"
)

// as reports whether an error of type E is in err's chain.
func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// is returns a test for an error in the chain.
func is(want error) func(error) bool {
	return func(err error) bool { return errors.Is(err, want) }
}

// picture is a PNG file of 40×40 pixels of one colour.
func picture(c color.RGBA) []byte { return vggtest.PNG(40, 40, vggtest.Plain(c)) }

var (
	red  = picture(color.RGBA{R: 200, A: 255})
	blue = picture(color.RGBA{B: 200, A: 255})
)

// TestErrors: what a caller may want to tell apart is told apart by errors.As or errors.Is, at
// every door of the library.
func TestErrors(t *testing.T) {
	model := tiny.Colours(9)
	features, err := model.Until("fc7", true)
	if err != nil {
		t.Fatal(err)
	}
	boxes := localiser(t)
	data := tiny.Set(t, model.Classes, tiny.Image("red", red), tiny.Image("blue", blue))
	broken := tiny.Set(t, model.Classes, tiny.Image("red", []byte("text")))
	boxed := tiny.Set(t, boxes.Classes, tiny.Image("red", red))
	boxed.Samples[0].Boxes = []dataset.Box{{X1: 20, Y1: 20}}
	dir := t.TempDir()
	text := written(t, dir, "text.safetensors", "this is no file of weights\n")
	nan := tiny.Colours(float32(math.NaN()))
	evaluate := func(m *vgg.Model, d *dataset.Dataset, out string) error {
		_, err := eval.Run(t.Context(), m, d, eval.Options{Out: out})
		return err
	}
	locate := func(l *localize.Locator, out string) error {
		_, err := localize.Evaluate(t.Context(), l, boxed, localize.EvalOptions{Out: out, RunID: out})
		return err
	}
	locator := &localize.Locator{Nets: []localize.Net{{Model: boxes}}}
	for name, test := range map[string]struct {
		err  error
		want func(error) bool
	}{
		"divergence":          {diverge(t), as[*train.DivergedError]},
		"scores not finite":   {evaluate(nan, data, ""), is(eval.ErrNotFinite)},
		"too many bad images": {trainOn(t, tiny.Set(t, model.Classes, tiny.Image("red", red), tiny.Image("blue", []byte("text"))), nil), as[*train.TooManyBadError]},

		"held: evaluation":   {heldEvaluation(t, data), as[*eval.HeldError]},
		"held: training":     {heldTraining(t), as[*train.HeldError]},
		"held: descriptors":  {heldDescriptors(t, data), as[*transfer.HeldError]},
		"held: localisation": {heldLocalisation(t, locator, boxed), as[*localize.HeldError]},

		"another run's results":     {anotherRun(t, evaluate, data), as[*eval.OtherRunError]},
		"another run's directory":   {trainOn(t, data, func(o *train.Options) { o.Dir = dir }), as[*train.OtherRunError]},
		"another run's descriptors": {otherDescriptors(t, data), as[*transfer.OtherRunError]},

		"headless: classify":   {second(features.ClassifyFile(written(t, dir, "red.png", string(red)), 1)), is(vgg.ErrHeadless)},
		"headless: evaluation": {evaluate(features, data, ""), is(vgg.ErrHeadless)},
		"headless: classifier": {locate(&localize.Locator{Nets: locator.Nets, Classifiers: []*vgg.Model{{Net: features.Net, Classes: boxes.Classes}}}, ""), is(vgg.ErrHeadless)},

		"localiser: classify":    {second(boxes.ClassifyFile(filepath.Join(dir, "red.png"), 1)), as[*vgg.LocaliserError]},
		"localiser: open":        {open(t, boxes, vgg.OpenOptions{}), as[*vgg.LocaliserError]},
		"localiser: evaluation":  {evaluate(boxes, data, ""), as[*vgg.LocaliserError]},
		"localiser: classifier":  {locate(&localize.Locator{Nets: locator.Nets, Classifiers: []*vgg.Model{boxes}}, ""), as[*vgg.LocaliserError]},
		"classifier: open":       {open(t, model, vgg.OpenOptions{Localiser: true}), is(vgg.ErrNotLocaliser)},
		"classifier: evaluation": {locate(&localize.Locator{Nets: []localize.Net{{Model: model}}}, ""), is(vgg.ErrNotLocaliser)},

		"unreadable: file":       {second(model.ClassifyFile(text, 1)), as[*preprocess.FormatError]},
		"unreadable: damaged":    {second(model.ClassifyReader(bytes.NewReader(red[:len(red)/2]), 1)), as[*preprocess.DecodeError]},
		"unreadable: evaluation": {evaluate(model, broken, ""), as[*dataset.BadImage]},
		"unreadable: survey":     {second(dataset.ComputeSurvey(t.Context(), broken, dataset.StatsOptions{})), as[*dataset.BadImage]},

		"no weights":          {second(vgg.Open(t.Context(), text, vgg.OpenOptions{})), as[*weights.UnsupportedError]},
		"weights cut off":     {second(vgg.Open(t.Context(), cut(t, model), vgg.OpenOptions{})), as[*weights.FormatError]},
		"no results":          {second(eval.OpenResults(t.Context(), text)), as[*eval.FormatError]},
		"no results to go on": {evaluate(model, data, text), as[*eval.FormatError]},
		"no boxes":            {locate(locator, text), as[*localize.FormatError]},
		"no descriptors":      {second(transfer.Open(t.Context(), saved(t, model))), as[*transfer.FormatError]},
		"no SVM":              {second(transfer.OpenSVM(t.Context(), saved(t, model))), as[*transfer.FormatError]},
		"no file":             {second(vgg.Open(t.Context(), filepath.Join(dir, "missing.safetensors"), vgg.OpenOptions{})), is(fs.ErrNotExist)},
	} {
		if test.err == nil || !test.want(test.err) {
			t.Errorf("%s: %v (%T), want another kind of error", name, test.err, test.err)
		}
	}
}

// second returns an error without the value before it.
func second[T any](_ T, err error) error { return err }

func written(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// saved returns the file of a model.
func saved(t *testing.T, m *vgg.Model) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := m.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, m *vgg.Model, o vgg.OpenOptions) error {
	return second(vgg.Open(t.Context(), saved(t, m), o))
}

// cut returns a file of a model without its last byte.
func cut(t *testing.T, m *vgg.Model) string {
	t.Helper()
	path := saved(t, m)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return written(t, filepath.Dir(path), "cut.safetensors", string(data[:len(data)-1]))
}

// localiser returns a network that gives one box.
func localiser(t *testing.T) *vgg.Model {
	t.Helper()
	o := network.DefaultOptions("A")
	o.Classes, o.Width, o.FC, o.Input = 4, 1./16, 16, 32
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.He, 1); err != nil {
		t.Fatal(err)
	}
	m := tiny.Colours(1)
	m.Net = net
	m.Localisation = &vgg.Localisation{Regression: vgg.SCR, MeanBox: [4]float64{0, 0, 1, 1}, Rule: "whole:0.5", ClassBoxes: make([][4]float64, 3)}
	for c := range m.Localisation.ClassBoxes {
		m.Localisation.ClassBoxes[c] = [4]float64{0, 0, 1, 1}
	}
	return m
}

// trainOn trains a tiny network on images of three classes.
func trainOn(t *testing.T, d *dataset.Dataset, change func(*train.Options)) error {
	t.Helper()
	r := train.PaperRecipe()
	r.Config, r.Width, r.FC, r.Input, r.ScaleMin, r.ScaleMax = "A", 1./16, 16, 32, 32, 32
	r.Batch, r.Groups, r.Epochs = 2, 1, 2
	o := train.Options{Recipe: r, Train: d, Dir: filepath.Join(t.TempDir(), "run"), MaxBad: train.NoneBad}
	if change != nil {
		change(&o)
	}
	return second(train.Run(t.Context(), o))
}

func colours(t *testing.T) *dataset.Dataset {
	return tiny.Set(t, []string{"red", "green", "blue"}, tiny.Image("red", red), tiny.Image("blue", blue))
}

func diverge(t *testing.T) error {
	return trainOn(t, colours(t), func(o *train.Options) { o.Recipe.LearningRate, o.Recipe.Epochs = 1e30, 9 })
}

// heldEvaluation begins an evaluation within another, into the same file.
func heldEvaluation(t *testing.T, d *dataset.Dataset) (inner error) {
	t.Helper()
	o := eval.Options{Out: filepath.Join(t.TempDir(), "f.jsonl")}
	again := o
	o.OnImage = func(done, _ int64) {
		if done == 1 {
			inner = second(eval.Run(t.Context(), tiny.Colours(9), d, again))
		}
	}
	if _, err := eval.Run(t.Context(), tiny.Colours(9), d, o); err != nil {
		t.Error(err)
	}
	return inner
}

func heldTraining(t *testing.T) (inner error) {
	t.Helper()
	err := trainOn(t, colours(t), func(o *train.Options) {
		again := *o
		again.Resume = true
		o.OnIteration = func(train.Iteration) { inner = second(train.Run(t.Context(), again)) }
	})
	if err != nil {
		t.Error(err)
	}
	return inner
}

func heldLocalisation(t *testing.T, l *localize.Locator, d *dataset.Dataset) (inner error) {
	t.Helper()
	o := localize.EvalOptions{Out: filepath.Join(t.TempDir(), "f.jsonl")}
	again := o
	o.OnImage = func(int64, int64) { inner = second(localize.Evaluate(t.Context(), l, d, again)) }
	if _, err := localize.Evaluate(t.Context(), l, d, o); err != nil {
		t.Error(err)
	}
	return inner
}

func describeImages(t *testing.T, d *dataset.Dataset, out string, o transfer.Options) error {
	net := transfer.Net{Weights: "tiny", Open: func() (*vgg.Model, error) { return tiny.Colours(9), nil }}
	return second(transfer.Extract(t.Context(), []transfer.Net{net}, &transfer.Images{Dataset: d, Labelled: true}, out, o))
}

func heldDescriptors(t *testing.T, d *dataset.Dataset) (inner error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "f.npy")
	o := transfer.Options{OnImage: func(int64, int64) { inner = describeImages(t, d, out, transfer.Options{}) }}
	if err := describeImages(t, d, out, o); err != nil {
		t.Error(err)
	}
	return inner
}

// otherDescriptors describes images in another way, into the same file.
func otherDescriptors(t *testing.T, d *dataset.Dataset) error {
	t.Helper()
	out := filepath.Join(t.TempDir(), "f.npy")
	if err := describeImages(t, d, out, transfer.Options{}); err != nil {
		t.Error(err)
	}
	return describeImages(t, d, out, transfer.Options{Flip: true})
}

// anotherRun evaluates other images into the file of a first evaluation.
func anotherRun(t *testing.T, evaluate func(*vgg.Model, *dataset.Dataset, string) error, d *dataset.Dataset) error {
	t.Helper()
	out := filepath.Join(t.TempDir(), "f.jsonl")
	if err := evaluate(tiny.Colours(9), d, out); err != nil {
		t.Error(err)
	}
	return evaluate(tiny.Colours(9), tiny.Set(t, d.Classes, tiny.Image("red", blue), tiny.Image("red", red), tiny.Image("red", red)), out)
}
