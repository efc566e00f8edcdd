package nn

import "math"

// Loss is the loss of one image: i is its number within the pass, and scores are its K
// scores. It writes the K derivatives of the loss, times scale, to d, and returns the loss.
type Loss func(i int, scores, d []float32, scale float32) float64

// CrossEntropy is the soft-max with multinomial logistic loss (§3.1) of one image's K
// scores: −Σ target·ln softmax(scores). The target is 1 − smoothing for the label, and
// smoothing is divided evenly over all classes (Szegedy et al. 2016). It writes the K
// derivatives of the loss, times scale, to d.
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

// LabelsCrossEntropy is the logistic loss of K labels of one image, each of which the image
// has or has not: −Σ t·ln σ(score) + (1−t)·ln(1−σ(score)), summed over the labels. The
// image has those of labels, which ascend; smoothing moves the targets t from 1 and 0
// towards ½ by so much of the way. It writes the K derivatives of the loss, times scale,
// to d.
func LabelsCrossEntropy(scores []float32, labels []int, smoothing, scale float32, d []float32) float64 {
	var loss float64
	for j, v := range scores {
		x, target := float64(v), float64(smoothing)/2
		if len(labels) > 0 && labels[0] == j {
			target, labels = 1-target, labels[1:]
		}
		// ln(1 + eˣ) − t·x, without overflow
		loss += math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) - target*x
		d[j] = float32(sigmoid(x)-target) * scale
	}
	return loss
}

// SquaredLoss is the Euclidean loss of one image's K outputs, ½·Σ (score − target)², for
// learning bounding boxes (§A.1). It writes the K derivatives, times scale, to d. An output
// whose target is NaN doesn't count.
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
