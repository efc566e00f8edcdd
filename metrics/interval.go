package metrics

import "math"

// Wilson returns the 95 % confidence interval of an error rate, given wrong errors on n
// images (Wilson 1927): the true error rates from which wrong/n differs by at most 1.96
// standard deviations. Unlike wrong/n ± 1.96·σ, it is within [0,1] and holds for few images
// and for errors near 0. Without images it is [0,1].
//
// It panics unless 0 ≤ wrong ≤ n.
func Wilson(wrong, n int) (low, high float64) {
	if wrong < 0 || wrong > n {
		panic("metrics: Wilson: wrong is not a part of n")
	}
	if n == 0 {
		return 0, 1
	}
	const z = 1.959963984540054 // Φ(z) = 0.975
	total, p := float64(n), float64(wrong)/float64(n)
	scale := 1 / (1 + z*z/total)
	centre := scale * (p + z*z/(2*total))
	half := scale * z * math.Sqrt(p*(1-p)/total+z*z/(4*total*total))
	low, high = centre-half, centre+half
	// The ends are exact where rounding would leave 1e-17.
	if wrong == 0 {
		low = 0
	}
	if wrong == n {
		high = 1
	}
	return low, high
}

// McNemar returns the two-sided p-value of McNemar's test in its exact, binomial form. Two
// classifiers differ on onlyA+onlyB images, each right on one part of them alone; the
// p-value is the probability of a split at least as uneven if both are equally good. It
// is 1 if both counts are 0. It panics on negative counts.
func McNemar(onlyA, onlyB int) float64 {
	if onlyA < 0 || onlyB < 0 {
		panic("metrics: McNemar: negative count")
	}
	n, few := onlyA+onlyB, min(onlyA, onlyB)
	// Σ C(n,k)·2⁻ⁿ for k ≤ few. Each term is computed by its logarithm: C(n,k) would
	// overflow and 2⁻ⁿ underflow.
	lg := func(x int) float64 {
		v, _ := math.Lgamma(float64(x) + 1)
		return v
	}
	sum := 0.0
	for k := 0; k <= few; k++ {
		sum += math.Exp(lg(n) - lg(k) - lg(n-k) - float64(n)*math.Ln2)
	}
	return math.Min(1, 2*sum)
}

// OrNil returns a pointer to x, or nil for NaN, which JSON writes as null.
func OrNil(x float64) *float64 {
	if math.IsNaN(x) {
		return nil
	}
	return &x
}
