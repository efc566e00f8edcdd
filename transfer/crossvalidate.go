package transfer

import (
	"cmp"
	"context"
	"fmt"
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
	o.OnStage, o.OnClass = nil, nil
	var chosen []float64
	if len(folds) > 2 && len(o.Cs) > 1 {
		var err error
		if chosen, err = chooseEach(ctx, d, x, folds, o); err != nil {
			return nil, err
		}
		o.Cs = nil
	}
	for f, test := range folds {
		if chosen != nil {
			o.C = chosen[f]
		}
		s, err := Train(ctx, d, x, without(folds, f), o)
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

// without returns the rows of all folds but some, ascending.
func without(folds [][]int, but ...int) []int {
	var rows []int
	for f, fold := range folds {
		if !slices.Contains(but, f) {
			rows = append(rows, fold...)
		}
	}
	slices.Sort(rows)
	return rows
}

// chooseEach returns for each of three or more folds the C that [ChooseC] chooses on the others.
// An SVM that was trained without two folds serves the choices of both.
func chooseEach(ctx context.Context, d *Descriptors, x []float32, folds [][]int, o TrainOptions) ([]float64, error) {
	k, dim := len(d.Header.Data.Classes), d.Header.Dim
	tried := make([][]Trial, len(folds))
	rows := make([][]int, len(folds)) // that each fold's choice is measured on
	at := make([]map[int]int, len(folds))
	for f := range folds {
		rows[f], at[f] = without(folds, f), map[int]int{}
		for i, r := range rows[f] {
			at[f][r] = i
		}
	}
	cs := slices.Sorted(slices.Values(o.Cs))
	o.Cs = nil
	for _, o.C = range cs {
		scores := make([][]float32, len(folds))
		for f := range folds {
			scores[f] = make([]float32, len(rows[f])*k)
		}
		for g := range folds {
			for f := range g {
				s, err := Train(ctx, d, x, without(folds, f, g), o)
				if err != nil {
					return nil, err
				}
				for _, of := range [][2]int{{f, g}, {g, f}} {
					for _, r := range folds[of[1]] {
						i := at[of[0]][r]
						s.score(scores[of[0]][i*k:(i+1)*k], x[r*dim:(r+1)*dim])
					}
				}
			}
		}
		for f := range folds {
			tried[f] = append(tried[f], Trial{o.C, scoreOf(d, rows[f], scores[f]).value()})
		}
	}
	chosen := make([]float64, len(folds))
	for f := range folds {
		chosen[f] = cs[middleOfBest(tried[f])]
	}
	return chosen, nil
}

// middleOfBest returns the index of the best trial; of equals the middle one's, or the one's
// before the middle. Few images are told apart by any C, of which the smallest heeds hardly more
// than how many there are of each class.
func middleOfBest(tried []Trial) int {
	most := slices.MaxFunc(tried, func(a, b Trial) int { return cmp.Compare(a.Score, b.Score) }).Score
	var equal []int
	for i, t := range tried {
		if t.Score == most {
			equal = append(equal, i)
		}
	}
	if len(equal) == 0 { // no class has a score
		return 0
	}
	return equal[(len(equal)-1)/2]
}

// scoreOf measures scores (rows × classes).
func scoreOf(d *Descriptors, rows []int, scores []float32) *Score {
	if d.Header.Multi() {
		return multiScore(d, rows, scores)
	}
	return oneScore(d, rows, scores)
}

// ChooseC cross-validates each candidate on the same folds, and returns the best one with its
// result and what all came to. Of equals that is the middle one, or the one before the middle.
func ChooseC(ctx context.Context, d *Descriptors, x []float32, folds [][]int, o TrainOptions) (best *CrossValidated, c float64, tried []Trial, err error) {
	cs := slices.Sorted(slices.Values(o.Cs))
	if len(cs) == 0 {
		cs = []float64{o.C}
	}
	var all []*CrossValidated
	for _, candidate := range cs {
		try := o
		try.Cs, try.C = nil, candidate
		o.stage(fmt.Sprintf("C %g, on %d folds", candidate, len(folds)))
		v, err := CrossValidate(ctx, d, x, folds, try)
		if err != nil {
			return nil, 0, nil, err
		}
		tried, all = append(tried, Trial{candidate, v.Score.value()}), append(all, v)
	}
	i := middleOfBest(tried)
	return all[i], tried[i].C, tried, nil
}
