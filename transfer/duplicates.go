package transfer

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/progress"
)

// Pair is two similar images.
type Pair struct {
	A, B       int // rows, A before B
	Similarity float32
}

// Duplicates returns all pairs of rows whose similarity is at least threshold, most similar
// first. No pair is missed: rows are compared by short sketches, whose distance is never greater
// than that of the rows, and the similarity of those that may be as similar is computed from
// the rows, in float64. Groups of rows whose sketches are far apart are not compared at all. The
// result doesn't depend on the number of workers. The sketches are in memory, 128 bytes a row.
func (d *Descriptors) Duplicates(ctx context.Context, threshold float64, o SearchOptions) ([]Pair, error) {
	if !(threshold > 0 && threshold <= 1) {
		return nil, fmt.Errorf("transfer: duplicates: similarity %v, want above 0 and at most 1", threshold)
	}
	n := int64(d.Len())
	s, err := d.sketched(ctx, o.workers(), func(done, _ int64) { o.OnRows.Report(done/2, n) })
	if err != nil {
		return nil, err
	}
	leaves := s.leaves()
	// A similarity is rounded to float32 before it is compared.
	far := 2 - 2*(threshold-1e-7) + slack(d.Header.Dim)
	found := make([][]Pair, len(leaves))
	var next atomic.Int64
	all := int64(len(leaves)) * int64(len(leaves)+1) / 2
	counter := progress.NewCounter(func(done, _ int64) { o.OnRows.Report(n/2+int64(float64(done)/float64(all)*float64(n-n/2)), n) }, all)
	group, ctx := errgroup.WithContext(ctx)
	for range min(o.workers(), len(leaves)) {
		group.Go(func() error {
			m := newMatcher(d, s, far, float32(threshold))
			for a := next.Add(1) - 1; a < int64(len(leaves)); a = next.Add(1) - 1 {
				// Leaves with more of them after them take longer, and come first.
				m.take(leaves[a])
				for b := int(a); b < len(leaves); b++ {
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					if leaves[a].apart(leaves[b]) > far {
						continue
					}
					if err := m.compare(leaves[b], b == int(a)); err != nil {
						return err
					}
				}
				found[a], m.pairs = m.pairs, nil
				counter.Add(len(leaves) - int(a))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	pairs := slices.Concat(found...)
	slices.SortFunc(pairs, func(a, b Pair) int {
		return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B))
	})
	return pairs, nil
}

// matcher compares the sketches of a leaf with those of others, by a product of matrices: the
// leaf is the weights of a fully connected layer, the other rows are its inputs.
type matcher struct {
	d     *Descriptors
	s     *sketch
	far   float64 // greatest square of the distance of sketches
	least float32 // similarity

	of      leaf
	squares []float32 // of the lengths of its sketches, halved
	work    *kernel.Work
	layer   kernel.Conv
	weights []float32
	packed  []float32
	in, out []float32
	own     *rowCache // of the leaf's rows
	others  *rowCache
	maybe   [][2]int // places in the leaf and in the other one
	pairs   []Pair

	rows, rowsIn []float32 // of sift
}

func newMatcher(d *Descriptors, s *sketch, far float64, least float32) *matcher {
	return &matcher{
		d: d, s: s, far: far, least: least, work: kernel.NewWork(kernel.NewTeam(1)),
		weights: kernel.Alloc(kernel.Conv{C: s.dim, K: leafRows, R: 1}.WeightLen()),
		packed:  make([]float32, leafRows*s.dim),
		in:      kernel.Alloc(kernel.ActLen(leafRows, s.dim, 1, 1, 0)),
		out:     kernel.Alloc(kernel.ActLen(leafRows, leafRows, 1, 1, 0)),
		own:     newRowCache(d), others: newRowCache(d),
	}
}

// take takes the leaf to compare with others.
func (m *matcher) take(l leaf) {
	m.of = l
	m.layer = kernel.Conv{C: m.s.dim, K: len(l.rows), R: 1}
	m.weights = m.weights[:m.layer.WeightLen()]
	clear(m.weights)
	m.squares = m.squares[:0]
	for i, r := range l.rows {
		copy(m.packed[i*m.s.dim:], m.s.z(r))
		m.squares = append(m.squares, half(m.s.z(r)))
	}
	m.layer.PackRows(m.weights, m.packed[:len(l.rows)*m.s.dim], 0)
	m.own.reset()
}

// half returns half the square of a sketch's length.
func half(z []float32) float32 {
	sum := 0.0
	for _, v := range z {
		sum += float64(v) * float64(v)
	}
	return float32(sum / 2)
}

// compare finds the pairs between the leaf and another, or within it.
func (m *matcher) compare(l leaf, within bool) error {
	var x, y kernel.Act
	x.Shape(len(l.rows), m.s.dim, 1, 1, 0, m.in)
	y.Shape(len(l.rows), len(m.of.rows), 1, 1, 0, m.out)
	for i, r := range l.rows {
		copy(x.Data[x.At(i, 0, 0, 0):], m.s.z(r)) // channels past dim stay zero
	}
	m.work.ConvForward(m.layer, &x, m.weights, nil, false, &y)
	m.others.reset()
	m.maybe = m.maybe[:0]
	for i, b := range l.rows {
		products := y.Data[y.At(i, 0, 0, 0):][:len(m.of.rows)]
		if within {
			products = products[:i]
		}
		// ‖a−b‖² = ‖a‖² + ‖b‖² − 2ab is at most far if ab is at least ‖a‖²/2 + ‖b‖²/2 − far/2.
		least := half(m.s.z(b)) - float32(m.far/2)
		for k, p := range products {
			if p >= least+m.squares[k] {
				m.maybe = append(m.maybe, [2]int{k, i})
			}
		}
	}
	if len(m.maybe) > len(l.rows)*len(m.of.rows)/mostMaybe {
		if err := m.sift(l); err != nil {
			return err
		}
	}
	for _, p := range m.maybe {
		if err := m.judge(m.of.rows[p[0]], l.rows[p[1]]); err != nil {
			return err
		}
	}
	return nil
}

// mostMaybe: if more than one of so many pairs may be similar by their sketches, a product of all
// rows in float32 costs less than each of these pairs in float64.
const mostMaybe = 64

// sift leaves of m.maybe those that are similar by products of the rows in float32, whose sums
// of dim products err by dim·2⁻²⁴ at most. It is for rows of which sketches tell little: random
// ones, and those that are all alike.
func (m *matcher) sift(l leaf) error {
	dim := m.d.Header.Dim
	layer := kernel.Conv{C: dim, K: len(m.of.rows), R: 1}
	if m.rows == nil {
		m.rows = kernel.Alloc(kernel.Conv{C: dim, K: leafRows, R: 1}.WeightLen())
		m.rowsIn = kernel.Alloc(kernel.ActLen(leafRows, dim, 1, 1, 0))
	}
	weights := m.rows[:layer.WeightLen()]
	clear(weights)
	unit := make([]float32, dim)
	scaled := func(c *rowCache, r int32) error {
		x, n, err := c.row(r)
		for i, v := range x {
			unit[i] = float32(float64(v) * inverse(n))
		}
		return err
	}
	for i, r := range m.of.rows {
		if err := scaled(m.own, r); err != nil {
			return err
		}
		layer.PackRows(weights, unit, i)
	}
	var x, y kernel.Act
	x.Shape(len(l.rows), dim, 1, 1, 0, m.rowsIn)
	y.Shape(len(l.rows), len(m.of.rows), 1, 1, 0, m.out)
	for i, r := range l.rows {
		if err := scaled(m.others, r); err != nil {
			return err
		}
		copy(x.Data[x.At(i, 0, 0, 0):], unit)
	}
	m.work.ConvForward(layer, &x, weights, nil, false, &y)
	least := m.least - float32(dim+16)*0x1p-23
	m.maybe = slices.DeleteFunc(m.maybe, func(p [2]int) bool { return y.Data[y.At(p[1], 0, 0, 0)+p[0]] < least })
	return nil
}

// judge computes the similarity of two rows, and keeps them if it is great enough.
func (m *matcher) judge(a, b int32) error {
	x, nx, err := m.own.row(a)
	if err != nil {
		return err
	}
	y, ny, err := m.others.row(b)
	if err != nil {
		return err
	}
	if s := float32(dot64(x, y) * inverse(nx) * inverse(ny)); s >= m.least {
		m.pairs = append(m.pairs, Pair{int(min(a, b)), int(max(a, b)), s})
	}
	return nil
}

// dot64 returns Σ x·y in float64.
func dot64(x, y []float32) float64 {
	var s [4]float64
	y = y[:len(x)]
	i := 0
	for ; i+4 <= len(x); i += 4 {
		s[0] += float64(x[i]) * float64(y[i])
		s[1] += float64(x[i+1]) * float64(y[i+1])
		s[2] += float64(x[i+2]) * float64(y[i+2])
		s[3] += float64(x[i+3]) * float64(y[i+3])
	}
	for ; i < len(x); i++ {
		s[0] += float64(x[i]) * float64(y[i])
	}
	return s[0] + s[1] + (s[2] + s[3])
}

// rowCache has the rows of a leaf that were read.
type rowCache struct {
	d       *Descriptors
	at      map[int32]int
	numbers []float32
	norms   []float64
}

func newRowCache(d *Descriptors) *rowCache { return &rowCache{d: d, at: map[int32]int{}} }

func (c *rowCache) reset() {
	clear(c.at)
	c.numbers, c.norms = c.numbers[:0], c.norms[:0]
}

// row returns a row and its norm.
func (c *rowCache) row(r int32) ([]float32, float64, error) {
	dim := c.d.Header.Dim
	i, ok := c.at[r]
	if !ok {
		i = len(c.norms)
		c.numbers = slices.Grow(c.numbers, dim)[:(i+1)*dim]
		x := c.numbers[i*dim:]
		if err := c.d.ReadRows(int(r), x); err != nil {
			return nil, 0, err
		}
		c.norms = append(c.norms, norm(x))
		c.at[r] = i
	}
	return c.numbers[i*dim : (i+1)*dim], c.norms[i], nil
}

// Groups puts similar rows into groups. A row joins the group of the first row that it makes a
// pair with, unless that row has joined another. So all rows of a group are similar to its
// first row; rows that are similar only by way of others are not in one group. The rows of a
// group ascend, and so do the first rows of the groups.
func Groups(pairs []Pair) [][]int {
	sorted := slices.Clone(pairs)
	slices.SortFunc(sorted, func(a, b Pair) int { return cmp.Or(cmp.Compare(a.B, b.B), cmp.Compare(a.A, b.A)) })
	member := map[int]bool{} // of another row's group
	group := map[int][]int{}
	for _, p := range sorted {
		if !member[p.A] && !member[p.B] {
			member[p.B] = true
			group[p.A] = append(group[p.A], p.B)
		}
	}
	var groups [][]int
	for _, first := range slices.Sorted(maps.Keys(group)) {
		groups = append(groups, append([]int{first}, group[first]...))
	}
	return groups
}
