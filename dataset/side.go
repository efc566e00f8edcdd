package dataset

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/preprocess"
)

// TypicalSide is the median of the images' smallest sides, in pixels, by the headers of
// some of them, taken evenly. It is an error if none can be read.
func (d *Dataset) TypicalSide() (int, error) {
	const most = 200
	n := min(most, d.Len())
	var sides []int
	var first error
	for i := range n {
		at := (2*i + 1) * d.Len() / (2 * n)
		raw, err := d.Read(at)
		if err == nil {
			var w, h int
			if w, h, err = preprocess.Size(raw); err == nil {
				sides = append(sides, min(w, h))
				continue
			}
		}
		if first == nil {
			first = fmt.Errorf("%s: %w", d.Samples[at].Name, err)
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
