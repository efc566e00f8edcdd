package nn

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestParamOrder: each value has another index in the packed order, whose padding stays
// zero.
func TestParamOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	layers := []Layer{
		NewConv("patched", 3, 18, 3, 1, true), NewConv("blocked", 18, 33, 3, 1, true),
		NewFC("fc", 5, 3, 34, true), NewBatchNorm("bn", 18, true),
	}
	for _, l := range layers {
		for _, p := range l.Params() {
			want := randoms(rng, p.Len(), 1)
			if err := p.Set(want); err != nil {
				t.Fatal(err)
			}
			got := make([]float32, p.Len())
			if err := p.Get(got); err != nil {
				t.Fatal(err)
			}
			if err := sameBits(got, want); err != nil {
				t.Errorf("%s: set, then got: %v", p.Name, err)
			}
			at := slices.Sorted(slices.Values(packedIndices(p)))
			if len(slices.Compact(at)) != p.Len() {
				t.Errorf("%s: the %v values do not have as many indices", p.Name, p.Shape)
			}
			used := 0
			for _, v := range p.Value {
				if v != 0 {
					used++
				}
			}
			if used > p.Len() {
				t.Errorf("%s: %d values of the packed form are not zero, want at most %d", p.Name, used, p.Len())
			}
			row := p.Len() / p.Shape[0]
			piece := randoms(rng, 3*row, 1)
			copy(want[2*row:], piece)
			if err := p.SetRows(2, piece); err != nil {
				t.Fatal(err)
			}
			p.Get(got)
			if err := sameBits(got, want); err != nil {
				t.Errorf("%s: rows 2 … 4 set, then all got: %v", p.Name, err)
			}
			if err := p.GetRows(1, piece); err != nil {
				t.Fatal(err)
			}
			if err := sameBits(piece, want[row:4*row]); err != nil {
				t.Errorf("%s: rows 1 … 3: %v", p.Name, err)
			}
			long := make([]float32, p.Len()+1)
			for what, err := range map[string]error{
				"Set": p.Set(long), "Get": p.Get(long), "Unpack": p.Unpack(long, p.Value), "Unpack of too little": p.Unpack(got, p.Value[1:]), "UnpackRows": p.UnpackRows(0, long, p.Value),
				"PackRows": p.PackRows(0, p.Value, long), "PackRows into too little": p.PackRows(0, p.Value[1:], want),
				"SetRows past the end": p.SetRows(p.Shape[0]-2, piece), "SetRows before the start": p.SetRows(-1, piece),
				"GetRows past the end": p.GetRows(p.Shape[0]-2, piece), "GetRows before the start": p.GetRows(-1, piece),
			} {
				if err == nil {
					t.Errorf("%s: %s: no error", p.Name, what)
				}
			}
		}
	}
}
