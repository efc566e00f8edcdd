package nn

import "math"

// SoftmaxLoss is the soft-max with multinomial logistic loss (§3.1). scores is (N,K),
// labels (N); it writes to d the gradient of the loss's sum times scale, of shape
// (N,K), and returns the sum over the N images of −ln softmax(scores)[label].
func SoftmaxLoss(scores []float32, labels []int, scale float32, d []float32) float64 {
	k := len(scores) / len(labels)
	var loss float64
	for i, label := range labels {
		s, g := scores[i*k:(i+1)*k], d[i*k:(i+1)*k]
		top := float64(s[0])
		for _, v := range s {
			top = math.Max(top, float64(v)) // NaN stays NaN
		}
		var sum float64
		for _, v := range s {
			sum += math.Exp(float64(v) - top)
		}
		loss += math.Log(sum) + top - float64(s[label])
		for j, v := range s {
			p := math.Exp(float64(v)-top) / sum
			if j == label {
				p--
			}
			g[j] = float32(p) * scale
		}
	}
	return loss
}
