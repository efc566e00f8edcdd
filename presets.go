package vgg

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/verydeep/vgg/internal/boundedjson"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

// presetNames are the preprocessings that [OpenOptions] takes by name.
var presetNames = []string{"vgg", "caffe", "keras", "torchvision", "unit"}

// CheckPreprocess reports why text is no value of [OpenOptions].Preprocess.
func CheckPreprocess(text string) error {
	_, err := givenPreprocess(text, network.DefaultInput)
	return err
}

// takesBGR tells whether weights of a preprocessing take BGR before they are imported.
func takesBGR(name string) bool { return name == "caffe" || name == "keras" }

// givenPreprocess returns the preprocessing of that name, or in JSON, for crops of side
// pixels.
func givenPreprocess(text string, side int) (preprocess.Spec, error) {
	var s preprocess.Spec
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		s = preprocess.Spec{Name: "own", Scale: 1, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: side, Resize: side, Orient: preprocess.Upright}
		if err := boundedjson.Unmarshal([]byte(text), &s); err != nil {
			return s, fmt.Errorf("vgg: preprocessing %s: %w", text, err)
		}
		return s, s.Validate()
	}
	if text == "unit" {
		return preprocess.Spec{Name: text, Scale: 1.0 / 255, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: side, Resize: side, Orient: preprocess.Upright}, nil
	}
	s, err := preprocess.Preset(text)
	if err != nil {
		return s, fmt.Errorf("vgg: preprocessing %q: want one of %s, or a JSON object", text, strings.Join(presetNames, ", "))
	}
	s.Resize = (s.Resize*side + s.Crop/2) / s.Crop
	s.Crop, s.Orient = side, preprocess.Upright
	return s, nil
}

// shownAs returns the preprocessing s, which text gives in place of a file's, with the file's
// geometry where text doesn't name it.
func shownAs(s, file preprocess.Spec, text string) preprocess.Spec {
	s.Crop = file.Crop
	if !names(text, "resize") {
		s.Resize = file.Resize
	}
	if !names(text, "fit") {
		s.Fit = file.Fit
	}
	if !names(text, "centre") {
		s.Centre = file.Centre
	}
	if !names(text, "orient") {
		s.Orient = file.Orient
	}
	return s
}

// sizedBy takes into s the filter and the sizes of the model's own layers, where text, the
// preprocessing that was given, doesn't name them.
func sizedBy(s *preprocess.Spec, model preprocess.Spec, text string) {
	s.Crop = model.Crop
	if !names(text, "resize") {
		s.Resize = model.Resize
	}
	if !names(text, "fit") {
		s.Fit = model.Fit
	}
	if !names(text, "filter") {
		s.Filter = model.Filter
	}
}

// names reports whether text is a JSON object with a key.
func names(text, key string) bool {
	var object map[string]json.RawMessage
	return boundedjson.Unmarshal([]byte(text), &object) == nil && object[key] != nil
}

// show makes the preprocessing s follow o.Fit and o.Orient.
func (o OpenOptions) show(s *preprocess.Spec) error {
	if o.Orient != nil {
		s.Orient = *o.Orient
	}
	if o.Fit != nil {
		if *o.Fit == preprocess.Squash && s.Fit != preprocess.Squash && !names(o.Preprocess, "resize") {
			s.Resize = s.Crop
		}
		s.Fit = *o.Fit
	}
	return s.Validate()
}
