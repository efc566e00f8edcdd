package vgg

import (
	"encoding/json"
	"fmt"
	"strings"

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
		s = preprocess.Spec{Name: "own", Scale: 1, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: side, Resize: side}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return s, fmt.Errorf("vgg: preprocessing %s: %w", text, err)
		}
		return s, s.Validate()
	}
	if text == "unit" {
		return preprocess.Spec{Name: text, Scale: 1.0 / 255, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: side, Resize: side}, nil
	}
	s, err := preprocess.Preset(text)
	if err != nil {
		return s, fmt.Errorf("vgg: preprocessing %q: want one of %s, or a JSON object", text, strings.Join(presetNames, ", "))
	}
	s.Resize = (s.Resize*side + s.Crop/2) / s.Crop
	s.Crop = side
	return s, nil
}
