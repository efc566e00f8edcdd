package train

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/preprocess"
)

// Options say what to train, on what and where to.
type Options struct {
	Recipe     Recipe
	Task       Task // what is learnt; nil: the classes of the images
	Train      *dataset.Dataset
	Val        *dataset.Dataset // may be nil: then the last weights are the best
	Dir        string           // run directory; made, and must be empty if it is there
	Threads    int              // 0: runtime.GOMAXPROCS
	Ranks      int              // that share the recipe's groups, whose number they divide; 0: 1
	Micro      int              // most images that a rank computes at a time; 0: a whole group
	Memory     int64            // bytes that the run is to stay within, which choose Micro; 0: any
	CacheBytes int64            // decoded images that are kept in memory, at most; 0: none
	Log        *slog.Logger     // nil: nothing is logged

	// A checkpoint is written at the end of every epoch, every CheckpointEvery besides
	// unless that is 0, and when the context is done. The last Keep stay; 0: none is
	// written.
	CheckpointEvery time.Duration
	Keep            int
	// Resume goes on from the newest checkpoint in Dir that is whole, to the same bits as
	// if the run had not stopped. Where there is none yet, the run begins anew.
	Resume bool
	Note   map[string]string // kept in every checkpoint

	// MaxBad is the greatest share of the images that may turn out to be unreadable: past
	// it the run stops with an error, before the first iteration if the survey of the
	// training images meets so many. 0: none may; 1: all may.
	MaxBad   float64
	StatsDir string // where the images' statistics are kept if their folder can't be written; "": nowhere

	// OnStats, OnStart, OnIteration and OnEpoch, where set, are told of progress as it is
	// made. OnStats hears of the survey of the training images, how many of the total are
	// done.
	OnStats     func(done, total int)
	OnStart     func(Start)
	OnIteration func(Iteration)
	OnEpoch     func(Epoch)
}

// Start is what a run begins with, or goes on from.
type Start struct {
	Recipe     Recipe // resolved
	Preprocess preprocess.Spec
	Init       *InitReport // nil if all was drawn at random
	Checkpoint string      // that the run goes on from; "" if it begins
	Epoch      int         // to run next, from 1
	Iteration  int         // the last one done
	Iterations int         // of the whole run, if every epoch is run
	Images     int         // of the training set
	Micro      int         // images that a rank computes at a time
	Memory     int64       // bytes that the run takes at most, as estimated
	// Seconds is what the rest of the run may take, as a forward pass was timed, if
	// images are ready when they are needed.
	Seconds   float64
	CopyBytes int64 // that writing checkpoints takes
}

// Iteration is one update of the weights.
type Iteration struct {
	Epoch           int     `json:"epoch"`     // from 1
	Iteration       int     `json:"iteration"` // from 1, over the run
	Iterations      int     `json:"-"`         // of the whole run, if every epoch is run
	Loss            float64 `json:"loss"`      // mean over the mini-batch, before the update
	LearningRate    float64 `json:"learning_rate"`
	Images          int     `json:"images"`
	ImagesPerSecond float64 `json:"images_per_second"`
}

// Epoch is one pass over the training set with the validation after it. Errors are
// fractions, NaN without validation images.
type Epoch struct {
	Epoch        int     `json:"epoch"` // from 1
	Epochs       int     `json:"-"`     // of the run at most
	Iterations   int     `json:"iterations"`
	TrainLoss    float64 `json:"train_loss"` // mean over the epoch's images
	Loss         float64 `json:"loss"`       // mean over the validation images
	Top1Error    float64 `json:"top1_error"`
	Top5Error    float64 `json:"top5_error"`
	LearningRate float64 `json:"learning_rate"`

	// Of a task of boxes, which has no top-k errors: the share of the validation images
	// whose box has an intersection over union with the true one of one half at most, and
	// its mean. NaN otherwise, and then not in the JSON.
	LocalisationError float64 `json:"localisation_error"`
	MeanIoU           float64 `json:"mean_iou"`

	Seconds     float64            `json:"seconds"`
	WaitSeconds float64            `json:"wait_seconds"` // of these, waiting for images
	Best        bool               `json:"best"`
	Bad         []dataset.BadImage `json:"-"` // unreadable images met in this epoch
}

