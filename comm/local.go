package comm

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Local returns the ends of a group of the given number of ranks within this process,
// at least one.
func Local(ranks int) []Group {
	ranks = max(1, ranks)
	h := &hub{size: ranks, brought: make([]any, ranks), gate: make(chan struct{}), failed: make(chan struct{})}
	groups := make([]Group, ranks)
	for i := range groups {
		groups[i] = &local{rank: i, hub: h}
	}
	return groups
}

// hub is where the ranks of a local group meet.
type hub struct {
	size   int
	failed chan struct{} // closed when the group has failed

	mu      sync.Mutex
	err     error         // why it failed
	here    int           // ranks that wait at the gate
	gate    chan struct{} // closed when the last rank comes; then there is a new one
	brought []any         // what the ranks have brought to the last meeting
}

type local struct {
	rank      int
	hub       *hub
	scratch32 [][]float32
	scratch64 [][]float64
}

func (g *local) Rank() int { return g.rank }
func (g *local) Size() int { return g.hub.size }

func (g *local) Abort(err error) {
	g.hub.mu.Lock()
	defer g.hub.mu.Unlock()
	g.hub.fail(fmt.Errorf("comm: rank %d: %w", g.rank, err))
}

// fail is called with mu held.
func (h *hub) fail(err error) error {
	if h.err == nil {
		h.err = err
		close(h.failed)
	}
	return h.err
}

// meet returns when every rank has come, with what they brought in hub.brought, which is
// then only read until they have met again, without bringing anything.
func (g *local) meet(ctx context.Context, bring any) error {
	h := g.hub
	h.mu.Lock()
	if h.err != nil {
		defer h.mu.Unlock()
		return h.err
	}
	if ctx.Err() != nil {
		defer h.mu.Unlock()
		return h.fail(fmt.Errorf("comm: rank %d: %w", g.rank, context.Cause(ctx)))
	}
	if bring != nil { // others may still read what was brought
		h.brought[g.rank] = bring
	}
	gate := h.gate
	if h.here++; h.here == h.size {
		h.here = 0
		if h.size > 1 {
			close(gate)
			h.gate = make(chan struct{})
		}
		h.mu.Unlock()
		return nil
	}
	h.mu.Unlock()
	select {
	case <-gate:
		return nil
	case <-h.failed:
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-gate: // all had come before it failed
		return nil
	default:
	}
	return h.fail(fmt.Errorf("comm: rank %d: %w", g.rank, context.Cause(ctx)))
}

// mismatch fails the group where ranks don't make the same call. Every rank finds it.
func (g *local) mismatch(rank int, got, want string) error {
	g.hub.mu.Lock()
	defer g.hub.mu.Unlock()
	return g.hub.fail(fmt.Errorf("comm: rank %d calls %s, rank 0 %s: want the same call of all ranks", rank, got, want))
}

func (g *local) Barrier(ctx context.Context) error {
	if err := g.meet(ctx, barrier{}); err != nil {
		return err
	}
	if err := g.same(func(any) string { return "" }); err != nil {
		return err
	}
	return g.leave(ctx)
}

type barrier struct{}

func (barrier) String() string { return "Barrier" }

// same compares what the ranks have brought, as their String methods tell it, and then
// by check, which tells what is wrong with one rank's, or "".
func (g *local) same(check func(any) string) error {
	want := fmt.Sprint(g.hub.brought[0])
	for rank, b := range g.hub.brought {
		if got := fmt.Sprint(b); got != want {
			return g.mismatch(rank, got, want)
		}
	}
	for rank, b := range g.hub.brought {
		if wrong := check(b); wrong != "" {
			return g.mismatch(rank, fmt.Sprint(b)+" "+wrong, want)
		}
	}
	return nil
}

type broadcast struct {
	root int
	data []float32
}

func (b broadcast) String() string {
	return fmt.Sprintf("Broadcast of %d from %d", len(b.data), b.root)
}

