package eval

import (
	"context"
	"iter"
	"sync"
)

// prefetch yields prepare's result for each of the images, in the order in which they
// are ready. Workers goroutines prepare ahead of their use; they have stopped when the
// loop ends, whichever way it does. When ctx is done the sequence ends early.
func prefetch[T any](ctx context.Context, images []int, workers int, prepare func(ctx context.Context, i int) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		jobs := make(chan int)
		ready := make(chan T, workers)
		wg.Go(func() {
			defer close(jobs)
			for _, i := range images {
				select {
				case jobs <- i:
				case <-ctx.Done():
					return
				}
			}
		})
		for range min(workers, len(images)) {
			wg.Go(func() {
				for i := range jobs {
					select {
					case ready <- prepare(ctx, i):
					case <-ctx.Done():
						return
					}
				}
			})
		}
		for range images {
			select {
			case v := <-ready:
				if ctx.Err() != nil || !yield(v) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
