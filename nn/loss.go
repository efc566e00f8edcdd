package nn

import "math"

// Loss is the loss of one image: i is its number within the pass, scores are its K
// scores; it writes to d the derivatives of the loss times scale, and returns the loss.
type Loss func(i int, scores, d []float32, scale float32) float64

// CrossEntropy is the loss of one image's K scores by a target that gives the label
// 1 − smoothing and divides smoothing evenly over all classes (Szegedy et al. 2016):
// −Σ target·ln softmax(scores). It writes to d its derivatives, times scale.
func CrossEntropy(scores []float32, label int, smoothing, scale float32, d []float32) float64 {
	top := float64(scores[0])
	for _, v := range scores {
		top = math.Max(top, float64(v)) // NaN stays NaN
	}
	var sum float64
	for _, v := range scores {
		sum += math.Exp(float64(v) - top)
	}
	loss := math.Log(sum) + top - float64(scores[label])
	even := 0.0
	if smoothing > 0 {
		even = float64(smoothing) / float64(len(scores))
		var mean float64
		for _, v := range scores {
			mean += float64(v)
		}
		mean /= float64(len(scores))
		loss += float64(smoothing) * (float64(scores[label]) - mean)
	}
	for j, v := range scores {
		p := math.Exp(float64(v)-top)/sum - even
		if j == label {
			p -= 1 - float64(smoothing)
		}
		d[j] = float32(p) * scale
	}
	return loss
}

// SquaredLoss is the Euclidean loss of one image's K outputs, ½·Σ (score − target)², by
// which bounding boxes are learnt (§A.1). It writes to d its derivatives, times scale.
// Where target is NaN, the output counts for nothing.
func SquaredLoss(scores, target []float32, scale float32, d []float32) float64 {
	var loss float64
	for j, v := range scores {
		diff := float64(v) - float64(target[j])
		if math.IsNaN(float64(target[j])) {
			diff = 0
		}
		loss += diff * diff / 2
		d[j] = float32(diff) * scale
	}
	return loss
}
