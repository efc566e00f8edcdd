package train

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// stepper updates a network by mini-batches, on one rank or on several.
//
// A mini-batch of n images is split into G = Recipe.Groups groups: group g has the images
// ⌊g·n/G⌋ … ⌊(g+1)·n/G⌋−1 by their places in the batch. Within a group every gradient is
// summed in image order, by micro-batches of any size. The groups' sums are combined in
// [comm.Tree]. Gradients are those of the mean loss over the batch. Batch normalisation
// takes its statistics from each group, and moves its running statistics once, towards
// the groups' mean, weighted by their numbers of images.
//
// So the bits depend on the batch and on G. They depend neither on the number of ranks,
// which share the groups, nor on the micro-batch's size, nor on the number of threads.
type stepper struct {
	o     stepOptions
	size  int // images of the largest group
	ranks []*replica
	err   error // of the step that failed; further steps fail with it

	device nn.Trainer // nil: the CPU
	stale  bool       // the devices' weights are newer than the network's
}

// stepOptions are the options of a stepper.
type stepOptions struct {
	Recipe  Recipe
	Task    Task             // nil: classification
	Samples []dataset.Sample // of the training set, for the task
	Batch   int              // most images of a batch
	Micro   int              // most images computed at a time; 0: a whole group
	Ranks   int              // divides Recipe.Groups
	Threads int              // shared by the ranks, at least one each; 0: those that compute by default
	Front   int              // layers at the beginning whose output the batches hold instead of images
	Device  Device           // nil: the CPU
	Memory  int64            // of each device; 0: all

	severalLabels bool // an image, for the device
}

// replica is a rank's copy of the network, with its momentum and gradients.
type replica struct {
	comm     comm.Group
	net      *network.Network
	chain    *nn.Chain // the layers that are trained
	training *nn.Training
	sgd      *nn.SGD
	sums     sums
}

func groupsError(groups, ranks int) error {
	return fmt.Errorf("train: %d groups on %d ranks: want a number of ranks that divides the groups", groups, ranks)
}

// groupSize returns the number of images of the largest group.
func groupSize(batch, groups int) int { return (batch + groups - 1) / groups }

// groupStart returns the place in a batch of n images at which group g begins.
func (s *stepper) groupStart(g, n int) int { return g * n / s.o.Recipe.Groups }

// newStepper returns the stepper of a network whose parameters and factors of rates are set,
// with those that are not learnt marked as frozen. The network becomes rank 0's; between steps it may be
// run and saved.
func newStepper(net *network.Network, o stepOptions) (*stepper, error) {
	if o.Device != nil {
		return newDeviceStepper(net, o)
	}
	groups := o.Recipe.Groups
	if groups < 1 || o.Ranks < 1 || groups%o.Ranks != 0 {
		return nil, groupsError(groups, o.Ranks)
	}
	if o.Threads == 0 {
		o.Threads = kernel.Threads()
	}
	s := &stepper{o: o, size: groupSize(o.Batch, groups)}
	s.o.Micro = s.size
	if o.Micro > 0 {
		s.o.Micro = min(s.size, o.Micro)
	}
	for rank, group := range comm.Local(o.Ranks) {
		r, err := s.newReplica(rank, group, net)
		if err != nil {
			return nil, err
		}
		s.ranks = append(s.ranks, r)
	}
	return s, s.sync()
}

