package train

import (
	"context"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/nn"
)

// step updates the weights by a mini-batch, and returns the sum of the images' losses.
func (r *run) step(ctx context.Context, b *dataset.Batch, iteration int, rate float64) (float64, error) {
	return r.stepper.step(ctx, b, iteration, rate)
}

// momentum is that of a parameter, in its packed order; nil if it isn't learnt.
func (r *run) momentum(p *nn.Param) []float32 { return r.stepper.momentum(p) }

// nonFinite says where the last step first met a number that is not finite; "" if
// nowhere.
func (r *run) nonFinite() string { return r.stepper.nonFinite() }
