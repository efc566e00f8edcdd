package eval

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
)

// evaluate computes the errors of images from the answers in a store.
func evaluate(ctx context.Context, h Header, st interface{ net(int) source }, images []int, o Options) (*Result, error) {
	labels, err := matchClasses(h.Data.Name, h.Data.Classes, h.Classes)
	if err != nil {
		return nil, err
	}
	each := nets(st, len(h.Nets))
	var t tallier = newTally(h, labels, len(each))
	if h.Data.MultiLabel {
		t = newLabelTally(h, labels, len(each))
	}
	for _, i := range images {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := t.image(i, each); err != nil {
			return nil, err
		}
	}
	return t.result(o)
}

// tallier computes the measures of answers.
type tallier interface {
	image(i int, each []source) error // adds image i by the mean of the networks' posteriors
	result(o Options) (*Result, error)
}

// tally counts right and wrong answers.
type tally struct {
	h         Header
	labels    []int // index of the model's class for each of the set's
	confusion *metrics.Confusion
	ranks     [][]int // of the true class, by class of the set, then image by image
	netRanks  [][]int // of the true class, by network of a fusion, then image by image
	bad       []dataset.BadImage
	badOf     []int // number of unreadable images, by class of the set
	mistakes  []Mistake
	loss      float64   // sum over the readable images
	best      []float32 // highest posterior, by readable image
	right     []bool    // by readable image
	outcomes  []outcome // by image
}

// outcome is the top-1 result of an image.
type outcome int8

const (
	notRead outcome = iota
	wrong
	correct
)

// Top1P compares the top-1 errors of two evaluations of the same images. It returns the
// probability of a difference at least as large if both are equally good: the p of
// McNemar's test, exact and two-sided. Images that one evaluation couldn't read don't
// count. Top1P panics if the results are of sets of different sizes.
func Top1P(a, b *Result) float64 {
	if len(a.outcomes) != len(b.outcomes) {
		panic("eval: Top1P of results on different images")
	}
	var onlyA, onlyB int
	for i := range a.outcomes {
		switch {
		case a.outcomes[i] == correct && b.outcomes[i] == wrong:
			onlyA++
		case a.outcomes[i] == wrong && b.outcomes[i] == correct:
			onlyB++
		}
	}
	return metrics.McNemar(onlyA, onlyB)
}

func newTally(h Header, labels []int, nets int) *tally {
	return &tally{
		h: h, labels: labels,
		confusion: metrics.NewConfusion(len(h.Classes)),
		ranks:     make([][]int, len(labels)), badOf: make([]int, len(labels)),
		netRanks: make([][]int, nets),
		// Empty rather than nil, for JSON.
		bad: []dataset.BadImage{}, mistakes: []Mistake{},
	}
}

// answersOf returns the first network's answer for image i, and the posteriors of all. If
// one of them couldn't read the image, its answer is returned.
func answersOf(h Header, i int, each []source) (first Answer, posteriors [][]float32, err error) {
	posteriors = make([][]float32, len(each))
	for n, s := range each {
		a, ok, err := s.answer(i)
		switch {
		case err != nil:
			return a, nil, err
		case !ok:
			return a, nil, fmt.Errorf("eval: %s: image %d has no result by %s", h.Data.Name, i, h.Nets[n].Weights)
		case a.Err != nil:
			return a, nil, nil
		}
		if n == 0 {
			first = a
		}
		posteriors[n] = a.Posterior
	}
	return first, posteriors, nil
}

