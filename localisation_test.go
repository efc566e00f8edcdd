package vgg

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

// boxModel is a small localisation network of three classes.
func boxModel(t *testing.T, r Regression) *Model {
	t.Helper()
	n, err := network.New(network.Options{Config: "8 M FC4 FC", Classes: r.Outputs(3), Width: 1, Input: 8})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Init(network.He, 1); err != nil {
		t.Fatal(err)
	}
	return &Model{
		Net: n, Classes: []string{"a", "b", "c"},
		Preprocess:   preprocess.Spec{Name: "vgg", Scale: 1, Std: [3]float32{1, 1, 1}, Crop: 8, Resize: 8},
		Provenance:   map[string]string{},
		Localisation: &Localisation{Regression: r, Rule: "whole:0.5", MeanBox: [4]float64{0.1, 0.2, 0.7, 0.8}, ClassBoxes: make([][4]float64, 3)},
	}
}

func TestLocaliserRoundTrip(t *testing.T) {
	for _, r := range []Regression{SCR, PCR} {
		m := boxModel(t, r)
		path := filepath.Join(t.TempDir(), "boxes.safetensors")
		if err := m.Save(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		back, err := Open(t.Context(), path, OpenOptions{Localiser: true})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back.Localisation, m.Localisation) || !reflect.DeepEqual(back.Classes, m.Classes) || back.Net.Options().Classes != r.Outputs(3) {
			t.Errorf("%s: %+v of %v", r, back.Localisation, back.Classes)
		}
		if named, err := Open(t.Context(), path, OpenOptions{Localiser: true, Classes: []string{"x", "y", "z"}}); err != nil || named.Classes[1] != "y" {
			t.Errorf("%s: other names: %v", r, err)
		}
		for what, f := range map[string]func() error{
			"open":     func() error { _, err := Open(t.Context(), path, OpenOptions{}); return err },
			"classify": func() error { _, err := m.Classify(preprocess.NewImage(9, 9), 1); return err },
			"export":   func() error { return m.Export(t.Context(), filepath.Join(t.TempDir(), "x.pth"), ExportOptions{}) },
			"ONNX":     func() error { return m.Export(t.Context(), filepath.Join(t.TempDir(), "x.onnx"), ExportOptions{}) },
		} {
			if err := f(); err == nil || !strings.Contains(err.Error(), "a localisation network ("+string(r)+" of 3 classes)") {
				t.Errorf("%s, %s: %v", r, what, err)
			}
		}
		features, err := Open(t.Context(), path, OpenOptions{Headless: true})
		if err != nil || features.Localisation != nil {
			t.Errorf("%s: features: %v", r, err)
		}
	}
}

func TestLocaliserRefused(t *testing.T) {
	dir := t.TempDir()
	for want, change := range map[string]func(*Model){
		"12 outputs, want 4 of SCR":   func(m *Model) { m.Localisation.Regression = SCR },
		`regression "XCR"`:            func(m *Model) { m.Localisation.Regression = "XCR" },
		"2 mean boxes":                func(m *Model) { m.Localisation.ClassBoxes = m.Localisation.ClassBoxes[1:] },
		"12 outputs, want 16 of PCR":  func(m *Model) { m.Classes, m.Localisation.ClassBoxes = append(m.Classes, "d"), make([][4]float64, 4) },
		"3 class names, want 12":      func(m *Model) { m.Localisation = nil },
		"4 mean boxes, want one for ": func(m *Model) { m.Localisation.ClassBoxes = make([][4]float64, 4) },
	} {
		m := boxModel(t, PCR)
		change(m)
		if err := m.Save(t.Context(), filepath.Join(dir, "x.safetensors")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	m := boxModel(t, PCR)
	m.Localisation, m.Classes = nil, make([]string, 12)
	path := filepath.Join(dir, "classes.safetensors")
	if err := m.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, OpenOptions{Localiser: true}); err == nil || !strings.Contains(err.Error(), "a classification network, want a localisation network") {
		t.Errorf("a classification network: %v", err)
	}
	if _, err := ParseRegression("pcr"); err != nil {
		t.Error(err)
	}
	if _, err := ParseRegression("box"); err == nil || !strings.Contains(err.Error(), "want SCR or PCR") {
		t.Error(err)
	}
}
