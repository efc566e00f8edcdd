package preprocess

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestPreset(t *testing.T) {
	for _, s := range presets() {
		got, err := Preset(s.Name)
		if err != nil || got != s {
			t.Errorf("%s: %v, %v", s.Name, got, err)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	_, err := Preset("tensorflow")
	if want := `preprocess: preset: "tensorflow", want one of vgg, caffe, keras, torchvision`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestSpecSurvivesJSON(t *testing.T) {
	for _, s := range presets() {
		s.Filter = Bicubic
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), `"filter":"bicubic"`) {
			t.Errorf("JSON %s, want the filter by name", data)
		}
		var got Spec
		if err := json.Unmarshal(data, &got); err != nil || got != s {
			t.Errorf("%v, %v, want %v", got, err, s)
		}
	}
	if err := json.Unmarshal([]byte(`{"filter":"nearest"}`), new(Spec)); err == nil {
		t.Error(`filter "nearest": no error`)
	}
	if _, err := json.Marshal(Filter(9)); err == nil {
		t.Error("Filter(9) to JSON: no error")
	}
}

// Files of earlier versions have neither field, and their pixels were never squashed or turned.
func TestSpecOfEarlierVersions(t *testing.T) {
	s, err := Preset("vgg")
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(data); strings.Contains(text, "fit") || strings.Contains(text, "orient") {
		t.Errorf("JSON %s, want the fields of earlier versions alone", text)
	}
	got := Spec{Orient: Upright}
	if err := json.Unmarshal(data, &got); err != nil || got.Fit != Keep || got.Orient != Upright {
		t.Errorf("%+v, %v: want the reader's own orientation", got, err)
	}
	s.Fit, s.Orient = Squash, Upright
	if data, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &got); err != nil || got != s {
		t.Errorf("%s gives %+v, %v", data, got, err)
	}
	for _, bad := range []string{`{"fit":"pad"}`, `{"orient":"sideways"}`} {
		if err := json.Unmarshal([]byte(bad), new(Spec)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestSpecValidate(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for want, change := range map[string]func(*Spec){
		"scale 0":    func(s *Spec) { s.Scale = 0 },
		"scale NaN":  func(s *Spec) { s.Scale = nan },
		"scale +Inf": func(s *Spec) { s.Scale = inf },
		"mean":       func(s *Spec) { s.Mean[1] = nan },
		"std":        func(s *Spec) { s.Std[2] = 0 },
		"filter":     func(s *Spec) { s.Filter = 5 },
		"crop 0":     func(s *Spec) { s.Crop = 0 },
		"resize 223": func(s *Spec) { s.Resize = 223 },
		"fit":        func(s *Spec) { s.Fit = 2 },
		"orient":     func(s *Spec) { s.Orient = -1 },
	} {
		s := presets()[0]
		change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %s", err, want)
		}
	}
}

func TestSpecTensorIsPlanarRGB(t *testing.T) {
	s := Spec{Scale: 2, Mean: [3]float32{1, 2, 3}, Std: [3]float32{1, 2, 4}}
	im := &Image{W: 2, H: 1, Pix: []uint8{10, 20, 30, 11, 21, 31}}
	got := make([]float32, 6)
	s.Tensor(got, im, [3]float32{0, 1, -40})
	want := []float32{19, 21, 20, 21, -5.75, -5.25}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}
