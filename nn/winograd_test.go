package nn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// TestInferenceAgainstTraining: inference, which keeps transformed weights, uses F(6×6) where
// it pays and fuses poolings, gives the output of a training pass, which does none of that,
// before and after the weights change.
func TestInferenceAgainstTraining(t *testing.T) {
	for _, side := range []int{24, 26, 36} {
		rng := rand.New(rand.NewPCG(1, 1))
		conv := []*Conv{NewConv("conv1_1", 3, 16, 3, 1, true), NewConv("conv1_2", 16, 40, 3, 1, true), NewConv("conv2_1", 40, 33, 3, 1, true), NewConv("conv2_2", 33, 64, 3, 1, true)}
		c := NewChain(3, conv[0], conv[1], NewMaxPool("pool1"), conv[2], conv[3], NewMaxPool("pool2"), NewFC("fc6", 64, side/4, 10, false))
		tr, err := c.NewTraining(3, side, side)
		if err != nil {
			t.Fatal(err)
		}
		x := tensor.New(3, 3, side, side)
		for i := range x.Data {
			x.Data[i] = float32(rng.NormFloat64())
		}
		winograd := 0
		for round := range 2 {
			for _, p := range c.Params() {
				v := make([]float32, p.Len())
				for i := range v {
					v[i] = float32(rng.NormFloat64()) / float32(math.Sqrt(float64(p.Len()/p.Shape[0])))
				}
				if err := p.Set(v); err != nil {
					t.Fatal(err)
				}
			}
			y, err := c.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Step(x, []int{1, 2, 3}, Pass{}); err != nil {
				t.Fatal(err)
			}
			var diff, size float64
			for i, v := range tr.Scores().Data {
				diff = max(diff, math.Abs(float64(v-y.Data[i])))
				size = max(size, math.Abs(float64(v)))
			}
			if !(diff <= 2e-5*size) {
				t.Errorf("side %d, round %d: scores differ by %g of %g", side, round, diff, size)
			}
		}
		for _, l := range conv {
			if l.filters[1].Load() != nil || l.filters[2].Load() != nil {
				winograd++
			}
		}
		if winograd != 3 {
			t.Errorf("side %d: %d layers ran by Winograd, want 3", side, winograd)
		}
	}
}

// TestBatchGivesTheSameBits: an image's scores don't depend on the images beside it nor
// on the number of threads.
func TestBatchGivesTheSameBits(t *testing.T) {
	const side, n = 28, 9
	rng := rand.New(rand.NewPCG(5, 5))
	c := NewChain(3, NewConv("conv1_1", 3, 64, 3, 1, true), NewConv("conv1_2", 64, 64, 3, 1, true), NewMaxPool("pool1"),
		NewConv("conv2_1", 64, 128, 3, 1, true), NewFC("fc6", 128, side/2, 10, false))
	for _, p := range c.Params() {
		v := make([]float32, p.Len())
		for i := range v {
			v[i] = float32(rng.NormFloat64()) / 10
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	x := tensor.New(n, 3, side, side)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	var want []float32
	for _, threads := range []int{1, 2, 7} {
		c.SetThreads(threads)
		whole, err := c.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = whole.Data
		}
		for i := range n {
			one := tensor.New(1, 3, side, side)
			copy(one.Data, x.Index(i).Data)
			y, err := c.Forward(one)
			if err != nil {
				t.Fatal(err)
			}
			for j, v := range y.Data {
				if w := want[i*10+j]; math.Float32bits(v) != math.Float32bits(w) || math.Float32bits(whole.Data[i*10+j]) != math.Float32bits(w) {
					t.Fatalf("%d threads, image %d, class %d: %g alone, %g in the batch, want %g", threads, i, j, v, whole.Data[i*10+j], w)
				}
			}
		}
	}
}
