package dataset

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// Survey describes a dataset's images: the statistics of their pixels, their sizes
// and the balance of the classes. Its JSON keys are those of `vgg stats --json`.
type Survey struct {
	Images int `json:"images"` // readable ones
	preprocess.Stats
	Width      Distribution `json:"width"`
	Height     Distribution `json:"height"`
	ShortSide  Distribution `json:"short_side"` // the smaller of width and height
	Classes    []ClassCount `json:"classes"`
	Unreadable []BadImage   `json:"unreadable"`
	Grey16     int          `json:"grey16,omitempty"` // images with 16-bit grey levels, for which preprocess.Grey16Remark holds
}

// Distribution describes the values of a length, in pixels, over the images.
// A percentile is the smallest value that at least that share of the images doesn't
// exceed.
type Distribution struct {
	Min    int     `json:"min"`
	P5     int     `json:"p5"`
	Median int     `json:"median"`
	P95    int     `json:"p95"`
	Max    int     `json:"max"`
	Mean   float64 `json:"mean"`
}

// ClassCount is the number of a class's samples, including unreadable ones.
type ClassCount struct {
	Class  string `json:"class"`
	Title  string `json:"title,omitempty"`
	Images int    `json:"images"`
}

// StatsOptions chooses how a dataset is surveyed and where the result is kept.
type StatsOptions struct {
	// Workers is the number of goroutines that decode images; 0: GOMAXPROCS. It
	// doesn't change a bit of the result.
	Workers int
	// MaxPixels and Room are those of a [Loader].
	MaxPixels int
	Room      *resources.Room
	// Progress hears of the images done.
	Progress progress.Func
	// CacheDir is the folder in which [CachedSurvey] keeps the surveys of datasets
	// whose own folder can't be written to; "": they are not kept.
	CacheDir string
}

// ComputeSurvey decodes every image of d and returns the mean RGB of all pixels, the
// eigenvectors and eigenvalues of their RGB covariance, the images' sizes and the
// classes' counts. Pixels are those of the images as they are stored, in grey levels; turning
// an image by its EXIF data changes only which of its sides is the width.
// [CachedSurvey] does the same and keeps the result.
//
// Unreadable images are left out and listed. It is an error if none is readable, which
// wraps a [*BadImage], the first one; if one can't be read for want of open files
// ([Environment]); and if ctx is done.
func ComputeSurvey(ctx context.Context, d *Dataset, o StatsOptions) (Survey, error) {
	if d == nil {
		return Survey{}, errNil
	}
	workers := o.Workers
	if workers < 0 {
		return Survey{}, fmt.Errorf("dataset: %s: %d workers, want 0 or more", d.Name, workers)
	}
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // of all that follows
		next  int
		done  int
		total preprocess.StatsAccumulator
		sizes = make([][2]int, d.Len())
		bad   = make([]error, d.Len())
	)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var grey16 atomic.Int64
	decode := DecodeOptions{DecodeOptions: preprocess.DecodeOptions{MaxPixels: o.MaxPixels}, Room: o.Room, OnHeader: func(h preprocess.Header) {
		if h.Grey16 {
			grey16.Add(1)
		}
	}}
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1
	}
	defer d.Ahead(ctx, epochOrder(d.Len(), false, 0, 0))()
	for range min(workers, d.Len()) {
		wg.Go(func() {
			var own preprocess.StatsAccumulator
			for i := take(); i < d.Len() && ctx.Err() == nil; i = take() {
				im, err := d.Decode(ctx, i, decode)
				if err == nil {
					own.Add(im.Image)
					sizes[i] = [2]int{im.W, im.H}
					im.Release()
				}
				bad[i] = err
				mu.Lock()
				if Environment(ctx, err) {
					stop(err)
				}
				done++
				o.Progress.Report(int64(done), int64(d.Len()))
				mu.Unlock()
			}
			mu.Lock()
			defer mu.Unlock()
			total.Merge(&own)
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); wholefile.Exhausted(err) || remote.Failed(err) {
		return Survey{}, err
	}
	if ctx.Err() != nil {
		return Survey{}, fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
	}
	if d.Len() == 0 {
		return Survey{}, fmt.Errorf("dataset: %s: no samples, want one or more", d.Name)
	}
	s, err := d.survey(sizes, bad)
	if err != nil {
		return Survey{}, err
	}
	s.Grey16 = int(grey16.Load())
	if s.Stats, err = total.Stats(); err != nil {
		return Survey{}, fmt.Errorf("dataset: %s: %w", d.Name, err)
	}
	return s, nil
}

// survey returns a survey without statistics of pixels, from the width and height of each
// sample or the error that makes it unreadable.
func (d *Dataset) survey(sizes [][2]int, bad []error) (Survey, error) {
	var s Survey
	var width, height, short []int
	for i, err := range bad {
		if err != nil {
			s.Unreadable = append(s.Unreadable, BadImage{Name: d.Samples[i].Name, Index: i, Err: err})
			continue
		}
		w, h := sizes[i][0], sizes[i][1]
		width, height, short = append(width, w), append(height, h), append(short, min(w, h))
	}
	s.Images = len(width)
	if s.Images == 0 {
		return Survey{}, noneReadable(d, 0, bad[0])
	}
	s.Width, s.Height, s.ShortSide = distribution(width), distribution(height), distribution(short)
	for label, n := range d.Counts() {
		c := ClassCount{Class: d.Classes[label], Images: n}
		if d.Titles != nil {
			c.Title = d.Titles[label]
		}
		s.Classes = append(s.Classes, c)
	}
	return s, nil
}

// distribution sorts v.
func distribution(v []int) Distribution {
	slices.Sort(v)
	percentile := func(p int) int { return v[max(0, (len(v)*p+99)/100-1)] }
	sum := 0.0
	for _, x := range v {
		sum += float64(x)
	}
	return Distribution{v[0], percentile(5), percentile(50), percentile(95), v[len(v)-1], sum / float64(len(v))}
}
