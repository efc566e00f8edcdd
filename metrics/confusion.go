package metrics

import (
	"cmp"
	"math"
	"slices"
)

// Confusion counts images by true and predicted class.
type Confusion struct {
	classes int
	counts  []int // [truth][predicted]
}

// NewConfusion returns an empty matrix of the given number of classes. It panics if the
// number is negative.
func NewConfusion(classes int) *Confusion {
	if classes < 0 {
		panic("metrics: NewConfusion: negative number of classes")
	}
	return &Confusion{classes: classes, counts: make([]int, classes*classes)}
}

// Add counts an image. It panics if either is not a class.
func (c *Confusion) Add(truth, predicted int) { c.counts[c.at(truth, predicted)]++ }

// Count returns the number of images of class truth that were predicted to be of class
// predicted. It panics if either is not a class.
func (c *Confusion) Count(truth, predicted int) int { return c.counts[c.at(truth, predicted)] }

func (c *Confusion) at(truth, predicted int) int {
	if truth < 0 || truth >= c.classes || predicted < 0 || predicted >= c.classes {
		panic("metrics: Confusion: class out of range")
	}
	return truth*c.classes + predicted
}

// Classes returns the number of classes.
func (c *Confusion) Classes() int { return c.classes }

// Images returns the number of images whose true class is class. It panics if it is not a
// class.
func (c *Confusion) Images(class int) int {
	n := 0
	for p := range c.classes {
		n += c.Count(class, p)
	}
	return n
}

// Predicted returns the number of images whose predicted class is class. It panics if it
// is not a class.
func (c *Confusion) Predicted(class int) int {
	n := 0
	for t := range c.classes {
		n += c.Count(t, class)
	}
	return n
}

// Total returns the number of images.
func (c *Confusion) Total() int {
	n := 0
	for _, k := range c.counts {
		n += k
	}
	return n
}

// Error returns the top-1 error: the fraction of images whose predicted class is not the
// true one. It is NaN without images.
func (c *Confusion) Error() float64 {
	total, right := c.Total(), 0
	if total == 0 {
		return math.NaN()
	}
	for i := range c.classes {
		right += c.Count(i, i)
	}
	return float64(total-right) / float64(total)
}

// PerClassError returns, for each class, the fraction of its images with another predicted
// class; NaN for a class without images.
func (c *Confusion) PerClassError() []float64 {
	errs := make([]float64, c.classes)
	for i := range errs {
		if n := c.Images(i); n > 0 {
			errs[i] = float64(n-c.Count(i, i)) / float64(n)
		} else {
			errs[i] = math.NaN()
		}
	}
	return errs
}

// MeanClassRecall returns the mean over classes of the fraction of a class's images that
// were predicted right, the measure of the Caltech benchmarks (paper appendix B). Classes
// without images don't count; it is NaN without images.
func (c *Confusion) MeanClassRecall() float64 {
	sum, n := 0.0, 0
	for _, e := range c.PerClassError() {
		if !math.IsNaN(e) {
			sum += 1 - e
			n++
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return sum / float64(n)
}

// Mistake is a pair of different classes, and the number of images of class Truth whose
// predicted class is Predicted.
type Mistake struct {
	Truth, Predicted int
	Count            int
}

// Mistakes returns the k most common mistakes, the most common first, equally common ones
// in the order of their classes. It returns fewer if there are fewer kinds.
func (c *Confusion) Mistakes(k int) []Mistake {
	var ms []Mistake
	for t := range c.classes {
		for p := range c.classes {
			if n := c.Count(t, p); n > 0 && t != p {
				ms = append(ms, Mistake{t, p, n})
			}
		}
	}
	slices.SortStableFunc(ms, func(a, b Mistake) int { return cmp.Compare(b.Count, a.Count) })
	return ms[:max(0, min(k, len(ms)))]
}
