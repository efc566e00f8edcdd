// Package comm is a group of ranks that train one network together: rank, size,
// all-reduce, broadcast and barrier.
//
// [Local] makes a group within this process, one goroutine a rank.
package comm

import "context"

// Group is one rank's end of a group. The ranks of a group call the same methods in the
// same order, each from one goroutine at a time; a call returns when every rank has made
// it. Results depend on what the ranks bring alone, not on when they come.
//
// A group fails as a whole: when a rank's context is done while it waits, when ranks
// bring what does not match, or when one calls Abort, every call of every rank, waiting
// or to come, returns the same error. What buffers hold then is not defined.
type Group interface {
	// Rank is this rank's number, 0 … Size−1.
	Rank() int
	// Size is the number of ranks.
	Size() int
	// AllReduce sums over the leaves of tree, of which rank r has those of
	// tree.Share(r, Size). parts are the rank's sums over tree.Spans of its share, all of
	// one length. When it returns, parts[0] of every rank holds the sum over all leaves,
	// in the order that tree fixes, and what the other parts hold is not defined.
	AllReduce(ctx context.Context, tree Tree, parts [][]float32) error
	// AllReduce64 is AllReduce in float64.
	AllReduce64(ctx context.Context, tree Tree, parts [][]float64) error
	// Broadcast copies data of rank root to every rank's.
	Broadcast(ctx context.Context, root int, data []float32) error
	// Barrier returns when every rank has called it.
	Barrier(ctx context.Context) error
	// Abort says that this rank can't go on, and why. Only the first error of a group
	// counts.
	Abort(err error)
}
