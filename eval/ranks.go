package eval

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/prefetch"
)

// crew is a number of ranks that take images through one network, whose weights they
// share. The ranks draw images one by one. Each has its share of the threads and of the
// memory, and makes its own batches.
//
// Neither the bits of a result nor the set of unreadable images depends on the number of
// ranks: an image that takes more memory than a rank's share is put off until all other
// images are done, and then has all the memory.
type crew struct {
	pass      // the common part of all ranks; limits are those of all together
	ranks int // 0: two, if there are threads and memory for them
}

// run takes the images through the network. wanted lists the views that are wanted of an
// image; several goroutines call it.
func (c *crew) run(ctx context.Context, images []int, wanted func(image int) []int) error {
	if len(images) == 0 {
		return nil
	}
	if err := c.plan(); err != nil {
		return err
	}
	prep := newPreparer(c.design(), c.data, c.views, c.limits)
	prep.region = c.region
	ranks, err := c.share(len(images))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer c.data.Ahead(ctx, images)()
	var (
		mu     sync.Mutex // of done
		wg     sync.WaitGroup
		next   = prefetch.List(images)
		groups = comm.Local(len(ranks))
		counts = make([]float64, len(ranks)) // images of all ranks, by the all-reduce of each
		errs   = make([]error, len(ranks))
	)
	var first sync.Once
	for r, p := range ranks {
		if len(ranks) > 1 {
			// Transform the weights with all threads: the other ranks wait for them.
			p.prepare = func(n, h, w int) (err error) {
				first.Do(func() { err = c.model.Net.Chain().Prepare(n, h, w) })
				return err
			}
		}
		count := 0.0
		p.done = func(image int, posteriors [][]float32, err error) error {
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			count++
			return c.done(image, posteriors, err)
		}
		wg.Go(func() {
			if err := p.run(ctx, prep, next, wanted); err != nil {
				errs[r] = err
				groups[r].Abort(err)
				cancel(err)
				return
			}
			p.release() // memory for the images that were put off
			sum := []float64{count + float64(len(p.large))}
			errs[r] = groups[r].AllReduce64(ctx, comm.Tree(len(ranks)), [][]float64{sum})
			counts[r] = sum[0]
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if counts[0] != float64(len(images)) {
		return fmt.Errorf("eval: %s: the ranks counted %v images, want %d", c.data.Name, counts[0], len(images))
	}
	var large []int
	for _, p := range ranks {
		large = append(large, p.large...)
	}
	if len(large) == 0 {
		return nil
	}
	runtime.GC()
	last := c.pass
	return last.run(ctx, prep, prefetch.List(large), wanted)
}

// share returns the passes of the ranks for a number of images.
func (c *crew) share(images int) ([]*pass, error) {
	if c.ranks > 0 {
		return c.shareAmong(max(1, min(c.ranks, images)))
	}
	// One rank computes while the other waits for memory or for its last thread.
	if min(c.model.Net.Chain().Threads(), images) > 1 {
		if ranks, err := c.shareAmong(2); err == nil {
			return ranks, nil
		}
	}
	return c.shareAmong(1)
}

// shareAmong returns the passes of n ranks.
func (c *crew) shareAmong(n int) ([]*pass, error) {
	threads, side := c.model.Net.Chain().Threads(), c.model.Net.Options().Input
	ranks := make([]*pass, n)
	for r := range ranks {
		p := c.pass
		p.workers = max(1, c.workers/n)
		if n > 1 {
			m := *c.model
			m.Net = m.Net.Share(max(1, (r+1)*threads/n-r*threads/n))
			p.model = &m
			p.limits.pass /= int64(n)
			p.limits.queue /= int64(n)
		}
		if err := p.plan(); err != nil {
			return nil, err
		}
		need, err := p.design().passBytes(1, side, side)
		if err != nil {
			return nil, err
		}
		if need > p.limits.pass {
			return nil, fmt.Errorf("eval: memory of %s, want at least %s for one crop of %d×%d on each of %d ranks",
				mebibytes(c.limits.total), mebibytes(c.limits.fixed+int64(n)*need*100/passShare), side, side, n)
		}
		ranks[r] = &p
	}
	return ranks, nil
}
