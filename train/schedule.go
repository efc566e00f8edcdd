package train

import (
	"fmt"
	"math"
	"strings"
)

// Schedule says how the learning rate changes.
type Schedule struct {
	// Name is "plateau": when the validation's top-1 error has not fallen for Patience
	// epochs, as the paper does; "step": after the epochs in Steps; "cosine": from the
	// first iteration after the warm-up to the last of the run, along half a wave; or
	// "constant".
	Name   string  `yaml:"name"`
	Factor float64 `yaml:"factor"` // multiplies the learning rate: plateau and step
	// Decreases is how often plateau decreases the rate; at the next plateau training
	// stops.
	Decreases int `yaml:"decreases"`
	Patience  int `yaml:"patience"`
	// Threshold is the least fall of the error, as a fraction, that counts as one.
	Threshold float64 `yaml:"threshold"`
	Steps     []int   `yaml:"steps,flow"`
	FinalRate float64 `yaml:"final_rate"` // what cosine comes to

	// In the first WarmupIterations, or the iterations of WarmupEpochs, the rate rises
	// linearly from WarmupFactor of what it would be.
	WarmupIterations int     `yaml:"warmup_iterations"`
	WarmupEpochs     int     `yaml:"warmup_epochs"`
	WarmupFactor     float64 `yaml:"warmup_factor"`
}

// scheduleNames are the schedules that there are.
var scheduleNames = []string{"plateau", "step", "cosine", "constant"}

// validate reports the first value that no training can run with, by bad.
func (s Schedule) validate(bad func(key string, value any, want string) error) error {
	switch {
	case !(s.Factor > 0 && s.Factor < 1):
		return bad("schedule.factor", s.Factor, "above 0 and below 1")
	case s.WarmupIterations < 0:
		return bad("schedule.warmup_iterations", s.WarmupIterations, "at least 0")
	case s.WarmupEpochs < 0:
		return bad("schedule.warmup_epochs", s.WarmupEpochs, "at least 0")
	case s.WarmupIterations > 0 && s.WarmupEpochs > 0:
		return bad("schedule.warmup_epochs", s.WarmupEpochs, fmt.Sprintf("0 with schedule.warmup_iterations %d", s.WarmupIterations))
	case !(s.WarmupFactor > 0 && s.WarmupFactor <= 1):
		return bad("schedule.warmup_factor", s.WarmupFactor, "above 0 and at most 1")
	case !(s.FinalRate >= 0) || math.IsInf(s.FinalRate, 0):
		return bad("schedule.final_rate", s.FinalRate, "at least 0")
	}
	switch s.Name {
	case "plateau":
		if s.Decreases < 0 {
			return bad("schedule.decreases", s.Decreases, "at least 0")
		}
		if s.Patience < 1 {
			return bad("schedule.patience", s.Patience, "at least 1")
		}
		if !(s.Threshold >= 0 && s.Threshold < 1) {
			return bad("schedule.threshold", s.Threshold, "at least 0 and below 1")
		}
	case "step":
		last := 0
		for _, e := range s.Steps {
			if e <= last {
				return bad("schedule.steps", s.Steps, "epochs in rising order, from 1")
			}
			last = e
		}
	case "cosine", "constant":
	default:
		return bad("schedule.name", fmt.Sprintf("%q", s.Name), "one of "+strings.Join(scheduleNames, ", "))
	}
	return nil
}

// rate is the state of a schedule: the learning rate, and when it decreases. A run's
// checkpoints hold it.
type rate struct {
	schedule      Schedule
	start         float64
	warmup, total int // iterations

	value     float64 // of plateau and step, after the decreases so far
	best      float64 // least validation error so far
	waited    int     // epochs since
	decreases int
}

// newRate returns the schedule's state for a run of iterations, perEpoch of them in an
// epoch.
func newRate(s Schedule, start float64, perEpoch, iterations int) *rate {
	return &rate{schedule: s, start: start, warmup: s.WarmupIterations + s.WarmupEpochs*perEpoch, total: iterations,
		value: start, best: math.Inf(1)}
}

// at is the learning rate of an iteration, counted from 1.
func (r *rate) at(iteration int) float64 {
	done := iteration - 1
	value := r.value
	if n := r.total - r.warmup; r.schedule.Name == "cosine" && done >= r.warmup && n > 0 {
		value = r.schedule.FinalRate + (r.start-r.schedule.FinalRate)*(1+math.Cos(math.Pi*float64(done-r.warmup)/float64(n)))/2
	}
	if done < r.warmup {
		f := r.schedule.WarmupFactor
		value *= f + (1-f)*float64(done)/float64(r.warmup)
	}
	return value
}

// epoch is called after each epoch, counted from 1, with the validation's top-1 error
// (NaN without validation images); it reports whether training should stop.
func (r *rate) epoch(n int, top1 float64) (stop bool) {
	s := r.schedule
	switch s.Name {
	case "step":
		for _, e := range s.Steps {
			if e == n {
				r.value *= s.Factor
			}
		}
		return false
	case "cosine", "constant":
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
