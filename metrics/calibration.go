package metrics

import "math"

// CalibrationBins is the usual number of bins of the expected calibration error.
const CalibrationBins = 15

// CalibrationBin counts the images whose most probable class has a probability within an
// interval.
type CalibrationBin struct {
	Images     int
	Confidence float64 // mean probability of the most probable class; NaN without images
	Accuracy   float64 // fraction of images whose true class it is; NaN without images
}

// Calibration compares a classifier's probabilities with its accuracy (Guo et al. 2017, "On
// calibration of modern neural networks"). probabilities holds each image's highest
// posterior, and right whether its class was the true one. Bin b of n is the interval
// (b/n, (b+1)/n]; the first includes 0. The expected calibration error is
// Σ images(b)/N · |accuracy(b) − confidence(b)|, NaN without images.
//
// It panics if the slices differ in length or bins is less than 1.
func Calibration(probabilities []float32, right []bool, bins int) (ece float64, table []CalibrationBin) {
	if len(probabilities) != len(right) || bins < 1 {
		panic("metrics: Calibration: slices of different lengths, or no bins")
	}
	table = make([]CalibrationBin, bins)
	confidence, hits := make([]float64, bins), make([]int, bins)
	for i, p := range probabilities {
		b := min(max(int(math.Ceil(float64(p)*float64(bins)))-1, 0), bins-1)
		table[b].Images++
		confidence[b] += float64(p)
		if right[i] {
			hits[b]++
		}
	}
	for b := range table {
		n := float64(table[b].Images)
		table[b].Confidence, table[b].Accuracy = confidence[b]/n, float64(hits[b])/n
		if n > 0 {
			ece += n / float64(len(right)) * math.Abs(table[b].Accuracy-table[b].Confidence)
		}
	}
	if len(right) == 0 {
		ece = math.NaN()
	}
	return ece, table
}
