// Package prefetch computes items of a sequence ahead of their use, by several goroutines.
package prefetch

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
)

// List returns a source of the items of a list, one after the other. Any number of
// goroutines may share it.
func List(items []int) func() (item int, ok bool) {
	var taken atomic.Int64
	return func() (int, bool) {
		if i := taken.Add(1) - 1; i < int64(len(items)) {
			return items[i], true
		}
		return 0, false
	}
}

// Unordered yields prepare's result for each item of a source, in the order in which the
// results are ready. So many workers, at least one, prepare ahead. They have stopped when
// the loop ends, in whatever way. When ctx is done the sequence ends early.
func Unordered[T any](ctx context.Context, next func() (item int, ok bool), workers int, prepare func(ctx context.Context, item int) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		workers := max(1, workers)
		ready := make(chan T, workers)
		for range workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					item, ok := next()
					if !ok {
						return
					}
					select {
					case ready <- prepare(ctx, item):
					case <-ctx.Done():
					}
				}
			})
		}
		go func() {
			wg.Wait()
			close(ready)
		}()
		for v := range ready {
			if ctx.Err() != nil || !yield(v) {
				return
			}
		}
	}
}

// Ordered yields prepare's result for each of items, in their order. So many workers, at least
// one, prepare ahead. They have stopped when the loop ends, in whatever way. When ctx is done
// the sequence ends early.
func Ordered[I, T any](ctx context.Context, items iter.Seq[I], workers int, prepare func(ctx context.Context, item I) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		workers := max(1, workers)
		type job struct {
			item   I
			result chan T
		}
		jobs := make(chan job)
		results := make(chan chan T, workers) // in order
		wg.Go(func() {
			defer close(jobs)
			defer close(results)
			for item := range items {
				j := job{item, make(chan T, 1)}
				select {
				case results <- j.result:
				case <-ctx.Done():
					return
				}
				select {
				case jobs <- j:
				case <-ctx.Done():
					return
				}
			}
		})
		for range workers {
			wg.Go(func() {
				for j := range jobs {
					j.result <- prepare(ctx, j.item)
				}
			})
		}
		for result := range results {
			select {
			case v := <-result:
				if ctx.Err() != nil || !yield(v) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
