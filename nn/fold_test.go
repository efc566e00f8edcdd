package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// TestFoldedNormalisation compares inference, which folds a batch normalisation into the
// weights before it, with the same layers run one by one.
func TestFoldedNormalisation(t *testing.T) {
	for _, test := range []struct {
		c, k, r, side int
		relu, pool    bool
	}{
		{3, 20, 3, 12, true, true},
		{16, 33, 3, 16, true, true},
		{16, 32, 3, 9, false, false},
		{20, 18, 1, 8, true, true},
		{17, 40, 5, 11, true, false},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(41, uint64(test.k)))
			conv := NewConv("conv", test.c, test.k, test.r, test.r/2, false)
			norm := NewBatchNorm("conv.bn", test.k, test.relu)
			layers := []Layer{conv, norm}
			if test.pool {
				layers = append(layers, NewMaxPool("pool"))
			}
			whole := NewChain(test.c, layers...)
			draw := func() {
				for _, p := range whole.Params() {
					v := make([]float32, p.Len())
					for i := range v {
						v[i] = float32(rng.NormFloat64())
						if p == norm.RunningVar {
							v[i] = 0.5 + v[i]*v[i]
						}
					}
					if err := p.Set(v); err != nil {
						t.Fatal(err)
					}
				}
			}
			x := tensor.New(2, test.c, test.side, test.side)
			for i := range x.Data {
				x.Data[i] = float32(rng.NormFloat64())
			}
			check := func(when string) {
				t.Helper()
				got, err := whole.Forward(x)
				if err != nil {
					t.Fatal(err)
				}
				want, c := x, test.c
				for _, l := range layers {
					one := NewChain(c, l)
					if want, err = one.Forward(want); err != nil {
						t.Fatal(err)
					}
					c = test.k
				}
				scale := 0.0
				for _, v := range want.Data {
					scale = max(scale, math.Abs(float64(v)))
				}
				for i, v := range want.Data {
					if d := math.Abs(float64(got.Data[i]) - float64(v)); !(d <= 1e-5*scale) {
						t.Fatalf("%s: y[%d] is %g, want %g", when, i, got.Data[i], v)
					}
				}
			}
			draw()
			check("at first")
			draw()
			check("after new weights")
			norm.Gamma.Value[test.k-1] = 3 // as training writes it
			norm.RunningMean.Value[0] = -2
			check("after new statistics")
			conv.Bias.Value[1] = 5
			check("after a new bias")
		})
	}
}
