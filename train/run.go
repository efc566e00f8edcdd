package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// Options say what to train, on what and where to.
type Options struct {
	Recipe     Recipe
	Train      *dataset.Dataset
	Val        *dataset.Dataset // may be nil: then the last weights are the best
	Dir        string           // run directory; made, and must be empty if it is there
	Threads    int              // 0: runtime.GOMAXPROCS
	CacheBytes int64            // decoded images that are kept in memory, at most; 0: none
	Log        *slog.Logger     // nil: nothing is logged

	// OnIteration and OnEpoch, where set, are told of progress as it is made.
	OnIteration func(Iteration)
	OnEpoch     func(Epoch)
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
	Epoch        int                `json:"epoch"` // from 1
	Epochs       int                `json:"-"`     // of the run at most
	Iterations   int                `json:"iterations"`
	TrainLoss    float64            `json:"train_loss"` // mean over the epoch's images
	Loss         float64            `json:"loss"`       // mean over the validation images
	Top1Error    float64            `json:"top1_error"`
	Top5Error    float64            `json:"top5_error"`
	LearningRate float64            `json:"learning_rate"`
	Seconds      float64            `json:"seconds"`
	WaitSeconds  float64            `json:"wait_seconds"` // of these, waiting for images
	Best         bool               `json:"best"`
	Bad          []dataset.BadImage `json:"-"` // unreadable images met in this epoch
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
	Unreadable  int     `json:"unreadable"` // different images that could not be read
}

// run is the state of a training run.
type run struct {
	o          Options
	dir        *runDir
	model      *vgg.Model
	state      *nn.Training
	sgd        *nn.SGD
	rate       *rate
	train      *dataset.Loader
	val        *dataset.Loader
	bad        map[string]bool
	iteration  int
	iterations int
	wait       time.Duration
	result     Result
	best       Epoch
}

// Run trains a network and leaves in o.Dir the recipe (recipe.yaml), the course of the
// training (metrics.jsonl), the weights after the last epoch (last.safetensors) and
// those of the epoch with the least validation error (best.safetensors; of equal
// errors, the one with the lower loss).
//
// When ctx is cancelled, Run saves the weights of that moment as last.safetensors and
// returns ctx's cause together with the result so far. A loss that is not finite, in
// training or validation, stops the run with an error; the weights of the last epoch
// stay.
func Run(ctx context.Context, o Options) (*Result, error) {
	start := time.Now()
	r, err := newRun(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.dir.close()
	err = r.epochs(ctx)
	r.result.Iterations = r.iteration
	r.result.Seconds = time.Since(start).Seconds()
	r.result.WaitSeconds = r.wait.Seconds()
	r.result.Unreadable = len(r.bad)
	if err != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		// r.state's weights are whole: an update is never cut short.
		if saveErr := r.model.Save(r.dir.last()); saveErr != nil {
			return &r.result, errors.Join(context.Cause(ctx), saveErr)
		}
		return &r.result, context.Cause(ctx)
	}
	return &r.result, err
}

// validate reports what no training can run with.
func (o Options) validate() error {
	if err := o.Recipe.Validate(); err != nil {
		return err
	}
	switch {
	case o.Train == nil:
		return errors.New("train: no training images")
	case o.Threads < 0:
		return fmt.Errorf("train: %d threads, want 0 or more", o.Threads)
	case o.Val != nil && !slices.Equal(o.Val.Classes, o.Train.Classes):
		return fmt.Errorf("train: %s: validation images of %s, want those of the training images, %s", o.Val.Name, classList(o.Val), classList(o.Train))
	}
	return nil
}

func classList(d *dataset.Dataset) string {
	const most = 20
	names := d.Classes
	if len(names) > most {
		names = append(names[:most:most], "…")
	}
	return fmt.Sprintf("%d classes (%s)", len(d.Classes), strings.Join(names, ", "))
}

