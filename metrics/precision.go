package metrics

import (
	"math"
	"slices"
)

// APForm is a definition of average precision.
type APForm string

const (
	// ElevenPoint is the definition of PASCAL VOC until 2009: the mean, over the recalls 0,
	// 0.1, …, 1, of the greatest precision at that recall or above it. Equal scores stay in
	// their order.
	ElevenPoint APForm = "11-point"
	// Area is the definition of PASCAL VOC from 2010 on: the area under precision as a
	// function of recall, where precision is the greatest at that recall or above it. Equal
	// scores stay in their order.
	Area APForm = "area"
	// Step is the definition of scikit-learn: precision summed over the steps of recall,
	// without interpolation. Equal scores count as one step.
	Step APForm = "step"
)

// APForms lists the definitions.
func APForms() []APForm { return []APForm{ElevenPoint, Area, Step} }

// AveragePrecision returns the average precision of a ranking by scores, the highest first;
// positive says which elements should come first. A score of NaN ranks below every number.
// The result is NaN if nothing is positive. It panics if the lengths differ.
func AveragePrecision(scores []float32, positive []bool, form APForm) float64 {
	if len(scores) != len(positive) {
		panic("metrics: AveragePrecision: lengths of scores and positive differ")
	}
	order := make([]int, len(scores))
	total := 0
	for i := range order {
		order[i] = i
		if positive[i] {
			total++
		}
	}
	if total == 0 {
		return math.NaN()
	}
	slices.SortFunc(order, func(i, j int) int {
		if ahead(scores, i, j) {
			return -1
		}
		return 1
	})
	if form == Step {
		return stepAP(scores, positive, order, total)
	}
	return interpolatedAP(positive, order, total, form)
}

// interpolatedAP is the average precision by a form that takes the greatest precision at a
// recall or above it. order lists elements in the order of their ranks.
func interpolatedAP(positive []bool, order []int, total int, form APForm) float64 {
	// precision[k] is the precision at the k+1-th positive, then the greatest from there on.
	precision := make([]float64, 0, total)
	for n, i := range order {
		if positive[i] {
			precision = append(precision, float64(len(precision)+1)/float64(n+1))
		}
	}
	for k := total - 2; k >= 0; k-- {
		precision[k] = max(precision[k], precision[k+1])
	}
	sum := 0.0
	if form == ElevenPoint {
		for t := range 11 {
			// The first positive whose recall is at least t/10.
			k := max(1, (t*total+9)/10)
			sum += precision[k-1]
		}
		return sum / 11
	}
	for _, p := range precision {
		sum += p
	}
	return sum / float64(total)
}

// stepAP is the average precision by [Step].
func stepAP(scores []float32, positive []bool, order []int, total int) float64 {
	sum, found, before := 0.0, 0, 0
	for n, i := range order {
		if positive[i] {
			found++
		}
		if n+1 < len(order) && same(scores[i], scores[order[n+1]]) {
			continue
		}
		sum += float64(found-before) / float64(total) * float64(found) / float64(n+1)
		before = found
	}
	return sum
}

func same(a, b float32) bool { return a == b || a != a && b != b }
