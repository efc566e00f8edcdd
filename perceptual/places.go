package perceptual

import (
	"math"

	"github.com/verydeep/vgg/nn"
)

// eps is ε, by which norms are larger.
const eps = 1e-10

// block is the channels of a block of maps at one pixel.
type block = [nn.MapBlock]float32

// squares adds the sums of squares of a block's channels to sums, pixel by pixel.
func squares(sums []float64, row []float32) {
	for x := range sums {
		v := (*block)(row[x*nn.MapBlock:])
		var s0, s1, s2, s3 float32
		for k := 0; k < nn.MapBlock; k += 4 {
			s0 += v[k] * v[k]
			s1 += v[k+1] * v[k+1]
			s2 += v[k+2] * v[k+2]
			s3 += v[k+3] * v[k+3]
		}
		sums[x] += float64(s0+s1) + float64(s2+s3)
	}
}

// norms returns 1/(‖v‖+ε) of the features v at each pixel of row y of image n.
func norms(a nn.Maps, n, y int) []float64 {
	sums := make([]float64, a.W)
	for b := range a.Blocks() {
		squares(sums, a.Row(n, b, y))
	}
	for x, s := range sums {
		sums[x] = 1 / (math.Sqrt(s) + eps)
	}
	return sums
}

// places returns d at each place of N pairs, (N,H,W); pair i is images 2i and 2i+1 of a.
func (m *Metric) places(a nn.Maps, weights []float32) []float32 {
	out := make([]float32, a.N/2*a.H*a.W)
	a.Parallel(a.N/2*a.H, func(i int) {
		n, y := i/a.H, i%a.H
		first, second := norms(a, 2*n, y), norms(a, 2*n+1, y)
		sums := make([]float64, a.W)
		for b := range a.Blocks() {
			differences(sums, a.Row(2*n, b, y), a.Row(2*n+1, b, y), first, second, (*block)(weights[b*nn.MapBlock:]))
		}
		for x, s := range sums {
			out[i*a.W+x] = float32(s)
		}
	})
	return out
}

// differences adds the weighted squared differences of a block's channels to sums.
func differences(sums []float64, a, b []float32, first, second []float64, weights *block) {
	for x := range sums {
		va, vb := (*block)(a[x*nn.MapBlock:]), (*block)(b[x*nn.MapBlock:])
		na, nb := float32(first[x]), float32(second[x])
		var s0, s1 float32
		for k := 0; k < nn.MapBlock; k += 2 {
			d0, d1 := va[k]*na-vb[k]*nb, va[k+1]*na-vb[k+1]*nb
			s0 += weights[k] * d0 * d0
			s1 += weights[k+1] * d1 * d1
		}
		sums[x] += float64(s0 + s1)
	}
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
