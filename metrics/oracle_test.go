package metrics

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"
)

// The functions are SciPy's, scikit-learn's and numpy's of tools/oracle/metrics.py.
func TestOracle(t *testing.T) {
	text, err := os.ReadFile("testdata/oracle.json")
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		McNemar []struct {
			A, B int
			P    float64
		}
		Wilson []struct {
			Wrong, N  int
			Low, High float64
		}
		Posteriors [][]float32
		Truth      []int
		Error      []float64
		Loss       float64
		Confusion  [][]int
		ECE        map[string]float64
	}
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	if len(o.McNemar) < 10 || len(o.Wilson) < 8 || len(o.Posteriors) != 60 || len(o.ECE) < 5 {
		t.Fatal("the fixture is not whole")
	}
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if !(math.Abs(got-want) <= tolerance) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	for _, c := range o.McNemar {
		near("McNemar", McNemar(c.A, c.B), c.P, 1e-9*c.P+1e-300)
	}
	for _, c := range o.Wilson {
		low, high := Wilson(c.Wrong, c.N)
		near("Wilson, low", low, c.Low, 1e-12)
		near("Wilson, high", high, c.High, 1e-12)
	}
	classes := len(o.Posteriors[0])
	confusion := NewConfusion(classes)
	var ranks []int
	var highest []float32
	var right []bool
	loss := 0.0
	for i, p := range o.Posteriors {
		best := TopK(p, 1)[0]
		confusion.Add(o.Truth[i], best)
		ranks = append(ranks, Rank(p, o.Truth[i]))
		highest, right = append(highest, p[best]), append(right, best == o.Truth[i])
		loss -= math.Log(float64(p[o.Truth[i]]))
	}
	near("top-1 error", TopKError(ranks, 1), o.Error[0], 1e-12)
	near("top-5 error", TopKError(ranks, 5), o.Error[1], 1e-12)
	near("loss", loss/float64(len(ranks)), o.Loss, 1e-6)
	for truth := range classes {
		for predicted := range classes {
			if got := confusion.Count(truth, predicted); got != o.Confusion[truth][predicted] {
				t.Errorf("confusion of %d with %d: %d, want %d", truth, predicted, got, o.Confusion[truth][predicted])
			}
		}
	}
	for bins, want := range o.ECE {
		n, err := strconv.Atoi(bins)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := Calibration(highest, right, n)
		near("calibration error in "+bins+" bins", got, want, 1e-7)
	}
}
