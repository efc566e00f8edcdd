package vggtest

import (
	"fmt"
	"math"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// Ramp fills x with values between −1 and 1, and returns it.
func Ramp(x *tensor.Tensor) *tensor.Tensor {
	for i := range x.Data {
		x.Data[i] = float32(i%255)/127 - 1
	}
	return x
}

// Forward returns the output of a network, or of a chain of layers, for x.
func Forward(t testing.TB, net interface {
	Forward(x *tensor.Tensor) (*tensor.Tensor, error)
}, x *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	y, err := net.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// SameBits names the first value whose bits differ; nil if all are the same.
func SameBits(got, want []float32) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d values, want %d", len(got), len(want))
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			return fmt.Errorf("value %d is %g, want %g", i, got[i], want[i])
		}
	}
	return nil
}

// Near fails if the largest difference exceeds 1e-4 of the largest value: what two ways to
// compute in float32 may differ by.
func Near(t testing.TB, what string, got, want []float32) {
	t.Helper()
	const share = 1e-4
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	var diff, size float64
	at := 0
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= diff) { // NaN counts
			diff, at = d, i
		}
		size = max(size, math.Abs(float64(want[i])))
	}
	if !(diff <= share*size) {
		t.Errorf("%s: element %d is %g, want %g: %.1e of the largest value %g, want %g", what, at, got[at], want[at], diff/size, size, share)
	}
}