func newRun(ctx context.Context, o Options) (*run, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	rec := o.Recipe
	net, err := vgg.New(rec.Options(len(o.Train.Classes)))
	if err != nil {
		return nil, err
	}
	if o.Threads > 0 {
		net.SetThreads(o.Threads)
	}
	if err := net.Init(rec.Init, rec.Seed); err != nil {
		return nil, err
	}
	stats, err := dataset.ComputeStats(ctx, o.Train, o.Threads, nil)
	if err != nil {
		return nil, err
	}
	spec := preprocess.Spec{Name: "vgg", Scale: 1, Std: [3]float32{1, 1, 1}, Filter: rec.Filter, Crop: rec.Input, Resize: rec.TestScale}
	for c, m := range stats.Mean {
		spec.Mean[c] = float32(m)
		if rec.Standardise {
			spec.Std[c] = deviation(stats, c)
		}
	}
	if o.Val == nil && rec.Schedule.Name == "plateau" {
		o.Log.Warn("no validation images: the plateau schedule keeps the learning rate as it is")
	}
	r := &run{o: o, bad: map[string]bool{}, }
	r.model = &vgg.Model{Net: net, Classes: o.Train.Classes, Preprocess: spec, Provenance: map[string]string{
		"trained_on": o.Train.Name,
		"recipe":     string(rec.YAML()),
	}}
	if r.state, err = net.Chain().NewTraining(min(rec.Batch, o.Train.Len()), rec.Input, rec.Input); err != nil {
		return nil, err
	}
	r.sgd = nn.NewSGD(net.Chain())
	r.train = &dataset.Loader{Data: o.Train, Spec: spec, Batch: rec.Batch, Crop: rec.Input, SMin: rec.ScaleMin, SMax: rec.ScaleMax,
		Flip: rec.Flip, ShiftStd: rec.ColourShift, Seed: rec.Seed, Workers: o.Threads, CacheBytes: o.CacheBytes, Train: true}
	if rec.ColourShift > 0 {
		r.train.Shift = stats.Shift
	}
	if o.Val != nil {
		r.val = &dataset.Loader{Data: o.Val, Spec: spec, Batch: min(rec.Batch, 64), Crop: rec.Input, Workers: o.Threads, CacheBytes: o.CacheBytes}
	}
	perEpoch := (o.Train.Len() + rec.Batch - 1) / rec.Batch
	r.iterations = min(perEpoch*rec.Epochs, rec.MaxIterations)
	r.rate = newRate(rec.Schedule, rec.LearningRate, perEpoch, r.iterations)
	if r.dir, err = newRunDir(o.Dir); err != nil {
		return nil, err
	}
	r.result = Result{Run: o.Dir, Top1Error: math.NaN(), Top5Error: math.NaN()}
	if err := r.dir.writeRecipe(rec); err != nil {
		r.dir.close()
		return nil, err
	}
	return r, nil
}

// deviation is the standard deviation of channel c: the covariance is Σ λᵢ pᵢ pᵢᵀ. A
// channel that doesn't vary is left as it is.
func deviation(s preprocess.Stats, c int) float32 {
	var variance float64
	for i, l := range s.Eigenvalues {
		variance += l * s.Eigenvectors[i][c] * s.Eigenvectors[i][c]
	}
	if variance < 1e-6 {
		return 1
	}
	return float32(math.Sqrt(variance))
}

func (r *run) epochs(ctx context.Context) error {
	for n := 1; n <= r.o.Recipe.Epochs; n++ {
		e, err := r.epoch(ctx, n)
		if err != nil {
			return err
		}
		r.result.Epochs = n
		stop := r.rate.epoch(n, e.Top1Error)
		if err := r.dir.log("epoch", e); err != nil {
			return err
		}
		if err := r.model.Save(r.dir.last()); err != nil {
			return err
		}
		if e.Best {
			if err := r.model.Save(r.dir.best()); err != nil {
				return err
			}
			r.best = e
			r.result.BestEpoch, r.result.BestWeights = n, r.dir.best()
			r.result.Top1Error, r.result.Top5Error = e.Top1Error, e.Top5Error
		}
		if r.o.OnEpoch != nil {
			r.o.OnEpoch(e)
		}
		if stop {
			r.o.Log.Info("training stopped: no fall of the validation error after the last decrease of the learning rate", "epoch", n)
			break
		}
	}
	return nil
}

