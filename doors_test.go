package vgg

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// TestDoors: every way to classify a picture gives the same classes.
func TestDoors(t *testing.T) {
	m := tinyModel(t, "D-BN")
	im := noise(70, 45, 9)
	want, err := m.Classify(im, 3)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := png.Encode(&file, im); err != nil {
		t.Fatal(err)
	}
	decoded, err := png.Decode(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.png")
	if err := os.WriteFile(path, file.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	for door, classify := range map[string]func() ([]Prediction, error){
		"image":  func() ([]Prediction, error) { return m.Classify(decoded, 3) },
		"reader": func() ([]Prediction, error) { return m.ClassifyReader(iotest.OneByteReader(&file), 3) },
		"file":   func() ([]Prediction, error) { return m.ClassifyFile(path, 3) },
	} {
		if got, err := classify(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", door, got, err, want)
		}
	}
}

// TestClassifyBatch: a batch gives its images' results, to the bit.
func TestClassifyBatch(t *testing.T) {
	m := tinyModel(t, "A")
	var images []image.Image
	var want [][]Prediction
	for i := range MaxBatch + 3 {
		im := noise(36+i, 90-i, uint64(i))
		top, err := m.Classify(im, 2)
		if err != nil {
			t.Fatal(err)
		}
		images, want = append(images, im), append(want, top)
	}
	if got, err := m.ClassifyBatch(t.Context(), images, 2); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got, err := m.ClassifyBatch(t.Context(), nil, 2); err != nil || len(got) != 0 {
		t.Errorf("no images: %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.ClassifyBatch(ctx, images, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want it cancelled", err)
	}
	images[MaxBatch+1] = (*image.RGBA)(nil)
	if _, err := m.ClassifyBatch(t.Context(), images, 2); err == nil || !strings.Contains(err.Error(), "image 33: ") {
		t.Errorf("%v, want an error that names image 33", err)
	}
}

// TestNoPicture: a nil or empty image is an error.
func TestNoPicture(t *testing.T) {
	m := tinyModel(t, "A")
	for _, im := range []image.Image{nil, (*preprocess.Image)(nil), (*image.Gray)(nil), &preprocess.Image{}, image.NewRGBA(image.Rectangle{})} {
		if top, err := m.Classify(im, 1); err == nil {
			t.Errorf("%T: %v, want an error", im, top)
		}
	}
}

// TestEmptyDoors: what is nil, empty or without a network is an error, not a panic.
func TestEmptyDoors(t *testing.T) {
	ctx := t.Context()
	im := image.NewRGBA(image.Rect(0, 0, 40, 40))
	file := filepath.Join(t.TempDir(), "x.safetensors")
	whole := tinyModel(t, "A")
	nameless := *whole
	nameless.Classes = nil
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"Classify without a network", func() error { _, err := new(Model).Classify(im, 1); return err }},
		{"ClassifyBatch without a network", func() error { _, err := new(Model).ClassifyBatch(ctx, []image.Image{im}, 1); return err }},
		{"Posteriors without a network", func() error { _, err := new(Model).Posteriors(im, 40); return err }},
		{"Until without a network", func() error { _, err := new(Model).Until("fc6", true); return err }},
		{"Save without a network", func() error { return new(Model).Save(ctx, file) }},
		{"Until of an empty network", func() error { _, err := (&Model{Net: &network.Network{}}).Until("fc6", true); return err }},
		{"Forward of an empty network", func() error { _, err := new(network.Network).Forward(tensor.New(1, 3, 4, 4)); return err }},
		{"Forward of nil", func() error { _, err := whole.Net.Forward(nil); return err }},
		{"Save of an empty network", func() error { return (&Model{Net: &network.Network{}}).Save(ctx, file) }},
		{"Classify without class names", func() error { _, err := nameless.Classify(im, 1); return err }},
		{"ClassifyBatch without class names", func() error { _, err := nameless.ClassifyBatch(ctx, []image.Image{im}, 1); return err }},
		{"ClassifyReader of nil", func() error { _, err := whole.ClassifyReader(nil, 1); return err }},
		{"OpenReader of nil", func() error { _, err := OpenReader(ctx, "net", nil, 100, OpenOptions{}); return err }},
		{"OpenFS of nil", func() error { _, err := OpenFS(ctx, nil, "net", OpenOptions{}); return err }},
		{"Identify of nil", func() error { _, err := Identify(ctx, nil, OpenOptions{}); return err }},
		{"Open of an empty description", func() error { _, err := new(Description).Open(ctx); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("panic: %v", p)
				}
			}()
			if err := c.call(); err == nil {
				t.Error("no error")
			}
		})
	}
	if top := new(Model).Top([]float32{0.25, 0.75}, 2); len(top) != 2 || top[0].Class != "1" || top[1].Class != "0" {
		t.Errorf("classes without names: %v, want their indices", top)
	}
}
