package metrics

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// Average precision is scikit-learn's and the PASCAL VOC development kit's, and mean class
// recall scikit-learn's, on random and on tied scores.
func TestPrecisionOracle(t *testing.T) {
	text, err := os.ReadFile("testdata/precision.json")
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		Precision []struct {
			Scores      []float32
			Positive    []bool
			Step, Area  float64
			ElevenPoint float64 `json:"11-point"`
		}
		Recall []struct {
			Truth, Predicted []int
			Classes          int
			Recall           float64
		}
	}
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	if len(o.Precision) < 20 || len(o.Recall) < 5 {
		t.Fatalf("%d and %d cases", len(o.Precision), len(o.Recall))
	}
	for i, c := range o.Precision {
		for form, want := range map[APForm]float64{Step: c.Step, Area: c.Area, ElevenPoint: c.ElevenPoint} {
			if got := AveragePrecision(c.Scores, c.Positive, form); math.Abs(got-want) > 1e-12 {
				t.Errorf("case %d: %s %v, want %v", i, form, got, want)
			}
		}
	}
	for i, c := range o.Recall {
		m := NewConfusion(c.Classes)
		for j := range c.Truth {
			m.Add(c.Truth[j], c.Predicted[j])
		}
		if got := m.MeanClassRecall(); math.Abs(got-c.Recall) > 1e-12 {
			t.Errorf("case %d: mean class recall %v, want %v", i, got, c.Recall)
		}
	}
}

func TestAveragePrecision(t *testing.T) {
	for _, form := range APForms() {
		if got := AveragePrecision([]float32{1, 2}, []bool{false, false}, form); !math.IsNaN(got) {
			t.Errorf("%s of nothing positive: %v, want NaN", form, got)
		}
		if got := AveragePrecision([]float32{nan, 2, 1}, []bool{false, true, true}, form); got != 1 {
			t.Errorf("%s with a NaN last: %v, want 1", form, got)
		}
	}
}

// A perfect ranking has 1 by every form, and the order of ties doesn't change
// scikit-learn's.
func TestAveragePrecisionProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "n")
		scores := rapid.SliceOfN(rapid.SampledFrom([]float32{-1, 0, 0.5, 1}), n, n).Draw(t, "scores")
		positive := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "positive")
		positive[0] = true
		for _, form := range APForms() {
			if ap := AveragePrecision(scores, positive, form); !(ap > 0 && ap <= 1) {
				t.Fatalf("%s: %v", form, ap)
			}
			perfect := make([]float32, n)
			for i, p := range positive {
				if p {
					perfect[i] = 1
				}
			}
			if ap := AveragePrecision(perfect, positive, form); ap < 1-1e-12 {
				t.Fatalf("%s of a perfect ranking: %v", form, ap)
			}
		}
		turned, other := make([]float32, n), make([]bool, n)
		for i := range n {
			turned[i], other[i] = scores[n-1-i], positive[n-1-i]
		}
		a, b := AveragePrecision(scores, positive, Step), AveragePrecision(turned, other, Step)
		if math.Abs(a-b) > 1e-12 {
			t.Fatalf("in another order %v, want %v", b, a)
		}
	})
}
