package main

import (
	"math"
	"testing"
	"testing/synctest"
)

// TestSimulation: ranks that sleep, over comm.Local with delays, take the time that the model
// says; with every layer's time off by up to 5 % on every rank, at most that much more. The
// clock is the test's own, so no time passes.
func TestSimulation(t *testing.T) {
	n := nodes[1]
	for _, g := range []float64{1, 25} {
		for _, exchange := range exchanges {
			for _, ranks := range []int{2, 3, 16, 64} {
				s, err := newStep(n, link{g * 1e9 / 8, latency}, ranks, exchange)
				if err != nil {
					t.Fatal(err)
				}
				want := s.model().total
				for _, jitter := range []float64{0, 0.05} {
					synctest.Test(t, func(t *testing.T) {
						got, err := s.simulate(jitter, 1)
						if err != nil {
							t.Fatal(err)
						}
						if off := math.Abs(got/want - 1); off > jitter+1e-6 {
							t.Errorf("%s, %g Gbit/s, %s, %d ranks, jitter %g: simulated %.4f s, model %.4f s", n.name, g, exchange, ranks, jitter, got, want)
						}
					})
				}
			}
		}
	}
}
