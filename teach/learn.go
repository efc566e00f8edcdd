package teach

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/verydeep/vgg/transfer"
)

// learning learns from the descriptors x of d.
type learning struct {
	o Options
	d *transfer.Descriptors
	x []float32

	least  float64 // similarity of near-duplicates
	train  []int   // rows that are learnt from
	test   []int   // rows of the set's own part to measure on; nil: cross-validation measures
	groups [][]int
	pairs  []transfer.Pair
	folds  int

	svm   *transfer.SVM
	tried []transfer.Trial
	// blind are the scores of train's rows by SVMs of the same C that were trained without them.
	// tested are those that the error is of: of test by svm, or of train by SVMs of which also C
	// was chosen without them.
	blind, tested *transfer.CrossValidated
	slope, shift  []float64 // by class: posteriors are of slope·score + shift
}

func (l *learning) classes() []string { return l.d.Header.Data.Classes }
func (l *learning) multi() bool       { return l.d.Header.Multi() }

// run learns the SVMs, measures and calibrates them.
func (l *learning) run(ctx context.Context) error {
	if err := l.divide(); err != nil {
		return err
	}
	if err := l.group(ctx); err != nil {
		return err
	}
	folds, err := l.fold()
	if err != nil {
		return err
	}
	t := transfer.DefaultTraining()
	t.Cs, t.Seed, t.OnStage, t.OnClass = l.o.Cs, l.o.Seed, l.o.OnStage, l.o.OnClass
	if l.blind, t.C, l.tried, err = transfer.ChooseC(ctx, l.d, l.x, folds, t); err != nil {
		return err
	}
	if l.test == nil {
		l.o.stage(fmt.Sprintf("measuring, on %d folds", len(folds)))
		if l.tested, err = transfer.CrossValidate(ctx, l.d, l.x, folds, t); err != nil {
			return err
		}
	}
	t.Cs = nil
	l.o.stage(fmt.Sprintf("learning, from %d pictures", len(l.train)))
	if l.svm, err = transfer.Train(ctx, l.d, l.x, l.train, t); err != nil {
		return err
	}
	if l.test != nil {
		if l.tested, err = l.measured(ctx); err != nil {
			return err
		}
	}
	l.calibrate()
	return nil
}

// group looks for near-duplicates.
func (l *learning) group(ctx context.Context) (err error) {
	l.o.stage("looking for near-duplicates")
	if l.least = l.o.Duplicates; l.least == 0 {
		l.least = l.near()
	}
	if l.least != NoDuplicates {
		if l.pairs, err = l.d.Duplicates(ctx, l.least, transfer.SearchOptions{}); err != nil {
			return err
		}
	}
	l.groups = transfer.Groups(l.pairs)
	return nil
}

// units groups rows: near-duplicates are one unit.
func (l *learning) units(rows []int) [][]int {
	first := map[int]int{}
	for _, g := range l.groups {
		for _, r := range g {
			first[r] = g[0]
		}
	}
	at, units := map[int]int{}, [][]int(nil)
	for _, r := range rows {
		f, ok := first[r]
		if !ok {
			f = r
		}
		if _, ok := at[f]; !ok {
			at[f], units = len(units), append(units, nil)
		}
		units[at[f]] = append(units[at[f]], r)
	}
	return units
}

// fold divides the rows to learn from into folds, such that each class is left whatever folds are
// held out.
func (l *learning) fold() ([][]int, error) {
	units := len(l.units(l.train))
	if l.folds = min(l.o.Folds, units); l.folds < 3 {
		return nil, fmt.Errorf("teach: %s: %d readable pictures to learn from that are no near-duplicates of each other, want at least 3, and of each class: add some", l.d.Header.Data.Name, units)
	}
	folds, err := l.d.Folds(l.train, l.folds, l.groups, l.o.Seed)
	if err != nil || l.multi() {
		return folds, err
	}
	pictures, in := make([]int, len(l.classes())), make([]int, len(l.classes()))
	for _, rows := range folds {
		seen := map[int]bool{}
		for _, r := range rows {
			for _, c := range l.d.Rows[r].Labels {
				pictures[c]++
				seen[c] = true
			}
		}
		for c := range seen {
			in[c]++
		}
	}
	for c, n := range in {
		if n < l.wanted() {
			return nil, fmt.Errorf("teach: %s: class %s has %d readable pictures to learn from, but as near-duplicates belong together they make %d groups, want at least %d pictures of each class that are no near-duplicates of each other or of another class's: add some, or remove its folder (vgg teach --duplicates 0 takes none for near-duplicates)",
				l.d.Header.Data.Name, l.classes()[c], pictures[c], n, l.wanted())
		}
	}
	return folds, nil
}

// wanted is the least number of pictures of a class: one to learn from where another is held out
// to choose C and, if cross-validation measures, a third to measure on.
func (l *learning) wanted() int { return leastPictures(l.test != nil) }

