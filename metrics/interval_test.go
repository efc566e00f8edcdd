package metrics

import (
	"math"
	"testing"
)

// The expected numbers are Wilson's formula and the binomial sums in exact fractions,
// computed by Python.
func TestWilson(t *testing.T) {
	for _, c := range []struct {
		wrong, n  int
		low, high float64
	}{
		{0, 0, 0, 1},
		{0, 10, 0, 0.2775327998628892},
		{1, 6, 0.03005336974830658, 0.5635028221864702},
		{5, 10, 0.236593090512564, 0.7634069094874361},
		{13500, 50000, 0.2661263739980312, 0.27390896470807546},
		{10, 10, 0.7224672001371107, 1},
	} {
		low, high := Wilson(c.wrong, c.n)
		if math.Abs(low-c.low) > 1e-12 || math.Abs(high-c.high) > 1e-12 {
			t.Errorf("Wilson(%d, %d) = %v, %v; want %v, %v", c.wrong, c.n, low, high, c.low, c.high)
		}
	}
}

func TestMcNemar(t *testing.T) {
	for _, c := range []struct {
		a, b int
		p    float64
	}{
		{0, 0, 1}, {1, 0, 1}, {5, 5, 1}, {0, 10, 0.001953125}, {3, 12, 0.03515625},
		{59, 33, 0.008780930806975222}, {250, 320, 0.0038132041317242038}, {2000, 2200, 0.0021323556719912346},
	} {
		for _, p := range []float64{McNemar(c.a, c.b), McNemar(c.b, c.a)} {
			if math.Abs(p-c.p) > 1e-9*c.p {
				t.Errorf("McNemar(%d, %d) = %v, want %v", c.a, c.b, p, c.p)
			}
		}
	}
}

func TestCalibrationByHand(t *testing.T) {
	// Two bins of two: (0,½] holds 0.3 and 0.5, (½,1] 0.9, 0.8 and 1.
	p := []float32{0.25, 0.5, 0.875, 0.75, 1}
	right := []bool{true, false, true, true, false}
	ece, table := Calibration(p, right, 2)
	want := 2./5*math.Abs(0.5-0.375) + 3./5*math.Abs(2./3-0.875)
	if math.Abs(ece-want) > 1e-12 {
		t.Errorf("calibration error %v, want %v", ece, want)
	}
	if table[0] != (CalibrationBin{2, 0.375, 0.5}) || table[1].Images != 3 {
		t.Errorf("bins %+v", table)
	}
	if ece, _ := Calibration([]float32{1, 1}, []bool{true, true}, 15); ece != 0 {
		t.Errorf("calibration error %v of a classifier that is always and rightly sure", ece)
	}
	if ece, table := Calibration(nil, nil, 3); !math.IsNaN(ece) || len(table) != 3 {
		t.Errorf("of no images: %v, %v", ece, table)
	}
	for _, edge := range []float32{0, 1. / 16} {
		if _, table := Calibration([]float32{edge}, []bool{false}, 16); table[0].Images != 1 {
			t.Errorf("%v is not in the first bin: %v", edge, table)
		}
	}
}

func TestOrNil(t *testing.T) {
	if p := OrNil(math.NaN()); p != nil {
		t.Errorf("NaN is %v, want nil", *p)
	}
	for _, x := range []float64{0, -1.5, math.Inf(1)} {
		if p := OrNil(x); p == nil || *p != x {
			t.Errorf("%v is %v", x, p)
		}
	}
}
