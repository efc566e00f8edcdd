package train

import (
	"context"
	"errors"
	"fmt"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
)

// Device trains and runs networks somewhere else than on the CPU, such as on GPUs (package
// accel).
type Device interface {
	// ID names what the bits of results depend on: platform, kind and precision.
	ID() string
	// NewRunner returns what runs a network's forward passes there.
	NewRunner() nn.Runner
	// NewTrainer returns what trains a chain there.
	NewTrainer(c *nn.Chain, o nn.TrainerOptions) (nn.Trainer, error)
}

// newDeviceStepper returns a stepper whose only rank in this sense is the network on the CPU,
// which the devices' weights come from and go to.
func newDeviceStepper(net *network.Network, o stepOptions) (*stepper, error) {
	groups := o.Recipe.Groups
	if groups < 1 || o.Ranks < 1 || groups%o.Ranks != 0 {
		return nil, groupsError(groups, o.Ranks)
	}
	s := &stepper{o: o, size: groupSize(o.Batch, groups)}
	chain, in := net.Chain(), nn.Shape{H: o.Recipe.Input, W: o.Recipe.Input}
	if o.Front > 0 {
		var err error
		if _, chain, in, err = chain.Split(o.Front, in.H, in.W); err != nil {
			return nil, err
		}
	}
	trainer, err := o.Device.NewTrainer(chain, nn.TrainerOptions{
		Batch: o.Batch, Groups: groups, Ranks: o.Ranks, Micro: o.Micro, H: in.H, W: in.W,
		Smoothing: float32(o.Recipe.LabelSmoothing), Labels: o.severalLabels, Memory: o.Memory,
	})
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	s.device, s.o.Micro = trainer, trainer.Micro()
	s.ranks = []*replica{{net: net, chain: chain, sgd: nn.NewSGD(chain)}}
	return s, nil
}

// stepDevice is a step on the devices.
func (s *stepper) stepDevice(ctx context.Context, b part, iteration int, rate float64) (float64, error) {
	loss, err := s.device.Step(ctx, nn.TrainerBatch{
		X: b.X, Labels: b.Labels, LabelSets: b.LabelSets, Loss: s.taskLoss(b.Batch), Seed: s.o.Recipe.Seed, Iteration: iteration,
	}, s.update(rate))
	s.stale = true
	return loss, err
}

// taskLoss returns the loss of a task, which the CPU computes; nil for those that devices know.
func (s *stepper) taskLoss(b *dataset.Batch) nn.Loss {
	if s.o.Task == nil {
		return nil
	}
	return s.o.loss(b, 0)
}

// fetch brings weights and momenta from the devices to the network on the CPU, which is up to
// date otherwise.
func (s *stepper) fetch() error {
	if s.device == nil || !s.stale {
		return nil
	}
	if err := s.device.Fetch(s.ranks[0].sgd.Momentum); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	s.stale = false
	return nil
}

// send brings weights and momenta from the network on the CPU to the devices.
func (s *stepper) send() error {
	s.stale = false
	if err := s.device.Send(s.ranks[0].sgd.Momentum); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// computesOn names what a run's bits depend on besides the recipe: the instruction set, or the
// device and its micro-batches.
func (r *run) computesOn() string {
	if r.o.Device == nil {
		return kernel.Current().Name()
	}
	return fmt.Sprintf("%s by %d images", r.o.Device.ID(), r.stepper.o.Micro)
}

// release frees what a run holds on devices.
func (r *run) release() error {
	if r.stepper == nil || r.stepper.device == nil {
		return nil
	}
	err := r.stepper.device.Close()
	if c, ok := r.model.Net.Chain().Runner().(interface{ Close() error }); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}
