package eval

import (
	"context"
	"iter"
	"sync"
)

// prefetch yields prepare(0), …, prepare(n-1) in order. Workers goroutines prepare up
// to that many ahead of their use; they have stopped when the loop ends, whichever way
// it does. When ctx is done the sequence ends early.
func prefetch[T any](ctx context.Context, n, workers, ahead int, prepare func(i int) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		type job struct {
			i    int
			done chan T
		}
		jobs := make(chan job)
		order := make(chan job, ahead)
		wg.Go(func() {
			defer close(jobs)
			defer close(order)
			for i := range n {
				j := job{i, make(chan T, 1)}
				select {
				case order <- j:
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
		for range min(workers, n) {
			wg.Go(func() {
				for j := range jobs {
					j.done <- prepare(j.i)
				}
			})
		}
		for j := range order {
			select {
			case v := <-j.done:
				if ctx.Err() != nil || !yield(v) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
