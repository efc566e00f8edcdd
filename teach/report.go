package teach

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/transfer"
)

// Report tells how well a model does and what is odd about its pictures. Its JSON keys are
// those of `vgg teach --json`.
type Report struct {
	Data       string             `json:"data"`
	Learnt     int                `json:"learnt"` // pictures that the model learnt from
	Unreadable []dataset.BadImage `json:"unreadable"`
	C          float64            `json:"c"`
	Tried      []transfer.Trial   `json:"tried"`
	Dim        int                `json:"dim"` // numbers of a descriptor

	// CrossValidated tells that the model learnt from all pictures, and that the figures are those
	// of SVMs that learnt from the other folds. Otherwise they are the model's on the set's own
	// part to validate or test on.
	CrossValidated bool `json:"cross_validated"`
	Folds          int  `json:"folds"` // of the cross-validation that chooses C
	// Tested counts the pictures that the figures are of, Wrong those with a wrong answer: another
	// class or, of pictures with several labels, any wrong label. Low and High bound the error
	// (Wilson's 95 % interval).
	Tested int     `json:"tested"`
	Wrong  int     `json:"wrong"`
	Error  float64 `json:"error"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	// Confidence is the mean posterior of the answers: where it is 1 − Error, the posteriors mean
	// what they say. 0 of pictures with several labels.
	Confidence float64            `json:"confidence"`
	Score      *transfer.Score    `json:"score"`
	Classes    []ClassReport      `json:"classes"`
	Mistakes   []Mistake          `json:"mistakes"`   // the surest first
	Duplicates []Duplicate        `json:"duplicates"` // groups of near-duplicates
	Least      float64            `json:"least"`      // similarity of near-duplicates
	Thresholds map[string]float32 `json:"thresholds,omitempty"`
}

// ClassReport counts the pictures of a class.
type ClassReport struct {
	Class  string `json:"class"`
	Learnt int    `json:"learnt"`
	Tested int    `json:"tested"`
	Wrong  int    `json:"wrong"`           // of them
	Taken  string `json:"taken,omitempty"` // for which class most often
}

// Mistake is a picture that SVMs take for another class that have not seen it.
type Mistake struct {
	Image       int     `json:"image"` // index in the set
	File        string  `json:"file"`
	Class       string  `json:"class"` // that it has; "" of a label that it lacks
	Answer      string  `json:"answer"`
	Probability float64 `json:"probability"` // of the answer
	Own         float64 `json:"own"`         // of its class
	// Mislabelled tells that the picture looks mislabelled: the SVM of its class refuses it and
	// the one of the answer accepts it.
	Mislabelled bool `json:"mislabelled"`
	Tested      bool `json:"tested"` // counts for the error
}

// Duplicate is a group of near-duplicates.
type Duplicate struct {
	Files      []string `json:"files"`
	Images     []int    `json:"images"`     // indices in the set
	Classes    []string `json:"classes"`    // different ones; several are an error of somebody's
	Similarity float32  `json:"similarity"` // least, to the first of the group
	// Apart tells that some of them were learnt from and others measured on, which makes the error
	// too small.
	Apart bool `json:"apart"`
}

func (l *learning) report() Report {
	r := Report{
		Data: l.d.Header.Data.Name, Learnt: len(l.train), Unreadable: l.d.Summary().Unreadable, C: l.svm.Info.C, Tried: l.tried, Dim: l.d.Header.Dim,
		CrossValidated: l.test == nil, Folds: l.folds, Tested: len(l.tested.Rows), Score: l.tested.Score,
		Mistakes: []Mistake{}, Duplicates: l.duplicates(), Least: l.least,
	}
	l.count(&r)
	r.Error = float64(r.Wrong) / float64(r.Tested)
	r.Low, r.High = metrics.Wilson(r.Wrong, r.Tested)
	r.Mistakes = append(r.Mistakes, l.mistakes(l.tested, true)...)
	if l.test != nil { // the pictures that are learnt from may be odd, too
		r.Mistakes = append(r.Mistakes, l.mistakes(l.blind, false)...)
	}
	slices.SortStableFunc(r.Mistakes, func(a, b Mistake) int {
		return cmp.Compare(b.Probability-b.Own, a.Probability-a.Own)
	})
	if l.multi() {
		r.Thresholds = map[string]float32{}
		for c, t := range l.thresholds() {
			r.Thresholds[l.classes()[c]] = t
		}
	}
	return r
}

// count fills in the counts of the pictures and of their classes.
func (l *learning) count(r *Report) {
	k := len(l.classes())
	r.Classes = make([]ClassReport, k)
	taken := make([]map[int]int, k)
	for c := range k {
		r.Classes[c].Class, taken[c] = l.classes()[c], map[int]int{}
	}
	for _, row := range l.train {
		for _, c := range l.d.Rows[row].Labels {
			r.Classes[c].Learnt++
		}
	}
	for i, row := range l.tested.Rows {
		s := l.tested.Scores[i*k : (i+1)*k]
		labels := l.d.Rows[row].Labels
		for _, c := range labels {
			r.Classes[c].Tested++
		}
		if l.multi() {
			if len(l.wrongLabels(row, s)) > 0 {
				r.Wrong++
			}
			for _, c := range labels {
				if s[c] <= 0 {
					r.Classes[c].Wrong++
				}
			}
			continue
		}
		answer := metrics.TopK(s, 1)[0]
		r.Confidence += l.posteriors(s)[answer] / float64(len(l.tested.Rows))
		if answer != labels[0] {
			r.Wrong++
			r.Classes[labels[0]].Wrong++
			taken[labels[0]][answer]++
		}
	}
	for c := range k {
		most := 0
		for other := range k {
			if n := taken[c][other]; n > most {
				most, r.Classes[c].Taken = n, l.classes()[other]
			}
		}
	}
}

// wrongLabels returns the labels on which the SVMs don't agree with a row, apart from difficult
// ones.
func (l *learning) wrongLabels(row int, scores []float32) []int {
	var wrong []int
	of := l.d.Rows[row]
	for c, s := range scores {
		if (s > 0) != slices.Contains(of.Labels, c) && !slices.Contains(of.Difficult, c) {
			wrong = append(wrong, c)
		}
	}
	return wrong
}

// mistakes lists the wrong answers on pictures that the SVMs have not seen.
func (l *learning) mistakes(v *transfer.CrossValidated, tested bool) []Mistake {
	k := len(l.classes())
	var list []Mistake
	for i, row := range v.Rows {
		s := v.Scores[i*k : (i+1)*k]
		p := l.posteriors(s)
		m := Mistake{Image: l.d.Rows[row].Image, File: l.d.Rows[row].File, Tested: tested}
		if l.multi() {
			for _, c := range l.wrongLabels(row, s) {
				m := m
				if s[c] > 0 { // a label that it lacks
					m.Answer, m.Probability, m.Own = l.classes()[c], p[c], 1-p[c]
				} else {
					m.Class, m.Answer, m.Probability, m.Own = l.classes()[c], "not "+l.classes()[c], 1-p[c], p[c]
				}
				m.Mislabelled = m.Probability >= 0.95
				list = append(list, m)
			}
			continue
		}
		answer, own := metrics.TopK(s, 1)[0], l.d.Rows[row].Labels[0]
		if answer == own {
			continue
		}
		m.Class, m.Answer, m.Probability, m.Own = l.classes()[own], l.classes()[answer], p[answer], p[own]
		m.Mislabelled = s[own] < 0 && s[answer] > 0
		list = append(list, m)
	}
	return list
}

func (l *learning) duplicates() []Duplicate {
	similar := map[[2]int]float32{}
	for _, p := range l.pairs {
		similar[[2]int{p.A, p.B}] = p.Similarity
	}
	list := []Duplicate{}
	for _, g := range l.groups {
		d := Duplicate{Similarity: 1}
		sides := map[bool]bool{}
		for _, row := range g {
			of := l.d.Rows[row]
			d.Files, d.Images = append(d.Files, of.File), append(d.Images, of.Image)
			for _, c := range of.Labels {
				if name := l.classes()[c]; !slices.Contains(d.Classes, name) {
					d.Classes = append(d.Classes, name)
				}
			}
			if row != g[0] {
				d.Similarity = min(d.Similarity, similar[[2]int{g[0], row}])
			}
			if _, ok := slices.BinarySearch(l.train, row); ok {
				sides[true] = true
			}
			if _, ok := slices.BinarySearch(l.test, row); ok {
				sides[false] = true
			}
		}
		d.Apart = len(sides) == 2
		list = append(list, d)
	}
	return list
}

// said is what the model's provenance tells of its teaching.
func (l *learning) said() string {
	r := l.report()
	how := "on its own part to test on"
	if r.CrossValidated {
		how = fmt.Sprintf("cross-validated on %d folds", r.Folds)
	}
	return fmt.Sprintf("linear SVMs with C = %g of %d pictures of %d classes; %d of %d wrong, %s", r.C, r.Learnt, len(l.classes()), r.Wrong, r.Tested, how)
}
