package comm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/verydeep/vgg/internal/bfloat16"
	"github.com/verydeep/vgg/internal/flush"
)

// Local returns the views of a group of ranks within this process, one for each rank; there
// is at least one.
func Local(ranks int) []Group {
	ranks = max(1, ranks)
	h := &hub{size: ranks, brought: make([]any, ranks), gate: make(chan struct{}), failed: make(chan struct{})}
	groups := make([]Group, ranks)
	for i := range groups {
		groups[i] = &local{rank: i, hub: h}
	}
	return groups
}

// hub is the state that the ranks of a local group share.
type hub struct {
	size   int
	first  int           // number of the first rank: with [Nest] not 0
	failed chan struct{} // closed when the group has failed

	mu      sync.Mutex
	err     error         // why it failed
	waiting int           // ranks that wait at the gate
	gate    chan struct{} // closed when the last rank comes; then there is a new one
	brought []any         // the ranks' arguments of the last call
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
	g.hub.fail(rankError(g.hub.first+g.rank, err))
}

// fail makes the group fail, and returns the error that it failed with first. mu is held.
func (h *hub) fail(err error) error {
	if h.err == nil {
		h.err = err
		close(h.failed)
	}
	return h.err
}

// meet waits until every rank has called it, and leaves the ranks' arguments in hub.brought.
// They are only read until all ranks have met again, without an argument.
func (g *local) meet(ctx context.Context, bring any) error {
	h := g.hub
	h.mu.Lock()
	if h.err != nil {
		defer h.mu.Unlock()
		return h.err
	}
	if ctx.Err() != nil {
		defer h.mu.Unlock()
		return h.fail(rankError(h.first+g.rank, context.Cause(ctx)))
	}
	if bring != nil { // without an argument, other ranks may still read
		h.brought[g.rank] = bring
	}
	gate := h.gate
	if h.waiting++; h.waiting == h.size {
		h.waiting = 0
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
	case <-gate: // all ranks had come before the group failed
		return nil
	default:
	}
	return h.fail(rankError(h.first+g.rank, context.Cause(ctx)))
}

// mismatch makes the group fail, because the ranks' calls differ. Every rank calls it.
func (g *local) mismatch(rank int, got, want string) error {
	first := g.hub.first
	return g.failed("comm: rank %d calls %s, rank %d %s: want the same call of all ranks", first+rank, got, first, want)
}

