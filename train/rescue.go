package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/verydeep/vgg/nn"
)

// A run whose loss grows out of bounds goes back to the end of the last whole epoch with a lower
// learning rate, from the same place a second time to its beginning. That place depends on neither the time nor on where a
// run was interrupted, so a run that resumes has the bits of one that didn't stop.
const (
	divergedFactor = 10  // the loss has diverged above this many times that of outputs of zero
	startFactor    = 2   // and above this many times that of the first images
	judgedImages   = 32  // images over which the loss is averaged, at least
	rescueFactor   = 0.1 // multiplies the learning rate
	maxRescues     = 3   // of a run
)

// Rescue is a return of a run that diverged to an earlier state, at a lower learning rate. A
// run keeps its rescues in its checkpoints.
type Rescue struct {
	What       string  `json:"what"`        // what diverged: "the loss is 41.2 at iteration 13"
	Epoch      int     `json:"epoch"`       // in which it was noticed, from 1
	Iteration  int     `json:"iteration"`   // at which, from 1
	Back       int     `json:"back"`        // iteration after which the run goes on; 0: the beginning
	RateFactor float64 `json:"rate_factor"` // multiplies the learning rates of the schedule from now on
}

// zeroLoss returns the sum of the losses that outputs of zero have on the images of a batch:
// ln K an image for one of K classes.
func (r *run) zeroLoss(b part) float64 {
	if r.o.Task == nil && !r.o.Train.MultiLabel {
		return float64(b.n) * math.Log(float64(max(2, r.o.outputs())))
	}
	losses := b.zeros
	if r.o.Processes == nil {
		losses = r.zeroLosses(b.Batch)
	}
	sum := 0.0
	for _, l := range losses {
		sum += l
	}
	return sum
}

// lossState is the mean loss by which divergence is noticed.
type lossState struct {
	Average float64 `json:"average"` // of the latest batches
	Start   float64 `json:"start"`   // of the first ones
}

// checkLoss returns an error if the mean loss of a batch isn't finite, or if that of the latest
// batches is out of bounds. A few images may have a large loss by chance, so small batches are
// judged together.
func (r *run) checkLoss(b part, mean float64, iteration int) error {
	if !finite(mean) {
		return r.diverged(fmt.Sprintf("the loss is %v at iteration %d", mean, iteration), iteration, r.stepper.nonFinite())
	}
	batches := (judgedImages + r.o.Recipe.Batch - 1) / r.o.Recipe.Batch
	l := &r.loss
	l.Average += (mean - l.Average) / float64(min(iteration, batches))
	if iteration <= batches {
		l.Start = l.Average
		return nil
	}
	if bound := max(divergedFactor*r.zeroLoss(b)/float64(b.n), startFactor*l.Start); l.Average > bound {
		return r.diverged(fmt.Sprintf("the loss is %.4g at iteration %d, above %.3g", l.Average, iteration, bound), iteration, "")
	}
	return nil
}

// rescue takes a run that diverged back to the end of the last whole epoch, or to the
// beginning, and lowers its learning rate. It returns the error if that is not to be done, or
// has been done too often.
func (r *run) rescue(ctx context.Context, err error) error {
	var diverged *DivergedError
	if !errors.As(err, &diverged) || r.o.NoRescue || r.o.Keep == 0 {
		return err
	}
	if diverged.Rescues = len(r.rescues); diverged.Rescues == maxRescues {
		return err
	}
	seconds := r.elapsed()
	rescues := append(r.rescues[:len(r.rescues):len(r.rescues)], Rescue{What: diverged.What, Epoch: diverged.Epoch, Iteration: diverged.Iteration})
	now := &rescues[len(rescues)-1]
	now.RateFactor = math.Pow(rescueFactor, float64(len(rescues)))
	r.checkpoints.wait()
	from, restoreErr := r.lastEpoch(ctx)
	if n := len(r.rescues); from != nil && n > 0 && r.rescues[n-1].Back == from.Iteration {
		from.close() // a lower rate has not helped from there
		from = nil
	}
	if restoreErr == nil {
		from, restoreErr = r.shareState(ctx, from)
	}
	if restoreErr == nil {
		restoreErr = r.returnTo(ctx, from)
	}
	if restoreErr != nil {
		return errors.Join(err, restoreErr)
	}
	now.Back = r.iteration
	r.seconds, r.started = seconds, time.Now()
	if len(r.rescues) == len(rescues) { // the process that was killed after it had gone back
		return nil
	}
	r.rescues = rescues
	where := "the beginning"
	if now.Back > 0 {
		where = fmt.Sprintf("the end of epoch %d", r.epoch-1)
	}
	r.o.Log.Warn(fmt.Sprintf("%s: the run goes back to %s and on with the learning rate %.3g", now.What, where, r.rateAt(r.iteration+1)))
	if err := r.dir.log("rescue", *now); err != nil {
		return err
	}
	if r.o.OnRescue != nil {
		r.o.OnRescue(*now)
	}
	if err := r.saveCheckpoint(false); err != nil || !r.first() {
		return err
	}
	if err := r.checkpoints.removeAfter(r.iteration); err != nil {
		r.o.Log.Warn("checkpoints from which the run went back stay", "error", err)
	}
	return nil
}

// lastEpoch opens the newest checkpoint that was taken at the end of an epoch; nil if there is
// none.
func (r *run) lastEpoch(ctx context.Context) (*savedRun, error) {
	if !r.first() {
		return nil, nil
	}
	paths, err := listCheckpoints(r.o.Dir)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if s, err := stateOf(ctx, path); err != nil || s.Batches > 0 {
			continue
		}
		f, s, err := openWhole(ctx, path)
		if err != nil {
			return nil, err
		}
		return &savedRun{f, s}, nil
	}
	return nil, nil
}

// returnTo sets the run and its logs to a checkpoint, which it closes, or to the beginning if
// there is none.
func (r *run) returnTo(ctx context.Context, from *savedRun) error {
	if err := r.dir.close(); err != nil {
		return err
	}
	r.rate = r.newRate()
	r.best, r.loss, r.rescues = Epoch{}, lossState{}, nil
	r.position = position{epoch: 1}
	var state *runState
	if from != nil {
		defer from.close()
		if err := r.restore(ctx, from); err != nil {
			return err
		}
		state = &from.runState
	} else {
		for _, p := range r.stepper.learnt() {
			clear(r.stepper.momentum(p))
		}
		if err := r.begin(ctx); err != nil {
			return err
		}
	}
	if !r.first() {
		return nil
	}
	var err error
	if r.dir, err = openRunDir(r.o.Dir, state, r.o.Log); err != nil {
		return err
	}
	if from == nil {
		return r.logBeginning()
	}
	return nil
}

// begin sets the network to the weights that the run begins with.
func (r *run) begin(ctx context.Context) error {
	o := r.o
	if !r.first() {
		return r.stepper.sync(ctx)
	}
	if _, _, err := initialise(ctx, r.model.Net, &o.Recipe, o.Initial, o.Task != nil, o.Train.Classes); err != nil {
		return err
	}
	if err := r.startAtMean(ctx); err != nil {
		return err
	}
	return r.stepper.sync(ctx)
}

// rateAt returns the learning rate of an iteration: the schedule's, lowered by the rescues.
func (r *run) rateAt(iteration int) float64 {
	rate := r.rate.at(iteration)
	if n := len(r.rescues); n > 0 {
		rate *= r.rescues[n-1].RateFactor
	}
	return rate
}

// learnt lists the learnt parameters of rank 0's network.
func (s *stepper) learnt() []*nn.Param { return s.ranks[0].sgd.Params() }
