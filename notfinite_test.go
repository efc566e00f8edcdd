package vgg_test

import (
	"bytes"
	"errors"
	"image"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/transfer"
)

// broken returns a network of random weights, three classes and 32×32 crops, with a value in the
// middle of a parameter.
func broken(t *testing.T, config, parameter string, value float64) *vgg.Model {
	t.Helper()
	o := network.DefaultOptions(config)
	o.Classes, o.Width, o.FC, o.Input = 3, 1./16, 16, 32
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.He, 1); err != nil {
		t.Fatal(err)
	}
	m := tiny.Colours(1)
	m.Net = net
	for _, p := range net.Params() {
		if p.Name != parameter {
			continue
		}
		v := make([]float32, p.Len())
		if err := p.Get(v); err != nil {
			t.Fatal(err)
		}
		v[len(v)/2] = float32(value)
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatalf("%s has no %s", config, parameter)
	return nil
}

// TestNotFinite: weights that give NaN or infinite scores are vgg.ErrNotFinite at every door.
// Soft-max and sigmoid make finite posteriors of some infinite scores, and so does the maximum
// over a map of descriptors.
func TestNotFinite(t *testing.T) {
	const labels = "A FC16 FC16 FC SIGMOID"
	data := tiny.Set(t, tiny.Colours(1).Classes, tiny.Image("red", red), tiny.Image("blue", blue))
	im, err := preprocess.DecodeReader(bytes.NewReader(red), preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "red.png")
	if err := os.WriteFile(file, red, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, config, parameter string
		value                   float64
	}{
		{"NaN weight", "A", "conv1_1.weight", math.NaN()},
		{"infinite weight", "A", "conv1_1.weight", math.Inf(1)},
		{"NaN variance", "A-BN", "conv1_1.bn.running_var", math.NaN()},
		{"NaN mean", "A-BN", "conv5_2.bn.running_mean", math.NaN()},
		{"NaN bias of the last layer", "A", "fc8.bias", math.NaN()},
		{"infinite score", "A", "fc8.bias", math.Inf(1)},
		{"score of minus infinity", "A", "fc8.bias", math.Inf(-1)},
		{"infinite score of a label", labels, "fc8.bias", math.Inf(-1)},
	} {
		m := broken(t, c.config, c.parameter, c.value)
		doors := classDoors(t, m, im, file, data)
		if c.parameter != "fc8.bias" {
			add(doors, descriptorDoors(t, m, data))
		}
		if c.config != labels {
			add(doors, boxDoors(t, m, im))
		}
		for door, call := range doors {
			if err := call(); !errors.Is(err, vgg.ErrNotFinite) || !errors.Is(err, eval.ErrNotFinite) {
				t.Errorf("%s: %s: %v, want %v", c.name, door, err, vgg.ErrNotFinite)
			}
		}
	}
}

func add(to, doors map[string]func() error) {
	for name, call := range doors {
		to[name] = call
	}
}

// classDoors are the ways to ask for classes.
func classDoors(t *testing.T, m *vgg.Model, im *preprocess.Image, file string, data *dataset.Dataset) map[string]func() error {
	ctx := t.Context()
	if m.Net.Options().Posterior() == network.ByLabel {
		data = data.AsMultiLabel()
	}
	run := func(p eval.Protocol) func() error {
		return func() error { return second(eval.Run(ctx, m, data, eval.Options{Protocol: p})) }
	}
	return map[string]func() error{
		"Classify":       func() error { return second(m.Classify(im, 1)) },
		"ClassifyBatch":  func() error { return second(m.ClassifyBatch(ctx, []image.Image{im, im}, 1)) },
		"ClassifyFile":   func() error { return second(m.ClassifyFile(file, 1)) },
		"ClassifyReader": func() error { return second(m.ClassifyReader(bytes.NewReader(red), 1)) },
		"Posteriors":     func() error { return second(m.Posteriors(im, 40)) },
		"Scores":         func() error { return second(m.Scores(im, 40)) },
		"eval centre":    run(eval.Centre),
		"eval dense":     run(eval.Dense),
		"eval crops":     run(eval.MultiCrop),
		"ScoreMaps":      func() error { return second(eval.ScoreMaps(ctx, m, im, []int{40, 64})) },
		"OutputMaps":     func() error { return second(eval.OutputMaps(ctx, m, im, []int{40})) },
		"an image of a batch": func() error {
			var images []image.Image
			for range vgg.MaxBatch + 1 {
				images = append(images, im)
			}
			return second(m.ClassifyBatch(ctx, images, 1))
		},
	}
}

