package preprocess

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

// Stats describes the pixels of a training set: their mean RGB, which is
// subtracted from every image (section 2.1), and the eigen-system of their RGB
// covariance, along which colours are shifted (section 3.1; Krizhevsky et al.
// 2012, section 4.1).
type Stats struct {
	Mean         [3]float64    `json:"mean"`         // R, G, B in grey levels (0 … 255)
	Eigenvalues  [3]float64    `json:"eigenvalues"`  // of the covariance, in grey levels squared, largest first
	Eigenvectors [3][3]float64 `json:"eigenvectors"` // row i is the unit eigenvector (R, G, B) of Eigenvalues[i], its largest component positive
	Pixels       int64         `json:"pixels"`       // how many pixels were counted
}

// Shift returns the RGB colour shift in grey levels, Σ αᵢ √λᵢ pᵢ. The αᵢ are
// drawn from N(0, 0.1) once for each image, the pᵢ are the eigenvectors, and the
// √λᵢ are the standard deviations of the pixels along them.
//
// This is what the code released with Krizhevsky et al. does (cuda-convnet2
// scales its noise by color_stdevs), where their text, quoted by section 3.1,
// multiplies by the eigenvalues λᵢ; see [Stats.ShiftEigenvalue]. The standard
// deviation is homogeneous: the shifted picture is the same for any unit of the
// pixels. On ILSVRC a shift is some 7 grey levels a channel.
//
// Deviation: cuda-convnet2 also divides the shifted image by 1.1 to keep its
// variance. Neither paper mentions this, and Shift doesn't do it.
func (s Stats) Shift(alpha [3]float64) [3]float32 {
	return s.along(alpha, func(lambda float64) float64 { return math.Sqrt(lambda) })
}

// ShiftEigenvalue returns the RGB colour shift, in grey levels, that the
// papers' formula gives for pixels in [0, 1]: 255·Σ αᵢ (λᵢ/255²) pᵢ. It is
// the "lighting" of the ResNet recipes for Torch and PyTorch, whose constants
// 0.2175, 0.0188 and 0.0045 are ILSVRC's eigenvalues in that unit. On ILSVRC
// it is some 3 grey levels a channel. The formula isn't homogeneous: for pixels
// in [0, 255] it would give a shift 255 times as large.
func (s Stats) ShiftEigenvalue(alpha [3]float64) [3]float32 {
	return s.along(alpha, func(lambda float64) float64 { return lambda / 255 })
}

func (s Stats) along(alpha [3]float64, length func(lambda float64) float64) (shift [3]float32) {
	var sum [3]float64
	for i := range 3 {
		a := alpha[i] * length(max(s.Eigenvalues[i], 0))
		for c := range 3 {
			sum[c] += float64(a * s.Eigenvectors[i][c])
		}
	}
	for c := range 3 {
		shift[c] = float32(sum[c])
	}
	return shift
}

// StatsAccumulator collects [Stats] image by image. Its sums are integers, so
// the result depends neither on the order of the images nor on how they are
// divided among accumulators. The sums are large enough for 2⁴⁸ pixels, a
// billion photographs. The zero value is ready to use. It is not safe for
// concurrent use: give every goroutine its own, then [StatsAccumulator.Merge]
// them.
type StatsAccumulator struct {
	pixels   uint64
	sums     [3]uint64
	products [3][3]uint64 // upper triangle of Σ x·xᵀ
}

// Add counts every pixel of im.
func (a *StatsAccumulator) Add(im *Image) {
	var r, g, b, rr, rg, rb, gg, gb, bb uint64
	for pix := im.Pix; len(pix) >= 3; pix = pix[3:] {
		x, y, z := uint64(pix[0]), uint64(pix[1]), uint64(pix[2])
		r, g, b = r+x, g+y, b+z
		rr, rg, rb = rr+x*x, rg+x*y, rb+x*z
		gg, gb, bb = gg+y*y, gb+y*z, bb+z*z
	}
	a.Merge(&StatsAccumulator{
		pixels:   uint64(len(im.Pix) / 3),
		sums:     [3]uint64{r, g, b},
		products: [3][3]uint64{{rr, rg, rb}, {0, gg, gb}, {0, 0, bb}},
	})
}

// Merge adds the pixels that b has counted.
func (a *StatsAccumulator) Merge(b *StatsAccumulator) {
	a.pixels += b.pixels
	for i := range 3 {
		a.sums[i] += b.sums[i]
		for j := i; j < 3; j++ {
			a.products[i][j] += b.products[i][j]
		}
	}
}

// accumulatorNumbers is the number of integers in a StatsAccumulator.
const accumulatorNumbers = 1 + 3 + 6

// numbers are the addresses of the accumulator's integers.
func (a *StatsAccumulator) numbers() [accumulatorNumbers]*uint64 {
	return [...]*uint64{
		&a.pixels, &a.sums[0], &a.sums[1], &a.sums[2],
		&a.products[0][0], &a.products[0][1], &a.products[0][2], &a.products[1][1], &a.products[1][2], &a.products[2][2],
	}
}

