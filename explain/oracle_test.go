package explain_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/explain"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/preprocess"
)

// TestOracle compares saliency and Grad-CAM of photographs with what tools/oracle/explain.py
// computes by PyTorch in float64. In float32 a unit near zero may fall on the other side of
// the rectification, and a maximum on another pixel, which changes single pixels of a
// saliency map; so it is compared by its mean difference, and a Grad-CAM place by place.
func TestOracle(t *testing.T) {
	text, err := os.ReadFile("testdata/oracle.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		File             string
		Scale, Class     int
		Score, Posterior float64
		Cells            []float32
		Cams             map[string][]float32
	}
	if err := json.Unmarshal(text, &rows); err != nil || len(rows) != 3 {
		t.Fatal(err, len(rows))
	}
	m := tiny.Hashed()
	_, val, err := sample.Open()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		i := slices.IndexFunc(val.Samples, func(s dataset.Sample) bool { return s.Name == row.File })
		if i < 0 {
			t.Fatalf("the sample has no %s", row.File)
		}
		data, err := val.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		run := func(method explain.Method, layer string) (*explain.Result, []float32) {
			o := explain.Options{Method: method, Layer: layer, Scales: []int{row.Scale}, Classes: []string{strconv.Itoa(row.Class)}}
			r, err := explain.Run(t.Context(), m, im, o)
			if err != nil {
				t.Fatal(err)
			}
			c := r.Top[0]
			near(t, "score", float64(c.Scores[0]), row.Score, 1e-4)
			near(t, "posterior", float64(c.Probability), row.Posterior, 1e-4)
			return r, r.Map(row.Class, 0)
		}
		r, heat := run(explain.Saliency, "")
		s := r.Scales[0]
		var cells []float32
		for y := 0; y < s.Height; y += 16 {
			for x := 0; x < s.Width; x += 16 {
				most := float32(0)
				for i := y; i < min(y+16, s.Height); i++ {
					for j := x; j < min(x+16, s.Width); j++ {
						most = max(most, heat[i*s.Width+j])
					}
				}
				cells = append(cells, most)
			}
		}
		if d := meanDifference(t, cells, row.Cells); d > 2e-4 {
			t.Errorf("%s, class %d: squares of the saliency differ by %.2g of their mean", row.File, row.Class, d)
		}
		for layer, want := range row.Cams {
			r, heat := run(explain.GradCAM, layer)
			if d := largestDifference(t, heat, want); d > 2e-4 {
				t.Errorf("%s, class %d, %s: Grad-CAM differs by %.2g of its maximum", row.File, row.Class, layer, d)
			}
			s, step := r.Scales[0], map[string]int{"pool4": 16, "conv5_3": 16, "pool5": 32}[layer]
			if s.Stride != step || s.Window != step || s.Rows != s.Height/step || s.Cols != s.Width/step {
				t.Errorf("%s: %+v", layer, s)
			}
		}
		if r, _ := run(explain.GradCAM, ""); r.Layer != "conv5_3" {
			t.Errorf("the layer by default is %q", r.Layer)
		}
	}
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// meanDifference returns the mean difference as a share of the mean of want.
func meanDifference(t *testing.T, got, want []float32) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	var sum, of float64
	for i, w := range want {
		sum += math.Abs(float64(got[i] - w))
		of += math.Abs(float64(w))
	}
	return sum / of
}

// largestDifference returns the largest difference as a share of the largest of want.
func largestDifference(t *testing.T, got, want []float32) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	var most, of float64
	for i, w := range want {
		most = math.Max(most, math.Abs(float64(got[i]-w)))
		of = math.Max(of, math.Abs(float64(w)))
	}
	return most / of
}
