package dataset

import (
	"context"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/comm"
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
	// Processes divide the images among them; nil: this process alone. All call the function with
	// the same images and the same MaxPixels, and have the same result, to the bit that of one.
	// Whoever gets an error must abort the group. Files of kept surveys are those of rank 0.
	Processes comm.Group
	// Progress hears of the images done, in all processes.
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
// ([Environment]); and if ctx is done, here or in another of o.Processes, where it wraps
// [context.Canceled].
func ComputeSurvey(ctx context.Context, d *Dataset, o StatsOptions) (Survey, error) {
	s, _, err := computeSurvey(ctx, d, o)
	return s, err
}

// computeSurvey is [ComputeSurvey]. lacksRoom says that an image is unreadable because it didn't
// fit into memory.
func computeSurvey(ctx context.Context, d *Dataset, o StatsOptions) (s Survey, lacksRoom bool, err error) {
	if d == nil {
		return s, false, errNil
	}
	if o.Workers < 0 {
		return s, false, fmt.Errorf("dataset: %s: %d workers, want 0 or more", d.Name, o.Workers)
	}
	if d.Len() == 0 {
		return s, false, fmt.Errorf("dataset: %s: no samples, want one or more", d.Name)
	}
	var parts []surveyPart
	if o.Processes != nil {
		parts, err = d.surveyTogether(ctx, o)
	} else {
		var whole surveyPart
		whole, err = d.surveyPart(ctx, 0, d.Len(), o, progress.NewCounter(o.Progress, int64(d.Len())).Add)
		parts = []surveyPart{whole}
	}
	if err != nil {
		return s, false, err
	}
	var (
		total  preprocess.StatsAccumulator
		sizes  [][2]int
		bad    = make([]error, d.Len())
		grey16 int
	)
	for _, p := range parts {
		total.Merge(&p.Pixels)
		sizes = append(sizes, p.Sizes...)
		for _, b := range p.bad {
			bad[b.Index] = b.Err
		}
		grey16 += p.Grey16
		lacksRoom = lacksRoom || p.LacksRoom
	}
	if s, err = d.survey(sizes, bad); err != nil {
		return Survey{}, false, err
	}
	s.Grey16 = grey16
	if s.Stats, err = total.Stats(); err != nil {
		return Survey{}, false, fmt.Errorf("dataset: %s: %w", d.Name, err)
	}
	return s, lacksRoom, nil
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
