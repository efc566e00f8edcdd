package transfer

import (
	"context"
	"fmt"
	"math"
)

// Protocol is how a classifier on descriptors is measured.
type Protocol struct {
	// Splits random splits of Train and up to Test images a class (0: all others) are
	// trained and tested on; 0 splits: the parts that the set has.
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

// SplitResult is what one split came to.
type SplitResult struct {
	C          float64 `json:"c"`
	Trained    int     `json:"trained"` // images
	Iterations int     `json:"iterations"`
	Converged  bool    `json:"converged"`
	Seconds    float64 `json:"seconds"`
	Score      *Score  `json:"score"`
}

// Measured is what a protocol came to. Its JSON keys are those of `vgg transfer eval
// --json`.
type Measured struct {
	Data   string        `json:"data"`
	Dim    int           `json:"dim"`
	Splits []SplitResult `json:"splits"`
}

// Of returns the mean of a number of every split's score and the deviation of a split
// from it (the square root of the unbiased variance; NaN of one split).
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

// Measure trains and tests a classifier on every split of the protocol.
func Measure(ctx context.Context, d *Descriptors, x []float32, p Protocol, o TrainOptions) (*Measured, error) {
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
		score, err := s.Evaluate(d, x, split.Test)
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
