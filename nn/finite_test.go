package nn

import (
	"math"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// TestNonFinite: it finds the first in the order of the layers, and a parameter before the
// output that it spoils.
func TestNonFinite(t *testing.T) {
	conv, fc := NewConv("conv", 3, 5, 3, 1, true), NewFC("fc", 5, 4, 7, false)
	c := NewChain(3, conv, fc)
	state, err := c.NewTraining(2, 4, 4)
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.New(2, 3, 4, 4)
	step := func() string {
		t.Helper()
		if _, err := state.Step(x, []int{0, 1}, Pass{}); err != nil {
			t.Fatal(err)
		}
		return state.NonFinite()
	}
	spoil := func(p *Param, i int, v float32) func() {
		p.Value[i] = v
		p.Changed()
		return func() { p.Value[i] = 0; p.Changed() }
	}
	if got := step(); got != "" || c.NonFinite() != "" {
		t.Errorf("%q of a sound network", got)
	}
	undo := spoil(fc.Weight, 0, float32(math.NaN()))
	if got := step(); got != "fc.weight" || c.NonFinite() != "fc.weight" {
		t.Errorf("%q and %q, want fc.weight", got, c.NonFinite())
	}
	again := spoil(conv.Bias, 4, float32(math.Inf(-1)))
	if got := step(); got != "conv.bias" || c.NonFinite() != "conv.bias" {
		t.Errorf("%q and %q, want conv.bias", got, c.NonFinite())
	}
	undo()
	again()
	spoil(conv.Bias, 4, 3e38)
	spoil(fc.Bias, 6, 1)
	for i := range fc.Weight.Value {
		fc.Weight.Value[i] = 3
	}
	fc.Weight.Changed()
	if got := step(); got != "fc" || c.NonFinite() != "" {
		t.Errorf("%q and %q, want fc and no parameter", got, c.NonFinite())
	}
	x.Data[17] = float32(math.Inf(1))
	if got := step(); got != "input" {
		t.Errorf("%q, want input", got)
	}
}

// TestRows: rows of a packed buffer are read and written without the others.
func TestRows(t *testing.T) {
	for _, p := range []*Param{NewConv("conv", 5, 37, 3, 1, true).Weight, NewFC("fc", 5, 2, 37, true).Weight, NewFC("fc", 5, 2, 37, true).Bias} {
		row := p.Len() / 37
		v := make([]float32, p.Len())
		for i := range v {
			v[i] = float32(i + 1)
		}
		packed, all := make([]float32, p.packed), make([]float32, p.packed)
		if err := p.PackRows(0, all, v); err != nil {
			t.Fatal(err)
		}
		for k0 := 0; k0 < 37; k0 += 10 {
			n := min(10, 37-k0)
			if err := p.PackRows(k0, packed, v[k0*row:(k0+n)*row]); err != nil {
				t.Fatal(err)
			}
			back := make([]float32, n*row)
			if err := p.UnpackRows(k0, back, all); err != nil {
				t.Fatal(err)
			}
			for i := range back {
				if back[i] != v[k0*row+i] {
					t.Fatalf("%s: value %d from row %d on is %v, want %v", p.Name, i, k0, back[i], v[k0*row+i])
				}
			}
		}
		for i := range all {
			if packed[i] != all[i] {
				t.Fatalf("%s: packed by rows, value %d is %v, want %v", p.Name, i, packed[i], all[i])
			}
		}
		for _, bad := range [][2]int{{-1, row}, {37, row}, {0, row + 1}} {
			if row == 1 && bad[1] == 2 {
				continue
			}
			if p.PackRows(bad[0], packed, v[:bad[1]]) == nil || p.UnpackRows(bad[0], v[:bad[1]], packed) == nil {
				t.Errorf("%s: %d values from row %d on: no error", p.Name, bad[1], bad[0])
			}
		}
		if p.PackRows(0, packed[1:], v[:row]) == nil {
			t.Errorf("%s: a buffer of another length: no error", p.Name)
		}
	}
}
