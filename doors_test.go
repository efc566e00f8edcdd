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

	"github.com/verydeep/vgg/preprocess"
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
