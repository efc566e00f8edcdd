package nn

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// TestInferenceByGroups: images that go through the first layers in groups get the bits that each gets
// alone, in less memory, whether or not the last group is smaller; and a pass that is given up
// leaves nothing behind.
func TestInferenceByGroups(t *testing.T) {
	const side, n = 112, 7
	rng := rand.New(rand.NewPCG(17, 18))
	c := NewChain(3, NewConv("conv1_1", 3, 16, 3, 1, true), NewConv("conv1_2", 16, 24, 3, 1, true), NewMaxPool("pool1"),
		NewConv("conv2_1", 24, 16, 3, 1, true))
	whole := NewChain(3, c.Layers()[:2]...) // no step after the front
	for _, p := range c.Params() {
		if err := p.Set(randoms(rng, p.Len(), 0.2)); err != nil {
			t.Fatal(err)
		}
	}
	x := tensor.New(n, 3, side, side)
	copy(x.Data, randoms(rng, len(x.Data), 1))
	for _, c := range []*Chain{c, whole} {
		for _, threads := range []int{1, 3} {
			c.SetThreads(threads)
			ws, err := c.take(n, side, side)
			if err != nil {
				t.Fatal(err)
			}
			if f := ws.front; f.steps != 2 || f.group != min(n, (512*threads+783)/784) {
				t.Errorf("%d threads: front %+v, want two steps", threads, f)
			}
			c.give(ws)

			gone, cancel := context.WithCancel(t.Context())
			cancel()
			y, err := c.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.ForwardContext(gone, y, x); !errors.Is(err, context.Canceled) {
				t.Fatalf("a pass that is given up: %v", err)
			}
			if y, err = c.Forward(x); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				one := tensor.New(1, 3, side, side)
				copy(one.Data, x.Index(i).Data)
				alone, err := c.Forward(one)
				if err != nil {
					t.Fatal(err)
				}
				for j, v := range y.Index(i).Data {
					if math.Float32bits(v) != math.Float32bits(alone.Data[j]) {
						t.Fatalf("%d threads, image %d: output %d is %g, alone %g", threads, i, j, v, alone.Data[j])
					}
				}
			}
			seven, _ := c.WorkspaceFloats(n, side, side)
			six, _ := c.WorkspaceFloats(n-1, side, side)
			if most := 32 * side * side; seven-six > most {
				t.Errorf("%d threads: another image takes %d floats, want at most %d, less than two of the first maps", threads, seven-six, most)
			}
		}
	}
}
