// Package comm connects the ranks that train one network together: all-reduce,
// all-gather, broadcast and barrier.
//
// [Local] makes a group of ranks within this process, one goroutine a rank. Package comm/mpi has
// the group of the processes that a launcher started, on one machine or many. [Nest] makes one
// group of the ranks within each of those.
package comm

import "context"

// Group is one rank's view of a group of ranks. The ranks of a group call the same methods
// in the same order, each from one goroutine at a time; a call returns when every rank has
// made it. Results depend only on the ranks' arguments, not on their timing.
//
// A group fails as a whole. When a rank's context is done while it waits, when the ranks'
// calls do not match, or when a rank calls Abort, every waiting and every later call of
// every rank returns the same error. The contents of buffers are then undefined.
type Group interface {
	// Rank is this rank's number, 0 … Size−1.
	Rank() int
	// Size is the number of ranks.
	Size() int
	// AllReduce sums over the leaves of tree; rank r has the leaves of tree.Share(r, Size).
	// parts are the rank's sums over tree.Spans of its share, all of one length. When it
	// returns, parts[0] of every rank holds the sum over all leaves, in the order that tree
	// fixes, and the contents of the other parts are undefined.
	AllReduce(ctx context.Context, tree Tree, parts [][]float32) error
	// AllReduce64 is AllReduce in float64.
	AllReduce64(ctx context.Context, tree Tree, parts [][]float64) error
	// AllReduceBF16 is AllReduce by messages of 16 bits: values of bfloat16, the upper half of a
	// float32. The caller has rounded every leaf to them. Sums are those of AllReduce, in
	// float32; the sum over all leaves is rounded, to nearest even. A sum over some of the
	// leaves travels in 32 bits.
	AllReduceBF16(ctx context.Context, tree Tree, parts [][]float32) error
	// AllGather gives every rank what each has: rank r brings the elements bounds[r] …
	// bounds[r+1]−1 of data, and all of them are there when it returns. data has the same length
	// on all ranks, and bounds, Size+1 of them, are the same.
	AllGather(ctx context.Context, data []float32, bounds []int) error
	// Broadcast copies the data of rank root to the data of every rank. Lengths must match.
	Broadcast(ctx context.Context, root int, data []float32) error
	// Barrier returns when every rank has called it.
	Barrier(ctx context.Context) error
	// Abort makes the group fail, because this rank can't go on, with err as the reason. Only
	// the first error of a group counts.
	Abort(err error)
}