// nearer is how many times nearer than mostly near-duplicates are.
const nearer = 25

// near returns the similarity from which on pictures are near-duplicates: how similar two
// pictures are that have nothing to do with each other depends on the network and the set.
func (l *learning) near() float64 {
	const pairs = 4001
	rows, dim := l.d.Readable(), l.d.Header.Dim
	if len(rows) < 2 {
		return 1
	}
	rng := rand.New(rand.NewPCG(l.o.Seed, 1<<34))
	apart := make([]float64, pairs)
	for i := range apart {
		a := rng.IntN(len(rows))
		b := (a + 1 + rng.IntN(len(rows)-1)) % len(rows)
		x, y := l.x[rows[a]*dim:(rows[a]+1)*dim], l.x[rows[b]*dim:(rows[b]+1)*dim]
		dot, xx, yy := 0.0, 0.0, 0.0
		for k := range x {
			dot, xx, yy = dot+float64(x[k])*float64(y[k]), xx+float64(x[k])*float64(x[k]), yy+float64(y[k])*float64(y[k])
		}
		apart[i] = 1 - dot/math.Sqrt(max(xx*yy, math.SmallestNonzeroFloat64))
	}
	slices.Sort(apart)
	return min(1-1e-6, 1-apart[pairs/2]/nearer) // float32 is not more exact
}

// divide divides the readable rows into those to learn from and those to measure on.
func (l *learning) divide() error {
	l.train = l.d.Readable()
	if len(l.train) == 0 && l.d.Len() > 0 {
		return fmt.Errorf("teach: %s: none of %d pictures is readable; the first: %s: %s", l.d.Header.Data.Name, l.d.Len(), l.d.Rows[0].File, l.d.Rows[0].Error)
	}
	if l.d.HasParts() {
		split, err := l.d.Parts()
		if err != nil {
			return err
		}
		l.train, l.test = split.Train, split.Test
	}
	counts := make([]int, len(l.classes()))
	for _, r := range l.train {
		for _, c := range l.d.Rows[r].Labels {
			counts[c]++
		}
	}
	for c, n := range counts {
		if n < l.wanted() && !l.multi() {
			return tooFew(l.d.Header.Data.Name, l.classes()[c], n, "readable ", l.wanted())
		}
	}
	return nil
}

// measured tests the SVMs on the rows of test.
func (l *learning) measured(ctx context.Context) (*transfer.CrossValidated, error) {
	k, dim := len(l.classes()), l.d.Header.Dim
	v := &transfer.CrossValidated{Rows: l.test, Scores: make([]float32, len(l.test)*k)}
	for i, r := range l.test {
		l.svm.Scores(v.Scores[i*k:(i+1)*k], l.x[r*dim:(r+1)*dim])
	}
	var err error
	v.Score, err = l.svm.Evaluate(ctx, l.d, l.x, l.test)
	return v, err
}

// calibrate chooses slope and shift by the scores of pictures that the SVMs have not seen. One
// slope for all classes that exclude each other leaves the SVMs' order of them as it is.
func (l *learning) calibrate() {
	k := len(l.classes())
	l.slope, l.shift = make([]float64, k), make([]float64, k)
	if !l.multi() {
		classes := make([]int, len(l.blind.Rows))
		for i, r := range l.blind.Rows {
			classes[i] = l.d.Rows[r].Labels[0]
		}
		beta := temperature(l.blind.Scores, classes)
		for c := range k {
			l.slope[c] = beta
		}
		return
	}
	for c := range k {
		var scores []float32
		var shown []bool
		for i, r := range l.blind.Rows {
			row := l.d.Rows[r]
			if !slices.Contains(row.Difficult, c) {
				scores, shown = append(scores, l.blind.Scores[i*k+c]), append(shown, slices.Contains(row.Labels, c))
			}
		}
		l.slope[c], l.shift[c] = sigmoid(scores, shown)
	}
}

// thresholds returns the probabilities of labels at which the SVMs decide: of the score 0.
func (l *learning) thresholds() []float32 {
	t := make([]float32, len(l.shift))
	for c, b := range l.shift {
		t[c] = float32(min(max(1/(1+math.Exp(-b)), 1e-6), 1))
	}
	return t
}

// posteriors returns those of calibrated scores.
func (l *learning) posteriors(scores []float32) []float64 {
	p := make([]float64, len(scores))
	most := math.Inf(-1)
	for c, s := range scores {
		p[c] = l.slope[c]*float64(s) + l.shift[c]
		most = max(most, p[c])
	}
	sum := 0.0
	for c, z := range p {
		if l.multi() {
			p[c] = 1 / (1 + math.Exp(-z))
			continue
		}
		p[c] = math.Exp(z - most)
		sum += p[c]
	}
	if !l.multi() {
		for c := range p {
			p[c] /= sum
		}
	}
	return p
}
