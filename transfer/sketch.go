package transfer

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/progress"
)

// sketchDim is the most numbers of a sketch.
const sketchDim = 32

// sketch has a few numbers z of each row x, taken at length 1: its components in directions in
// which rows differ most, orthogonal and of length 1, and the length of what is left of it.
// Neither an orthogonal projection nor the length of a vector makes distances greater, so
//
//	‖z_a − z_b‖ ≤ ‖x_a − x_b‖ = √(2 − 2·similarity)
//
// and rows whose sketches are further apart than that can't be as similar.
type sketch struct {
	dim    int
	values []float32 // rows × dim; of unreadable rows and rows of zeros, zero
	valid  []bool    // the other rows
	axes   [][]float64
}

// slack bounds by how much rounding may make the square of the distance of two sketches, as
// float32 products compute it, greater than 2 − 2·similarity. A sum of n products in float64
// errs by n·2⁻⁵³ of the product of the lengths, and so does the square of what is left; its root
// errs by the root of that where nothing is left. Rounding to float32 adds 2⁻²⁴ a vector of length 1. Distances
// are at most 2, so their squares err by 4 times as much. The float32 product of two sketches errs
// by (32+1)·2⁻²⁴ and counts twice, as do three roundings of numbers of at most 2 that are compared.
func slack(dim int) float64 {
	const u32, u64 = 0x1p-24, 0x1p-53
	distance := 2 * (math.Sqrt(4*float64(dim+sketchDim)*u64) + u32)
	return 4*distance + distance*distance + 2*(sketchDim+1)*u32 + 2*3*2*u32
}

// sketched returns the sketches of all rows. onRows counts them.
func (d *Descriptors) sketched(ctx context.Context, workers int, onRows progress.Func) (*sketch, error) {
	s := &sketch{valid: make([]bool, d.Len())}
	var err error
	if s.axes, err = d.axes(ctx, sketchDim-1); err != nil {
		return nil, err
	}
	s.dim = len(s.axes) + 1
	s.values = make([]float32, d.Len()*s.dim)
	dim := d.Header.Dim
	rows := max(1, scanFloats/dim)
	chunks := (d.Len() + rows - 1) / rows
	var next atomic.Int64
	counter := progress.NewCounter(onRows, int64(d.Len()))
	group, ctx := errgroup.WithContext(ctx)
	for range min(workers, chunks) {
		group.Go(func() error {
			x := make([]float32, rows*dim)
			for c := next.Add(1) - 1; c < int64(chunks); c = next.Add(1) - 1 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				start := int(c) * rows
				part := x[:min(rows, d.Len()-start)*dim]
				if err := d.ReadRows(start, part); err != nil {
					return err
				}
				for i := range len(part) / dim {
					r := start + i
					s.valid[r] = d.Rows[r].Error == "" && s.of(s.values[r*s.dim:(r+1)*s.dim], part[i*dim:(i+1)*dim])
				}
				counter.Add(len(part) / dim)
			}
			return nil
		})
	}
	return s, group.Wait()
}

// of puts the sketch of x into z, and reports whether x has one: not if it is zero.
func (s *sketch) of(z, x []float32) bool {
	by := inverse(norm(x))
	left := 1.0
	var sums kernel.Sums
	for j, axis := range s.axes {
		v := by * kernel.MixedDot(&sums, x, axis)
		z[j] = float32(v)
		left -= v * v
	}
	z[len(s.axes)] = float32(math.Sqrt(max(0, left)))
	if by == 0 {
		clear(z)
	}
	return by != 0
}

// axes returns n directions in which a sample of the rows differs most.
func (d *Descriptors) axes(ctx context.Context, n int) ([][]float64, error) {
	return axesOf(ctx, d.Len(), d.Header.Dim, n, func(r int, x []float32) (bool, error) {
		return d.Rows[r].Error == "", d.ReadRows(r, x)
	})
}

