package nn

import (
	"fmt"
	"slices"
	"testing"
)

// TestRateFactor: a parameter's rate factor multiplies its learning rate, in every form of
// the step.
func TestRateFactor(t *testing.T) {
	for _, u := range []Update{
		{Rate: 0.25, Momentum: 0.9, Decay: 0.01},
		{Rate: 0.25, Momentum: 0.9, Nesterov: true},
		{Rate: 0.25, ClipNorm: 0.5},
	} {
		half := u
		half.Rate /= 2
		slow, all := afterTwo(t, u, 0.5), afterTwo(t, half, 0)
		if fast := afterTwo(t, u, 0); slices.Equal(fast, all) {
			t.Fatal("the rate changes nothing")
		}
		if !slices.Equal(slow, all) {
			t.Error(fmt.Sprintf("%+v", u), ": a factor of 0.5 is not half the rate")
		}
	}
}

// afterTwo is the parameters of a chain after two updates.
func afterTwo(t *testing.T, u Update, factor float32) []float32 {
	t.Helper()
	c := testChain(t, 1, true)
	for _, p := range c.Params() {
		p.RateFactor = factor
	}
	s := NewSGD(c)
	training, err := c.NewTraining(3, 8, 8)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := training.StepSGD(images(9, 3, 8, 8), labelsOf(3), Pass{Train: true, Iteration: i}, s, u); err != nil {
			t.Fatal(err)
		}
	}
	var all []float32
	for _, p := range c.Params() {
		if !p.Running {
			all = append(all, p.Value...)
		}
	}
	return all
}
