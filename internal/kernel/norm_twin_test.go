package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// normsAgainstTwin uses whole numbers, on which a fused multiplication rounds nothing.
func normsAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(31, 32))
	whole := func(n int) []float32 { return mem.floats(integers(rng, n*Block)) }
	for n := 1; n <= 5; n++ {
		x, dy, a, b, c, ref := whole(n), whole(n), whole(1), whole(1), whole(1), whole(1)
		got, want := whole(n), make([]float32, n*Block)
		for _, lo := range []float32{0, float32(math.Inf(-1))} {
			s.scaleShiftRow(n, x, got, a, b, lo)
			scaleShiftTwin(n, x, want, a, b, lo)
			checkBits(t, fmt.Sprintf("scaleShift, n %d, lo %g", n, lo), got, want)
		}
		s.normGradRow(n, x, dy, got, ref, a, b, c)
		normGradTwin(n, x, dy, want, ref, a, b, c)
		checkBits(t, fmt.Sprintf("normGrad, n %d", n), got, want)

		sums := func(f func(sum, other []float64)) [2 * Block]float64 {
			var out [2 * Block]float64
			for i := range out {
				out[i] = float64(i)
			}
			f(out[:Block], out[Block:])
			return out
		}
		if got, want := sums(func(p, q []float64) { s.normSumsRow(n, x, ref, p, q) }), sums(func(p, q []float64) { normSumsTwin(n, x, ref, p, q) }); got != want {
			t.Errorf("normSums, n %d: %v, want %v", n, got, want)
		}
		if got, want := sums(func(p, q []float64) { s.normDotsRow(n, x, ref, dy, p, q) }), sums(func(p, q []float64) { normDotsTwin(n, x, ref, dy, p, q) }); got != want {
			t.Errorf("normDots, n %d: %v, want %v", n, got, want)
		}
		mem.release()
	}
}

// lrnsAgainstTwin allows the rounding of a fused multiplication and of the order of two
// products.
func lrnsAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(33, 34))
	for n := 1; n <= 4; n++ {
		for _, size := range []int{1, 3, 5} {
			for _, gap := range []int{0, 3} {
				l := LRN{Size: size, K: 2, Alpha: 0.25, Beta: 0.75}
				stride := Block + size - 1 + gap
				room := (n-1)*stride + Block + size - 1
				x, dy := mem.floats(randoms(rng, n*Block)), mem.floats(randoms(rng, n*Block))
				sq, rest := mem.floats(make([]float32, room)), mem.floats(make([]float32, room))
				wantSq, wantRest := make([]float32, room), make([]float32, room)
				s.squaresRow(n, x, sq[size/2:], stride)
				squaresTwin(n, x, wantSq[size/2:], stride)
				checkBits(t, "squares", sq, wantSq)

				y, want := mem.floats(make([]float32, n*Block)), make([]float32, n*Block)
				s.lrnRow(l, n, x, sq, stride, y)
				lrnTwin(l, n, x, sq, stride, want)
				name := fmt.Sprintf("n %d, size %d, gap %d", n, size, gap)
				checkNear(t, "lrn, "+name, y, want)
				s.lrnGradRow(l, n, x, dy, sq, rest[size/2:], stride, y)
				lrnGradTwin(l, n, x, dy, sq, wantRest[size/2:], stride, want)
				checkNear(t, "lrnGrad, "+name, y, want)
				checkNear(t, "lrnGrad, rest, "+name, rest, wantRest)
				copy(wantRest, rest)
				copy(want, y)
				s.lrnSpreadRow(size, n, x, rest, stride, y, 0.5)
				lrnSpreadTwin(size, n, x, wantRest, stride, want, 0.5)
				checkNear(t, "lrnSpread, "+name, y, want)
				mem.release()
			}
		}
	}
}

// checkNear fails where got differs from want by more than a few roundings of numbers
// of the operands' size, about 1.
func checkNear(t *testing.T, name string, got, want []float32) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= 6*0x1p-23*(1+math.Abs(float64(want[i])))) {
			t.Fatalf("%s: float %d is %g, want %g", name, i, got[i], want[i])
		}
	}
}