// axesOf returns the n directions in which a sample of rows of dim numbers differs most, by
// subspace iteration. Any orthogonal directions would do; these leave the least. read reads a row,
// and reports whether it counts.
func axesOf(ctx context.Context, length, dim, n int, read func(r int, x []float32) (bool, error)) ([][]float64, error) {
	const sample, rounds = 1024, 6
	var rows [][]float32
	step := max(1, length/sample)
	for r := 0; r < length && len(rows) < sample; r += step {
		x := make([]float32, dim)
		counts, err := read(r, x)
		if err != nil {
			return nil, err
		}
		by := float32(inverse(norm(x)))
		if !counts || by == 0 {
			continue
		}
		for i := range x {
			x[i] *= by
		}
		rows = append(rows, x)
	}
	mean := make([]float64, dim)
	for _, x := range rows {
		kernel.MixedAdd(1/float64(len(rows)), x, mean)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	axes := make([][]float64, min(n, dim))
	for j := range axes {
		axes[j] = make([]float64, dim)
		for i := range axes[j] {
			axes[j][i] = rng.NormFloat64()
		}
	}
	orthonormal(axes)
	for range rounds {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var wait sync.WaitGroup
		limit := make(chan struct{}, runtime.GOMAXPROCS(0))
		for j, axis := range axes {
			wait.Go(func() {
				limit <- struct{}{}
				defer func() { <-limit }()
				at, sum := 0.0, 0.0
				for i, v := range mean {
					at += v * axis[i]
				}
				to := make([]float64, dim)
				var sums kernel.Sums
				for _, x := range rows {
					y := kernel.MixedDot(&sums, x, axis) - at
					kernel.MixedAdd(y, x, to)
					sum += y
				}
				for i, v := range mean {
					to[i] -= sum * v
				}
				axes[j] = to
			})
		}
		wait.Wait()
		orthonormal(axes)
	}
	return axes, nil
}

// orthonormal makes the axes orthogonal and of length 1, by Gram and Schmidt's method, twice. An
// axis that depends on those before it becomes zero.
func orthonormal(axes [][]float64) {
	for j, v := range axes {
		for range 2 {
			before := length(v)
			for _, u := range axes[:j] {
				dot := 0.0
				for i := range v {
					dot += v[i] * u[i]
				}
				for i := range v {
					v[i] -= dot * u[i]
				}
			}
			after := length(v)
			if !(after > 1e-10*before) {
				clear(v)
				break
			}
			for i := range v {
				v[i] /= after
			}
		}
	}
}

func length(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	return math.Sqrt(sum)
}

// leafRows is the most rows of a leaf: the side of the products by which leaves are compared.
const leafRows = 256

// leaf is a group of rows that are near each other.
type leaf struct {
	rows      []int32
	low, high []float32 // of each number of their sketches
}

// leaves divides the valid rows into groups, each time at the middle of the number in which
// they differ most.
func (s *sketch) leaves() []leaf {
	var all []int32
	for r, ok := range s.valid {
		if ok {
			all = append(all, int32(r))
		}
	}
	var list []leaf
	var divide func(rows []int32)
	divide = func(rows []int32) {
		if len(rows) == 0 {
			return
		}
		l := leaf{rows, slices.Clone(s.z(rows[0])), slices.Clone(s.z(rows[0]))}
		for _, r := range rows {
			for i, v := range s.z(r) {
				l.low[i], l.high[i] = min(l.low[i], v), max(l.high[i], v)
			}
		}
		if len(rows) <= leafRows {
			slices.Sort(rows)
			list = append(list, l)
			return
		}
		widest := 0
		for i := range l.low {
			if l.high[i]-l.low[i] > l.high[widest]-l.low[widest] {
				widest = i
			}
		}
		half := (len(rows)/leafRows + 1) / 2 * leafRows // whole leaves on one side
		s.part(rows, min(half, len(rows)-1), widest)
		divide(rows[:half])
		divide(rows[half:])
	}
	divide(all)
	return list
}

func (s *sketch) z(r int32) []float32 { return s.values[int(r)*s.dim : (int(r)+1)*s.dim] }

// part orders rows so that the first n have the least numbers i, by Hoare's method.
func (s *sketch) part(rows []int32, n, i int) {
	key := func(r int32) float32 { return s.values[int(r)*s.dim+i] }
	for low, high := 0, len(rows)-1; low < high; {
		pivot := key(rows[(low+high)/2])
		a, b := low, high
		for a <= b {
			for key(rows[a]) < pivot {
				a++
			}
			for key(rows[b]) > pivot {
				b--
			}
			if a <= b {
				rows[a], rows[b] = rows[b], rows[a]
				a, b = a+1, b-1
			}
		}
		switch {
		case n <= b:
			high = b
		case n >= a:
			low = a
		default:
			return
		}
	}
}

// apart returns the square of the least distance of two leaves' sketches.
func (l leaf) apart(m leaf) float64 {
	sum := 0.0
	for i := range l.low {
		gap := max(float64(l.low[i])-float64(m.high[i]), float64(m.low[i])-float64(l.high[i]), 0)
		sum += gap * gap
	}
	return sum
}
