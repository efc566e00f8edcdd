package vgg_test

import (
	"bytes"
	"image"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/train"
	"github.com/verydeep/vgg/transfer"
	"github.com/verydeep/vgg/weights"
)

// Every door answers a model without a network, and no picture, with an error.
func TestZeroModels(t *testing.T) {
	good, zero := tiny.Colours(1), &vgg.Model{}
	data := tiny.Set(t, []string{"red"}, tiny.Image("red", vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red))))
	picture := preprocess.NewImage(40, 40)
	net := func(m *vgg.Model) transfer.Net {
		return transfer.Net{Weights: "w", Open: func() (*vgg.Model, error) { return m, nil }}
	}
	doors := map[string]func(m *vgg.Model) error{
		"classify": func(m *vgg.Model) error { return second(m.Classify(picture, 1)) },
		"batch":    func(m *vgg.Model) error { return second(m.ClassifyBatch(t.Context(), []image.Image{picture}, 1)) },
		"file":     func(m *vgg.Model) error { return second(m.ClassifyFile("testdata/compat/v0/data/val/red/0.png", 1)) },
		"reader": func(m *vgg.Model) error {
			return second(m.ClassifyReader(bytes.NewReader(vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red))), 1))
		},
		"descriptor": func(m *vgg.Model) error { return second(m.Descriptor(t.Context(), picture)) },
		"crop":       func(m *vgg.Model) error { return m.CentralCrop(make([]float32, 4800), picture, 40) },
		"until":      func(m *vgg.Model) error { return second(m.Until("conv1_1", true)) },
		"export":     func(m *vgg.Model) error { return m.Export(t.Context(), t.TempDir()+"/m.pth", vgg.ExportOptions{}) },
		"posteriors": func(m *vgg.Model) error { return second(m.Posteriors(picture, 40)) },
		"scores":     func(m *vgg.Model) error { return second(m.Scores(picture, 40)) },
		"save":       func(m *vgg.Model) error { return m.Save(t.Context(), t.TempDir()+"/m.safetensors") },
		"eval":       func(m *vgg.Model) error { return second(eval.Run(t.Context(), m, data, eval.Options{})) },
		"maps":       func(m *vgg.Model) error { return second(eval.ScoreMaps(t.Context(), m, picture, []int{40})) },
		"outputs":    func(m *vgg.Model) error { return second(eval.OutputMaps(t.Context(), m, picture, []int{40})) },
		"classes":    func(m *vgg.Model) error { return second(eval.MatchClasses(m, data)) },
		"localize": func(m *vgg.Model) error {
			return (&localize.Locator{Nets: []localize.Net{{Model: m}}}).Check()
		},
		"transfer": func(m *vgg.Model) error {
			return second(transfer.Extract(t.Context(), []transfer.Net{net(m)}, &transfer.Images{Dataset: data, Labelled: true}, t.TempDir()+"/f.npy", transfer.Options{}))
		},
	}
	for name, door := range doors {
		for what, m := range map[string]*vgg.Model{"zero": zero, "nil": nil} {
			if err := attempt(func() error { return door(m) }); err == nil || strings.HasPrefix(err.Error(), "panic") {
				t.Errorf("%s of a %s model: %v, want an error", name, what, err)
			}
		}
	}
	// These have no error to tell it by.
	if p := (*vgg.Model)(nil).Top([]float32{0.25, 0.75}, 1); len(p) != 1 || p[0] != (vgg.Prediction{Class: "1", Index: 1, Probability: 0.75}) {
		t.Errorf("Top of a nil model: %v, want class 1 with 0.75", p)
	}
	for what, m := range map[string]*vgg.Model{"zero": zero, "nil": nil} {
		if a := m.Answer([]float32{1, 2}, 1, nil); a.Top != nil || a.Labels != nil || a.Scores != nil {
			t.Errorf("Answer of a %s model: %v, want none", what, a)
		}
	}
	var none *image.RGBA
	for name, im := range map[string]image.Image{"nil": nil, "nil pointer": none, "empty": image.NewRGBA(image.Rectangle{}), "zero": &preprocess.Image{}} {
		for door, f := range map[string]func() error{
			"classify": func() error { return second(good.Classify(im, 1)) },
			"scores":   func() error { return second(good.Scores(im, 40)) },
			"batch":    func() error { return second(good.ClassifyBatch(t.Context(), []image.Image{im}, 1)) },
		} {
			if err := attempt(f); err == nil || strings.HasPrefix(err.Error(), "panic") {
				t.Errorf("%s of a %s picture: %v, want an error", door, name, err)
			}
		}
	}
	for name, im := range map[string]*preprocess.Image{"nil": nil, "zero": {}} {
		if err := attempt(func() error { return second(eval.ScoreMaps(t.Context(), good, im, []int{40})) }); err == nil || strings.HasPrefix(err.Error(), "panic") {
			t.Errorf("score maps of a %s picture: %v, want an error", name, err)
		}
	}
}

