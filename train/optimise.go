package train

import (
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/nn"
)

// step updates the weights by a mini-batch, and returns the sum of the images' losses.
func (r *run) step(b *dataset.Batch, iteration int, rate float64) (float64, error) {
	rec := r.o.Recipe
	loss := func(i int, scores, d []float32, scale float32) float64 {
		return nn.CrossEntropy(scores, b.Labels[i], float32(rec.LabelSmoothing), scale, d)
	}
	return r.state.StepLossSGD(b.X, loss, nn.Pass{Seed: rec.Seed, Iteration: iteration}, r.sgd, nn.Update{
		Rate: float32(rate), Momentum: float32(rec.Momentum), Decay: float32(rec.WeightDecay), DecayBiases: rec.DecayBiases,
		Nesterov: rec.Nesterov, ClipNorm: float32(rec.ClipNorm),
	})
}

// momentum is that of a parameter, in its packed order; nil if it isn't learnt.
func (r *run) momentum(p *nn.Param) []float32 { return r.sgd.Momentum(p) }

// nonFinite says where the last step first met a number that is not finite; "" if
// nowhere.
func (r *run) nonFinite() string { return r.state.NonFinite() }
