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

// benchMachine is the measured speed of the machine.
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

// benchLayer is a step of inference. Steps without multiplications have only a time, and only
// fully connected layers have a bandwidth.
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

	Train *benchStep `json:"train,omitempty"` // of a training step, whose sum is Best
}

// benchStep is a layer's part of a training step.
type benchStep struct {
	Forward float64 `json:"forward_ms"`
	Data    float64 `json:"data_ms"`    // gradient of the input
	Weights float64 `json:"weights_ms"` // gradient of the weights
	Update  float64 `json:"update_ms"`
}

// layers returns the best time of every step of inference over the passes.
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

// layerRates computes the speed of each step from its time and its plan.
func layerRates(times []nn.StepTime, plans []nn.LayerPlan, m benchMachine) []benchLayer {
	byName := map[string]nn.LayerPlan{}
	for _, p := range plans {
		byName[p.Layer] = p
	}
	var layers []benchLayer
	for _, t := range times {
		l := benchLayer{Layer: t.Layer, Pool: t.Pool, Best: 1e3 * t.Seconds}
		if p, ok := byName[t.Layer]; ok {
			l.rate(p, 1, 1, m)
		}
		layers = append(layers, l)
	}
	return layers
}

// rate sets the speed of a layer that ran its plan passes times. A fully connected layer
// moved its weights moves times.
func (l *benchLayer) rate(p nn.LayerPlan, passes, moves float64, m benchMachine) {
	seconds := l.Best / 1e3
	l.Algorithm = p.Algorithm
	l.Effective = 2 * passes * float64(p.Direct) / seconds / 1e9
	l.Real = 2 * passes * float64(p.Computed) / seconds / 1e9
	l.Peak = l.Real / m.GFLOPS
	if p.Connected {
		l.Bytes = p.WeightBytes
		l.Bandwidth = moves * float64(p.WeightBytes) / seconds / 1e9 / m.Read
	}
}

func printLayers(w io.Writer, layers []benchLayer, m benchMachine) error {
	columns := []report.Column{left("Layer"), left("Algorithm")}
	t := report.NewTable(append(columns, rights("Best ms", "Effective GFLOP/s", "Real GFLOP/s", "Peak", "Bandwidth")...)...)
	number, percent := numberOr, percentOr
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

// numberOr formats a number; zero is empty.
func numberOr(v float64, digits int) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// percentOr formats a fraction in per cent; zero is empty.
func percentOr(v float64) string {
	if v == 0 {
		return ""
	}
	return report.Percent(v)
}

// stepName returns the name of a step in tables.
func stepName(layer string, pool bool) string {
	if pool {
		return layer + " + pool"
	}
	return layer
}
