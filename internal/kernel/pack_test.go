package kernel

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPropertyPackPieces: rows packed a few at a time, and inputs packed one at a time,
// give what Pack gives, in 32 bits and in 16.
func TestPropertyPackPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawConv(t).g
		row := g.C * g.R * g.R
		src := make([]float32, g.K*row)
		for i := range src {
			src[i] = float32(i%2000 + 1)
		}
		want := make([]float32, g.WeightLen())
		g.pack(want, src)
		byRows, byInputs := make([]float32, len(want)), make([]float32, len(want))
		halfRows, halfInputs := NewHalfWeights(F16, len(want)), NewHalfWeights(F16, len(want))
		for k := 0; k < g.K; {
			n := min(rapid.IntRange(1, 40).Draw(t, "rows"), g.K-k)
			g.PackRows(byRows, src[k*row:(k+n)*row], k)
			g.PackHalfRows(halfRows, src[k*row:(k+n)*row], k)
			k += n
		}
		in := make([]float32, g.K)
		for i := range row {
			for k := range in {
				in[k] = src[k*row+i]
			}
			c, tap := i/(g.R*g.R), i%(g.R*g.R)
			g.PackInput(byInputs, in, c, tap/g.R, tap%g.R)
			g.PackHalfInput(halfInputs, in, c, tap/g.R, tap%g.R)
			for what, unpack := range map[string]func([]float32){
				"32 bits": func(dst []float32) { g.UnpackInput(dst, byInputs, c, tap/g.R, tap%g.R) },
				"16 bits": func(dst []float32) { g.UnpackHalfInput(dst, halfInputs, c, tap/g.R, tap%g.R) },
			} {
				got := filled(g.K, nan)
				unpack(got)
				if j := differ(got, in); j >= 0 {
					t.Fatalf("%+v: in-unit %d in %s: value %d is %g, want %g", g, i, what, j, got[j], in[j])
				}
			}
		}
		if !slices.Equal(byRows, want) || !slices.Equal(byInputs, want) {
			t.Fatalf("%+v: packed in pieces, the weights differ", g)
		}
		for i, v := range want {
			if h := F16.narrow(v); halfRows.Data[i] != h || halfInputs.Data[i] != h {
				t.Fatalf("%+v: place %d in 16 bits: %#x by rows, %#x by inputs, want %#x", g, i, halfRows.Data[i], halfInputs.Data[i], h)
			}
		}
	})
}