// epoch runs one epoch and the validation after it.
func (r *run) epoch(ctx context.Context, n int) (Epoch, error) {
	start := time.Now()
	rec := r.o.Recipe
	e := Epoch{Epoch: n, Epochs: rec.Epochs, LearningRate: r.rate.value}
	var loss float64
	var images int
	var wait time.Duration
	for b, err := range r.train.Epoch(ctx, n) {
		if err != nil {
			return e, err
		}
		r.noteBad(&e, b.Bad)
		wait += b.Wait
		if len(b.Labels) == 0 {
			continue
		}
		began := time.Now()
		next := r.iteration + 1
		sum, err := r.state.StepSGD(b.X, b.Labels, nn.Pass{Seed: rec.Seed, Iteration: next},
			r.sgd, float32(r.rate.value), float32(rec.Momentum), float32(rec.WeightDecay))
		if err != nil {
			return e, err
		}
		mean := sum / float64(len(b.Labels))
		if !finite(mean) {
			return e, r.diverged(fmt.Sprintf("the loss is %v at iteration %d", mean, next), n)
		}
		r.iteration = next
		loss += sum
		images += len(b.Labels)
		it := Iteration{Epoch: n, Iteration: r.iteration, Iterations: r.iterations, Loss: mean, LearningRate: r.rate.value,
			Images: len(b.Labels), ImagesPerSecond: float64(len(b.Labels)) / (time.Since(began) + b.Wait).Seconds()}
		if err := r.dir.log("iteration", it); err != nil {
			return e, err
		}
		if r.o.OnIteration != nil {
			r.o.OnIteration(it)
		}
		if ctx.Err() != nil {
			return e, ctx.Err()
		}
	}
	r.wait += wait
	e.Iterations = r.iteration
	e.TrainLoss = loss / float64(images)
	if err := r.validate(ctx, &e); err != nil {
		return e, err
	}
	if r.val != nil && !finite(e.Loss) { // the epoch's last update did it
		return e, r.diverged(fmt.Sprintf("the validation loss is %v after iteration %d", e.Loss, r.iteration), n)
	}
	e.Best = r.best.Epoch == 0 || e.Top1Error < r.best.Top1Error ||
		e.Top1Error == r.best.Top1Error && e.Loss < r.best.Loss || math.IsNaN(e.Top1Error)
	e.Seconds, e.WaitSeconds = time.Since(start).Seconds(), wait.Seconds()
	return e, nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// diverged is the error of a loss that is not finite, in epoch n.
func (r *run) diverged(what string, n int) error {
	kept := "nothing is saved"
	if n > 1 {
		kept = "the weights before this epoch are kept"
	}
	return fmt.Errorf("train: %s (epoch %d, learning rate %g): %s; try a lower learning rate or another initialisation", what, n, r.rate.value, kept)
}

// validate evaluates the central crops of the validation images.
func (r *run) validate(ctx context.Context, e *Epoch) error {
	e.Loss, e.Top1Error, e.Top5Error = math.NaN(), math.NaN(), math.NaN()
	if r.val == nil {
		return nil
	}
	var ranks []int
	var loss float64
	for b, err := range r.val.Epoch(ctx, 0) {
		if err != nil {
			return err
		}
		r.noteBad(e, b.Bad)
		if len(b.Labels) == 0 {
			continue
		}
		y, err := r.model.Net.Forward(b.X)
		if err != nil {
			return err
		}
		k := y.Shape[1]
		loss += nn.SoftmaxLoss(y.Data, b.Labels, 1, make([]float32, len(y.Data)))
		for i, label := range b.Labels {
			ranks = append(ranks, metrics.Rank(y.Data[i*k:(i+1)*k], label))
		}
	}
	e.Loss = loss / float64(len(ranks))
	e.Top1Error, e.Top5Error = metrics.TopKError(ranks, 1), metrics.TopKError(ranks, 5)
	return nil
}

// noteBad logs the unreadable images that were not met before.
func (r *run) noteBad(e *Epoch, bad []dataset.BadImage) {
	e.Bad = append(e.Bad, bad...)
	for _, b := range bad {
		if !r.bad[b.Name] {
			r.bad[b.Name] = true
			r.o.Log.Warn("unreadable image skipped", "image", b.Name, "error", b.Err)
		}
	}
}