// Result is what a run came to. Its JSON keys are those of `vgg train --json`.
type Result struct {
	Run         string  `json:"run"` // the run directory
	Epochs      int     `json:"epochs"`
	Iterations  int     `json:"iterations"`
	Seconds     float64 `json:"seconds"`
	WaitSeconds float64 `json:"wait_seconds"`
	BestEpoch   int     `json:"best_epoch"`
	Top1Error   float64 `json:"top1_error"` // of the best epoch
	Top5Error   float64 `json:"top5_error"`
	BestWeights string  `json:"best_weights"`

	LocalisationError float64 `json:"localisation_error"` // as in [Epoch]
	MeanIoU           float64 `json:"mean_iou"`

	Unreadable int `json:"unreadable"` // different images that could not be read

	Init *InitReport `json:"init,omitempty"`
}

// run is the state of a training run.
type run struct {
	o         Options
	init      *InitReport
	trainData data
	valData   *data
	stats     preprocess.Stats
	spec      preprocess.Spec

	dir         *runDir
	unlock      func() // the directory
	checkpoints *checkpoints
	model       *vgg.Model
	stepper     *stepper
	rate        *rate
	train       *dataset.Loader
	val         *dataset.Loader

	position
	iterations int // of the run at most
	bad        map[string]bool
	seconds    float64 // in earlier processes
	wait       float64 // seconds, before this epoch
	started    time.Time
	result     Result
	best       Epoch
}

// position is how far a run has come.
type position struct {
	epoch     int // from 1
	batches   int // done of it
	iteration int
	stopped   bool // by the schedule
	partial   partial
}

// Run trains a network and leaves in o.Dir the recipe (recipe.yaml), the course of the
// training (metrics.jsonl, and for TensorBoard events.out.tfevents.*), the weights after
// the last epoch (last.safetensors), those of the epoch with the least validation error
// (best.safetensors; of equal errors, the one with the lower loss), and checkpoints.
//
// When ctx is done, Run saves a checkpoint and the weights of that moment as
// last.safetensors, and returns ctx's cause together with the result so far. A number
// that is not finite, in the loss or in a weight, stops the run with an error that says
// where it was first met; the weights of the last epoch and the checkpoints before stay.
//
// A checkpoint that can't be written is logged as a warning, and training goes on: the
// ones before it stay. That of a run that ends or is cancelled is an error.
func Run(ctx context.Context, o Options) (*Result, error) {
	start := time.Now()
	r, err := newRun(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.unlock()
	r.started = start
	err = r.epochs(ctx)
	if err != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		// The weights are whole: an update is never cut short.
		err = context.Cause(ctx)
		if saveErr := errors.Join(r.checkpoint(true), r.model.Save(context.Background(), r.dir.last())); saveErr != nil {
			err = errors.Join(err, saveErr)
		}
	}
	r.checkpoints.wait()
	if closeErr := r.dir.close(); closeErr != nil {
		if err == nil {
			err = closeErr
		} else {
			r.o.Log.Warn("log not written", "error", closeErr)
		}
	}
	r.result.Iterations = r.iteration
	r.result.Seconds = r.elapsed()
	r.result.WaitSeconds = r.wait + r.partial.Wait
	r.result.Unreadable = len(r.bad)
	return &r.result, err
}

// elapsed is the run's time in seconds, with that of the processes before this one.
func (r *run) elapsed() float64 { return r.seconds + time.Since(r.started).Seconds() }

func (r *run) done() bool {
	return r.stopped || r.epoch > r.o.Recipe.Epochs || r.iteration >= r.iterations && r.batches == 0
}

