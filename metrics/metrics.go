// Package metrics computes measures of classifiers and localisers, such as top-k error,
// confusion, average precision and intersection over union, as pure functions of plain
// slices.
//
// Errors are fractions in [0,1]. Classes are numbered from 0.
package metrics

import "math"

// TopK returns the indices of the k largest scores, the largest first, or of all scores if
// there are fewer than k. Of equal scores, the one with the lower index comes first. A NaN
// counts as less than every number.
func TopK(scores []float32, k int) []int {
	k = max(0, min(k, len(scores)))
	top := make([]int, 0, k)
	if k == 0 {
		return top
	}
	for i := range scores {
		if len(top) == k && !ahead(scores, i, top[k-1]) {
			continue
		}
		if len(top) < k {
			top = append(top, i)
		} else {
			top[k-1] = i
		}
		for j := len(top) - 1; j > 0 && ahead(scores, top[j], top[j-1]); j-- {
			top[j], top[j-1] = top[j-1], top[j]
		}
	}
	return top
}

// Rank returns the number of classes ahead of label, 0 if it is the best one. This is the
// index of label in TopK(scores, len(scores)), so label is one of the k best if and only if
// Rank is less than k. It panics if label is not a class.
func Rank(scores []float32, label int) int {
	if label < 0 || label >= len(scores) {
		panic("metrics: Rank: label out of range")
	}
	rank := 0
	for i := range scores {
		if ahead(scores, i, label) {
			rank++
		}
	}
	return rank
}

// ahead reports whether class i comes before class j: a total order, in which
// no class is ahead of itself.
func ahead(scores []float32, i, j int) bool {
	a, b := scores[i], scores[j]
	switch {
	case a > b:
		return true
	case a < b:
		return false
	}
	// Equal, or at least one NaN.
	if aNaN, bNaN := a != a, b != b; aNaN != bNaN {
		return bNaN
	}
	return i < j
}

// TopKError returns the fraction of images whose true class is not one of the k best; ranks
// holds, for each image, the [Rank] of its true class. It is NaN without images.
//
// With k of 1 and 5 it is the paper's top-1 and top-5 error (§4).
func TopKError(ranks []int, k int) float64 {
	if len(ranks) == 0 {
		return math.NaN()
	}
	wrong := 0
	for _, r := range ranks {
		if r >= k {
			wrong++
		}
	}
	return float64(wrong) / float64(len(ranks))
}

// Softmax writes the soft-max of scores to dst: dst[i] = exp(s[i]) / Σ exp(s[j]). It
// computes in float64 and subtracts the largest score first, so that finite scores don't
// overflow. dst and scores may be the same slice. It panics if their lengths differ.
//
// Scores of +Inf share the probability equally; so do all scores if they are all -Inf. A
// NaN makes every probability NaN.
func Softmax(dst, scores []float32) {
	if len(dst) != len(scores) {
		panic("metrics: Softmax: lengths of dst and scores differ")
	}
	most := math.Inf(-1)
	for _, s := range scores {
		most = max(most, float64(s)) // NaN if any is
	}
	if math.IsInf(most, 0) {
		softmaxInfinite(dst, scores, float32(most))
		return
	}
	sum := 0.0
	for _, s := range scores {
		sum += math.Exp(float64(s) - most)
	}
	for i, s := range scores {
		dst[i] = float32(math.Exp(float64(s)-most) / sum)
	}
}

// softmaxInfinite is the limit of Softmax where the largest score is infinite.
func softmaxInfinite(dst, scores []float32, most float32) {
	n := 0
	for _, s := range scores {
		if s == most {
			n++
		}
	}
	for i, s := range scores {
		dst[i] = 0
		if s == most {
			dst[i] = float32(1 / float64(n))
		}
	}
}
