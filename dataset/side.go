package dataset

import (
	"context"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/preprocess"
)

// sizedImages is the most images whose headers tell the sizes of a collection.
const sizedImages = 200

// TypicalSizes describes the sizes in pixels of the images as they are stored, from the
// headers of at most 200 of them, spread evenly over the dataset. It is an error if none can
// be read, or if ctx is done.
func (d *Dataset) TypicalSizes(ctx context.Context) (width, height, short Distribution, err error) {
	sizes, err := d.someSizes(ctx)
	if err != nil {
		return width, height, short, err
	}
	var w, h, s []int
	for _, size := range sizes {
		w, h, s = append(w, size[0]), append(h, size[1]), append(s, min(size[0], size[1]))
	}
	return distribution(w), distribution(h), distribution(s), nil
}

// TypicalSide returns the median of the images' smallest sides, in pixels, from the headers
// of at most 200 images, spread evenly over the dataset. It is an error if none can be
// read, or if ctx is done.
func (d *Dataset) TypicalSide(ctx context.Context) (int, error) {
	sizes, err := d.someSizes(ctx)
	if err != nil {
		return 0, err
	}
	var sides []int
	for _, size := range sizes {
		sides = append(sides, min(size[0], size[1]))
	}
	slices.Sort(sides)
	return sides[len(sides)/2], nil
}

// someSizes returns the width and height of some images.
func (d *Dataset) someSizes(ctx context.Context) ([][2]int, error) {
	n := min(sizedImages, d.Len())
	var sizes [][2]int
	var first error
	for i := range n {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
		}
		at := (2*i + 1) * d.Len() / (2 * n)
		raw, err := d.Read(at)
		if Environment(ctx, err) {
			return nil, err
		}
		if err == nil {
			var w, h int
			if w, h, err = preprocess.Size(raw); err == nil {
				sizes = append(sizes, [2]int{w, h})
				continue
			}
		}
		if first == nil {
			first = &BadImage{Name: d.Samples[at].Name, Index: at, Err: err}
		}
	}
	switch {
	case len(sizes) > 0:
		return sizes, nil
	case first == nil:
		return nil, fmt.Errorf("dataset: %s: no images, want at least one", d.Name)
	}
	return nil, fmt.Errorf("dataset: %s: none of %d images has a size: %w", d.Name, n, first)
}
