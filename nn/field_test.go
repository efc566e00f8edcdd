package nn

import (
	"fmt"
	"slices"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// TestFields compares the receptive fields with what one pixel reaches: of zeros and a single
// positive pixel, a chain whose weights are all 1 makes values above zero where the pixel is
// seen, and zeros elsewhere.
func TestFields(t *testing.T) {
	const side = 27
	layers := []Layer{
		NewConv("conv1", 1, 1, 3, 1, true), NewConv("conv2", 1, 1, 3, 1, true), NewMaxPool("pool1"),
		NewConv("conv3", 1, 1, 5, 2, true), NewMaxPool("pool2"), NewConv("conv4", 1, 1, 1, 0, true), NewFC("fc", 1, 3, 1, true),
	}
	whole := NewChain(1, layers...)
	for _, p := range whole.Params() {
		if len(p.Shape) > 1 {
			p.Set(slices.Repeat([]float32{1}, p.Len()))
		}
	}
	for at, f := range whole.Fields() {
		c, err := whole.Until(layers[at].Name(), true)
		if err != nil {
			t.Fatal(err)
		}
		for pixel := range side {
			x := tensor.New(1, 1, side, side)
			x.Data[13*side+pixel] = 1
			y, err := c.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			for j := range y.Dim(3) {
				seen := false
				for i := range y.Dim(2) {
					seen = seen || y.Data[i*y.Dim(3)+j] > 1e-3
				}
				first := f.Start + j*f.Stride
				if want := first <= pixel && pixel < first+f.Size; seen != want {
					t.Errorf("%s: column %d sees pixel %d: %v, want %v by %+v", layers[at].Name(), j, pixel, seen, want, f)
				}
			}
		}
	}
}

// TestFieldsOfVGG has the well known sizes of configuration D's layers.
func TestFieldsOfVGG(t *testing.T) {
	var layers []Layer
	for block, n := range []int{2, 2, 3, 3, 3} {
		for i := range n {
			layers = append(layers, NewConv(fmt.Sprint(block, i), 1, 1, 3, 1, true))
		}
		layers = append(layers, NewMaxPool(fmt.Sprint("pool", block)))
	}
	layers = append(layers, NewGlobalPool("gap", false), NewFC("fc", 1, 1, 1, false))
	fields := Plan(1, layers...).Fields()
	var sizes []int
	for _, f := range fields {
		sizes = append(sizes, f.Size)
	}
	if want := []int{3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212, 0, 0}; !slices.Equal(sizes, want) {
		t.Errorf("sizes %v, want %v", sizes, want)
	}
	if last := fields[len(fields)-1]; !last.Whole {
		t.Errorf("the layer behind a global pooling sees %+v, want the whole input", last)
	}
}
