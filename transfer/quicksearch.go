package transfer

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/progress"
)

// SearchCost is what a search read.
type SearchCost struct {
	Rows  int64 `json:"rows"`  // compared by all their numbers
	Bytes int64 `json:"bytes"` // of descriptors and sketches
}

// Search returns for each query the k most similar rows, best first, as [Descriptors.Search] does
// on the same file, bit for bit. Rows whose sketches say that they can't be among them are not
// read.
func (x *Index) Search(ctx context.Context, queries []float32, k int, o SearchOptions) ([][]Match, SearchCost, error) {
	dim := x.Header.Dim
	if x.whole != nil {
		found, err := x.whole.Search(ctx, queries, k, o)
		return found, SearchCost{int64(x.Len()), 4 * int64(x.Len()) * int64(dim)}, err
	}
	if len(queries) == 0 || len(queries)%dim != 0 || k < 1 {
		return nil, SearchCost{}, fmt.Errorf("transfer: search: %d numbers and %d matches, want rows of %d and at least 1", len(queries), k, dim)
	}
	return x.quick.search(ctx, queries, k, o)
}

// quickQuery is a query as records are compared with it.
type quickQuery struct {
	x      []float32
	scale  float32
	z      [quickAxes]float32
	inSpan float32 // ‖z‖
	rest   float32
	least  float32 // similarity of the rows that count
}

// quickSlack is how much rounding may take from the bound of a record, and add to the similarity
// that is computed of its row. The float32 sum of 116 products of components, of which the vectors
// have a length of at most 1, errs by 120·2⁻²⁴ < 1e-5. What is left of a vector errs by the root of
// dim·2⁻⁵³, < 1e-5 for a million numbers, at a row and a query; rows are of length 1 up to unitSlack.
// A similarity is a float32 sum of dim products, and may err by dim·2⁻²⁴.
func quickSlack(dim int) float32 { return 5e-5 + float32(dim)*0x1p-23 }

// query prepares a query.
func (q *quick) query(x []float32, scale float32) quickQuery {
	c := quickQuery{x: x, scale: scale, least: float32(math.Inf(-1))}
	n := norm(x)
	if n == 0 { // as similar to all rows
		return c
	}
	var sums kernel.Sums
	in, rest := 0.0, 1.0
	for j, axis := range q.axes {
		v := kernel.MixedDot(&sums, x, axis) / n
		c.z[j] = float32(v)
		in += v * v
		rest -= v * v
	}
	c.inSpan, c.rest = above(math.Sqrt(in)), above(math.Sqrt(max(0, rest)))
	return c
}

// quickChunk is how many records are read at a time.
const quickChunk = 4096

// search bounds the similarity of each row twice. The rows of the greatest bounds give a similarity
// that the k best rows have at least; then all rows are compared that may have it.
func (q *quick) search(ctx context.Context, queries []float32, k int, o SearchOptions) ([][]Match, SearchCost, error) {
	const least = 64 // rows whose bounds are the greatest
	dim := q.header.Dim
	asked := make([]quickQuery, len(queries)/dim)
	for i, scale := range scales(queries, dim) {
		asked[i] = q.query(queries[i*dim:(i+1)*dim], scale)
	}
	cost := SearchCost{Bytes: 2 * quickRecord * int64(q.Rows)}
	likely, err := q.pass(ctx, asked, max(least, 4*k), o.workers(), progressOf(o.OnRows, 0, q.Rows), nil)
	if err != nil {
		return nil, cost, err
	}
	x := make([]float32, dim)
	for i := range asked {
		var top []Match
		for _, m := range likely[i] {
			if err := q.readRows(m.Row, x); err != nil {
				return nil, cost, err
			}
			top = insert(top, k, Match{m.Row, q.header.similarity(x, asked[i].x, asked[i].scale)})
		}
		cost.Rows += int64(len(likely[i]))
		if len(top) == k {
			asked[i].least = top[k-1].Similarity
		}
	}
	var exact atomic.Int64
	found, err := q.pass(ctx, asked, k, o.workers(), progressOf(o.OnRows, q.Rows, q.Rows), &exact)
	cost.Rows += exact.Load()
	cost.Bytes += 4 * int64(dim) * cost.Rows
	return found, cost, err
}

