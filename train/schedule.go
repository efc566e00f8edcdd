package train

import "math"

// rate is the state of a schedule: the learning rate, and when it decreases.
type rate struct {
	schedule  Schedule
	value     float64
	best      float64 // least validation error so far
	waited    int     // epochs since
	decreases int
}

func newRate(s Schedule, start float64) *rate {
	return &rate{schedule: s, value: start, best: math.Inf(1)}
}

// epoch is called after each epoch, counted from 1, with the validation's top-1 error
// (NaN without validation images); it reports whether training should stop.
func (r *rate) epoch(n int, top1 float64) (stop bool) {
	s := r.schedule
	if s.Name == "step" {
		for _, e := range s.Steps {
			if e == n {
				r.value *= s.Factor
			}
		}
		return false
	}
	if top1 < r.best-s.Threshold {
		r.best, r.waited = top1, 0
		return false
	}
	r.waited++
	if r.waited < s.Patience || math.IsNaN(top1) {
		return false
	}
	if r.decreases == s.Decreases {
		return true
	}
	r.decreases++
	r.waited = 0
	r.value *= s.Factor
	return false
}