func (r *run) epochs(ctx context.Context) error {
	for !r.done() {
		e, err := r.runEpoch(ctx)
		if err != nil {
			return err
		}
		if e.Best {
			r.setBest(e)
		}
		r.result.Epochs = e.Epoch
		r.stopped = r.rate.epoch(e.Epoch, r.judged(e))
		r.wait += r.partial.Wait
		r.epoch, r.batches, r.partial = r.epoch+1, 0, partial{}
		if err := r.dir.logEpoch(e); err != nil {
			return err
		}
		if err := r.save(e); err != nil {
			return err
		}
		if r.o.OnEpoch != nil {
			r.o.OnEpoch(e)
		}
		if r.stopped {
			r.o.Log.Info("training stopped: no fall of the validation error after the last decrease of the learning rate", "epoch", e.Epoch)
		}
	}
	return nil
}

func (r *run) setBest(e Epoch) {
	r.best = e
	r.result.BestEpoch, r.result.BestWeights = e.Epoch, bestPath(r.o.Dir)
	r.result.Top1Error, r.result.Top5Error = e.Top1Error, e.Top5Error
	r.result.LocalisationError, r.result.MeanIoU = e.LocalisationError, e.MeanIoU
}

// save saves the weights and the checkpoint that end an epoch. A checkpoint comes after
// the best weights, so that a run that goes on from it has them.
func (r *run) save(e Epoch) error {
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
	return r.checkpoint(r.done())
}

// runEpoch runs what is left of an epoch and the validation after it.
func (r *run) runEpoch(ctx context.Context) (Epoch, error) {
	start := time.Now()
	before := r.partial
	n := r.epoch
	rec := r.o.Recipe
	e := Epoch{Epoch: n, Epochs: rec.Epochs}
	for b, err := range r.train.EpochFrom(ctx, n, r.batches) {
		if err != nil {
			return e, err
		}
		if r.iteration >= r.iterations {
			break
		}
		if err := r.noteBad(&e, b.Bad); err != nil {
			return e, err
		}
		r.partial.Wait += b.Wait.Seconds()
		if len(b.Labels) == 0 {
			r.batches++
			continue
		}
		if err := r.iterate(ctx, b); err != nil {
			return e, err
		}
		r.partial.Seconds = before.Seconds + time.Since(start).Seconds()
		if ctx.Err() != nil {
			return e, ctx.Err()
		}
		if r.checkpoints.due() {
			if err := r.checkpoint(false); err != nil {
				return e, err
			}
		}
	}
	e.Iterations = r.iteration
	e.LearningRate = r.rate.at(r.iteration)
	e.TrainLoss = r.partial.Loss / float64(r.partial.Images)
	if err := r.finiteWeights(); err != nil { // the epoch's last update
		return e, err
	}
	if err := r.validate(ctx, &e); err != nil {
		return e, err
	}
	if r.val != nil && !finite(e.Loss) {
		return e, r.diverged(fmt.Sprintf("the validation loss is %v after iteration %d", e.Loss, r.iteration), "")
	}
	now, best := r.judged(e), r.judged(r.best)
	e.Best = r.best.Epoch == 0 || now < best || now == best && e.Loss < r.best.Loss || math.IsNaN(now)
	r.partial.Seconds = before.Seconds + time.Since(start).Seconds()
	e.Seconds, e.WaitSeconds = r.partial.Seconds, r.partial.Wait
	return e, nil
}

// iterate updates the weights by a mini-batch.
func (r *run) iterate(ctx context.Context, b *dataset.Batch) error {
	began := time.Now()
	next := r.iteration + 1
	rate := r.rate.at(next)
	sum, err := r.step(ctx, b, next, rate)
	if err != nil {
		return err
	}
	mean := sum / float64(len(b.Labels))
	if !finite(mean) {
		return r.diverged(fmt.Sprintf("the loss is %v at iteration %d", mean, next), r.nonFinite())
	}
	r.iteration = next
	r.batches++
	r.partial.Loss += sum
	r.partial.Images += len(b.Labels)
	it := Iteration{Epoch: r.epoch, Iteration: next, Iterations: r.iterations, Loss: mean, LearningRate: rate,
		Images: len(b.Labels), ImagesPerSecond: float64(len(b.Labels)) / (time.Since(began) + b.Wait).Seconds()}
	if err := r.dir.logIteration(it); err != nil {
		return err
	}
	if r.o.OnIteration != nil {
		r.o.OnIteration(it)
	}
	return nil
}