// attempt returns the error of f, or a panic as one.
func attempt(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked{v}
		}
	}()
	return f()
}

type panicked struct{ v any }

func (p panicked) Error() string { return "panic" }

// Functions and methods with an error answer arguments that are missing, and values that nobody
// filled in, with one.
func TestZeroArguments(t *testing.T) {
	ctx := t.Context()
	data := tiny.Set(t, []string{"red"}, tiny.Image("red", vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red))))
	good := tiny.Colours(1)
	out := func(name string) string { return filepath.Join(t.TempDir(), name) }
	images := &transfer.Images{Dataset: data}
	for name, door := range map[string]func() error{
		"vgg.Open":                func() error { return second(vgg.Open(ctx, "", vgg.OpenOptions{})) },
		"vgg.OpenFS":              func() error { return second(vgg.OpenFS(ctx, nil, "", vgg.OpenOptions{})) },
		"vgg.OpenReader":          func() error { return second(vgg.OpenReader(ctx, "", nil, 0, vgg.OpenOptions{})) },
		"vgg.Identify":            func() error { return second(vgg.Identify(ctx, nil, vgg.OpenOptions{})) },
		"vgg.ParseClasses":        func() error { return second(vgg.ParseClasses(nil)) },
		"vgg.ParseRegression":     func() error { return second(vgg.ParseRegression("")) },
		"vgg.FormatOf":            func() error { return second(vgg.FormatOf("")) },
		"vgg.CheckPreprocess":     func() error { return vgg.CheckPreprocess("") },
		"Description.Open":        func() error { return second(new(vgg.Description).Open(ctx)) },
		"Description.Open of nil": func() error { return second((*vgg.Description)(nil).Open(ctx)) },
		"Model.ClassifyFile":      func() error { return second(good.ClassifyFile("", 1)) },
		"Model.ClassifyReader":    func() error { return second(good.ClassifyReader(nil, 1)) },
		"Model.Export":            func() error { return new(vgg.Model).Export(ctx, out("m.pth"), vgg.ExportOptions{}) },
		"Model.Until":             func() error { return second(new(vgg.Model).Until("", false)) },
		"Forward, short data": func() error {
			return second(good.Net.Forward(&tensor.Tensor{Shape: []int{1, 3, 40, 40}, Data: make([]float32, 9)}))
		},
		"Forward, zero tensor": func() error { return second(good.Net.Forward(&tensor.Tensor{})) },
		"Forward, nil":         func() error { return second(good.Net.Forward(nil)) },
		"Forward, negative shape": func() error {
			return second(good.Net.Forward(&tensor.Tensor{Shape: []int{-1, 3, -40, 40}, Data: make([]float32, 4800)}))
		},
		"Forward of a zero network": func() error { return second(new(network.Network).Forward(tensor.New(1, 3, 40, 40))) },
		"Forward of a nil network":  func() error { return second((*network.Network)(nil).Forward(tensor.New(1, 3, 40, 40))) },
		"dataset.Open":              func() error { _, _, err := dataset.Open(ctx, "", dataset.OpenOptions{}); return err },
		"dataset.OpenFiles":         func() error { return second(dataset.OpenFiles(ctx)) },
		"dataset.OpenVOC":           func() error { return second(dataset.OpenVOC(ctx, "")) },
		"dataset.OpenVOCActions":    func() error { return second(dataset.OpenVOCActions(ctx, "")) },
		"dataset.New, samples":      func() error { return second(dataset.New("", nil, nil, make([]dataset.Sample, 1))) },
		"dataset.Join":              func() error { return second(dataset.Join("")) },
		"dataset.Join of nil":       func() error { return second(dataset.Join("", nil)) },
		"dataset.Join with nil":     func() error { return second(dataset.Join("", data, nil)) },
		"dataset.Split":             func() error { _, _, err := dataset.Split(nil, 0.5, 0); return err },
		"dataset.Fingerprint":       func() error { return second(dataset.Fingerprint(ctx, nil)) },
		"dataset.NewVersions":       func() error { return second(dataset.NewVersions(ctx, nil)) },
		"dataset.ComputeSurvey":     func() error { return second(dataset.ComputeSurvey(ctx, nil, dataset.StatsOptions{})) },
		"dataset.CachedSurvey":      func() error { _, _, err := dataset.CachedSurvey(ctx, nil, dataset.StatsOptions{}); return err },
		"dataset.FindLeaks":         func() error { return second(dataset.FindLeaks(ctx, nil, nil, dataset.LeakOptions{})) },
		"dataset.ReadBoxes":         func() error { _, _, err := dataset.ReadBoxes(ctx, nil, dataset.BoxOptions{}); return err },
		"dataset.WriteShards":       func() error { return second(dataset.WriteShards(ctx, nil, out("d"), dataset.ShardOptions{})) },
		"dataset.ParseClassMap":     func() error { return second(dataset.ParseClassMap(nil)) },
		"dataset.ParseLabelPattern": func() error { return second(dataset.ParseLabelPattern("")) },
		"Dataset.Read, negative":    func() error { return second(data.Read(-1)) },
		"Dataset.Read, beyond":      func() error { return second(data.Read(1)) },
		"Dataset.Read of zero":      func() error { return second(new(dataset.Dataset).Read(0)) },
		"Dataset.Decode, beyond":    func() error { return second(data.Decode(ctx, 1, dataset.DecodeOptions{})) },
		"Dataset.Sum, beyond":       func() error { _, _, err := data.Sum(ctx, 1); return err },
		"Dataset.Sums, beyond":      func() error { return second(data.Sums(ctx, []int{7})) },
		"Dataset.Read, no files":    func() error { return second((&dataset.Dataset{Samples: make([]dataset.Sample, 1)}).Read(0)) },
		"transfer.Open":             func() error { return second(transfer.Open(ctx, "")) },
		"transfer.OpenMerged":       func() error { return second(transfer.OpenMerged(ctx)) },
		"transfer.Stack":            func() error { _, _, err := transfer.Stack(ctx); return err },
		"transfer.Stack of nil":     func() error { _, _, err := transfer.Stack(ctx, nil); return err },
		"transfer.OpenImages":       func() error { return second(transfer.OpenImages(ctx, transfer.ImageOptions{})) },
		"transfer.OpenSVM":          func() error { return second(transfer.OpenSVM(ctx, "")) },
		"transfer.Train":            func() error { return second(transfer.Train(ctx, nil, nil, nil, transfer.TrainOptions{})) },
		"transfer.Measure": func() error {
			return second(transfer.Measure(ctx, nil, nil, transfer.Protocol{}, transfer.TrainOptions{}))
		},
		"transfer.Extract, no nets": func() error { return second(transfer.Extract(ctx, nil, images, out("f.npy"), transfer.Options{})) },
		"transfer.Extract, no Open": func() error {
			return second(transfer.Extract(ctx, make([]transfer.Net, 1), images, out("f.npy"), transfer.Options{}))
		},
		"transfer.Extract, nil": func() error {
			return second(transfer.Extract(ctx, make([]transfer.Net, 1), nil, out("f.npy"), transfer.Options{}))
		},
		"transfer.Extract, no data": func() error {
			return second(transfer.Extract(ctx, make([]transfer.Net, 1), &transfer.Images{}, out("f.npy"), transfer.Options{}))
		},
		"transfer.Update": func() error {
			_, _, err := transfer.Update(ctx, make([]transfer.Net, 1), images, out("f.npy"), transfer.Options{})
			return err
		},
		"transfer.Update, nil": func() error {
			_, _, err := transfer.Update(ctx, make([]transfer.Net, 1), nil, out("f.npy"), transfer.Options{})
			return err
		},
		"transfer.Describe": func() error {
			_, _, err := transfer.Describe(ctx, transfer.Header{}, nil, transfer.Options{}, nil)
			return err
		},
		"eval.Run":                  func() error { return second(eval.Run(ctx, good, nil, eval.Options{})) },
		"eval.RunNets":              func() error { return second(eval.RunNets(ctx, nil, data, eval.Options{})) },
		"eval.RunNets, no Open":     func() error { return second(eval.RunNets(ctx, make([]eval.Net, 1), data, eval.Options{})) },
		"eval.Work":                 func() error { return second(eval.Work(ctx, make([]eval.Net, 1), nil, eval.Options{}, false)) },
		"eval.OpenResults":          func() error { return second(eval.OpenResults(ctx)) },
		"eval.Fuse":                 func() error { return second(eval.Fuse(ctx)) },
		"eval.Compare":              func() error { return second(eval.Compare(ctx, nil, nil)) },
		"eval.MatchClasses":         func() error { return second(eval.MatchClasses(good, nil)) },
		"eval.ParseProtocol":        func() error { return second(eval.ParseProtocol("")) },
		"eval.ParseShard":           func() error { return second(eval.ParseShard("")) },
		"localize.Evaluate":         func() error { return second(localize.Evaluate(ctx, &localize.Locator{}, data, localize.EvalOptions{})) },
		"localize.Evaluate, nil":    func() error { return second(localize.Evaluate(ctx, nil, nil, localize.EvalOptions{})) },
		"train.Run":                 func() error { return second(train.Run(ctx, train.Options{})) },
		"preprocess.Decode":         func() error { return second(preprocess.Decode(nil, preprocess.DecodeOptions{})) },
		"preprocess.DecodeFile":     func() error { return second(preprocess.DecodeFile("", preprocess.DecodeOptions{})) },
		"preprocess.DecodeReader":   func() error { return second(preprocess.DecodeReader(nil, preprocess.DecodeOptions{})) },
		"preprocess.Read":           func() error { return second(preprocess.Read(ctx, nil)) },
		"preprocess.Size":           func() error { _, _, err := preprocess.Size(nil); return err },
		"preprocess.FromImage":      func() error { return second(preprocess.FromImage(nil)) },
		"preprocess.Crop":           func() error { return second(preprocess.Crop(nil, 0, 0, 1, 1)) },
		"preprocess.Resize":         func() error { return second(preprocess.Resize(nil, 1, 1, preprocess.Bilinear)) },
		"preprocess.Resize of zero": func() error { return second(preprocess.Resize(&preprocess.Image{}, 1, 1, preprocess.Bilinear)) },
		"preprocess.Resize, short": func() error {
			return second(preprocess.Resize(&preprocess.Image{W: 9, H: 9}, 4, 4, preprocess.Bilinear))
		},
		"preprocess.ResizeRegion": func() error { return second(preprocess.ResizeRegion(nil, 1, 1, preprocess.Bilinear, 0, 0, 1, 1)) },
		"preprocess.ResizeShort":  func() error { return second(preprocess.ResizeShort(nil, 1, preprocess.Bilinear)) },
		"preprocess.Preset":       func() error { return second(preprocess.Preset("")) },
		"Spec.Validate":           func() error { return preprocess.Spec{}.Validate() },
		"weights.Open":            func() error { return second(weights.Open(ctx, "")) },
		"weights.OpenFS":          func() error { return second(weights.OpenFS(ctx, nil, "")) },
		"weights.OpenReader":      func() error { return second(weights.OpenReader(ctx, "", nil, 0)) },
	} {
		err := attempt(door)
		if p, ok := err.(panicked); ok {
			t.Errorf("%s: panic: %v", name, p.v)
		} else if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The number of classes that are wanted is at least one.
func TestClassifyCount(t *testing.T) {
	good := tiny.Colours(1)
	picture, file := preprocess.NewImage(40, 40), vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red))
	for _, k := range []int{0, -1} {
		for door, f := range map[string]func() error{
			"classify": func() error { return second(good.Classify(picture, k)) },
			"batch":    func() error { return second(good.ClassifyBatch(t.Context(), []image.Image{picture}, k)) },
			"reader":   func() error { return second(good.ClassifyReader(bytes.NewReader(file), k)) },
		} {
			if err := attempt(f); err == nil || !strings.Contains(err.Error(), "want 1 or more") {
				t.Errorf("%s of %d classes: %v, want an error that asks for 1 or more", door, k, err)
			}
		}
	}
	if p, err := good.ClassifyReader(bytes.NewReader(file), 99); err != nil || len(p) != len(good.Classes) {
		t.Errorf("99 classes: %v, %v, want all %d", p, err, len(good.Classes))
	}
}
