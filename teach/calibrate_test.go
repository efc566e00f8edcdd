package teach

import (
	"math"
	"testing"
)

// madeUp returns the scores of tools/oracle/calibration.py.
func madeUp(n int, state uint32) []float32 {
	s := make([]float32, n)
	for i := range s {
		state = (state*1103515245 + 12345) & (1<<31 - 1)
		s[i] = float32(int(state>>16&1023)-512) / 256
	}
	return s
}

// TestCalibrationOracle: the slopes are those of scipy's minimiser and of scikit-learn's Platt
// scaling, as tools/oracle/calibration.py prints them.
func TestCalibrationOracle(t *testing.T) {
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-4*math.Abs(want) {
			t.Errorf("%s %v, want %v", what, got, want)
		}
	}
	const n, k = 40, 4
	s, certain, classes := madeUp(n*k, 1), make([]float32, n*k), make([]int, n)
	for i := range classes {
		classes[i] = i % k
		for c := range k {
			certain[i*k+c] = -1
		}
		s[i*k+i%k]++
		certain[i*k+i%k] = 1
	}
	near("temperature", temperature(s, classes), 0.9000211777306983)
	near("temperature of scores that are all right", temperature(certain, classes), 2.40609213241069)

	s = madeUp(60, 2)
	shown := make([]bool, 60)
	for i := range shown {
		if shown[i] = i%3 == 0; shown[i] {
			s[i] += 0.75
		}
	}
	a, b := sigmoid(s, shown)
	near("slope", a, 0.4278824784995333)
	near("shift", b, -0.7369596985353732)
}

// TestCalibrationOfNothing: scores that tell nothing, or the contrary, leave the order of the
// posteriors as it is.
func TestCalibrationOfNothing(t *testing.T) {
	scores, classes := []float32{1, -1, -1, 1, 1, -1, -1, 1}, []int{1, 0, 1, 0}
	if beta := temperature(scores, classes); !(beta > 0) || beta > 0.01 {
		t.Errorf("temperature of wrong scores %v, want little above 0", beta)
	}
	if a, b := sigmoid([]float32{1, -1, 2, -2}, []bool{false, true, false, true}); !(a > 0) || a > 0.01 || math.IsNaN(b) {
		t.Errorf("sigmoid of wrong scores %v, %v, want a slope little above 0", a, b)
	}
}
