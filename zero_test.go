package vgg_test

import (
	"image"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/transfer"
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
		"classify":   func(m *vgg.Model) error { return second(m.Classify(picture, 1)) },
		"batch":      func(m *vgg.Model) error { return second(m.ClassifyBatch(t.Context(), []image.Image{picture}, 1)) },
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
