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
	Ranks   int              // of this process
	Outer   comm.Group       // of the processes whose ranks share the groups; nil: this one alone
	Threads int              // shared by the ranks, at least one each; 0: those that compute by default
	Front   int              // layers at the beginning whose output the batches hold instead of images
	Device  Device           // nil: the CPU
	Memory  int64            // of each device; 0: all

	severalLabels bool // an image, for the device
}

// allRanks is the number of ranks of all processes.
func (o stepOptions) allRanks() int {
	if o.Outer == nil {
		return o.Ranks
	}
	return o.Ranks * o.Outer.Size()
}

// replica is a rank's copy of the network, with its momentum and gradients.
type replica struct {
	comm     comm.Group
	net      *network.Network
	chain    *nn.Chain // the layers that are trained
	training *nn.Training
	sgd      *nn.SGD
	sums     sums
	exchange *exchange
}

// part is the images of a batch that a process has.
type part struct {
	*dataset.Batch
	n    int // images of the whole batch
	from int // place of the first of these among them
	// zeros are the losses that outputs of zero have on the images of the whole batch, if it is
	// shared by several processes.
	zeros []float64
}

// whole is all images of a batch.
func whole(b *dataset.Batch) part { return part{Batch: b, n: len(b.Labels)} }

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
func newStepper(ctx context.Context, net *network.Network, o stepOptions) (*stepper, error) {
	if o.Device != nil {
		return newDeviceStepper(ctx, net, o)
	}
	groups, all := o.Recipe.Groups, o.allRanks()
	if groups < 1 || o.Ranks < 1 || groups%all != 0 {
		return nil, groupsError(groups, all)
	}
	if o.Threads == 0 {
		o.Threads = kernel.Threads()
	}
	s := &stepper{o: o, size: groupSize(o.Batch, groups)}
	s.o.Micro = s.size
	if o.Micro > 0 {
		s.o.Micro = min(s.size, o.Micro)
	}
	views := comm.Local(o.Ranks)
	if o.Outer != nil {
		views = comm.Nest(o.Outer, o.Ranks)
	}
	for rank, group := range views {
		r, err := s.newReplica(rank, group, net)
		if err != nil {
			return nil, err
		}
		s.ranks = append(s.ranks, r)
	}
	return s, s.sync(ctx)
}