// checkpoint writes one of where the run is. Weights that are not finite are never
// written: that is an error.
func (r *run) checkpoint(last bool) error {
	if r.o.Keep == 0 {
		return nil
	}
	if err := r.finiteWeights(); err != nil {
		return err
	}
	s := state{
		Version: stateVersion, Program: programVersion(), ISA: kernel.Current().Name(),
		Recipe: string(r.o.Recipe.YAML()), Task: r.o.identity(), Note: r.o.Note, Init: r.init, Train: r.trainData, Val: r.valData, Stats: r.stats, Spec: r.spec,
		Epoch: r.epoch, Batches: r.batches, Iteration: r.iteration, Stopped: r.stopped, Partial: r.partial, Schedule: r.rate.state(),
		Seconds: r.elapsed(), Wait: r.wait, Unreadable: []string{},
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
		if v := r.momentum(p); v != nil {
			tensors = append(tensors, momentumSource(p, v))
		}
	}
	return r.checkpoints.save(s, tensors, last)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// finiteWeights is an error if a parameter is not finite.
func (r *run) finiteWeights() error {
	if name := r.model.Net.Chain().NonFinite(); name != "" {
		return r.diverged(fmt.Sprintf("a weight is not finite after iteration %d", r.iteration), name)
	}
	return nil
}

// diverged is the error of a number that is not finite, first met in the place named.
func (r *run) diverged(what, place string) error {
	r.checkpoints.wait()
	if place != "" {
		what += ", first met in " + place
	}
	kept := "nothing is saved"
	switch {
	case r.checkpoints.good != "":
		kept = "the last good checkpoint is " + r.checkpoints.good
	case r.epoch > 1:
		kept = "the weights before this epoch are kept"
	}
	return fmt.Errorf("train: %s (epoch %d, learning rate %g): %s; try a lower learning rate or another initialisation", what, r.epoch, r.rate.at(r.iteration+1), kept)
}

// validate evaluates the central crops of the validation images.
func (r *run) validate(ctx context.Context, e *Epoch) error {
	e.Loss, e.Top1Error, e.Top5Error = math.NaN(), math.NaN(), math.NaN()
	e.LocalisationError, e.MeanIoU = math.NaN(), math.NaN()
	if r.val == nil {
		return nil
	}
	judge := r.newJudge()
	for b, err := range r.val.Epoch(ctx, 0) {
		if err != nil {
			return err
		}
		if err := r.noteBad(e, b.Bad); err != nil {
			return err
		}
		if len(b.Labels) == 0 {
			continue
		}
		y, err := r.model.Net.Forward(b.X)
		if err != nil {
			return err
		}
		k := y.Shape[1]
		for i, index := range b.Indices {
			judge.add(r.o.Val.Samples[index], b.Views[i], y.Data[i*k:(i+1)*k])
		}
	}
	judge.into(e)
	return nil
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
		if err := r.o.tooManyBad(len(r.bad), b.Name, b.Err); err != nil {
			return err
		}
	}
	return nil
}

// tooManyBad is an error if n unreadable images, the last of which is named, are more
// than may be.
func (o Options) tooManyBad(n int, last string, why error) error {
	total := o.Train.Len()
	if o.Val != nil {
		total += o.Val.Len()
	}
	share := float64(n) / float64(total)
	if share <= o.MaxBad {
		return nil
	}
	return fmt.Errorf("train: %d of %d images are unreadable, %.3g %%, max-bad allows %.3g %%; the last is %s: %w", n, total, 100*share, 100*o.MaxBad, last, why)
}
