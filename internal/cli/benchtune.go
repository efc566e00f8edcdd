package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
)

// benchTuning lists the timed ways to compute a layer, the fastest by the model first.
type benchTuning struct {
	Layer      string           `json:"layer"`
	Pool       bool             `json:"pool"` // the max-pooling after the layer is part of it
	Candidates []benchCandidate `json:"candidates"`
}

type benchCandidate struct {
	Algorithm string  `json:"algorithm"`
	Chosen    bool    `json:"chosen"`
	Model     float64 `json:"model_ms,omitempty"` // none for the direct algorithm
	Median    float64 `json:"median_ms"`
	Best      float64 `json:"best_ms"`
}

// tuneResult converts tunings to milliseconds. The model's times are those at the measured peak.
func tuneResult(tunings []nn.Tuning, m benchMachine, threads int) []benchTuning {
	multiplications := m.GFLOPS * 1e6 / 2 / float64(threads) // of a thread in a millisecond
	result := []benchTuning{}
	for _, t := range tunings {
		r := benchTuning{Layer: t.Layer, Pool: t.Pool}
		for _, k := range t.Candidates {
			r.Candidates = append(r.Candidates, benchCandidate{k.Algorithm, k.Chosen, k.Cost / multiplications, 1e3 * k.Median, 1e3 * k.Best})
		}
		slices.SortStableFunc(r.Candidates, func(a, b benchCandidate) int {
			switch {
			case a.Model == b.Model:
				return 0
			case b.Model == 0 || a.Model != 0 && a.Model < b.Model:
				return -1
			}
			return 1
		})
		result = append(result, r)
	}
	return result
}

func printTunings(w io.Writer, tunings []benchTuning) error {
	for _, l := range tunings {
		t := report.NewTable(
			left(stepName(l.Layer, l.Pool)),
			right("Model ms"),
			right("Median ms"),
			right("Best ms"),
			right("Against the chosen"),
			report.Column{},
		)
		chosen, fastest := 0.0, l.Candidates[0].Median
		for _, k := range l.Candidates {
			fastest = min(fastest, k.Median)
			if k.Chosen {
				chosen = k.Median
			}
		}
		for _, k := range l.Candidates {
			model := ""
			if k.Model != 0 {
				model = fmt.Sprintf("%.3f", k.Model)
			}
			var marks []string
			if k.Chosen {
				marks = append(marks, "chosen")
			}
			if k.Median == fastest {
				marks = append(marks, "fastest")
			}
			t.Row(k.Algorithm, model, fmt.Sprintf("%.3f", k.Median), fmt.Sprintf("%.3f", k.Best),
				fmt.Sprintf("%+.1f %%", 100*(k.Median/chosen-1)), strings.Join(marks, ", "))
		}
		if _, err := fmt.Fprintf(w, "\n%s", t); err != nil {
			return err
		}
	}
	return nil
}

// confirmations is the number of measurements that must confirm that a layer is behind.
const confirmations = 3

// confirm returns the layers whose chosen plan is behind a candidate by more than the
// fraction, in tunings and in every further measurement.
func confirm(tunings []nn.Tuning, fraction float64, measure func(only []nn.Tuning) ([]nn.Tuning, error)) ([]nn.Tuning, error) {
	for again := 0; ; again++ {
		var behind []nn.Tuning
		for _, t := range tunings {
			if b, ok := t.Behind(fraction); ok {
				behind = append(behind, b)
			}
		}
		if len(behind) == 0 || again == confirmations {
			return behind, nil
		}
		var err error
		if tunings, err = measure(behind); err != nil {
			return nil, err
		}
	}
}

// behindError returns an error that names the layers that are behind; nil if there are none.
func behindError(behind []nn.Tuning, percent float64) error {
	if len(behind) == 0 {
		return nil
	}
	layers := make([]string, len(behind))
	for i, t := range behind {
		chosen, fastest := t.Chosen(), t.Fastest()
		layers[i] = fmt.Sprintf("%s: %s takes %.3f ms, %s %.3f (%.1f %% behind)", t.Layer,
			chosen.Algorithm, 1e3*chosen.Median, fastest.Algorithm, 1e3*fastest.Median, 100*(chosen.Median/fastest.Median-1))
	}
	return fmt.Errorf("%d of the layers' plans are more than %v %% behind the best: %s", len(behind), percent, strings.Join(layers, "; "))
}
