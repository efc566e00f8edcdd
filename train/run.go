package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// run is the state of a training run.
type run struct {
	o        Options // without zeros that stand for defaults
	init     *InitReport
	trainSet imageSet // identity of the training images
	valSet   *imageSet
	stats    preprocess.Stats
	spec     preprocess.Spec

	dir         *runDir
	unlock      func() // releases the directory; nil before it is locked
	checkpoints *checkpoints
	model       *vgg.Model
	stepper     *stepper
	rate        *rate
	trainLoader *dataset.Loader
	valLoader   *dataset.Loader // nil without validation images
	// Of a network with a frozen front that is computed apart; else nil. rest is what follows
	// the front.
	trainFeatures, valFeatures *features
	rest                       *nn.Chain
	room                       *resources.Room // of the images that are decoded

	position
	iterations int             // of the run at most
	bad        map[string]bool // names of the unreadable images met
	seconds    float64         // in earlier processes
	wait       float64         // seconds of waiting for images, before this epoch
	started    time.Time
	result     Result
	best       Epoch
	rescues    []Rescue
	loss       lossState
}

// position is the progress of a run.
type position struct {
	epoch     int // from 1
	batches   int // done in this epoch
	iteration int
	stopped   bool // by the schedule
	partial   partialEpoch
}

// Run trains a network. In o.Dir it writes the recipe (recipe.yaml), a log of iterations
// and epochs (metrics.jsonl, and for TensorBoard events.out.tfevents.*), the weights after
// the last epoch (last.safetensors), the weights of the epoch with the least validation error
// (best.safetensors; of equal errors, the one with the lower loss), and checkpoints.
//
// When ctx is done, Run saves a checkpoint and, as last.safetensors, the weights of that
// moment, and returns ctx's cause together with the result so far.
//
// Training has diverged if the mean loss of the latest batches, of 32 images at least, passes
// ten times that of outputs of zero (ln K for one of K classes), and twice that of the first
// ones, or if a number is not finite. The run then
// goes back to the end of the last whole epoch, or to its beginning, and on with a tenth of the
// learning rate, up to three times.
//
// Errors: a [*DivergedError] if training diverges after that or o.NoRescue is set, where the
// last epoch's weights and earlier checkpoints stay; a [*TooManyBadError] if too many images are
// unreadable; an [*OtherRunError] if o.Dir belongs to another run. A checkpoint that can't be
// written is logged as a warning, training goes on, and earlier checkpoints stay; it is an
// error only at the end of a run and when it is cancelled.
//
// Several processes ([Options.Processes]) end together, by whatever error of one of them, and
// where a context is done, at the same iteration; with [ErrStopped] on those whose own isn't.
func Run(ctx context.Context, o Options) (*Result, error) {
	result, err := runAlone(ctx, o)
	return result, o.leave(ctx, err)
}

// runAlone is Run without waiting for other processes at the end.
func runAlone(ctx context.Context, o Options) (*Result, error) {
	started := time.Now()
	r, err := newRun(ctx, o)
	if err != nil {
		return nil, err
	}
	if r.unlock != nil {
		defer r.unlock()
	}
	r.started = started
	err = r.runEpochs(ctx)
	if err != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)) || errors.Is(err, ErrStopped)) {
		err = r.saveCancelled(ctx)
	}
	r.checkpoints.wait()
	if freed := r.release(); err == nil {
		err = freed
	}
	if closeErr := r.dir.close(); err == nil {
		err = closeErr
	} else if closeErr != nil {
		r.o.Log.Warn("log not written", "error", closeErr)
	}
	r.result.Iterations = r.iteration
	r.result.Seconds = r.elapsed()
	r.result.WaitSeconds = r.wait + r.partial.Wait
	r.result.Unreadable = len(r.bad)
	return &r.result, err
}