// failed makes the group fail with an error of the given text.
func (g *local) failed(format string, args ...any) error {
	g.hub.mu.Lock()
	defer g.hub.mu.Unlock()
	return g.hub.fail(fmt.Errorf(format, args...))
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

// same compares the ranks' arguments by their String methods. It also calls check on each,
// which returns what is wrong with one rank's argument, or "".
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

// leave waits until no rank reads the others' arguments any more.
func (g *local) leave(ctx context.Context) error {
	if g.hub.size == 1 {
		return nil
	}
	return g.meet(ctx, nil)
}

// number is a type that can be summed.
type number interface{ float32 | float64 }

// reduction is a rank's arguments of an all-reduce.
type reduction[T number] struct {
	tree  Tree
	round func([]T) // of the sum over all leaves; nil: none
	parts [][]T
}

func (r reduction[T]) String() string {
	n := 0
	if len(r.parts) > 0 {
		n = len(r.parts[0])
	}
	name := fmt.Sprintf("%T", *new(T))
	if r.round != nil {
		name = "bfloat16"
	}
	return fmt.Sprintf("AllReduce of %d %s over %d leaves", n, name, int(r.tree))
}

// wrong is what is wrong with the parts, or "".
func (r reduction[T]) wrong() string {
	if len(r.parts) == 0 {
		return "without parts"
	}
	for _, p := range r.parts {
		if len(p) != len(r.parts[0]) {
			return "with parts of different lengths"
		}
	}
	return ""
}

func (g *local) AllReduce(ctx context.Context, tree Tree, parts [][]float32) error {
	return allReduce(ctx, g, &g.scratch32, reduction[float32]{tree: tree, parts: parts})
}

func (g *local) AllReduceBF16(ctx context.Context, tree Tree, parts [][]float32) error {
	return allReduce(ctx, g, &g.scratch32, reduction[float32]{tree, bfloat16.Round, parts})
}

func (g *local) AllReduce64(ctx context.Context, tree Tree, parts [][]float64) error {
	return allReduce(ctx, g, &g.scratch64, reduction[float64]{tree: tree, parts: parts})
}

// sumBlock is the number of elements that are summed over the whole tree before the next
// ones: few enough for the first-level cache.
const sumBlock = 2048

var errShare = errors.New("all-reduce over fewer leaves than ranks")

// allReduce lets each rank sum a slice of the elements over all parts of all ranks, and
// write it to all of them.
func allReduce[T number](ctx context.Context, g *local, scratch *[][]T, r reduction[T]) error {
	h, tree, parts := g.hub, r.tree, r.parts
	if int(tree) < h.size {
		g.Abort(errShare)
		return h.cause()
	}
	if h.size == 1 && len(parts) == 1 {
		if r.round != nil {
			r.round(parts[0])
		}
		return ctxOr(ctx, h)
	}
	if err := g.meet(ctx, r); err != nil {
		return err
	}
	if err := g.same(func(b any) string { return b.(reduction[T]).wrong() }); err != nil {
		return err
	}
	all, err := brought[T](h, tree, h.size)
	if err != nil {
		return err
	}
	n := len(parts[0])
	for from, end := g.rank*n/h.size, (g.rank+1)*n/h.size; from < end; from += sumBlock {
		to := min(from+sumBlock, end)
		sum := reduceNode(all, tree.root(), from, to, 0, scratch)
		if r.round != nil {
			r.round(sum)
		}
		for _, b := range h.brought {
			copy(b.(reduction[T]).parts[0][from:to], sum)
		}
	}
	return g.leave(ctx)
}

// brought returns the parts that the ranks of the hub have brought to an all-reduce of a group
// of the given size.
func brought[T number](h *hub, tree Tree, size int) (map[Span][]T, error) {
	all := make(map[Span][]T)
	for i, b := range h.brought {
		rank, r := h.first+i, b.(reduction[T])
		spans := tree.Spans(tree.Share(rank, size))
		if len(spans) != len(r.parts) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return nil, h.fail(fmt.Errorf("comm: rank %d calls AllReduce with %d parts, want %d", rank, len(r.parts), len(spans)))
		}
		for i, s := range spans {
			all[s] = r.parts[i]
		}
	}
	return all, nil
}

// RankError is the reason why a rank made its group fail.
type RankError struct {
	Rank int
	Err  error
}

func (e *RankError) Error() string { return fmt.Sprintf("comm: rank %d: %v", e.Rank, e.Err) }
func (e *RankError) Unwrap() error { return e.Err }

// ErrTemporary is in the chain of a reason for [Group.Abort] that may pass, so that the same work
// may succeed later. It reaches ranks in other processes too, of which the reason is a text.
var ErrTemporary = errors.New("may succeed later")

// rankError names the rank of an error, unless it is named.
func rankError(rank int, err error) error {
	if _, ok := errors.AsType[*RankError](err); ok {
		return err
	}
	return &RankError{rank, err}
}

func ctxOr(ctx context.Context, h *hub) error {
	if err := h.cause(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.fail(rankError(0, context.Cause(ctx)))
	}
	return nil
}

// reduceNode returns the sum of elements from … to−1 over a node of the tree. Each depth has
// scratch of its own: a sum stays valid until its parent is formed.
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
	copy(sum, x) // the other half reuses the scratch that may hold x
	add(sum, reduceNode(all, b, from, to, depth+1, scratch))
	return sum
}

// add adds b to a. In 32 bits denormal numbers are zeros, as in the sums that a rank forms of
// its own leaves (internal/kernel): else the ranks' number would change bits near zero.
func add[T number](a, b []T) {
	if _, ok := any(a).([]float32); ok {
		defer flush.Begin().End()
	}
	for i, v := range b {
		a[i] += v
	}
}
