package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/tensor"
)

// benchMachine is what the machine was measured to do.
type benchMachine struct {
	GFLOPS float64 `json:"peak_gflops"`
	Read   float64 `json:"read_gigabytes_per_second,omitempty"` // from memory
}

func measureMachine(threads int, memory bool) *benchMachine {
	team := kernel.NewTeam(threads)
	m := &benchMachine{GFLOPS: kernel.MeasureFLOPS(team) / 1e9}
	if memory {
		m.Read = kernel.MeasureReadBytes(team) / 1e9
	}
	return m
}

// benchLayer is a step of inference. What has no multiplications has only a time; only
// fully connected layers have weights read.
type benchLayer struct {
	Layer     string  `json:"layer"`
	Algorithm string  `json:"algorithm,omitempty"`
	Pool      bool    `json:"pool"` // the max-pooling after the layer is part of it
	Best      float64 `json:"best_ms"`
	Effective float64 `json:"effective_gflops,omitempty"`
	Real      float64 `json:"gflops,omitempty"`
	Peak      float64 `json:"peak_share,omitempty"`
	Bytes     int64   `json:"weight_bytes,omitempty"`
	Bandwidth float64 `json:"bandwidth_share,omitempty"`
}

// layers times every step of inference, the best of the passes.
func (c *benchCommand) layers(ctx context.Context, chain *nn.Chain, x *tensor.Tensor, plans []nn.LayerPlan, m benchMachine) ([]benchLayer, error) {
	var best []nn.StepTime
	for range c.Iters {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		times, err := chain.Profile(x)
		if err != nil {
			return nil, err
		}
		if best == nil {
			best = times
		}
		for i, t := range times {
			best[i].Seconds = min(best[i].Seconds, t.Seconds)
		}
	}
	return layerRates(best, plans, m), nil
}

// layerRates relates the times of the steps to what the plans take.
func layerRates(times []nn.StepTime, plans []nn.LayerPlan, m benchMachine) []benchLayer {
	byName := map[string]nn.LayerPlan{}
	for _, p := range plans {
		byName[p.Layer] = p
	}
	var layers []benchLayer
	for _, t := range times {
		l := benchLayer{Layer: t.Layer, Pool: t.Pool, Best: 1e3 * t.Seconds}
		if p, ok := byName[t.Layer]; ok {
			l.Algorithm = p.Algorithm
			l.Effective = 2 * float64(p.Direct) / t.Seconds / 1e9
			l.Real = 2 * float64(p.Computed) / t.Seconds / 1e9
			l.Peak = l.Real / m.GFLOPS
			if p.Connected {
				l.Bytes = p.WeightBytes
				l.Bandwidth = float64(p.WeightBytes) / t.Seconds / 1e9 / m.Read
			}
		}
		layers = append(layers, l)
	}
	return layers
}

func printLayers(w io.Writer, layers []benchLayer, m benchMachine) error {
	t := report.NewTable(
		report.Column{Title: "Layer"},
		report.Column{Title: "Algorithm"},
		report.Column{Title: "Best ms", Align: report.Right},
		report.Column{Title: "Effective GFLOP/s", Align: report.Right},
		report.Column{Title: "Real GFLOP/s", Align: report.Right},
		report.Column{Title: "Peak", Align: report.Right},
		report.Column{Title: "Bandwidth", Align: report.Right},
	)
	number := func(v float64, digits int) string {
		if v == 0 {
			return ""
		}
		return strconv.FormatFloat(v, 'f', digits, 64)
	}
	percent := func(v float64) string {
		if v == 0 {
			return ""
		}
		return report.Percent(v)
	}
	total, effective, actual := 0.0, 0.0, 0.0
	for _, l := range layers {
		t.Row(stepName(l.Layer, l.Pool), l.Algorithm, number(l.Best, 3), number(l.Effective, 1), number(l.Real, 1), percent(l.Peak), percent(l.Bandwidth))
		total += l.Best
		effective += l.Effective * l.Best
		actual += l.Real * l.Best
	}
	t.Rule()
	t.Row("total", "", number(total, 3), number(effective/total, 1), number(actual/total, 1), percent(actual/total/m.GFLOPS))
	_, err := fmt.Fprintf(w, "\n%s\nThe machine's peak is %.1f GFLOP/s, its bandwidth %.1f GB/s.\n", t, m.GFLOPS, m.Read)
	return err
}

// stepName is a step of inference as tables show it.
func stepName(layer string, pool bool) string {
	if pool {
		return layer + " + pool"
	}
	return layer
}
