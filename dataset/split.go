package dataset

import (
	"fmt"
	"math"
)

// Split divides d into a training and a validation part, class by class: of a
// class with n images, valFraction·n (rounded, at least one, and never all)
// become validation images. A class with one image keeps it for training. An image of
// several labels belongs to the rarest of them. The
// division is a pure function of d, valFraction and seed, and keeps the order of
// the samples. It is an error if valFraction isn't between 0 and 1, or if no
// class has two images.
func Split(d *Dataset, valFraction float64, seed uint64) (train, val *Dataset, err error) {
	if d == nil {
		return nil, nil, errNil
	}
	if !(valFraction > 0 && valFraction < 1) {
		return nil, nil, fmt.Errorf("dataset: %s: validation fraction %v, want more than 0 and less than 1", d.Name, valFraction)
	}
	var rng stream
	inVal := make([]bool, len(d.Samples))
	for label, indices := range d.strata() {
		n := len(indices)
		nVal := max(1, int(math.Round(valFraction*float64(n))))
		rng.start(seed, useSplit, uint64(label), 0)
		rng.shuffle(indices)
		for _, i := range indices[:max(0, min(nVal, n-1))] {
			inVal[i] = true
		}
	}
	train = d.subset(d.Name+" (train)", nil)
	val = d.subset(d.Name+" (val)", nil)
	for i, s := range d.Samples {
		part := train
		if inVal[i] {
			part = val
		}
		part.Samples = append(part.Samples, s)
	}
	if len(val.Samples) == 0 {
		return nil, nil, fmt.Errorf("dataset: %s: no class with two images, want one to validate with", d.Name)
	}
	return train, val, nil
}
