package nn

import (
	"math/rand/v2"
	"testing"
)

// TestSetInputs: setting a weight by in-units or by out-channels gives the same values.
func TestSetInputs(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	for _, l := range []*Conv{NewConv("conv", 18, 33, 3, 1, true), NewConv("patched", 3, 7, 5, 2, true), NewFC("fc", 5, 3, 34, true)} {
		p := l.Weight
		k := p.Shape[0]
		in := p.Len() / k
		want := randoms(rng, p.Len(), 1)
		turned := make([]float32, len(want))
		for i := range in {
			for j := range k {
				turned[i*k+j] = want[j*in+i]
			}
		}
		for i, n := 0, 1; i < in; i, n = i+n, n+1 {
			n = min(n, in-i)
			if err := p.SetInputs(i, turned[i*k:(i+n)*k]); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]float32, len(want))
		if err := p.Get(got); err != nil {
			t.Fatal(err)
		}
		if err := sameBits(got, want); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		back := make([]float32, len(want))
		if err := p.GetInputs(0, back); err != nil {
			t.Fatal(err)
		}
		if err := sameBits(back, turned); err != nil {
			t.Errorf("%s: got by in-units: %v", p.Name, err)
		}
		for _, bad := range []struct{ i, n int }{{-1, k}, {in, k}, {in - 1, 2 * k}, {0, k - 1}} {
			if p.SetInputs(bad.i, make([]float32, bad.n)) == nil || p.GetInputs(bad.i, make([]float32, bad.n)) == nil {
				t.Errorf("%s: %d values from in-unit %d on were taken", p.Name, bad.n, bad.i)
			}
		}
	}
	if NewBatchNorm("bn", 4, true).Gamma.SetInputs(0, make([]float32, 4)) == nil {
		t.Error("a vector has no in-units, but took some")
	}
}
