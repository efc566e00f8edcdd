package transfer

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/progress"
)

// Match is one result of a search.
type Match struct {
	Row        int
	Similarity float32 // cosine of the angle between two descriptors
}

// better orders matches by falling similarity, then by row.
func better(a, b Match) int {
	return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.Row, b.Row))
}

// SearchOptions are the options of a search.
type SearchOptions struct {
	Workers int // 0: runtime.GOMAXPROCS
	// OnRows is told the rows that are done.
	OnRows progress.Func
}

func (o SearchOptions) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// scanFloats is about how many numbers a worker reads at a time: they fit into its cache.
const scanFloats = 1 << 17

// Search returns for each query the k most similar rows, best first. The queries are rows of
// Header.Dim numbers. Search compares them with every row of the file, in one pass, except
// those of unreadable images. The result for a query doesn't depend on the number of workers or
// on the other queries.
func (d *Descriptors) Search(ctx context.Context, queries []float32, k int, o SearchOptions) ([][]Match, error) {
	dim := d.Header.Dim
	if len(queries)%dim != 0 || k < 1 {
		return nil, fmt.Errorf("transfer: search: %d numbers and %d matches, want rows of %d and at least 1", len(queries), k, dim)
	}
	n := len(queries) / dim
	scale := scales(queries, dim)
	rows := max(1, scanFloats/dim)
	chunks := (d.Len() + rows - 1) / rows
	workers := min(o.workers(), chunks)
	found := make([][][]Match, workers) // by worker and query
	var next atomic.Int64
	counter := progress.NewCounter(o.OnRows, int64(d.Len()))
	group, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		found[w] = make([][]Match, n)
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
				for q := range n {
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					found[w][q] = d.scan(found[w][q], k, start, part, queries[q*dim:(q+1)*dim], scale[q])
				}
				counter.Add(len(part) / dim)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return best(found, n, k), nil
}

// scales returns what makes each query one of length 1.
func scales(queries []float32, dim int) []float32 {
	scale := make([]float32, len(queries)/dim)
	for q := range scale {
		scale[q] = float32(inverse(norm(queries[q*dim : (q+1)*dim])))
	}
	return scale
}

// best returns the k best matches of each of n queries, of those by worker and query.
func best(found [][][]Match, n, k int) [][]Match {
	all := make([][]Match, n)
	for q := range all {
		for w := range found {
			all[q] = append(all[q], found[w][q]...)
		}
		slices.SortFunc(all[q], better)
		all[q] = all[q][:min(k, len(all[q]))]
	}
	return all
}

// scan compares a query with rows, which begin at row start, and returns the k best of them
// and top.
func (d *Descriptors) scan(top []Match, k, start int, rows, query []float32, scale float32) []Match {
	dim := len(query)
	for r := range len(rows) / dim {
		s := d.Header.similarity(rows[r*dim:(r+1)*dim], query, scale)
		if len(top) == k && !(s > top[k-1].Similarity) || d.Rows[start+r].Error != "" {
			continue
		}
		top = insert(top, k, Match{start + r, s})
	}
	return top
}

// similarity returns that of a row and a query, which is to be multiplied by scale.
func (h Header) similarity(row, query []float32, scale float32) float32 {
	s := blas.Sdot(len(query), row, 1, query, 1) * scale
	if h.Raw {
		s *= float32(inverse(norm(row)))
	}
	return s
}

// insert puts a match among the k best.
func insert(top []Match, k int, m Match) []Match {
	at, _ := slices.BinarySearchFunc(top, m, better)
	if at == k {
		return top
	}
	if len(top) == k {
		top = top[:k-1]
	}
	return slices.Insert(top, at, m)
}

// Describe computes descriptors of images in the way of the file with the header h, to compare
// them with it. It returns for each image a row of h.Dim numbers or an error. open returns a
// network that the header names. Only those options count that don't change the descriptors:
// Resources and OnImage.
func Describe(ctx context.Context, h Header, images *Images, o Options, open func(NetID) (*vgg.Model, error)) ([][]float32, []error, error) {
	if images == nil || images.Dataset == nil {
		return nil, nil, errNoImages
	}
	nets, way, err := h.way(open)
	if err != nil {
		return nil, nil, err
	}
	way.Resources, way.OnImage = o.Resources, o.OnImage
	o = way
	p, err := newExtraction(nets, images, o)
	if err != nil {
		return nil, nil, err
	}
	if diff := p.header.recipe(h); diff != "" {
		return nil, nil, fmt.Errorf("transfer: %s: the descriptors can't be made again: %s", h.Data.Name, diff)
	}
	to := &memory{rows: make([][]float32, images.Len()), errs: make([]error, images.Len()), header: p.header, columns: p.header.columns()}
	if _, err := p.run(ctx, to); err != nil {
		return nil, nil, err
	}
	for i, err := range to.errs {
		if err != nil {
			to.rows[i] = nil
		}
	}
	return to.rows, to.errs, nil
}

// memory is a sink that keeps descriptors in memory.
type memory struct {
	header  Header
	columns []column
	rows    [][]float32
	errs    []error
}

func (m *memory) has(int, int) bool { return false }

func (m *memory) put(row, c int, numbers []float32, _ *Images, _ Stamp, err error) error {
	if err != nil {
		m.errs[row] = err
		return nil
	}
	if m.rows[row] == nil {
		m.rows[row] = make([]float32, m.header.Dim)
	}
	copy(m.rows[row][m.columns[c].start:], numbers)
	return nil
}
