package train

import (
	"math"
	"testing"
)

// courseOf is the errors of successive epochs with what the schedule makes of them.
type courseOf []struct {
	top1 float64
	rate float64 // after the epoch, as a multiple of the first
	stop bool
}

func (c courseOf) check(t *testing.T, s Schedule) {
	t.Helper()
	const first = 0.5
	r := newRate(s, first, 1, 100)
	if r.value != first {
		t.Fatalf("the rate begins at %v, want %v", r.value, first)
	}
	for i, e := range c {
		stop := r.epoch(i+1, e.top1)
		if got := r.value / first; math.Abs(got-e.rate) > 1e-12 || stop != e.stop {
			t.Fatalf("after epoch %d, error %v: rate %v of the first, stop %v, want %v, %v", i+1, e.top1, got, stop, e.rate, e.stop)
		}
	}
}

func TestPlateau(t *testing.T) {
	s := Schedule{Name: "plateau", Factor: 0.1, Decreases: 2, Patience: 2, Threshold: 0.01}
	courseOf{
		{0.80, 1, false},
		{0.70, 1, false},
		{0.695, 1, false}, // falls by less than the threshold: one epoch waited
		{0.68, 1, false},  // falls by 0.02 below the 0.70 that counted: waits from here
		{0.68, 1, false},
		{0.69, 0.1, false}, // two epochs waited
		{0.675, 0.1, false},
		{0.66, 0.1, false}, // 0.02 below 0.68
		{0.66, 0.1, false},
		{0.655, 0.01, false},
		{0.654, 0.01, false},
		{0.653, 0.01, true}, // no decrease is left
	}.check(t, s)
}

func TestPlateauWithoutDecreases(t *testing.T) {
	courseOf{{0.5, 1, false}, {0.5, 1, true}}.check(t, Schedule{Name: "plateau", Factor: 0.1, Decreases: 0, Patience: 1})
}

// TestPlateauWithoutValidation: there is no error to go by.
func TestPlateauWithoutValidation(t *testing.T) {
	nan := math.NaN()
	courseOf{{nan, 1, false}, {nan, 1, false}, {nan, 1, false}}.check(t, Schedule{Name: "plateau", Factor: 0.1, Decreases: 0, Patience: 1})
}

func TestStep(t *testing.T) {
	s := Schedule{Name: "step", Factor: 0.1, Steps: []int{2, 3, 5}, Decreases: 1, Patience: 1}
	courseOf{
		{0.9, 1, false},
		{0.5, 0.1, false},
		{0.5, 0.01, false},
		{0.6, 0.01, false},
		{math.NaN(), 0.001, false},
		{0.6, 0.001, false},
	}.check(t, s)
	courseOf{{0.9, 1, false}, {0.9, 1, false}}.check(t, Schedule{Name: "step", Factor: 0.1})
}