// image implements tallier.
func (t *tally) image(i int, each []source) error {
	first, posteriors, err := answersOf(t.h, i, each)
	switch {
	case err != nil:
		return err
	case first.Err != nil:
		t.bad = append(t.bad, dataset.BadImage{Name: first.File, Index: i, Err: first.Err})
		t.badOf[first.Label]++
		t.outcomes = append(t.outcomes, notRead)
		return nil
	}
	truth := t.labels[first.Label]
	for n, p := range posteriors {
		t.netRanks[n] = append(t.netRanks[n], metrics.Rank(p, truth))
	}
	p := Mean(posteriors...)
	best, rank := metrics.TopK(p, 1)[0], metrics.Rank(p, truth)
	t.confusion.Add(truth, best)
	t.ranks[first.Label] = append(t.ranks[first.Label], rank)
	t.loss += lossOf(p[truth])
	t.best, t.right = append(t.best, p[best]), append(t.right, rank == 0)
	if rank == 0 {
		t.outcomes = append(t.outcomes, correct)
	} else {
		t.outcomes = append(t.outcomes, wrong)
		t.mistakes = append(t.mistakes, Mistake{first.File, t.h.Classes[truth], t.h.Classes[best], p[best], rank + 1})
	}
	return nil
}

// firstOf returns the length of a list of which an option wants n entries: all for 0, none
// for a negative number.
func firstOf(n, length int) int {
	if n == 0 {
		return length
	}
	return max(0, min(n, length))
}

// result computes the errors.
func (t *tally) result(o Options) (*Result, error) {
	all := slices.Concat(t.ranks...)
	if len(all) == 0 {
		return nil, fmt.Errorf("eval: %s: none of %d images is readable; the first: %w", t.h.Data.Name, len(t.bad), &t.bad[0])
	}
	slices.SortStableFunc(t.mistakes, func(a, b Mistake) int { return cmp.Compare(b.Probability, a.Probability) })
	first := t.h.Nets[0]
	r := &Result{
		Data: t.h.Data.Name, Protocol: first.Protocol, Scales: first.Scales, Flip: first.Flip,
		Images: len(all), Unreadable: len(t.bad),
		Top1Error: metrics.TopKError(all, 1), Top5Error: metrics.TopKError(all, 5),
		Top1Range: interval(all, 1), Top5Range: interval(all, 5),
		Loss:       t.loss / float64(len(all)),
		Confusions: []Confusion{},
		Mistakes:   t.mistakes[:firstOf(o.Mistakes, len(t.mistakes))],
		Bad:        t.bad,
		outcomes:   t.outcomes,
	}
	if t.h.Shard != whole() {
		r.Shard = t.h.Shard.String()
	}
	r.ECE, _ = metrics.Calibration(t.best, t.right, metrics.CalibrationBins)
	for n, net := range t.h.Nets {
		r.Nets = append(r.Nets, NetResult{net.Weights, net.Setting, metrics.TopKError(t.netRanks[n], 1), metrics.TopKError(t.netRanks[n], 5), nil})
	}
	for _, m := range t.confusion.Mistakes(firstOf(o.Confusions, len(all))) {
		r.Confusions = append(r.Confusions, Confusion{t.h.Classes[m.Truth], t.h.Classes[m.Predicted], m.Count})
	}
	confused := t.confusion.MostConfused()
	for i, truth := range t.labels {
		with := ""
		if p := confused[truth].Predicted; p >= 0 {
			with = t.h.Classes[p]
		}
		r.Classes = append(r.Classes, Class{
			Class: t.h.Data.Classes[i], Images: len(t.ranks[i]), Unreadable: t.badOf[i],
			Top1Error: metrics.TopKError(t.ranks[i], 1), Top5Error: metrics.TopKError(t.ranks[i], 5),
			ConfusedWith: with,
		})
	}
	return r, nil
}

// interval returns the 95 % confidence interval of a top-k error.
func interval(ranks []int, k int) [2]float64 {
	wrong := 0
	for _, r := range ranks {
		if r >= k {
			wrong++
		}
	}
	low, high := metrics.Wilson(wrong, len(ranks))
	return [2]float64{low, high}
}

// lossOf returns the multinomial logistic loss of a posterior. A probability too small for a
// float32 counts as the smallest normal one, so that the mean stays finite.
func lossOf(p float32) float64 {
	const smallest = 0x1p-126
	return -math.Log(max(float64(p), smallest))
}