// newReplica returns a rank's replica: of the network itself for rank 0, else of a new one
// with the same options. sync sets its parameters.
func (s *stepper) newReplica(rank int, group comm.Group, net *network.Network) (*replica, error) {
	o := s.o
	r := &replica{comm: group, net: net}
	var err error
	if rank > 0 {
		if r.net, err = network.New(net.Options()); err != nil {
			return nil, err
		}
	}
	for i, p := range r.net.Params() {
		p.Frozen, p.RateFactor = net.Params()[i].Frozen, net.Params()[i].RateFactor
	}
	chain, in := r.net.Chain(), nn.Shape{H: o.Recipe.Input, W: o.Recipe.Input}
	if o.Front > 0 {
		if _, chain, in, err = chain.Split(o.Front, in.H, in.W); err != nil {
			return nil, err
		}
	}
	r.chain = chain
	if chain.StatisticsLen() > 0 && o.Micro < s.size {
		return nil, fmt.Errorf("train: micro-batches of %d images: batch normalisation takes its statistics from whole groups, of %d (batch %d in %d groups): want micro-batches of at least %d, or more groups",
			o.Micro, s.size, o.Batch, o.Recipe.Groups, s.size)
	}
	all := chain.Threads()
	chain.SetThreads(max(1, (rank+1)*o.Threads/o.Ranks-rank*o.Threads/o.Ranks))
	if r.training, err = chain.NewTraining(o.Micro, in.H, in.W); err != nil {
		return nil, err
	}
	r.training.Smoothing = float32(o.Recipe.LabelSmoothing)
	r.sgd = nn.NewSGD(chain)
	chain.SetThreads(all)
	r.sums = newSums(r.sgd, chain.StatisticsLen(), o.Threads/o.Ranks)
	return r, nil
}

// sync copies the parameters and the momentum of rank 0 to the other ranks, when they have
// been set.
func (s *stepper) sync() error {
	if s.device != nil {
		return s.send()
	}
	first := s.ranks[0]
	for _, r := range s.ranks[1:] {
		from := first.net.Params()
		for i, p := range r.net.Params() {
			copy(p.Value, from[i].Value)
			p.Changed()
			copy(r.sgd.Momentum(p), first.sgd.Momentum(from[i]))
		}
	}
	return nil
}

// momentum returns the momentum of a parameter of rank 0's network, in packed order; nil
// if the parameter isn't learnt.
func (s *stepper) momentum(p *nn.Param) []float32 { return s.ranks[0].sgd.Momentum(p) }

// nonFinite returns the place where the last step first met a number that is not finite,
// on any rank; "" if there is none.
func (s *stepper) nonFinite() string {
	for _, r := range s.ranks {
		if r.training == nil {
			continue // on a device, which doesn't tell
		}
		if where := r.training.NonFinite(); where != "" {
			return where
		}
	}
	return ""
}

// close releases the memory of the gradients of rank 0's network. The stepper must not be
// used afterwards.
func (s *stepper) close() {
	for _, p := range s.ranks[0].net.Params() {
		p.Grad = nil
	}
	s.ranks = nil
}

// update returns the values of an update at a learning rate.
func (s *stepper) update(rate float64) nn.Update {
	r := s.o.Recipe
	return nn.Update{
		Rate: float32(rate), Momentum: float32(r.Momentum), Decay: float32(r.WeightDecay), DecayBiases: r.DecayBiases,
		Nesterov: r.Nesterov, ClipNorm: float32(r.ClipNorm),
	}
}

// step updates the weights by a batch and returns the sum of the images' losses, added in
// the order of the gradients. Weights and momentum stay as they are, on all ranks, if the
// loss is not finite, an error occurs, or the context is done before all gradients are
// summed. With several groups, no step is possible after one that failed.
func (s *stepper) step(ctx context.Context, b *dataset.Batch, iteration int, rate float64) (float64, error) {
	switch {
	case s.err != nil:
		return 0, s.err
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case len(b.Labels) > s.o.Batch:
		return 0, fmt.Errorf("train: a batch of %d images, want at most %d", len(b.Labels), s.o.Batch)
	}
	if s.device != nil {
		return s.stepDevice(ctx, b, iteration, rate)
	}
	if s.o.Recipe.Groups == 1 {
		return s.stepSingle(ctx, b, iteration, rate)
	}
	losses, errs := make([]float64, len(s.ranks)), make([]error, len(s.ranks))
	var wg sync.WaitGroup
	for i, r := range s.ranks[1:] {
		wg.Go(func() { losses[i+1], errs[i+1] = s.stepRank(ctx, r, b, iteration, rate) })
	}
	losses[0], errs[0] = s.stepRank(ctx, s.ranks[0], b, iteration, rate)
	wg.Wait()
	s.err = errs[0] // an error of one rank is an error of all
	return losses[0], s.err
}

// images returns the images from … to−1 of a batch, and their labels.
func images(b *dataset.Batch, from, to int) (*tensor.Tensor, []int, error) {
	size := b.X.Len() / b.X.Dim(0)
	x, err := tensor.FromSlice(b.X.Data[from*size:to*size], to-from, b.X.Dim(1), b.X.Dim(2), b.X.Dim(3))
	return x, b.Labels[from:to], err
}

