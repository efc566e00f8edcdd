package train

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/verydeep/vgg/comm"
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
func newDeviceStepper(ctx context.Context, net *network.Network, o stepOptions) (*stepper, error) {
	groups := o.Recipe.Groups
	if all := o.allRanks(); groups < 1 || o.Ranks < 1 || groups%all != 0 {
		return nil, groupsError(groups, all)
	}
	s := &stepper{o: o, size: groupSize(o.Batch, groups)}
	chain, in := net.Chain(), nn.Shape{H: o.Recipe.Input, W: o.Recipe.Input}
	if o.Front > 0 {
		var err error
		if _, chain, in, err = chain.Split(o.Front, in.H, in.W); err != nil {
			return nil, err
		}
	}
	options := nn.TrainerOptions{
		Batch: o.Batch, Groups: groups, Ranks: o.Ranks, Outer: o.Outer, Micro: o.Micro, H: in.H, W: in.W,
		Smoothing: float32(o.Recipe.LabelSmoothing), Labels: o.severalLabels, HostLoss: o.Task != nil, Memory: o.Memory,
	}
	var err error
	if s.device, err = o.Device.NewTrainer(chain, options); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	s.ranks = []*replica{{net: net, chain: chain, sgd: nn.NewSGD(chain)}}
	if o.Outer != nil {
		// The size of micro-batches changes bits: all have that of the device with the least memory.
		least, err := leastMicro(ctx, o.Outer, s.device.Micro())
		if err != nil {
			return nil, errors.Join(err, s.device.Close())
		}
		if options.Micro = least; least < s.device.Micro() {
			if err := s.device.Close(); err != nil {
				return nil, err
			}
			if s.device, err = o.Device.NewTrainer(chain, options); err != nil {
				return nil, fmt.Errorf("train: %w", err)
			}
		}
		if err := s.sync(ctx); err != nil {
			return nil, errors.Join(err, s.device.Close())
		}
	}
	s.o.Micro = s.device.Micro()
	return s, nil
}

// leastMicro returns the least of all processes' micro-batches.
func leastMicro(ctx context.Context, g comm.Group, mine int) (int, error) {
	all, err := gather(ctx, g, mine)
	if err != nil {
		return 0, err
	}
	return slices.Min(all), nil
}

// stepDevice is a step on the devices.
func (s *stepper) stepDevice(ctx context.Context, b part, iteration int, rate float64) (float64, error) {
	loss, err := s.device.Step(ctx, nn.TrainerBatch{
		X: b.X, N: b.n, From: b.from, Labels: b.Labels, LabelSets: b.LabelSets, Loss: s.taskLoss(b.Batch), Seed: s.o.Recipe.Seed, Iteration: iteration,
	}, s.update(rate))
	s.stale = true
	if errors.Is(err, nn.ErrStopped) {
		err = ErrStopped
	}
	return loss, err
}

// aheadOf sends each batch of a sequence to the devices while they compute with the one before.
func (r *run) aheadOf(batches iter.Seq2[*dataset.Batch, error]) iter.Seq2[*dataset.Batch, error] {
	if r.o.Device == nil || r.trainFeatures != nil { // what the front computes isn't held
		return batches
	}
	type batch struct {
		*dataset.Batch
		err error
		ok  bool
	}
	return func(yield func(*dataset.Batch, error) bool) {
		pull, stop := iter.Pull2(batches)
		defer stop()
		number := r.batches
		next := func() (b batch) {
			if b.Batch, b.err, b.ok = pull(); b.ok && b.err == nil && len(b.Labels) > 0 {
				r.stepper.device.Ahead(r.wholePart(b.Batch, number))
			}
			number++
			return b
		}
		come := make(chan batch, 1)
		for b := next(); b.ok; {
			go func() { come <- next() }()
			more := yield(b.Batch, b.err)
			asked := time.Now()
			if b = <-come; !more {
				return
			}
			if b.Batch != nil {
				b.Wait = time.Since(asked)
			}
		}
	}
}

// wholePart is the images of a batch of the training set by its number in the epoch, if no other
// process has unreadable ones.
func (r *run) wholePart(b *dataset.Batch, number int) nn.TrainerBatch {
	if r.o.Processes == nil {
		return nn.TrainerBatch{X: b.X}
	}
	l := r.trainLoader
	first := number * l.Batch
	from, _ := l.Places(number)
	return nn.TrainerBatch{X: b.X, N: min(l.Batch, l.Data.Len()-first), From: from - first}
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

// prepareValidation makes the device ready for the validation, which is an error here rather than
// after the first epoch if the memory is too little beside the momenta.
func (r *run) prepareValidation() error {
	if r.o.Device == nil || r.valLoader == nil {
		return nil
	}
	chain, in := r.model.Net.Chain(), nn.Shape{H: r.o.Recipe.Input, W: r.o.Recipe.Input}
	if r.valFeatures != nil {
		chain, in = r.rest, r.valFeatures.shape
	}
	device, ok := chain.Runner().(interface {
		Prepare(c *nn.Chain, n, h, w int) error
	})
	if !ok {
		return nil
	}
	if err := device.Prepare(chain, min(validationBatch(r.o.Recipe, r.o.Batch), r.o.Val.Len()), in.H, in.W); err != nil {
		return fmt.Errorf("train: validation: %w", err)
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
