package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// doubles are n float64 in a memory that ends where they do.
func doubles(mem memory, n int) []float64 {
	if n == 0 {
		return nil
	}
	f := mem.floats(make([]float32, 2*n))
	return unsafe.Slice((*float64)(unsafe.Pointer(&f[0])), n)
}

// mixedAgainstTwin uses whole numbers, on which a fused multiplication rounds nothing.
func mixedAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(41, 42))
	for n := 1; n <= 5; n++ {
		x := mem.floats(integers(rng, n*Block))
		w, sum := make([]float64, n*Block), make([]float64, Block)
		if _, ok := mem.(unaligned); !ok { // a float64 at an odd address is Go's own business
			w, sum = doubles(mem, n*Block), doubles(mem, Block)
		}
		for i := range w {
			w[i] = float64(rng.IntN(100) - 50)
		}
		for i := range sum {
			sum[i] = float64(i)
		}
		wantSum, wantW := slices.Clone(sum), slices.Clone(w)
		s.mixedDotBlocks(n, x, w, sum)
		mixedDotTwin(n, x, w, wantSum)
		if !slices.Equal(sum, wantSum) {
			t.Errorf("mixedDot, n %d: %v, want %v", n, sum, wantSum)
		}
		s.mixedAddBlocks(n, -3, x, w)
		mixedAddTwin(n, -3, x, wantW)
		if !slices.Equal(w, wantW) {
			t.Errorf("mixedAdd, n %d: %v, want %v", n, w, wantW)
		}
		mem.release()
	}
}

func TestMixed(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for n := range 3*Block + 2 {
			x, w := randoms(rng, n), make([]float64, n)
			want, size := 0.0, 0.0
			for i := range w {
				w[i] = rng.NormFloat64()
				want += float64(x[i]) * w[i]
				size += math.Abs(float64(x[i]) * w[i])
			}
			if got := MixedDot(new(Sums), x, w); math.Abs(got-want) > 1e-15*float64(n)*size {
				t.Errorf("%d products: %v, want %v", n, got, want)
			}
			before := slices.Clone(w)
			MixedAdd(0.5, x, w)
			for i := range w {
				if want := before[i] + 0.5*float64(x[i]); math.Abs(w[i]-want) > 1e-15*(1+math.Abs(want)) {
					t.Errorf("%d numbers: number %d is %v, want %v", n, i, w[i], want)
				}
			}
		}
	})
}