// MarshalBinary writes what has been counted, for another process to merge.
func (a *StatsAccumulator) MarshalBinary() ([]byte, error) {
	var data []byte
	for _, v := range a.numbers() {
		data = binary.LittleEndian.AppendUint64(data, *v)
	}
	return data, nil
}

// UnmarshalBinary reads what MarshalBinary writes.
func (a *StatsAccumulator) UnmarshalBinary(data []byte) error {
	if len(data) != 8*accumulatorNumbers {
		return fmt.Errorf("preprocess: statistics: %d bytes, want %d", len(data), 8*accumulatorNumbers)
	}
	for i, v := range a.numbers() {
		*v = binary.LittleEndian.Uint64(data[8*i:])
	}
	return nil
}

// Stats returns the statistics of the pixels counted so far. The covariance is
// that of the whole population: the divisor is the number of pixels. It is an
// error if there are no pixels.
func (a *StatsAccumulator) Stats() (Stats, error) {
	if a.pixels == 0 {
		return Stats{}, errors.New("preprocess: statistics: no pixels, want at least 1")
	}
	s := Stats{Pixels: int64(a.pixels)}
	n := float64(a.pixels)
	var covariance [3][3]float64
	for i := range 3 {
		s.Mean[i] = float64(a.sums[i]) / n
		for j := i; j < 3; j++ {
			covariance[i][j] = a.covariance(i, j)
			covariance[j][i] = covariance[i][j]
		}
	}
	values, vectors := eigenSystem(covariance)
	order := []int{0, 1, 2}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(values[j], values[i]) })
	for i, from := range order {
		s.Eigenvalues[i] = max(values[from], 0)
		v := vectors[from]
		if slices.Max(v[:]) < -slices.Min(v[:]) {
			v[0], v[1], v[2] = -v[0], -v[1], -v[2]
		}
		s.Eigenvectors[i] = v
	}
	return s, nil
}

// eigenSystem returns the eigenvalues of a symmetric matrix, in no order, and their unit
// eigenvectors, by Jacobi's rotations: each makes one element beside the diagonal zero, and
// what is left there shrinks quadratically. Products are rounded before they are added, so
// that the bits are the same on every processor.
func eigenSystem(a [3][3]float64) (values [3]float64, vectors [3][3]float64) {
	vectors = [3][3]float64{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}
	for range 50 { // rounds; five or six do, for any matrix
		done := true
		for _, at := range [][2]int{{0, 1}, {0, 2}, {1, 2}} {
			p, q := at[0], at[1]
			if a[p][p]+a[p][q] == a[p][p] && a[q][q]+a[p][q] == a[q][q] {
				continue // too small to change either
			}
			done = false
			// The smaller root of t² + 2θt − 1 is the tangent of the angle.
			theta := (a[q][q] - a[p][p]) / (2 * a[p][q])
			t := math.Copysign(1, theta) / (math.Abs(theta) + math.Sqrt(1+float64(theta*theta)))
			c := 1 / math.Sqrt(1+float64(t*t))
			s := float64(t * c)
			shift := float64(t * a[p][q])
			a[p][p] -= shift
			a[q][q] += shift
			a[p][q], a[q][p] = 0, 0
			r := 3 - p - q
			x, y := a[r][p], a[r][q]
			a[r][p] = float64(c*x) - float64(s*y)
			a[r][q] = float64(s*x) + float64(c*y)
			a[p][r], a[q][r] = a[r][p], a[r][q]
			for i := range 3 {
				x, y := vectors[p][i], vectors[q][i]
				vectors[p][i] = float64(c*x) - float64(s*y)
				vectors[q][i] = float64(s*x) + float64(c*y)
			}
		}
		if done {
			break
		}
	}
	return [3]float64{a[0][0], a[1][1], a[2][2]}, vectors
}

// covariance returns (n·Σxy − Σx·Σy)/n². The numerator, the small difference of
// two large numbers, is computed in integers.
func (a *StatsAccumulator) covariance(i, j int) float64 {
	integer := func(v uint64) *big.Int { return new(big.Int).SetUint64(v) }
	n := integer(a.pixels)
	numerator := new(big.Int).Mul(n, integer(a.products[i][j]))
	numerator.Sub(numerator, new(big.Int).Mul(integer(a.sums[i]), integer(a.sums[j])))
	v, _ := new(big.Rat).SetFrac(numerator, n.Mul(n, n)).Float64()
	return v
}

// Std returns the standard deviation of each channel in grey levels, from the
// covariance Σ λᵢ pᵢ pᵢᵀ.
func (s Stats) Std() [3]float64 {
	var std [3]float64
	for c := range std {
		variance := 0.0
		for i, l := range s.Eigenvalues {
			variance += float64(l * s.Eigenvectors[i][c] * s.Eigenvectors[i][c])
		}
		std[c] = math.Sqrt(variance)
	}
	return std
}
