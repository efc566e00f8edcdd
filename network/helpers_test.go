package network

import (
	"math"
	"slices"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

func forward(t testing.TB, n *Network, x *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	y, err := n.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	return y
}
