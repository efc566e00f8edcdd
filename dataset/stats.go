package dataset

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/verydeep/vgg/preprocess"
)

// ComputeStats returns the mean RGB of d's images and the eigenvectors and
// eigenvalues of their RGB covariance, over every pixel of every image as it
// is stored. The images are decoded by the given number of goroutines, 0
// meaning GOMAXPROCS, which doesn't change a bit of the result. progress, if
// it isn't nil, is told after each image how many of the total are done; its
// calls don't overlap.
//
// Images that can't be read or decoded are left out, as a [Loader] leaves them
// out and names them. It is an error if none can be, or if ctx is done.
func ComputeStats(ctx context.Context, d *Dataset, workers int, progress func(done, total int)) (preprocess.Stats, error) {
	if workers < 0 {
		return preprocess.Stats{}, fmt.Errorf("dataset: %s: %d workers, want 0 or more", d.Name, workers)
	}
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex // of all that follows
		next     int
		done     int
		total    preprocess.StatsAccumulator
		readable int
		firstBad error
		badIndex int
	)
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1
	}
	for range min(workers, d.Len()) {
		wg.Go(func() {
			var own preprocess.StatsAccumulator
			for i := take(); i < d.Len() && ctx.Err() == nil; i = take() {
				im, err := d.decode(i, 0)
				if err == nil {
					own.Add(im)
				}
				mu.Lock()
				switch {
				case err == nil:
					readable++
				case firstBad == nil || i < badIndex:
					firstBad, badIndex = err, i
				}
				done++
				if progress != nil {
					progress(done, d.Len())
				}
				mu.Unlock()
			}
			mu.Lock()
			defer mu.Unlock()
			total.Merge(&own)
		})
	}
	wg.Wait()
	switch {
	case ctx.Err() != nil:
		return preprocess.Stats{}, fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
	case d.Len() == 0:
		return preprocess.Stats{}, fmt.Errorf("dataset: %s: no samples, want one or more", d.Name)
	case readable == 0:
		return preprocess.Stats{}, noneReadable(d, badIndex, firstBad)
	}
	s, err := total.Stats()
	if err != nil {
		return preprocess.Stats{}, fmt.Errorf("dataset: %s: %w", d.Name, err)
	}
	return s, nil
}
