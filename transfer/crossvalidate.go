package transfer

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/progress"
)

// Folds divides rows into n folds, each with a like share of every class. The rows of one of
// the groups, such as near-duplicates, are in one fold, so that no fold is tested by copies of
// what was trained on. An image of several classes counts with its rarest. The folds are a
// function of the seed; the rows of each ascend.
func (d *Descriptors) Folds(rows []int, n int, groups [][]int, seed uint64) ([][]int, error) {
	if n < 2 || len(rows) < n {
		return nil, fmt.Errorf("transfer: %d folds of %d images, want at least 2 and an image for each", n, len(rows))
	}
	first := map[int]int{} // row → the first row of its group
	for _, g := range groups {
		for _, r := range g {
			first[r] = g[0]
		}
	}
	units, order := map[int][]int{}, []int(nil) // by first row
	for _, of := range d.byRarest(rows) {
		shuffle(of, seed, 1<<33, uint64(len(order)))
		for _, r := range of {
			u, ok := first[r]
			if !ok {
				u = r
			}
			if units[u] == nil {
				order = append(order, u)
			}
			units[u] = append(units[u], r)
		}
	}
	folds := make([][]int, n)
	next := 0
	for _, u := range order { // class after class, so that each is spread evenly
		folds[next%n] = append(folds[next%n], units[u]...)
		next++
	}
	for f := range folds {
		if len(folds[f]) == 0 {
			return nil, fmt.Errorf("transfer: %d folds of %d images that are no near-duplicates of each other, want at least as many of these as folds", n, len(order))
		}
		slices.Sort(folds[f])
	}
	return folds, nil
}

// CrossValidated is the result of testing each fold by SVMs that were trained on the others.
type CrossValidated struct {
	Rows   []int     // of all folds, ascending
	Scores []float32 // (Rows × classes): each row's by the SVMs that were trained without its fold
	Cs     []float64 // of each fold
	Score  *Score    // over all rows
}

// CrossValidate trains on all folds but one and tests on that one, for each. With several
// o.Cs, each training chooses its own C as [ChooseC] does on its folds, or on a part of its
// images if it has one fold, so that the test images have no part in the choice. x (Len ×
// Header.Dim) are the descriptors of d. OnClass counts classes of all folds.
func CrossValidate(ctx context.Context, d *Descriptors, x []float32, folds [][]int, o TrainOptions) (*CrossValidated, error) {
	if d == nil {
		return nil, errNoDescriptors
	}
	k, dim := len(d.Header.Data.Classes), d.Header.Dim
	v := &CrossValidated{Rows: slices.Sorted(slices.Values(slices.Concat(folds...)))}
	at := make(map[int]int, len(v.Rows))
	for i, r := range v.Rows {
		at[r] = i
	}
	v.Scores = make([]float32, len(v.Rows)*k)
	counter := progress.NewCounter(o.OnClass, int64(len(folds)*k))
	for f, test := range folds {
		of := o
		of.OnStage, of.OnClass = nil, nil
		others := slices.Concat(folds[:f], folds[f+1:])
		if len(others) > 1 && len(o.Cs) > 1 {
			var err error
			if _, of.C, _, err = ChooseC(ctx, d, x, others, of); err != nil {
				return nil, err
			}
			of.Cs = nil
		}
		train := slices.Sorted(slices.Values(slices.Concat(others...)))
		s, err := Train(ctx, d, x, train, of)
		if err != nil {
			return nil, err
		}
		v.Cs = append(v.Cs, s.Info.C)
		for _, r := range test {
			s.score(v.Scores[at[r]*k:(at[r]+1)*k], x[r*dim:(r+1)*dim])
		}
		counter.Add(k)
	}
	v.Score = scoreOf(d, v.Rows, v.Scores)
	return v, nil
}

// scoreOf measures scores (rows × classes).
func scoreOf(d *Descriptors, rows []int, scores []float32) *Score {
	if d.Header.Multi() {
		return multiScore(d, rows, scores)
	}
	return oneScore(d, rows, scores)
}

// ChooseC cross-validates each candidate on the same folds, and returns the best one with its
// result and what all came to. Of equals that is the middle one, or the one before the middle:
// few images are told apart by any C, of which the smallest heeds hardly more than how many
// there are of each class.
func ChooseC(ctx context.Context, d *Descriptors, x []float32, folds [][]int, o TrainOptions) (best *CrossValidated, c float64, tried []Trial, err error) {
	cs := slices.Sorted(slices.Values(o.Cs))
	if len(cs) == 0 {
		cs = []float64{o.C}
	}
	var all []*CrossValidated
	most := math.Inf(-1)
	for _, candidate := range cs {
		try := o
		try.Cs, try.C = nil, candidate
		o.stage(fmt.Sprintf("C %g, on %d folds", candidate, len(folds)))
		v, err := CrossValidate(ctx, d, x, folds, try)
		if err != nil {
			return nil, 0, nil, err
		}
		tried, all = append(tried, Trial{candidate, v.Score.value()}), append(all, v)
		most = max(most, v.Score.value())
	}
	var equal []int
	for i, t := range tried {
		if t.Score == most {
			equal = append(equal, i)
		}
	}
	if len(equal) == 0 { // no class has a score
		equal = []int{0}
	}
	i := equal[(len(equal)-1)/2]
	return all[i], tried[i].C, tried, nil
}
