package eval

import (
	"fmt"
	"strconv"
	"strings"
)

// TrainScale is the training scale S: the smallest side, in pixels, that the training
// images were rescaled to. S is fixed (Min = Max) or drawn for each image from [Min, Max]
// (§3.1).
type TrainScale struct{ Min, Max int }

// ParseTrainScale reads "256" or "256-512".
func ParseTrainScale(text string) (TrainScale, error) {
	low, high, jittered := strings.Cut(text, "-")
	if !jittered {
		high = low
	}
	var s TrainScale
	var err1, err2 error
	s.Min, err1 = strconv.Atoi(low)
	s.Max, err2 = strconv.Atoi(high)
	if err1 != nil || err2 != nil || s.Min < 1 || s.Max < s.Min || s.Max > 1<<16 {
		return TrainScale{}, fmt.Errorf("eval: training scale %q, want a smallest side S, as 256, or a range of them, as 256-512", text)
	}
	return s, nil
}

// String returns the form that [ParseTrainScale] reads.
func (s TrainScale) String() string {
	if s.Min == s.Max {
		return strconv.Itoa(s.Min)
	}
	return fmt.Sprintf("%d-%d", s.Min, s.Max)
}

// mid returns 0.5 (Smin + Smax), rounded down to a whole pixel.
func (s TrainScale) mid() int { return (s.Min + s.Max) / 2 }

// SingleScale returns the paper's test scale Q of single-scale evaluation: Q = S
// for fixed S, 0.5 (Smin + Smax) for jittered S (§4.1).
func (s TrainScale) SingleScale() []int { return []int{s.mid()} }

// MultiScale returns the paper's test scales of multi-scale evaluation: S − 32, S, S + 32
// for fixed S, and Smin, 0.5 (Smin + Smax), Smax for jittered S (§4.2).
func (s TrainScale) MultiScale() []int {
	if s.Min == s.Max {
		return []int{s.Min - 32, s.Min, s.Min + 32}
	}
	return []int{s.Min, s.mid(), s.Max}
}
