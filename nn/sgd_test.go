package nn

import (
	"math"
	"testing"
)

// TestStepSGD: the update within the backward pass gives the bits of a separate update, on
// any number of threads.
func TestStepSGD(t *testing.T) {
	const n, steps = 5, 3
	params := func(threads int, fused bool) map[string][]float32 {
		c := testChain(t, threads, true)
		tr := newTraining(t, c, n)
		sgd := NewSGD(c)
		for i := range steps {
			x, labels := images(uint64(20+i), n, 8, 8), []int{0, 1, 2, 1, 0}
			p := Pass{Seed: 3, Iteration: i}
			if fused {
				if _, err := tr.StepSGD(x, labels, p, sgd, Update{Rate: 0.01, Momentum: 0.9, Decay: 5e-4, DecayBiases: true}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			c.ZeroGrad()
			if _, err := tr.Step(x, labels, p); err != nil {
				t.Fatal(err)
			}
			sgd.Step(Update{Rate: 0.01, Momentum: 0.9, Decay: 5e-4, DecayBiases: true})
		}
		values := map[string][]float32{}
		for _, p := range c.Params() {
			v := make([]float32, p.Len())
			if err := p.Get(v); err != nil {
				t.Fatal(err)
			}
			values[p.Name] = v
		}
		return values
	}
	want := params(1, false)
	for _, threads := range []int{1, 2, 7} {
		for name, v := range params(threads, true) {
			for i := range v {
				if math.Float32bits(v[i]) != math.Float32bits(want[name][i]) {
					t.Fatalf("%d threads: %s[%d] is %g, want %g", threads, name, i, v[i], want[name][i])
				}
			}
		}
	}
}

// TestStepSGDStopsAtNaN: a loss that is not finite changes no parameter.
func TestStepSGDStopsAtNaN(t *testing.T) {
	c := testChain(t, 2, false)
	tr := newTraining(t, c, 2)
	sgd := NewSGD(c)
	x := images(30, 2, 8, 8)
	x.Data[5] = float32(math.NaN())
	before := map[string][]float32{}
	for _, p := range c.Params() {
		if p.Running {
			continue
		}
		before[p.Name] = append([]float32(nil), p.Value...)
	}
	loss, err := tr.StepSGD(x, []int{0, 1}, Pass{}, sgd, Update{Rate: 0.01, Momentum: 0.9, Decay: 5e-4, DecayBiases: true})
	if err != nil || !math.IsNaN(loss) {
		t.Fatalf("loss %g, %v, want NaN", loss, err)
	}
	for _, p := range c.Params() {
		for i, v := range before[p.Name] {
			if p.Value[i] != v {
				t.Fatalf("%s[%d] changed from %g to %g", p.Name, i, v, p.Value[i])
			}
		}
	}
}
