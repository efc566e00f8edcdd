package train

import (
	"fmt"
	"math"
	"strings"

	"github.com/verydeep/vgg/internal/journal"
)

// Schedule is the course of the learning rate.
type Schedule struct {
	// Name is "plateau", which decreases the rate when the validation's top-1 error has not
	// fallen for Patience epochs, as in the paper; "step", after the epochs in Steps;
	// "cosine", along half a wave from the first iteration after the warm-up to the last of
	// the run; or "constant".
	Name      string  `yaml:"name"`
	Factor    float64 `yaml:"factor"`     // plateau, step: multiplies the learning rate
	Decreases int     `yaml:"decreases"`  // plateau: number of decreases; training stops at the next plateau
	Patience  int     `yaml:"patience"`   // plateau: epochs
	Threshold float64 `yaml:"threshold"`  // plateau: least fall of the error, as a fraction, that counts
	Steps     []int   `yaml:"steps,flow"` // step: epochs, from 1, rising
	FinalRate float64 `yaml:"final_rate"` // cosine: the rate at the end

	// In the first WarmupIterations iterations, or the iterations of WarmupEpochs epochs, the
	// schedule's rate is multiplied by a factor that rises linearly from WarmupFactor to 1.
	WarmupIterations int     `yaml:"warmup_iterations"`
	WarmupEpochs     int     `yaml:"warmup_epochs"`
	WarmupFactor     float64 `yaml:"warmup_factor"`
}

// scheduleNames are the names of the schedules.
var scheduleNames = []string{"plateau", "step", "cosine", "constant"}

// validate reports, by bad, the first value with which no training is possible.
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
				return bad("schedule.steps", "["+journal.List(s.Steps)+"]", "epochs in rising order, from 1")
			}
			last = e
		}
	case "cosine", "constant":
	default:
		return bad("schedule.name", fmt.Sprintf("%q", s.Name), "one of "+strings.Join(scheduleNames, ", "))
	}
	return nil
}

// rate is the state of a schedule, which is part of a checkpoint: the learning rate, and
// what decides its next decrease.
type rate struct {
	schedule      Schedule
	start         float64
	warmup, total int // iterations

	value     float64 // of plateau and step, after the decreases so far
	best      float64 // least validation error so far
	waited    int     // epochs since then
	decreases int
}

// newRate returns the initial state of a schedule for a run of the given number of
// iterations, perEpoch of them in an epoch.
func newRate(s Schedule, start float64, perEpoch, iterations int) *rate {
	return &rate{schedule: s, start: start, warmup: s.WarmupIterations + s.WarmupEpochs*perEpoch, total: iterations,
		value: start, best: math.Inf(1)}
}

// at returns the learning rate of an iteration, counted from 1.
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

// epoch notes the validation error after epoch n, counted from 1; it is NaN without
// validation images. It reports whether training should stop.
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
