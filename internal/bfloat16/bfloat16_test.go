package bfloat16

import (
	"math"
	"math/rand/v2"
	"testing"
)

// nearest rounds by the definition, in float64, where every step is exact.
func nearest(f float32) float32 {
	x := float64(f)
	if x == 0 || math.IsInf(x, 0) || x != x {
		return f
	}
	_, e := math.Frexp(x) // x is a fraction of at least ½ times 2^e
	e = max(e-8, -126-7)  // of the last of 8 bits; that of denormal numbers
	r := math.Ldexp(math.RoundToEven(math.Ldexp(x, -e)), e)
	if math.Abs(r) >= 0x1p128 {
		return float32(math.Inf(int(math.Copysign(1, x))))
	}
	return float32(r)
}

func TestRound(t *testing.T) {
	var values []float32
	for v := range 1 << 16 { // every value, what is between it and the next, and beside that
		b := uint32(v) << 16
		for _, low := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
			values = append(values, math.Float32frombits(b|low))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 1 << 18 {
		values = append(values, math.Float32frombits(r.Uint32()))
	}
	rounded := append([]float32(nil), values...)
	Round(rounded)
	for i, f := range values {
		got, want := rounded[i], nearest(f)
		if f != f {
			if got == got {
				t.Fatalf("NaN %#x becomes %g", math.Float32bits(f), got)
			}
			continue
		}
		if math.Float32bits(got) != math.Float32bits(want) {
			t.Fatalf("%g (%#x) becomes %g, want %g", f, math.Float32bits(f), got, want)
		}
		if Float32(From(got)) != got {
			t.Fatalf("%g isn't kept", got)
		}
	}
}
