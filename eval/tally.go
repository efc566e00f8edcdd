package eval

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
)

// evaluate computes the errors of images, in their order, from the answers in a store.
func evaluate(h Header, st interface{ net(int) source }, images []int, o Options) (*Result, error) {
	labels, err := matchClasses(h.Data.Name, h.Data.Classes, h.Classes)
	if err != nil {
		return nil, err
	}
	each := nets(st, len(h.Nets))
	t := newTally(h, labels, len(each))
	for _, i := range images {
		if err := t.image(i, each); err != nil {
			return nil, err
		}
	}
	return t.result(o)
}

// tally counts images.
type tally struct {
	h         Header
	labels    []int // the model's class of each of the set's
	confusion *metrics.Confusion
	ranks     [][]int // of the true class, image by image, for each of the set's classes
	netRanks  [][]int // the same of each network of a fusion
	bad       []dataset.BadImage
	badOf     []int // for each of the set's classes
	mistakes  []Mistake
	loss      float64
	best      []float32 // the highest posterior, image by image
	right     []bool
	outcomes  []outcome // the same, unreadable images among them
}

// outcome is whether an image counts as right.
type outcome int8

const (
	notRead outcome = iota
	wrong
	correct
)

// mcnemar compares the outcomes of one and another evaluation of the same images.
func mcnemar(a, b []outcome) float64 {
	var only [2]int
	for i := range a {
		switch {
		case a[i] == correct && b[i] == wrong:
			only[0]++
		case a[i] == wrong && b[i] == correct:
			only[1]++
		}
	}
	return metrics.McNemar(only[0], only[1])
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

// image counts image i by the mean of the networks' posteriors.
func (t *tally) image(i int, each []source) error {
	var first Answer
	posteriors := make([][]float32, len(each))
	for n, s := range each {
		a, ok, err := s.answer(i)
		switch {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("eval: %s: image %d has no result by %s", t.h.Data.Name, i, t.h.Nets[n].Weights)
		case a.Err != nil:
			t.bad = append(t.bad, dataset.BadImage{Name: a.File, Index: i, Err: a.Err})
			t.badOf[a.Label]++
			t.outcomes = append(t.outcomes, notRead)
			return nil
		}
		if n == 0 {
			first = a
		}
		posteriors[n] = a.Posterior
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
		Mistakes:   t.mistakes[:max(0, min(o.Mistakes, len(t.mistakes)))],
		Bad:        t.bad,
		outcomes:   t.outcomes,
	}
	if t.h.Shard != whole() {
		r.Shard = t.h.Shard.String()
	}
	r.ECE, _ = metrics.Calibration(t.best, t.right, metrics.CalibrationBins)
	for n, net := range t.h.Nets {
		r.Nets = append(r.Nets, NetResult{net.Weights, net.Setting, metrics.TopKError(t.netRanks[n], 1), metrics.TopKError(t.netRanks[n], 5)})
	}
	for _, m := range t.confusion.Mistakes(o.Confusions) {
		r.Confusions = append(r.Confusions, Confusion{t.h.Classes[m.Truth], t.h.Classes[m.Predicted], m.Count})
	}
	for i, truth := range t.labels {
		r.Classes = append(r.Classes, Class{
			Class: t.h.Data.Classes[i], Images: len(t.ranks[i]), Unreadable: t.badOf[i],
			Top1Error: metrics.TopKError(t.ranks[i], 1), Top5Error: metrics.TopKError(t.ranks[i], 5),
			ConfusedWith: t.confusedWith(truth),
		})
	}
	return r, nil
}

// interval is the confidence interval of a top-k error.
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

// confusedWith is the class most often predicted in place of another, or empty.
func (t *tally) confusedWith(truth int) string {
	most, name := 0, ""
	for p := range t.h.Classes {
		if n := t.confusion.Count(truth, p); p != truth && n > most {
			most, name = n, t.h.Classes[p]
		}
	}
	return name
}