// newReplica returns the replica of a rank of the process: of the network itself for the first,
// else of a new one with the same options. sync sets its parameters.
func (s *stepper) newReplica(rank int, group comm.Group, net *network.Network) (*replica, error) {
	o := s.o
	r := &replica{comm: group, net: net}
	var err error
	if rank > 0 {
		if r.net, err = network.New(net.Options()); err != nil {
			return nil, err
		}
	}
	if err = r.net.Chain().SetWinograd(o.Recipe.Winograd); err != nil {
		return nil, err
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
	tree := comm.Tree(o.Recipe.Groups)
	factors := newFactors(o.Recipe.Exchange, chain, r.training, r.sgd.Params(), group, tree, o.Batch)
	r.sums = newSums(r.sgd, factors.has, chain.StatisticsLen(), o.Threads/o.Ranks)
	r.exchange = newExchange(o.Recipe.Exchange, group, tree, &r.sums, factors)
	return r, nil
}

// sync copies the parameters and the momentum of rank 0 to the other ranks, when they have
// been set.
func (s *stepper) sync(ctx context.Context) error {
	first := s.ranks[0]
	if s.o.Outer != nil {
		for _, p := range first.net.Params() {
			if err := s.o.Outer.Broadcast(ctx, 0, p.Value); err != nil {
				return err
			}
			p.Changed()
			if v := first.sgd.Momentum(p); v == nil {
				continue
			} else if err := s.o.Outer.Broadcast(ctx, 0, v); err != nil {
				return err
			}
		}
	}
	if s.device != nil {
		return s.send()
	}
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
// loss is not finite, an error occurs, or the context is done on one of them before all
// gradients are summed. With several groups, no step is possible after one that failed.
func (s *stepper) step(ctx context.Context, b part, iteration int, rate float64) (float64, error) {
	switch {
	case s.err != nil:
		return 0, s.err
	case ctx.Err() != nil && s.o.Outer == nil: // else all ranks hear of it in the step
		return 0, context.Cause(ctx)
	case b.n > s.o.Batch:
		return 0, fmt.Errorf("train: a batch of %d images, want at most %d", b.n, s.o.Batch)
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
func (s *stepper) stepSingle(ctx context.Context, b part, iteration int, rate float64) (float64, error) {
	r, n := s.ranks[0], b.n
	if n <= s.o.Micro {
		p := nn.Pass{Seed: s.o.Recipe.Seed, Iteration: iteration}
		if loss := s.o.loss(b.Batch, 0); loss != nil {
			return r.training.StepLossSGD(b.X, loss, p, r.sgd, s.update(rate))
		}
		return r.training.StepSGD(b.X, b.Labels, p, r.sgd, s.update(rate))
	}
	r.chain.ZeroGrad()
	loss, err := s.gradient(ctx, r, b, iteration, 0, n, nil)
	if err != nil || !finite(loss) {
		return loss, err
	}
	r.sgd.Step(s.update(rate))
	return loss, nil
}

// gradient adds the gradient of the images from … to−1 of the whole batch to the parameters',
// micro-batch by micro-batch, and returns the sum of the images' losses. complete, if not nil,
// hears of the parameters whose gradients are complete.
func (s *stepper) gradient(ctx context.Context, r *replica, b part, iteration, from, to int, complete func(*nn.Param)) (float64, error) {
	var loss float64
	p := nn.Pass{Seed: s.o.Recipe.Seed, Iteration: iteration, Batch: b.n, HoldStatistics: s.o.Recipe.Groups > 1, Complete: complete, Factors: r.exchange.of}
	for p.Image = from; p.Image < to; p.Image += s.o.Micro {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		end := min(p.Image+s.o.Micro, to)
		p.More = end < to
		x, labels, err := images(b.Batch, p.Image-b.from, end-b.from)
		if err != nil {
			return 0, err
		}
		if task := s.o.loss(b.Batch, p.Image-b.from); task != nil {
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
func (s *stepper) stepRank(ctx context.Context, r *replica, b part, iteration int, rate float64) (loss float64, err error) {
	defer r.sums.free()
	if loss, err = s.sumGroups(ctx, r, b, iteration); err != nil {
		return 0, errors.Join(err)
	}
	if !finite(loss) {
		return loss, nil
	}
	statistics := r.sums.total().stats[runningStats:]
	for i := range statistics {
		statistics[i] /= float64(b.n)
	}
	r.chain.MoveStatistics(statistics)
	r.sgd.Step(s.update(rate))
	return loss, nil
}

// sumGroups sets the parameters' gradients to those of the whole batch, and r.sums.total's
// statistics, and returns the sum of the losses. A rank whose context is done computes no more,
// but still joins the others' sums, and all learn of it: the step is everybody's or nobody's.
func (s *stepper) sumGroups(ctx context.Context, r *replica, b part, iteration int) (float64, error) {
	together := context.WithoutCancel(ctx)
	tree := comm.Tree(s.o.Recipe.Groups)
	share := tree.Share(r.comm.Rank(), r.comm.Size())
	r.exchange.factors.begin(b.n)
	err := tree.Sum(share, func(g int) error {
		sum := r.sums.push()
		r.chain.ZeroGrad()
		var complete func(*nn.Param)
		if g == share.Hi-1 {
			r.exchange.begin(together)
			complete = r.exchange.complete
		}
		from, to := s.groupStart(g, b.n), s.groupStart(g+1, b.n)
		loss, err := s.gradient(ctx, r, b, iteration, from, to, complete)
		if r.exchange.round && complete == nil {
			for _, grad := range sum.grads {
				r.sums.round(grad)
			}
		}
		switch {
		case err != nil && ctx.Err() != nil:
			sum.stats[stopStat] = 1
			return nil
		case err == nil && from < to:
			sum.stats[lossStat] = loss
			r.training.AddStatistics(sum.stats[runningStats:], float64(to-from))
		}
		return err
	}, func() error {
		r.sums.fold(!r.exchange.begun())
		return nil
	})
	if err := r.exchange.end(err); err != nil {
		return 0, err
	}
	if err := r.comm.AllReduce64(together, tree, r.sums.stats()); err != nil {
		return 0, err
	}
	total := r.sums.total()
	if total.stats[stopStat] > 0 {
		return 0, stopCause(ctx)
	}
	for i, p := range r.sgd.Params() {
		p.Grad = total.grads[i]
	}
	return total.stats[lossStat], nil
}

// ErrStopped is the error of a run that was to stop on another rank than this one.
var ErrStopped = errors.New("train: stopped, since another rank was to stop")

// stopCause is why a run stops on all ranks: the context's cause, if it is done on this one.
func stopCause(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return ErrStopped
}
