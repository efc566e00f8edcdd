package vgg

import (
	"math"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// near fails if the largest difference exceeds 1e-4 of the largest value.
func near(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	var diff, size float64
	at := 0
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= diff) {
			diff, at = d, i
		}
		size = max(size, math.Abs(float64(want[i])))
	}
	if !(diff <= 1e-4*size) {
		t.Errorf("%s: element %d is %g, want %g: %.1e of the largest value %g, want 1e-4", what, at, got[at], want[at], diff/size, size)
	}
}

// ramp fills x with values between −1 and 1.
func ramp(x *tensor.Tensor) *tensor.Tensor {
	for i := range x.Data {
		x.Data[i] = float32(i%255)/127 - 1
	}
	return x
}
