package comm

import (
	"context"
	"fmt"

	"github.com/verydeep/vgg/internal/bfloat16"
)

// Nest returns the views of this process's ranks in a group of the ranks of all processes: with
// n ranks in each, process p of outer has the ranks p·n … p·n+n−1. Every process calls it with
// the same n. Their sums have the bits of [Local] with as many ranks. The process's first rank
// makes all calls of outer, which nobody else may call while a rank is in a call.
func Nest(outer Group, n int) []Group {
	if n <= 1 {
		return []Group{outer}
	}
	groups := make([]Group, n)
	for i, g := range Local(n) {
		inner := g.(*local)
		inner.hub.first = outer.Rank() * n
		groups[i] = &nested{inner, outer}
	}
	return groups
}

// nested is a rank of a process among several.
type nested struct {
	inner *local
	outer Group
}

func (g *nested) first() bool { return g.inner.rank == 0 }
func (g *nested) Rank() int   { return g.inner.hub.first + g.inner.rank }
func (g *nested) Size() int   { return g.outer.Size() * g.inner.hub.size }

func (g *nested) Abort(err error) {
	g.inner.Abort(err)
	g.tell(err)
}

// tell makes the other processes' groups fail, too. The process's first rank does, at its next
// call at the latest.
func (g *nested) tell(err error) error {
	if err != nil && g.first() {
		g.outer.Abort(g.inner.hub.cause())
	}
	return err
}

// meet is that of the process's ranks.
func (g *nested) meet(ctx context.Context, bring any) error {
	return g.tell(g.inner.meet(ctx, bring))
}

// together lets the first rank make a call of outer, when all ranks of the process have met.
func (g *nested) together(ctx context.Context, call func() error) error {
	if err := g.meet(ctx, nil); err != nil {
		return err
	}
	if g.first() {
		if err := call(); err != nil {
			g.inner.hub.mu.Lock()
			defer g.inner.hub.mu.Unlock()
			return g.inner.hub.fail(err)
		}
	}
	return g.meet(ctx, nil)
}

func (g *nested) Barrier(ctx context.Context) error {
	if err := g.meet(ctx, barrier{}); err != nil {
		return err
	}
	if err := g.inner.same(func(any) string { return "" }); err != nil {
		return g.tell(err)
	}
	return g.together(ctx, func() error { return g.outer.Barrier(ctx) })
}

func (g *nested) Broadcast(ctx context.Context, root int, data []float32) error {
	h := g.inner.hub
	if root < 0 || root >= g.Size() {
		g.Abort(fmt.Errorf("broadcast from rank %d, want 0 … %d", root, g.Size()-1))
		return h.cause()
	}
	if err := g.meet(ctx, broadcast{root, data}); err != nil {
		return err
	}
	if err := g.inner.same(func(any) string { return "" }); err != nil {
		return g.tell(err)
	}
	err := g.together(ctx, func() error {
		if process := root / h.size; process == g.outer.Rank() && root != h.first {
			copy(data, h.brought[root%h.size].(broadcast).data)
		}
		return g.outer.Broadcast(ctx, root/h.size, data)
	})
	if err != nil {
		return err
	}
	if !g.first() && g.Rank() != root {
		copy(data, h.brought[0].(broadcast).data)
	}
	return g.meet(ctx, nil)
}

func (g *nested) AllReduce(ctx context.Context, tree Tree, parts [][]float32) error {
	return nestedReduce(ctx, g, &g.inner.scratch32, g.outer.AllReduce, reduction[float32]{tree: tree, parts: parts})
}

func (g *nested) AllReduceBF16(ctx context.Context, tree Tree, parts [][]float32) error {
	return nestedReduce(ctx, g, &g.inner.scratch32, g.outer.AllReduceBF16, reduction[float32]{tree, bfloat16.Round, parts})
}

func (g *nested) AllReduce64(ctx context.Context, tree Tree, parts [][]float64) error {
	return nestedReduce(ctx, g, &g.inner.scratch64, g.outer.AllReduce64, reduction[float64]{tree: tree, parts: parts})
}

// nestedReduce forms the process's sums, each rank those of a slice of the elements, and lets
// outer sum those of all processes.
func nestedReduce[T number](ctx context.Context, g *nested, scratch *[][]T, outer func(context.Context, Tree, [][]T) error, r reduction[T]) error {
	h, tree, parts := g.inner.hub, r.tree, r.parts
	if int(tree) < g.Size() {
		g.Abort(errShare)
		return h.cause()
	}
	if err := g.meet(ctx, r); err != nil {
		return err
	}
	if err := g.inner.same(func(b any) string { return b.(reduction[T]).wrong() }); err != nil {
		return g.tell(err)
	}
	all, err := brought[T](h, tree, g.Size())
	if err != nil {
		return g.tell(err)
	}
	spans := tree.Spans(Span{tree.Share(h.first, g.Size()).Lo, tree.Share(h.first+h.size-1, g.Size()).Hi})
	sums := make([][]T, len(spans))
	for i, s := range spans {
		sums[i] = leftmost(all, s)
	}
	n := len(parts[0])
	for from, end := g.inner.rank*n/h.size, (g.inner.rank+1)*n/h.size; from < end; from += sumBlock {
		to := min(from+sumBlock, end)
		for i, s := range spans {
			copy(sums[i][from:to], reduceNode(all, s, from, to, 0, scratch))
		}
	}
	if err := g.together(ctx, func() error { return outer(ctx, tree, sums) }); err != nil {
		return err
	}
	if !g.first() {
		copy(parts[0], sums[0])
	}
	return g.meet(ctx, nil)
}

// leftmost returns the part of the first leaves of a node.
func leftmost[T number](all map[Span][]T, node Span) []T {
	for {
		if p, ok := all[node]; ok {
			return p
		}
		node, _ = node.halves()
	}
}
