package accel

import (
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/nn"
)

// InferenceProgram returns the program of a chain's forward pass for n images of h × w, as
// [Runner] runs it. It takes the chain's parameters and the images. The chain needs no weights,
// nor is there a need of a device: a [pjrt.Topology] compiles it.
func InferenceProgram(c *nn.Chain, n, h, w int, precision Precision) (pjrt.Program, error) {
	p, _, _, err := inferenceProgram(c, inferenceInput{n: n, h: h, w: w}, precision)
	return p, err
}

// TrainingPrograms returns the two large programs of a [Trainer]'s step by micro-batches of some
// images: loss and gradients, added to sums, and the update of weights and momenta by u. The
// chain needs no weights.
func TrainingPrograms(c *nn.Chain, o nn.TrainerOptions, u nn.Update, images int, precision Precision) (gradients, update pjrt.Program, err error) {
	p, err := newPlan(c, o, images, precision)
	if err != nil {
		return gradients, update, err
	}
	if gradients, err = p.gradientProgram(p.loss); err != nil {
		return gradients, update, err
	}
	update, err = p.updateProgram(updateKey{u.Momentum, u.Decay, u.ClipNorm, u.DecayBiases, u.Nesterov})
	return gradients, update, err
}