// stepSingle is a step of one rank with one group. With a single micro-batch the weights
// are updated within the backward pass.
func (s *stepper) stepSingle(ctx context.Context, b *dataset.Batch, iteration int, rate float64) (float64, error) {
	r, n := s.ranks[0], len(b.Labels)
	if n <= s.o.Micro {
		p := nn.Pass{Seed: s.o.Recipe.Seed, Iteration: iteration}
		if loss := s.o.loss(b, 0); loss != nil {
			return r.training.StepLossSGD(b.X, loss, p, r.sgd, s.update(rate))
		}
		return r.training.StepSGD(b.X, b.Labels, p, r.sgd, s.update(rate))
	}
	r.chain.ZeroGrad()
	loss, err := s.gradient(ctx, r, b, iteration, 0, n)
	if err != nil || !finite(loss) {
		return loss, err
	}
	r.sgd.Step(s.update(rate))
	return loss, nil
}

// gradient adds the gradient of the images from … to−1 to the parameters', micro-batch by
// micro-batch, and returns the sum of the images' losses.
func (s *stepper) gradient(ctx context.Context, r *replica, b *dataset.Batch, iteration, from, to int) (float64, error) {
	var loss float64
	p := nn.Pass{Seed: s.o.Recipe.Seed, Iteration: iteration, Batch: len(b.Labels), HoldStatistics: s.o.Recipe.Groups > 1}
	for p.Image = from; p.Image < to; p.Image += s.o.Micro {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		end := min(p.Image+s.o.Micro, to)
		p.More = end < to
		x, labels, err := images(b, p.Image, end)
		if err != nil {
			return 0, err
		}
		if task := s.o.loss(b, p.Image); task != nil {
			_, err = r.training.StepLoss(x, task, p)
		} else {
			_, err = r.training.Step(x, labels, p)
		}
		if err != nil {
			return 0, err
		}
		for _, l := range r.training.Losses() {
			loss += l
		}
	}
	return loss, nil
}

// stepRank is a rank's part of a step.
func (s *stepper) stepRank(ctx context.Context, r *replica, b *dataset.Batch, iteration int, rate float64) (loss float64, err error) {
	defer r.sums.free()
	if loss, err = s.sumGroups(ctx, r, b, iteration); err != nil {
		r.comm.Abort(err) // otherwise the others would wait for this rank
		return 0, errors.Join(err)
	}
	if !finite(loss) {
		return loss, nil
	}
	for i := range r.sums.total().stats {
		r.sums.total().stats[i] /= float64(len(b.Labels))
	}
	r.chain.MoveStatistics(r.sums.total().stats[1:])
	r.sgd.Step(s.update(rate))
	return loss, nil
}

// sumGroups sets the parameters' gradients to those of the whole batch, and r.sums.total's
// statistics, and returns the sum of the losses.
func (s *stepper) sumGroups(ctx context.Context, r *replica, b *dataset.Batch, iteration int) (float64, error) {
	tree := comm.Tree(s.o.Recipe.Groups)
	err := tree.Sum(tree.Share(r.comm.Rank(), r.comm.Size()), func(g int) error {
		sum := r.sums.push()
		r.chain.ZeroGrad()
		from, to := s.groupStart(g, len(b.Labels)), s.groupStart(g+1, len(b.Labels))
		loss, err := s.gradient(ctx, r, b, iteration, from, to)
		if err == nil && from < to {
			sum.stats[0] = loss
			r.training.AddStatistics(sum.stats[1:], float64(to-from))
		}
		return err
	}, r.sums.fold)
	if err != nil {
		return 0, err
	}
	if err := r.comm.AllReduce64(ctx, tree, r.sums.stats()); err != nil {
		return 0, err
	}
	loss := r.sums.total().stats[0]
	if !finite(loss) {
		return loss, nil
	}
	for i, p := range r.sgd.Params() {
		if err := r.comm.AllReduce(ctx, tree, r.sums.grads(i)); err != nil {
			return 0, err
		}
		p.Grad = r.sums.total().grads[i]
	}
	return loss, nil
}
