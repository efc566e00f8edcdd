package transfer

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/verydeep/vgg/internal/kernel"
)

// Pair is two similar images.
type Pair struct {
	A, B       int // rows, A before B
	Similarity float32
}

// Duplicates returns all pairs of rows whose similarity is at least threshold, most similar
// first. It compares every row with every other. A row is read once for each block of rows
// before it, so that few rows are in memory. The result doesn't depend on the number of
// workers.
func (d *Descriptors) Duplicates(ctx context.Context, threshold float64, o SearchOptions) ([]Pair, error) {
	if !(threshold > 0 && threshold <= 1) {
		return nil, fmt.Errorf("transfer: duplicates: similarity %v, want above 0 and at most 1", threshold)
	}
	scale, err := d.inverseNorms(ctx)
	if err != nil {
		return nil, err
	}
	n := d.Len()
	blocks := (n + pairRows - 1) / pairRows
	found := make([][]Pair, blocks)
	var next atomic.Int64
	var told sync.Mutex
	compared, all := 0.0, float64(n)*float64(n+1)/2
	group, ctx := errgroup.WithContext(ctx)
	for range min(o.workers(), blocks) {
		group.Go(func() error {
			m := newMatcher(d, scale, float32(threshold))
			for b := next.Add(1) - 1; b < int64(blocks); b = next.Add(1) - 1 {
				// Blocks with more rows after them take longer, and come first.
				if err := m.take(int(b) * pairRows); err != nil {
					return err
				}
				for r := m.start; r < n; r += pairBatch {
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					rows := min(pairBatch, n-r)
					if err := m.compare(r, rows); err != nil {
						return err
					}
					if o.OnRows != nil {
						told.Lock()
						compared += float64(rows) * float64(m.rows)
						o.OnRows(int64(min(1, compared/all)*float64(n)), int64(n))
						told.Unlock()
					}
				}
				found[b] = m.pairs
				m.pairs = nil
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

// inverseNorms returns the inverse norm of each row; 0 of an unreadable image, so that it is
// similar to no other.
func (d *Descriptors) inverseNorms(ctx context.Context) ([]float32, error) {
	scale := make([]float32, 0, d.Len())
	var failed error
	for piece := range d.chunks(ctx, &failed) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for x := range slices.Chunk(piece, d.Header.Dim) {
			s := float32(0)
			if d.Rows[len(scale)].Error == "" {
				s = float32(inverse(norm(x)))
			}
			scale = append(scale, s)
		}
	}
	return scale, failed
}

const (
	// pairRows is the number of rows in a block, pairBatch the number of rows that the block is
	// compared with at a time: by a product of matrices, as in a fully connected layer.
	pairRows, pairBatch = 1024, 256
)

// matcher compares a block of rows with other rows. The block is the weights of a fully
// connected layer, the other rows are its inputs.
type matcher struct {
	d     *Descriptors
	scale []float32
	least float32

	start, rows int // of the block
	work        *kernel.Work
	layer       kernel.Conv
	weights     []float32
	read        []float32 // rows as they are in the file
	in, out     []float32
	pairs       []Pair
}

func newMatcher(d *Descriptors, scale []float32, least float32) *matcher {
	dim := d.Header.Dim
	return &matcher{
		d: d, scale: scale, least: least, work: kernel.NewWork(kernel.NewTeam(1)),
		weights: kernel.Alloc(kernel.Conv{C: dim, K: pairRows, R: 1}.WeightLen()),
		read:    make([]float32, pairBatch*dim),
		in:      kernel.Alloc(kernel.ActLen(pairBatch, dim, 1, 1, 0)),
		out:     kernel.Alloc(kernel.ActLen(pairBatch, pairRows, 1, 1, 0)),
	}
}

// take reads the block that begins at row start.
func (m *matcher) take(start int) error {
	m.start, m.rows = start, min(pairRows, m.d.Len()-start)
	m.layer = kernel.Conv{C: m.d.Header.Dim, K: m.rows, R: 1}
	m.weights = m.weights[:m.layer.WeightLen()]
	clear(m.weights)
	for r := 0; r < m.rows; r += pairBatch {
		part := m.read[:min(pairBatch, m.rows-r)*m.d.Header.Dim]
		if err := m.d.ReadRows(start+r, part); err != nil {
			return err
		}
		m.layer.PackRows(m.weights, part, r)
	}
	return nil
}

// compare finds the pairs between the block and the given number of rows from row r on.
func (m *matcher) compare(r, rows int) error {
	dim := m.d.Header.Dim
	part := m.read[:rows*dim]
	if err := m.d.ReadRows(r, part); err != nil {
		return err
	}
	var x, y kernel.Act
	x.Shape(rows, dim, 1, 1, 0, m.in)
	y.Shape(rows, m.rows, 1, 1, 0, m.out)
	for i := range rows {
		copy(x.Data[x.At(i, 0, 0, 0):], part[i*dim:(i+1)*dim]) // channels past dim stay zero
	}
	m.work.ConvForward(m.layer, &x, m.weights, nil, false, &y)
	for i := range rows {
		b := r + i
		products := y.Data[y.At(i, 0, 0, 0):][:min(m.rows, b-m.start)]
		for k, p := range products {
			if s := p * m.scale[m.start+k] * m.scale[b]; s >= m.least {
				m.pairs = append(m.pairs, Pair{m.start + k, b, s})
			}
		}
	}
	return nil
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