// saveCancelled saves checkpoint and weights of a run whose context is done, and returns
// the cause. The weights are complete, since an update is never interrupted.
func (r *run) saveCancelled(ctx context.Context) error {
	cause := stopCause(ctx)
	if err := r.stepper.fetch(); err != nil {
		return errors.Join(cause, err)
	}
	if !r.first() {
		return cause
	}
	if err := errors.Join(r.saveCheckpoint(true), r.model.Save(context.Background(), r.dir.last())); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// elapsed is the run's time in seconds, with that of earlier processes.
func (r *run) elapsed() float64 { return r.seconds + time.Since(r.started).Seconds() }

func (r *run) done() bool {
	return r.stopped || r.epoch > r.o.Recipe.Epochs || r.iteration >= r.iterations && r.batches == 0
}

// runEpochs runs the epochs that are left.
func (r *run) runEpochs(ctx context.Context) error {
	for !r.done() {
		e, err := r.runEpoch(ctx)
		if err != nil {
			if err = r.rescue(ctx, err); err != nil {
				return err
			}
			continue
		}
		if e.Best {
			r.setBest(e)
		}
		r.result.Epochs = e.Epoch
		r.stopped = r.rate.epoch(e.Epoch, r.judged(e))
		r.wait += r.partial.Wait
		r.epoch, r.batches, r.partial = r.epoch+1, 0, partialEpoch{}
		if err := r.dir.logEpoch(e); err != nil {
			return err
		}
		if err := r.saveEpoch(e); err != nil {
			return err
		}
		if r.o.OnEpoch != nil && r.first() {
			r.o.OnEpoch(e)
		}
		if r.stopped {
			r.o.Log.Info("training stopped: the validation error has not fallen since the last decrease of the learning rate", "epoch", e.Epoch)
		}
	}
	return nil
}

func (r *run) setBest(e Epoch) {
	r.best = e
	r.result.BestEpoch, r.result.BestWeights = e.Epoch, bestPath(r.o.Dir)
	r.result.Top1Error, r.result.Top5Error = e.Top1Error, e.Top5Error
	r.result.LocalisationError, r.result.MeanIoU = e.LocalisationError, e.MeanIoU
	r.result.MeanAP, r.result.MicroF1 = e.MeanAP, e.MicroF1
}

// saveEpoch saves the weights and the checkpoint at the end of an epoch. The checkpoint
// comes after the best weights, so that a run that resumes from it has them.
func (r *run) saveEpoch(e Epoch) error {
	if !r.first() {
		return nil
	}
	if err := r.model.Save(context.Background(), r.dir.last()); err != nil {
		if r.done() || r.o.Keep == 0 {
			return err
		}
		r.o.Log.Warn("weights not saved, training goes on", "error", err)
	}
	if e.Best {
		if err := r.model.Save(context.Background(), r.dir.best()); err != nil {
			return err
		}
	}
	return r.saveCheckpoint(r.done())
}

// runEpoch runs the rest of an epoch and the validation after it.
func (r *run) runEpoch(ctx context.Context) (Epoch, error) {
	start, before := time.Now(), r.partial.Seconds
	clock := func() { r.partial.Seconds = before + time.Since(start).Seconds() }
	e := Epoch{Epoch: r.epoch, Epochs: r.o.Recipe.Epochs}
	if err := r.trainEpoch(ctx, &e, clock); err != nil {
		return e, err
	}
	e.Iterations = r.iteration
	e.LearningRate = r.rateAt(r.iteration)
	e.TrainLoss = r.partial.Loss / float64(r.partial.Images)
	if err := r.stepper.fetch(); err != nil {
		return e, err
	}
	if err := r.finiteWeights(); err != nil { // after the epoch's last update
		return e, err
	}
	if err := r.validate(ctx, &e); err != nil {
		return e, err
	}
	if r.valLoader != nil && !finite(e.Loss) {
		return e, r.diverged(fmt.Sprintf("the validation loss is %v after iteration %d", e.Loss, r.iteration), r.iteration, "")
	}
	e.Best = r.isBest(e)
	clock()
	e.Seconds, e.WaitSeconds = r.partial.Seconds, r.partial.Wait
	return e, nil
}

// trainEpoch updates the weights by the epoch's remaining mini-batches. clock notes the
// time that has passed, before a checkpoint may be written.
func (r *run) trainEpoch(ctx context.Context, e *Epoch, clock func()) error {
	began := time.Now() // of the iteration, with waiting for its images and computing their features
	for batch, err := range r.aheadOf(r.trainBatches(ctx, r.epoch, r.batches)) {
		if err == nil && r.iteration >= r.iterations {
			return nil
		}
		b, err := r.sharePart(ctx, batch, r.batches, err)
		if err != nil {
			return err
		}
		if err := r.noteBad(e, b.Bad); err != nil {
			return err
		}
		r.partial.Wait += b.Wait.Seconds()
		if b.n == 0 {
			r.batches++
			continue
		}
		if err := r.iterate(ctx, b, began); err != nil {
			return err
		}
		began = time.Now()
		clock()
		if ctx.Err() != nil && r.o.Processes == nil { // else all learn of it with the next batch
			return ctx.Err()
		}
		if r.checkpoints.due() {
			if err := r.saveCheckpoint(false); err != nil {
				return err
			}
			began = time.Now()
		}
	}
	return nil
}

// isBest reports whether an epoch is better than the best so far. Without validation images
// every epoch is.
func (r *run) isBest(e Epoch) bool {
	now, best := r.judged(e), r.judged(r.best)
	return r.best.Epoch == 0 || now < best || now == best && e.Loss < r.best.Loss || math.IsNaN(now)
}

// iterate updates the weights by a mini-batch, for which work began at a time.
func (r *run) iterate(ctx context.Context, b part, began time.Time) error {
	next := r.iteration + 1
	rate := r.rateAt(next)
	sum, err := r.stepper.step(ctx, b, next, rate)
	if err != nil {
		return err
	}
	mean := sum / float64(b.n)
	if err := r.checkLoss(b, mean, next); err != nil {
		return err
	}
	r.iteration = next
	r.batches++
	r.partial.Loss += sum
	r.partial.Images += b.n
	it := Iteration{Epoch: r.epoch, Iteration: next, Iterations: r.iterations, Loss: mean, LearningRate: rate,
		Images: b.n, ImagesPerSecond: progress.Rate(float64(b.n), time.Since(began))}
	if r.o.Processes != nil {
		it.ExchangeTime = r.stepper.exchanged()
		r.result.ExchangeSeconds += it.ExchangeSeconds
		r.result.ExchangeWaitSeconds += it.ExchangeWaitSeconds
	}
	if err := r.dir.logIteration(it); err != nil {
		return err
	}
	if r.o.OnIteration != nil && r.first() {
		r.o.OnIteration(it)
	}
	return nil
}

// saveCheckpoint writes a checkpoint of the run as it is. It is an error if a weight is not
// finite. last says that failing to write is an error, too.
func (r *run) saveCheckpoint(last bool) error {
	if r.o.Keep == 0 {
		return nil
	}
	if err := r.stepper.fetch(); err != nil {
		return err
	}
	if err := r.finiteWeights(); err != nil || !r.first() {
		return err
	}
	s := runState{
		Version: stateVersion, Program: programVersion(), ISA: r.computesOn(),
		Recipe: string(r.o.Recipe.YAML()), Task: r.o.identity(), Note: r.o.Note, Init: r.init, Train: r.trainSet, Val: r.valSet, Stats: r.stats, Spec: r.spec,
		Epoch: r.epoch, Batches: r.batches, Iteration: r.iteration, Stopped: r.stopped, Partial: r.partial, Schedule: r.rate.state(),
		Seconds: r.elapsed(), Wait: r.wait, Unreadable: []string{}, Rescues: r.rescues, Judged: r.loss,
		MetricsBytes: r.dir.metrics.sync(), EventsFile: r.dir.events.name, EventsBytes: r.dir.events.log.sync(),
	}
	if r.best.Epoch > 0 {
		best := r.best
		s.Best = &best
	}
	for name := range r.bad {
		s.Unreadable = append(s.Unreadable, name)
	}
	slices.Sort(s.Unreadable)
	tensors := interchange.NativeTensors(r.model.Net)
	for _, p := range r.model.Net.Params() {
		if v := r.stepper.momentum(p); v != nil {
			tensors = append(tensors, momentumSource(p, v))
		}
	}
	return r.checkpoints.save(s, tensors, last)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// finiteWeights is an error if a parameter is not finite.
func (r *run) finiteWeights() error {
	if name := r.model.Net.Chain().NonFinite(); name != "" {
		return r.diverged(fmt.Sprintf("a weight is not finite after iteration %d", r.iteration), r.iteration, name)
	}
	return nil
}

// diverged returns the error of a number that is not finite, first met in the given layer.
func (r *run) diverged(what string, iteration int, layer string) error {
	r.checkpoints.wait()
	return &DivergedError{What: what, Layer: layer, Epoch: r.epoch, Iteration: iteration, LearningRate: r.rateAt(r.iteration + 1),
		Checkpoint: r.checkpoints.good, Kept: r.epoch > 1}
}

// validate evaluates the central crops of the validation images.
func (r *run) validate(ctx context.Context, e *Epoch) error {
	e.Loss, e.Top1Error, e.Top5Error = math.NaN(), math.NaN(), math.NaN()
	e.LocalisationError, e.MeanIoU = math.NaN(), math.NaN()
	e.MeanAP, e.MicroF1 = math.NaN(), math.NaN()
	if r.valLoader == nil {
		return nil
	}
	judge := r.newJudge()
	verdicts, bad, err := r.judgePart(ctx, judge)
	if err != nil && (r.o.Processes == nil || ctx.Err() == nil) { // else all learn that this one stops
		return err
	}
	if verdicts, bad, err = r.gatherVerdicts(ctx, verdicts, bad); err != nil {
		return err
	}
	if err := r.noteBad(e, bad); err != nil {
		return err
	}
	if len(verdicts) == 0 {
		return fmt.Errorf("train: %s: none of %d images is readable: %w", r.o.Val.Name, len(bad), &bad[0])
	}
	for _, v := range verdicts {
		judge.add(r.o.Val.Samples[v.Index], v)
	}
	judge.into(e)
	return nil
}

// judgePart sees the validation images, or this process's part of them.
func (r *run) judgePart(ctx context.Context, judge judge) (verdicts []verdict, bad []dataset.BadImage, err error) {
	for b, err := range r.valBatches(ctx) {
		if err != nil {
			return nil, nil, err
		}
		bad = append(bad, b.Bad...)
		if len(b.Labels) == 0 {
			continue
		}
		y, err := r.forward(b.X)
		if err != nil {
			return nil, nil, err
		}
		k := y.Shape[1]
		for i, index := range b.Indices {
			v := judge.see(r.o.Val.Samples[index], b.Views[i], y.Data[i*k:(i+1)*k])
			v.Index = index
			verdicts = append(verdicts, v)
		}
	}
	return verdicts, bad, nil
}

// noteBad logs the unreadable images that were not met before. It is an error if there
// are too many.
func (r *run) noteBad(e *Epoch, bad []dataset.BadImage) error {
	e.Bad = append(e.Bad, bad...)
	for _, b := range bad {
		if r.bad[b.Name] {
			continue
		}
		r.bad[b.Name] = true
		r.o.Log.Warn("unreadable image skipped", "image", b.Name, "error", b.Err)
		if err := r.o.checkBad(len(r.bad), b); err != nil {
			return err
		}
	}
	return nil
}

// checkBad is an error if n unreadable images are more than the options allow.
func (o Options) checkBad(n int, last dataset.BadImage) error {
	total := o.Train.Len()
	if o.Val != nil {
		total += o.Val.Len()
	}
	if float64(n)/float64(total) <= o.MaxBad {
		return nil
	}
	return &TooManyBadError{Bad: n, Total: total, Allowed: o.MaxBad, Last: last}
}
