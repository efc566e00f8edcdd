package transfer

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/eval"
)

// Protocol chooses the splits that a classifier is measured on.
type Protocol struct {
	// Splits is the number of random splits, each with Train images of a class to train on and
	// up to Test others to test on; Test 0: all others. Splits 0: the set's own parts.
	Splits, Train, Test int
	Seed                uint64
}

// String describes the protocol in words.
func (p Protocol) String() string {
	if p.Splits == 0 {
		return "the set's own parts"
	}
	test := "all other"
	if p.Test > 0 {
		test = fmt.Sprintf("up to %d", p.Test)
	}
	return fmt.Sprintf("%d random splits, %d training and %s test images a class", p.Splits, p.Train, test)
}

// SplitResult is the result of one split.
type SplitResult struct {
	C          float64 `json:"c"`
	Trained    int     `json:"trained"` // images
	Iterations int     `json:"iterations"`
	Converged  bool    `json:"converged"`
	Seconds    float64 `json:"seconds"`
	Score      *Score  `json:"score"`
}

// Measured is the result of all splits of a protocol. Its JSON keys are those of
// `vgg transfer eval --json`.
type Measured struct {
	Data   string        `json:"data"`
	Dim    int           `json:"dim"`
	Splits []SplitResult `json:"splits"`
}

// Of returns the mean over the splits of a value of their scores, and the standard deviation
// of one split (the square root of the unbiased variance; NaN for one split).
func (m *Measured) Of(value func(*Score) float64) (mean, deviation float64) {
	for _, s := range m.Splits {
		mean += value(s.Score) / float64(len(m.Splits))
	}
	sum := 0.0
	for _, s := range m.Splits {
		d := value(s.Score) - mean
		sum += d * d
	}
	return mean, math.Sqrt(sum / float64(len(m.Splits)-1))
}

// Confusions are those of all splits together, the most often confused pair first.
func (m *Measured) Confusions() []eval.Confusion {
	type pair struct{ truth, predicted string }
	count := map[pair]int{}
	for _, s := range m.Splits {
		for _, c := range s.Score.Confusions {
			count[pair{c.Truth, c.Predicted}] += c.Images
		}
	}
	var all []eval.Confusion
	for of, n := range count {
		all = append(all, eval.Confusion{Truth: of.truth, Predicted: of.predicted, Images: n})
	}
	slices.SortFunc(all, func(a, b eval.Confusion) int {
		return cmp.Or(cmp.Compare(b.Images, a.Images), cmp.Compare(a.Truth, b.Truth), cmp.Compare(a.Predicted, b.Predicted))
	})
	return all
}

// Measure trains and tests a classifier on every split of the protocol. x (Len × Header.Dim)
// are the descriptors of d.
func Measure(ctx context.Context, d *Descriptors, x []float32, p Protocol, o TrainOptions) (*Measured, error) {
	if d == nil {
		return nil, errNoDescriptors
	}
	m := &Measured{Data: d.Header.Data.Name, Dim: d.Header.Dim}
	for i := range max(1, p.Splits) {
		split, err := d.Parts()
		if p.Splits > 0 {
			split, err = d.RandomSplit(p.Train, p.Test, p.Seed, i)
		}
		if err != nil {
			return nil, err
		}
		of := o
		if o.OnStage != nil && p.Splits > 1 {
			of.OnStage = func(what string) { o.OnStage(fmt.Sprintf("split %d of %d: %s", i+1, p.Splits, what)) }
		}
		s, err := Train(ctx, d, x, split.Train, of)
		if err != nil {
			return nil, err
		}
		score, err := s.Evaluate(ctx, d, x, split.Test)
		if err != nil {
			return nil, err
		}
		most := 0
		for _, n := range s.Info.Iterations {
			most = max(most, n)
		}
		m.Splits = append(m.Splits, SplitResult{s.Info.C, len(split.Train), most, s.Info.Converged, s.Info.Seconds, score})
	}
	return m, nil
}
