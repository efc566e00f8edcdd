package perceptual

import (
	"math"

	"github.com/verydeep/vgg/nn"
)

// eps is ε, by which norms are larger.
const eps = 1e-10

// norms returns 1/(‖v‖+ε) of the features v at each pixel of row y of image n. scratch is as long as
// a row.
func norms(a nn.Maps, n, y int, scratch []float32) []float64 {
	clear(scratch)
	for b := range a.Blocks() {
		a.AddSquares(n, b, y, scratch)
	}
	norms := make([]float64, a.W)
	sums(scratch, func(x int, sum float64) { norms[x] = 1 / (math.Sqrt(sum) + eps) })
	return norms
}

// sums calls each with the sum of a block's channels at each pixel of a row.
func sums(row []float32, each func(x int, sum float64)) {
	for x := range len(row) / nn.MapBlock {
		v := (*[nn.MapBlock]float32)(row[x*nn.MapBlock:])
		var s [4]float32
		for k := 0; k < nn.MapBlock; k += 4 {
			s[0] += v[k]
			s[1] += v[k+1]
			s[2] += v[k+2]
			s[3] += v[k+3]
		}
		each(x, float64(s[0]+s[1])+float64(s[2]+s[3]))
	}
}

// places returns d at each place of N pairs, (N,H,W); pair i is images 2i and 2i+1 of a.
func (m *Metric) places(a nn.Maps, weights []float32) []float32 {
	out := make([]float32, a.N/2*a.H*a.W)
	a.Parallel(a.N/2*a.H, func(i int) {
		n, y := i/a.H, i%a.H
		row := make([]float32, a.W*nn.MapBlock)
		first, second := single(norms(a, 2*n, y, row)), single(norms(a, 2*n+1, y, row))
		clear(row)
		for b := range a.Blocks() {
			a.AddDifferences(2*n, 2*n+1, b, y, first, second, weights[b*nn.MapBlock:], row)
		}
		sums(row, func(x int, sum float64) { out[i*a.W+x] = float32(sum) })
	})
	return out
}

// single returns values in float32.
func single(values []float64) []float32 {
	all := make([]float32, len(values))
	for i, v := range values {
		all[i] = float32(v)
	}
	return all
}

// addInterpolated adds values, (rows,cols), to out, (h,w), linearly between the centres of
// their places; beyond them, the value of the border (PyTorch's bilinear interpolation without
// aligned corners).
func addInterpolated(out []float32, h, w int, values []float32, rows, cols int) {
	type weight struct {
		at, next int
		share    float32
	}
	axis := func(n, of int) []weight {
		all := make([]weight, n)
		for i := range all {
			at := math.Max(0, (float64(i)+0.5)*float64(of)/float64(n)-0.5)
			j := min(int(at), of-1)
			all[i] = weight{j, min(j+1, of-1), float32(at - float64(j))}
		}
		return all
	}
	xs := axis(w, cols)
	for y, v := range axis(h, rows) {
		upper, lower, row := values[v.at*cols:][:cols], values[v.next*cols:][:cols], out[y*w:][:w]
		for x, u := range xs {
			top := upper[u.at] + u.share*(upper[u.next]-upper[u.at])
			bottom := lower[u.at] + u.share*(lower[u.next]-lower[u.at])
			row[x] += top + v.share*(bottom-top)
		}
	}
}