// progressOf reports the second or the first half of the progress of two passes over rows.
func progressOf(report progress.Func, before, rows int) progress.Func {
	return func(done, _ int64) { report.Report((int64(before)+done)/2, int64(rows)) }
}

// pass goes over all records. Without exact it returns for each query the k rows of the greatest
// bounds; with it, the k most similar of the rows whose bounds aren't below the query's least, and
// counts the rows that were read.
func (q *quick) pass(ctx context.Context, asked []quickQuery, k, workers int, report progress.Func, exact *atomic.Int64) ([][]Match, error) {
	chunks := (q.Rows + quickChunk - 1) / quickChunk
	workers = min(workers, chunks)
	found := make([][][]Match, workers)
	var next atomic.Int64
	counter := progress.NewCounter(report, int64(q.Rows))
	group, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		s := &quickScan{q: q, asked: asked, k: k, top: make([][]Match, len(asked)), raw: make([]byte, quickChunk*quickRecord), exact: exact}
		group.Go(func() error {
			for c := next.Add(1) - 1; c < int64(chunks); c = next.Add(1) - 1 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				start := int(c) * quickChunk
				n := min(quickChunk, q.Rows-start)
				if err := s.chunk(start, n); err != nil {
					return err
				}
				counter.Add(n)
			}
			found[w] = s.top
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return best(found, len(asked), k), nil
}

// quickScan is a worker of a pass.
type quickScan struct {
	q     *quick
	asked []quickQuery
	k     int
	top   [][]Match // by query
	raw   []byte
	exact *atomic.Int64
	near  []nearRow
	x     []float32
}

// nearRow is a row that is to be compared with a query.
type nearRow struct{ row, query int }

func (s *quickScan) chunk(start, n int) error {
	raw := s.raw[:n*quickRecord]
	if _, err := s.q.file.ReadAt(raw, s.q.records+quickRecord*int64(start)); err != nil {
		return fmt.Errorf("transfer: sketches: %w", err)
	}
	slack := quickSlack(s.q.header.Dim)
	var c [quickAxes]float32
	float := func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
	s.near = s.near[:0]
	for i := range n {
		b := raw[i*quickRecord : (i+1)*quickRecord]
		scale, rounding, rest := float(b), float(b[4:]), float(b[8:])
		if scale != scale {
			continue // unreadable
		}
		for j, v := range b[12:] {
			c[j] = float32(int8(v))
		}
		for a := range s.asked {
			y := &s.asked[a]
			bound := scale*blas.Sdot(quickAxes, c[:], 1, y.z[:], 1) + rounding*y.inSpan + rest*y.rest + slack
			top := s.top[a]
			full := len(top) == s.k
			if s.exact == nil {
				if !full || bound > top[s.k-1].Similarity {
					s.top[a] = insert(top, s.k, Match{start + i, bound})
				}
			} else if bound >= y.least && !(full && bound < top[s.k-1].Similarity) {
				s.near = append(s.near, nearRow{start + i, a})
			}
		}
	}
	return s.compare()
}

// compare compares the rows that are near, in order. Rows that lie close together are read at once.
func (s *quickScan) compare() error {
	const gap = 8 // rows that are read for nothing rather than reading twice
	dim := s.q.header.Dim
	most := max(1, scanFloats/dim)
	for from := 0; from < len(s.near); {
		to, first := from+1, s.near[from].row
		for to < len(s.near) && s.near[to].row-s.near[to-1].row <= gap && s.near[to].row-first < most {
			to++
		}
		rows := s.near[to-1].row - first + 1
		s.x = slices.Grow(s.x[:0], rows*dim)[:rows*dim]
		if err := s.q.readRows(first, s.x); err != nil {
			return err
		}
		s.exact.Add(int64(rows))
		for _, near := range s.near[from:to] {
			y := &s.asked[near.query]
			x := s.x[(near.row-first)*dim : (near.row-first+1)*dim]
			s.top[near.query] = insert(s.top[near.query], s.k, Match{near.row, s.q.header.similarity(x, y.x, y.scale)})
		}
		from = to
	}
	return nil
}
