package cli

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/tensor"
)

// trainBench is a training that is timed.
type trainBench struct {
	state     *nn.Training
	sgd       *nn.SGD
	x         *tensor.Tensor
	labels    []int
	iteration int
}

func newTrainBench(net *network.Network, x *tensor.Tensor) (*trainBench, error) {
	b := &trainBench{x: x, labels: benchLabels(net, x.Dim(0))}
	var err error
	if b.state, err = net.Chain().NewTraining(x.Dim(0), x.Dim(2), x.Dim(3)); err != nil {
		return nil, err
	}
	b.sgd = nn.NewSGD(net.Chain())
	return b, nil
}

// benchLabels returns random labels.
func benchLabels(net *network.Network, n int) []int {
	rng := rand.New(rand.NewPCG(2, 2))
	labels := make([]int, n)
	for i := range labels {
		labels[i] = rng.IntN(net.Options().Classes)
	}
	return labels
}

// benchUpdate is a step's. The learning rate is so small that the weights keep their range.
var benchUpdate = nn.Update{Rate: 1e-6, Momentum: 0.9, Decay: 5e-4, DecayBiases: true}

// next returns the values of the next step.
func (b *trainBench) next() (nn.Pass, nn.Update) {
	b.iteration++
	return nn.Pass{Seed: 1, Iteration: b.iteration}, benchUpdate
}

func (b *trainBench) step() error {
	p, u := b.next()
	_, err := b.state.StepSGD(b.x, b.labels, p, b.sgd, u)
	return err
}

// layers returns the best time of every layer's part of a step over the passes.
func (b *trainBench) layers(ctx context.Context, passes int, m benchMachine) ([]benchLayer, error) {
	var best []nn.TrainTime
	for range passes {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p, u := b.next()
		times, err := b.state.Profile(b.x, b.labels, p, b.sgd, u)
		if err != nil {
			return nil, err
		}
		if best == nil {
			best = times
		}
		for i, t := range times {
			k := &best[i]
			k.Forward, k.Data = min(k.Forward, t.Forward), min(k.Data, t.Data)
			k.Weights, k.Update = min(k.Weights, t.Weights), min(k.Update, t.Update)
		}
	}
	return trainRates(best, b.state.Plans(), m), nil
}

// trainRates computes the speed of each layer from its time and its plan. The gradient of the
// input, which the first layer doesn't compute, and that of the weights have as many
// multiplications as the forward pass. Fully connected weights are read forward; backward,
// they and their momentum are read and written.
func trainRates(times []nn.TrainTime, plans []nn.LayerPlan, m benchMachine) []benchLayer {
	const weightMoves = 5
	var layers []benchLayer
	for _, t := range times {
		l := benchLayer{
			Layer: t.Layer, Pool: t.Pool, Best: 1e3 * (t.Forward + t.Data + t.Weights + t.Update),
			Train: &benchStep{1e3 * t.Forward, 1e3 * t.Data, 1e3 * t.Weights, 1e3 * t.Update},
		}
		for i, p := range plans {
			if p.Layer != t.Layer {
				continue
			}
			passes := 3.0
			if i == 0 {
				passes = 2
			}
			l.rate(p, passes, weightMoves, m)
		}
		layers = append(layers, l)
	}
	return layers
}

func printTrainLayers(w io.Writer, layers []benchLayer, m benchMachine) error {
	columns := []report.Column{left("Layer"), left("Algorithm")}
	t := report.NewTable(append(columns, rights("Forward ms", "Data ms", "Weights ms", "Update ms", "Sum ms", "Effective GFLOP/s", "Real GFLOP/s", "Peak", "Bandwidth")...)...)
	ms := func(v float64) string {
		if v < 0.005 {
			return ""
		}
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	var sum benchStep
	total, effective, actual := 0.0, 0.0, 0.0
	for _, l := range layers {
		s := l.Train
		t.Row(stepName(l.Layer, l.Pool), l.Algorithm, ms(s.Forward), ms(s.Data), ms(s.Weights), ms(s.Update), ms(l.Best),
			numberOr(l.Effective, 1), numberOr(l.Real, 1), percentOr(l.Peak), percentOr(l.Bandwidth))
		sum.Forward += s.Forward
		sum.Data += s.Data
		sum.Weights += s.Weights
		sum.Update += s.Update
		total += l.Best
		effective += l.Effective * l.Best
		actual += l.Real * l.Best
	}
	t.Rule()
	t.Row("total", "", ms(sum.Forward), ms(sum.Data), ms(sum.Weights), ms(sum.Update), ms(total),
		numberOr(effective/total, 1), numberOr(actual/total, 1), percentOr(actual/total/m.GFLOPS))
	_, err := fmt.Fprintf(w, "\n%s\nThe machine's peak is %.1f GFLOP/s, its bandwidth %.1f GB/s.\n", t, m.GFLOPS, m.Read)
	return err
}
