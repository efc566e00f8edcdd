package vgg

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/weights"
)

// picture is tools/oracle/adaptive.py's.
func picture(side int) image.Image {
	im := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			v := func(c int) uint8 { return uint8((c*67 + y*13 + x*29 + y*x*5) % 256) }
			im.Set(x, y, color.NRGBA{v(0), v(1), v(2), 255})
		}
	}
	return im
}

// adaptiveRow is the network in testdata/adaptive, which is none of the paper's.
const adaptiveRow = "4 M 6 M 6 M 8 M 8 M FC16 FC16 FC"

// A torchvision file takes inputs of any side, with PyTorch's posteriors, in every form that
// the network is kept in.
func TestAdaptiveInput(t *testing.T) {
	text, err := os.ReadFile("testdata/adaptive/posteriors.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[int][]float64
	if err := json.Unmarshal(text, &want); err != nil || len(want) < 8 {
		t.Fatal(err, len(want))
	}
	for side, posteriors := range want {
		said := ""
		m, err := Open(t.Context(), "testdata/adaptive/state.pth", OpenOptions{
			Input: side, Preprocess: "unit", Config: adaptiveRow, Described: func(d *Description) { said = d.Adapted },
		})
		if err != nil {
			t.Errorf("%d: %v", side, err)
			continue
		}
		if (said == "") != (side>>5 == 7) || said != "" && !strings.Contains(said, fmt.Sprintf("of %d×%d pixels, is pooled to 7×7", side>>5, side>>5)) {
			t.Errorf("%d: said %q", side, said)
		}
		saved := filepath.Join(t.TempDir(), "m.safetensors")
		if err := m.Save(t.Context(), saved); err != nil {
			t.Fatal(err)
		}
		back, err := Open(t.Context(), saved, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for what, m := range map[string]*Model{"opened": m, "saved": back} {
			got, err := m.Posteriors(picture(side), side)
			if err != nil {
				t.Errorf("%d, %s: %v", side, what, err)
				continue
			}
			for k := range got {
				if math.Abs(float64(got[k])-posteriors[k]) > 1e-5 {
					t.Errorf("%d, %s: %v, want %v", side, what, got, posteriors)
					break
				}
			}
		}
		exported := filepath.Join(t.TempDir(), "m.onnx")
		if err := m.Export(t.Context(), exported, ExportOptions{Format: weights.ONNX}); err != nil {
			t.Errorf("%d: %v", side, err)
		}
		err = m.Export(t.Context(), exported, ExportOptions{Format: weights.ONNX, ONNX: ONNXOptions{Dense: true}})
		if (err == nil) != (side>>5 == 7) {
			t.Errorf("%d: dense ONNX: %v", side, err)
		}
	}
}

// A file of this library has no pooling that another side could go through, nor have others.
func TestAdaptiveRefused(t *testing.T) {
	m, err := Open(t.Context(), "testdata/adaptive/state.pth", OpenOptions{Preprocess: "unit", Config: adaptiveRow})
	if err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(t.TempDir(), "m.safetensors")
	if err := m.Save(t.Context(), saved); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), saved, OpenOptions{Input: 128}); err == nil || !strings.Contains(err.Error(), "input side 224 by the file, want 128") {
		t.Errorf("native: %v", err)
	}
	if _, err := Open(t.Context(), "testdata/adaptive/state.pth", OpenOptions{Config: adaptiveRow, Input: 128}); err == nil || !strings.Contains(err.Error(), "say vgg, caffe, keras, torchvision, unit") {
		t.Errorf("without preprocessing: %v", err)
	}
	if _, err := Open(t.Context(), "testdata/adaptive/state.pth", OpenOptions{Preprocess: "unit", Config: adaptiveRow, Input: 31}); err == nil || !strings.Contains(err.Error(), "31") {
		t.Errorf("input of 31 pixels: %v", err)
	}
}
