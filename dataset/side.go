package dataset

import (
	"context"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/preprocess"
)

// TypicalSide returns the median of the images' smallest sides, in pixels, from the headers
// of at most 200 images, spread evenly over the dataset. It is an error if none can be
// read, or if ctx is done.
func (d *Dataset) TypicalSide(ctx context.Context) (int, error) {
	const most = 200
	n := min(most, d.Len())
	var sides []int
	var first error
	for i := range n {
		if ctx.Err() != nil {
			return 0, fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
		}
		at := (2*i + 1) * d.Len() / (2 * n)
		raw, err := d.Read(at)
		if Environment(ctx, err) {
			return 0, err
		}
		if err == nil {
			var w, h int
			if w, h, err = preprocess.Size(raw); err == nil {
				sides = append(sides, min(w, h))
				continue
			}
		}
		if first == nil {
			first = &BadImage{Name: d.Samples[at].Name, Index: at, Err: err}
		}
	}
	if len(sides) == 0 {
		if first == nil {
			return 0, fmt.Errorf("dataset: %s: no images, want at least one", d.Name)
		}
		return 0, fmt.Errorf("dataset: %s: none of %d images has a size: %w", d.Name, n, first)
	}
	slices.Sort(sides)
	return sides[len(sides)/2], nil
}
