package metrics

import "math"

// IoU is the intersection over union of two boxes given as x0, y0, x1, y1 with x0 ≤ x1
// and y0 ≤ y1: the area covered by both over the area covered by either, in [0,1].
// It is 0 if neither has an area, and for a box that is not finite.
func IoU(a, b [4]float64) float64 {
	w := math.Min(a[2], b[2]) - math.Max(a[0], b[0])
	h := math.Min(a[3], b[3]) - math.Max(a[1], b[1])
	if !(w > 0 && h > 0) {
		return 0
	}
	both := w * h
	iou := both / ((a[2]-a[0])*(a[3]-a[1]) + (b[2]-b[0])*(b[3]-b[1]) - both)
	if math.IsNaN(iou) {
		return 0
	}
	return iou
}

// Located reports whether an intersection over union meets ILSVRC's criterion of
// localisation: that of the predicted and the true box is above one half (appendix A).
func Located(iou float64) bool { return iou > 0.5 }
