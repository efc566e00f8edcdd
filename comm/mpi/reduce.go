//go:build mpi && (linux || darwin || freebsd)

package mpi

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/flush"
)

// scratch is memory that calls reuse.
type scratch struct {
	send32, receive32 []float32
	send64, receive64 []float64
	send16, receive16 []uint16
}

func (g *group) AllReduce(ctx context.Context, tree comm.Tree, parts [][]float32) error {
	return reduce(ctx, g, allReduce32, tree, parts, func(at, m int) error {
		return reduceChunk(g, g.library.float, &g.scratch.send32, &g.scratch.receive32, tree, parts, at, m)
	})
}

func (g *group) AllReduce64(ctx context.Context, tree comm.Tree, parts [][]float64) error {
	return reduce(ctx, g, allReduce64, tree, parts, func(at, m int) error {
		return reduceChunk(g, g.library.double, &g.scratch.send64, &g.scratch.receive64, tree, parts, at, m)
	})
}

func (g *group) AllReduceBF16(ctx context.Context, tree comm.Tree, parts [][]float32) error {
	return reduce(ctx, g, allReduceBF16, tree, parts, func(at, m int) error { return reduceHalves(g, tree, parts, at, m) })
}

var errShare = errors.New("all-reduce over fewer leaves than ranks")

// chunk bounds the scratch: elements that are summed at a time.
const chunk = 1 << 22

// reduce checks the arguments, and calls sum on one chunk of the elements after another.
func reduce[T float32 | float64](ctx context.Context, g *group, k kind, tree comm.Tree, parts [][]T, sum func(at, m int) error) error {
	if int(tree) < g.size {
		g.Abort(errShare)
		return g.failure()
	}
	if want := len(tree.Spans(tree.Share(g.rank, g.size))); len(parts) != want {
		g.Abort(fmt.Errorf("AllReduce with %d parts, want %d", len(parts), want))
		return g.failure()
	}
	for _, p := range parts {
		if len(p) != len(parts[0]) {
			g.Abort(errors.New("AllReduce with parts of different lengths"))
			return g.failure()
		}
	}
	return g.together(ctx, call{k, int64(len(parts[0])), int64(tree)}, func() error {
		n := len(parts[0])
		for at := 0; at < n; at += chunk {
			if err := sum(at, min(chunk, n-at)); err != nil {
				return err
			}
		}
		return nil
	})
}

// reduceChunk sums elements at … at+m−1. Rank r gets the slice r of them of all ranks' parts
// (MPI_Alltoallv), adds in the order of the tree, and gives its sums to all (MPI_Allgatherv).
// Its own parts stay where they are, and one part is sent from where it is: copies take a share
// of a step that can't be hidden.
func reduceChunk[T float32 | float64](g *group, number uintptr, send, receive *[]T, tree comm.Tree, parts [][]T, at, m int) error {
	from := func(r int) int { return at + r*m/g.size }
	first, last := from(g.rank), from(g.rank+1)
	mine := last - first
	counts := func() (n, at []int32) { return make([]int32, g.size), make([]int32, g.size) }
	sendCounts, sendAt := counts()
	receiveCounts, receiveAt := counts()
	sumCounts, sumAt := counts()
	out, got := (*send)[:0], 0
	spans := make([][]comm.Span, g.size)
	for r := range g.size {
		spans[r] = tree.Spans(tree.Share(r, g.size))
		sumAt[r], sumCounts[r] = int32(from(r)-at), int32(from(r+1)-from(r))
		if r == g.rank {
			continue
		}
		if len(parts) == 1 {
			sendAt[r], sendCounts[r] = sumAt[r], sumCounts[r]
		} else {
			sendAt[r] = int32(len(out))
			for _, p := range parts {
				out = append(out, p[from(r):from(r+1)]...)
			}
			sendCounts[r] = int32(len(out)) - sendAt[r]
		}
		receiveAt[r], receiveCounts[r] = int32(got), int32(len(spans[r])*mine)
		got += int(receiveCounts[r])
	}
	*send = append(out, 0) // never empty, so that it has an address
	source := *send
	if len(parts) == 1 {
		source = parts[0][at:]
	}
	if len(*receive) < got+1 {
		*receive = make([]T, got+1)
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, list := range [][]int32{sendCounts, sendAt, receiveCounts, receiveAt, sumCounts, sumAt} {
		pin.Pin(&list[0])
	}
	pin.Pin(&source[0])
	pin.Pin(&(*receive)[0])
	if len(parts) > 1 {
		pin.Pin(&parts[0][0])
	}
	l := g.library
	err := l.together("MPI_Ialltoallv", address(source), address(sendCounts), address(sendAt), number,
		address(*receive), address(receiveCounts), address(receiveAt), number, l.world)
	if err != nil {
		return err
	}
	all := map[comm.Span][]T{}
	for r := range spans {
		for i, s := range spans[r] {
			if r == g.rank {
				all[s] = parts[i][first:last]
			} else {
				all[s] = (*receive)[int(receiveAt[r])+i*mine:][:mine]
			}
		}
	}
	if total := sum(all, comm.Span{Lo: 0, Hi: int(tree)}); mine > 0 && &total[0] != &parts[0][first] {
		copy(parts[0][first:last], total)
	}
	return l.together("MPI_Iallgatherv", l.inPlace, 0, 0, address(parts[0][at:]), address(sumCounts), address(sumAt), number, l.world)
}

// sum adds over a node of the tree, into the first of its sums.
func sum[T float32 | float64](all map[comm.Span][]T, node comm.Span) []T {
	if p, ok := all[node]; ok {
		return p
	}
	mid := node.Lo + (node.Hi-node.Lo)/2
	a, b := sum(all, comm.Span{Lo: node.Lo, Hi: mid}), sum(all, comm.Span{Lo: mid, Hi: node.Hi})
	if _, ok := any(a).([]float32); ok { // denormal numbers are zeros, as in a local group
		defer flush.Begin().End()
	}
	for i, v := range b {
		a[i] += v
	}
	return a
}
