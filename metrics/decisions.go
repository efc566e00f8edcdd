package metrics

import (
	"math"
	"slices"
)

// Decisions counts the answers to a question of yes or no, such as whether an image shows a
// label.
type Decisions struct {
	TruePositives, FalsePositives, FalseNegatives, TrueNegatives int
}

// Decide takes every score of at least the threshold for yes, and counts the answers. A NaN
// is no. It panics if the lengths differ.
func Decide(scores []float32, positive []bool, threshold float32) Decisions {
	if len(scores) != len(positive) {
		panic("metrics: Decide: lengths of scores and positive differ")
	}
	var d Decisions
	for i, s := range scores {
		switch yes := s >= threshold; {
		case yes && positive[i]:
			d.TruePositives++
		case yes:
			d.FalsePositives++
		case positive[i]:
			d.FalseNegatives++
		default:
			d.TrueNegatives++
		}
	}
	return d
}

// Add returns the sum of both counts.
func (d Decisions) Add(e Decisions) Decisions {
	return Decisions{
		d.TruePositives + e.TruePositives, d.FalsePositives + e.FalsePositives,
		d.FalseNegatives + e.FalseNegatives, d.TrueNegatives + e.TrueNegatives,
	}
}

// Precision is the share of the answers yes that are right; 0 if there is none.
func (d Decisions) Precision() float64 {
	return share(d.TruePositives, d.TruePositives+d.FalsePositives)
}

// Recall is the share of the positives that are answered with yes; 0 if there is none.
func (d Decisions) Recall() float64 {
	return share(d.TruePositives, d.TruePositives+d.FalseNegatives)
}

// F1 is the harmonic mean of precision and recall; 0 if nothing is positive or answered with
// yes.
func (d Decisions) F1() float64 {
	return share(2*d.TruePositives, 2*d.TruePositives+d.FalsePositives+d.FalseNegatives)
}

// Wrong is the share of wrong answers; NaN without answers. Over all labels of all images it
// is the Hamming loss.
func (d Decisions) Wrong() float64 {
	wrong := d.FalsePositives + d.FalseNegatives
	return float64(wrong) / float64(wrong+d.TruePositives+d.TrueNegatives)
}

func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// MeanAveragePrecision returns the mean of [AveragePrecision] over labels; scores and positive
// are by label and image. A label without a positive has no part in it. The result is NaN if
// no label has one.
func MeanAveragePrecision(scores [][]float32, positive [][]bool, form APForm) float64 {
	sum, n := 0.0, 0
	for k := range scores {
		if ap := AveragePrecision(scores[k], positive[k], form); !math.IsNaN(ap) {
			sum, n = sum+ap, n+1
		}
	}
	return sum / float64(n)
}

// BestThreshold returns the threshold of [Decide] with the greatest [Decisions.F1], the
// highest of those that are equally good, and that F1. It is NaN and 0 if nothing is
// positive. A NaN is never yes. It panics if the lengths differ.
func BestThreshold(scores []float32, positive []bool) (threshold float32, f1 float64) {
	if len(scores) != len(positive) {
		panic("metrics: BestThreshold: lengths of scores and positive differ")
	}
	var order []int
	var d Decisions
	for i, s := range scores {
		if s == s {
			order = append(order, i)
		}
		if positive[i] {
			d.FalseNegatives++
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		if ahead(scores, i, j) {
			return -1
		}
		return 1
	})
	threshold = float32(math.NaN())
	for n, i := range order {
		if positive[i] {
			d.TruePositives, d.FalseNegatives = d.TruePositives+1, d.FalseNegatives-1
		} else {
			d.FalsePositives++
		}
		if n+1 < len(order) && scores[order[n+1]] == scores[i] {
			continue
		}
		if now := d.F1(); now > f1 {
			threshold, f1 = scores[i], now
		}
	}
	return threshold, f1
}
