package eval

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
)

// each tells the images of a list one after the other, to any number of goroutines.
func each(images []int) func() (image int, ok bool) {
	var told atomic.Int64
	return func() (int, bool) {
		if i := told.Add(1) - 1; i < int64(len(images)) {
			return images[i], true
		}
		return 0, false
	}
}

// prefetch yields prepare's result for each of the images that next tells, in the order
// in which they are ready. Workers goroutines, one at least, prepare ahead of their use;
// they have stopped when the loop ends, whichever way it does. When ctx is done the
// sequence ends early.
func prefetch[T any](ctx context.Context, next func() (image int, ok bool), workers int, prepare func(ctx context.Context, i int) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		workers = max(1, workers)
		ready := make(chan T, workers)
		for range workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					i, ok := next()
					if !ok {
						return
					}
					select {
					case ready <- prepare(ctx, i):
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