// descriptorDoors are the ways to ask for descriptors.
func descriptorDoors(t *testing.T, m *vgg.Model, data *dataset.Dataset) map[string]func() error {
	ctx := t.Context()
	images := &transfer.Images{Dataset: data, Labelled: true}
	nets := func(m *vgg.Model) []transfer.Net {
		return []transfer.Net{{Weights: "tiny", Open: func() (*vgg.Model, error) { return m, nil }}}
	}
	good := broken(t, m.Net.Options().Config, "fc8.bias", 0)
	out := filepath.Join(t.TempDir(), "d.npy")
	if _, err := transfer.Extract(ctx, nets(good), images, out, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	d, err := transfer.Open(ctx, out)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	extract := func(o transfer.Options) func() error {
		return func() error {
			return second(transfer.Extract(ctx, nets(m), images, filepath.Join(t.TempDir(), "e.npy"), o))
		}
	}
	return map[string]func() error{
		"Extract":         extract(transfer.DefaultOptions()),
		"Extract maximum": extract(transfer.Options{Max: true, Raw: true}),
		"Describe": func() error {
			_, _, err := transfer.Describe(ctx, d.Header, images, transfer.Options{}, func(transfer.NetID) (*vgg.Model, error) { return m, nil })
			return err
		},
		"Extraction": func() error {
			net, err := m.Until("conv5_2", false)
			if err != nil {
				return err
			}
			x := eval.Extraction{Model: net, Data: data, Scales: []int{40}, Max: true}
			return x.Run(ctx, []int{0, 1}, func(int, [][]float32, error) error { return nil })
		},
	}
}

// boxDoors are the ways to ask for boxes: of a good localisation network with a broken
// classifier, and of one whose boxes are the broken network's.
func boxDoors(t *testing.T, m *vgg.Model, im *preprocess.Image) map[string]func() error {
	ctx := t.Context()
	boxed := tiny.Set(t, m.Classes, tiny.Image("red", red))
	boxed.Samples[0].Boxes = []dataset.Box{{X1: 20, Y1: 20}}
	boxes := localiser(t)
	rated := &localize.Locator{Nets: []localize.Net{{Model: boxes}}, Classifiers: []*vgg.Model{m}}
	return map[string]func() error{
		"Dense with a classifier":     func() error { return second(rated.Dense(ctx, im)) },
		"MultiCrop with a classifier": func() error { return second(rated.MultiCrop(ctx, im)) },
		"Evaluate with a classifier": func() error {
			return second(localize.Evaluate(ctx, rated, boxed, localize.EvalOptions{Protocol: eval.Dense}))
		},
	}
}

// TestBoxesNotFinite: so is a localisation network whose boxes are NaN or infinite.
func TestBoxesNotFinite(t *testing.T) {
	im, err := preprocess.DecodeReader(bytes.NewReader(red), preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		m := localiser(t)
		last := m.Net.Params()[len(m.Net.Params())-1]
		v := make([]float32, last.Len())
		v[1] = float32(value)
		if err := last.Set(v); err != nil {
			t.Fatal(err)
		}
		l := &localize.Locator{Nets: []localize.Net{{Model: m}}}
		for door, err := range map[string]error{
			"Centre":    second(l.Centre(t.Context(), im)),
			"Dense":     second(l.Dense(t.Context(), im)),
			"MultiCrop": second(l.MultiCrop(t.Context(), im)),
		} {
			if !errors.Is(err, vgg.ErrNotFinite) {
				t.Errorf("%v: %s: %v, want %v", value, door, err, vgg.ErrNotFinite)
			}
		}
	}
}