func (g *local) Broadcast(ctx context.Context, root int, data []float32) error {
	if root < 0 || root >= g.hub.size {
		err := fmt.Errorf("broadcast from rank %d, want 0 … %d", root, g.hub.size-1)
		g.Abort(err)
		return g.hub.cause()
	}
	if err := g.meet(ctx, broadcast{root, data}); err != nil {
		return err
	}
	if err := g.same(func(any) string { return "" }); err != nil {
		return err
	}
	if g.rank != root {
		copy(data, g.hub.brought[root].(broadcast).data)
	}
	return g.leave(ctx)
}

func (h *hub) cause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// leave waits until all ranks have done with what they brought.
func (g *local) leave(ctx context.Context) error {
	if g.hub.size == 1 {
		return nil
	}
	return g.meet(ctx, nil)
}

// number is what is summed.
type number interface{ float32 | float64 }

// reduction is a rank's part in an all-reduce.
type reduction[T number] struct {
	tree  Tree
	parts [][]T
}

func (r reduction[T]) String() string {
	n := 0
	if len(r.parts) > 0 {
		n = len(r.parts[0])
	}
	return fmt.Sprintf("AllReduce of %d %T over %d leaves", n, *new(T), int(r.tree))
}

func (g *local) AllReduce(ctx context.Context, tree Tree, parts [][]float32) error {
	return allReduce(ctx, g, &g.scratch32, tree, parts)
}

func (g *local) AllReduce64(ctx context.Context, tree Tree, parts [][]float64) error {
	return allReduce(ctx, g, &g.scratch64, tree, parts)
}

// sumBlock is how many elements are summed over the whole tree before the next: few
// enough for the first-level cache.
const sumBlock = 2048

var errShare = errors.New("all-reduce over fewer leaves than ranks")

// allReduce: each rank sums a slice of the elements over all parts of all ranks, and
// writes it to all of them.
func allReduce[T number](ctx context.Context, g *local, scratch *[][]T, tree Tree, parts [][]T) error {
	h := g.hub
	if int(tree) < h.size {
		g.Abort(errShare)
		return h.cause()
	}
	if h.size == 1 && len(parts) == 1 {
		return ctxOr(ctx, h)
	}
	if err := g.meet(ctx, reduction[T]{tree, parts}); err != nil {
		return err
	}
	all := make(map[Span][]T)
	err := g.same(func(b any) string {
		r := b.(reduction[T])
		if len(r.parts) == 0 {
			return "without parts"
		}
		for _, p := range r.parts {
			if len(p) != len(r.parts[0]) {
				return "with parts of different lengths"
			}
		}
		return ""
	})
	if err != nil {
		return err
	}
	for rank, b := range h.brought {
		spans, r := tree.Spans(tree.Share(rank, h.size)), b.(reduction[T])
		if len(spans) != len(r.parts) {
			return g.mismatch(rank, fmt.Sprintf("AllReduce with %d parts", len(r.parts)), fmt.Sprintf("with what must be %d there", len(spans)))
		}
		for i, s := range spans {
			all[s] = r.parts[i]
		}
	}
	n := len(parts[0])
	for from, end := g.rank*n/h.size, (g.rank+1)*n/h.size; from < end; from += sumBlock {
		to := min(from+sumBlock, end)
		sum := reduceNode(all, tree.root(), from, to, 0, scratch)
		for _, b := range h.brought {
			copy(b.(reduction[T]).parts[0][from:to], sum)
		}
	}
	return g.leave(ctx)
}

func ctxOr(ctx context.Context, h *hub) error {
	if err := h.cause(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.fail(fmt.Errorf("comm: rank 0: %w", context.Cause(ctx)))
	}
	return nil
}

// reduceNode returns the sum of elements from … to−1 over a node of the tree. depth
// tells which scratch to use: a sum stays valid until its parent is formed.
func reduceNode[T number](all map[Span][]T, node Span, from, to, depth int, scratch *[][]T) []T {
	if part, ok := all[node]; ok {
		return part[from:to]
	}
	for len(*scratch) <= depth {
		*scratch = append(*scratch, make([]T, sumBlock))
	}
	a, b := node.halves()
	x := reduceNode(all, a, from, to, depth+1, scratch)
	sum := (*scratch)[depth][:to-from]
	copy(sum, x) // the other half needs the scratch that x may lie in
	for i, v := range reduceNode(all, b, from, to, depth+1, scratch) {
		sum[i] += v
	}
	return sum
}
