package metrics

import (
	"cmp"
	"math"
	"slices"
)

// Confusion counts images by true and predicted class. It is sparse: its memory is in
// proportion to the classes and to the kinds of mistakes that there are, of which images make
// at most one each.
type Confusion struct {
	classes int
	counts  map[pair]int
	images  []int // by true class
	guesses []int // by predicted class
}

// pair is a true and a predicted class.
type pair struct{ truth, predicted int }

// NewConfusion returns an empty matrix of the given number of classes. It panics if the
// number is negative.
func NewConfusion(classes int) *Confusion {
	if classes < 0 {
		panic("metrics: NewConfusion: negative number of classes")
	}
	return &Confusion{classes: classes, counts: map[pair]int{}, images: make([]int, classes), guesses: make([]int, classes)}
}

// Add counts an image. It panics if either is not a class.
func (c *Confusion) Add(truth, predicted int) {
	c.counts[c.at(truth, predicted)]++
	c.images[truth]++
	c.guesses[predicted]++
}

// Count returns the number of images of class truth that were predicted to be of class
// predicted. It panics if either is not a class.
func (c *Confusion) Count(truth, predicted int) int { return c.counts[c.at(truth, predicted)] }

func (c *Confusion) at(truth, predicted int) pair {
	if truth < 0 || truth >= c.classes || predicted < 0 || predicted >= c.classes {
		panic("metrics: Confusion: class out of range")
	}
	return pair{truth, predicted}
}

// Classes returns the number of classes.
func (c *Confusion) Classes() int { return c.classes }

// Images returns the number of images whose true class is class. It panics if it is not a
// class.
func (c *Confusion) Images(class int) int { return c.images[c.at(class, class).truth] }

// Predicted returns the number of images whose predicted class is class. It panics if it
// is not a class.
func (c *Confusion) Predicted(class int) int { return c.guesses[c.at(class, class).truth] }

// Total returns the number of images.
func (c *Confusion) Total() int {
	n := 0
	for _, k := range c.images {
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
	for at, n := range c.counts {
		if at.truth != at.predicted {
			ms = append(ms, Mistake{at.truth, at.predicted, n})
		}
	}
	slices.SortFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Truth, b.Truth), cmp.Compare(a.Predicted, b.Predicted))
	})
	return ms[:max(0, min(k, len(ms)))]
}

// MostConfused returns, for each class, its most common mistake, the first of several in the
// order of their classes. Of a class without mistakes Predicted is -1.
func (c *Confusion) MostConfused() []Mistake {
	most := make([]Mistake, c.classes)
	for t := range most {
		most[t] = Mistake{t, -1, 0}
	}
	for at, n := range c.counts {
		m := &most[at.truth]
		if at.truth != at.predicted && (n > m.Count || n == m.Count && at.predicted < m.Predicted) {
			m.Predicted, m.Count = at.predicted, n
		}
	}
	return most
}
