package network

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/tensor"
)

// TestImageSizes: a smaller image is an error, a larger one of any aspect gives a map.
func TestImageSizes(t *testing.T) {
	for _, input := range []int{32, 64, 75} {
		n, err := New(Options{Config: "A", Classes: 3, Width: 1.0 / 32, FC: 4, Input: input})
		if err != nil {
			t.Fatal(err)
		}
		field := input / 32 // side of fc6's filters
		for _, size := range [][2]int{{input, input}, {input, input + 31}, {input, 20 * input}, {5 * input, input}, {input + 40, input + 65}} {
			h, w := size[0], size[1]
			y := vggtest.Forward(t, n, vggtest.Ramp(tensor.New(2, 3, h, w)))
			want := []int{2, 3, h/32 - field + 1, w/32 - field + 1}
			planned, err := n.OutputShape(2, h, w)
			if err != nil || !slices.Equal(y.Shape, want) || !slices.Equal(planned, want) {
				t.Errorf("input %d, image %d×%d: map of %v, planned %v (%v), want %v", input, h, w, y.Shape, planned, err, want)
			}
		}
		for _, shape := range [][]int{{1, 3, input - 1, input}, {1, 3, 500, input - 1}, {1, 3, 1, 1}, {1, 1, input, input}, {3, input, input}, {0, 3, input, input}} {
			x := &tensor.Tensor{Shape: shape, Data: make([]float32, 3*500*500)}
			if y, err := n.Forward(x); err == nil {
				t.Errorf("input %d: %v gave a map of %v, want an error", input, shape, y.Shape)
			}
			if err := n.ForwardInto(tensor.New(1, 3, 1, 1), x); err == nil {
				t.Errorf("input %d: %v gave a map, want an error", input, shape)
			}
		}
		if _, err := n.Forward(tensor.New(1, 3, input-1, input)); !strings.Contains(fmt.Sprint(err), fmt.Sprintf("%d×%d pixels, want at least %d×%d", input, input-1, input, input)) {
			t.Errorf("input %d: %v, want the sizes named", input, err)
		}
	}
}

// TestThreads: 1, 2 and 7 threads give the same bits.
func TestThreads(t *testing.T) {
	for _, config := range []string{"A-LRN", "D", "E-BN", "B-shallow"} {
		n, err := New(Options{Config: config, Classes: 10, Width: 1.0 / 8, FC: 40, Input: 32})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Init(He, 1); err != nil {
			t.Fatal(err)
		}
		for _, shape := range [][]int{{1, 3, 32, 32}, {3, 3, 50, 67}} {
			x := vggtest.Ramp(tensor.New(shape...))
			n.SetThreads(1)
			want := vggtest.Forward(t, n, x)
			for _, threads := range []int{2, 7} {
				n.SetThreads(threads)
				if got := vggtest.Forward(t, n, x); vggtest.SameBits(got.Data, want.Data) != nil {
					t.Errorf("%s: %v: other bits on %d threads than on 1", config, shape, threads)
				}
			}
		}
	}
}

// TestForwardContext: a pass looks at its context before every layer, and is that of Forward
// if it isn't cancelled.
func TestForwardContext(t *testing.T) {
	o := DefaultOptions("A")
	o.Classes, o.Width, o.FC, o.Input = 3, 1./16, 16, 32
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Init(He, 3); err != nil {
		t.Fatal(err)
	}
	x := vggtest.Ramp(tensor.New(2, 3, 40, 36))
	want := vggtest.Forward(t, n, x)
	y := tensor.New(want.Shape...)
	vggtest.Cancel(t, 11, func(ctx context.Context) error { return n.ForwardContext(ctx, y, x) })
	if err := n.ForwardContext(t.Context(), y, x); err != nil || vggtest.SameBits(y.Data, want.Data) != nil {
		t.Errorf("other values than Forward's, or %v", err)
	}
}
