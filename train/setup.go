package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

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
	case o.Ranks < 0:
		return fmt.Errorf("train: %d ranks, want 0 or more", o.Ranks)
	case o.Micro < 0:
		return fmt.Errorf("train: micro-batches of %d images, want 0 or more", o.Micro)
	case o.Memory < 0 || o.Memory > 0 && o.Micro > 0:
		return fmt.Errorf("train: memory of %d bytes with micro-batches of %d: want one of them", o.Memory, o.Micro)
	case o.Keep < 0:
		return fmt.Errorf("train: %d checkpoints to keep, want 0 or more", o.Keep)
	case !(o.MaxBad >= 0 && o.MaxBad <= 1):
		return fmt.Errorf("train: a share of %v of unreadable images, want 0 to 1", o.MaxBad)
	case o.CheckpointEvery < 0:
		return fmt.Errorf("train: a checkpoint every %v, want 0 or more", o.CheckpointEvery)
	case o.Val != nil && !slices.Equal(o.Val.Classes, o.Train.Classes):
		return fmt.Errorf("train: %s: validation images of %s, want those of the training images, %s", o.Val.Name, classNames(o.Val.Classes), classNames(o.Train.Classes))
	}
	return o.validateTask()
}

func classNames(names []string) string {
	const most = 20
	n := len(names)
	if n > most {
		names = append(names[:most:most], "…")
	}
	return fmt.Sprintf("%d classes (%s)", n, strings.Join(names, ", "))
}

// newRun prepares a run, or what goes on with one. Nothing is made in o.Dir before all
// that can be refused has been looked at.
func newRun(ctx context.Context, o Options) (_ *run, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	var file *weights.File
	var from *state
	var unlock func()
	defer func() {
		if err != nil && unlock != nil {
			unlock()
		}
	}()
	if o.Resume {
		// Before anything is read that another run may be writing.
		if _, err := os.Stat(o.Dir); err == nil {
			if unlock, err = lockRun(o.Dir, o.Log); err != nil {
				return nil, err
			}
		}
		f, s, err := openCheckpoint(o.Dir, o.Log)
		if err != nil {
			return nil, err
		}
		if f != nil {
			defer f.Close()
			if err := errors.Join(s.checkTask(o, f.Name()), s.checkRecipe(&o.Recipe, f.Name())); err != nil {
				return nil, err
			}
			file, from = f, &s
		}
	}
	rec := &o.Recipe
	net, err := network.New(rec.Options(o.outputs()))
	if err != nil {
		return nil, err
	}
	if o.Threads > 0 {
		net.SetThreads(o.Threads)
	}
	if err := freeze(net.Params(), rec.Freeze); err != nil {
		return nil, err
	}
	if err := setRates(net.Params(), rec.LayerRates); err != nil {
		return nil, err
	}
	r := &run{bad: map[string]bool{}, position: position{epoch: 1}}
	var pixels *preprocess.Spec
	if from == nil {
		if r.init, pixels, err = begin(ctx, net, rec, o.Task != nil, o.Train.Classes); err != nil {
			return nil, err
		}
		if o.Resume {
			if err := checkBegun(o.Dir, *rec); err != nil {
				return nil, err
			}
		}
	} else {
		r.init = from.Init
	}
	r.o = o
	if err := r.identify(ctx, from, pixels); err != nil {
		return nil, err
	}
	r.model = &vgg.Model{Net: net, Classes: o.Train.Classes, Preprocess: r.spec, Provenance: map[string]string{
		"trained_on": r.trainData.Name,
		"recipe":     string(rec.YAML()),
	}}
	if o.Task != nil {
		r.model.Localisation = o.Task.Localisation()
	}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	if o.Val == nil && rec.Schedule.Name == "plateau" {
		o.Log.Warn("no validation images: the plateau schedule keeps the learning rate as it is")
	}
	r.checkpoints = &checkpoints{dir: o.Dir, keep: o.Keep, every: o.CheckpointEvery, log: o.Log, last: time.Now()}
	r.result = Result{Run: o.Dir, Top1Error: math.NaN(), Top5Error: math.NaN(), LocalisationError: math.NaN(), MeanIoU: math.NaN(), Init: r.init}
	if from != nil {
		if err := r.restore(file, *from); err != nil {
			return nil, err
		}
	}
	if err := makeRunDir(o.Dir, o.Resume); err != nil {
		return nil, err
	}
	if unlock == nil {
		if unlock, err = lockRun(o.Dir, o.Log); err != nil {
			return nil, err
		}
	}
	r.unlock = unlock
	if err := saveRecipe(o.Dir, *rec); err != nil {
		return nil, err
	}
	if r.dir, err = openRunDir(o.Dir, from, o.Log); err != nil {
		return nil, err
	}
	if err := r.begun(from); err != nil {
		r.dir.close()
		return nil, err
	}
	return r, nil
}

// freeze marks the parameters of the layers that a pattern matches as not learnt. Each
// pattern must match a layer.
func freeze(params []*nn.Param, patterns []string) error {
	layers := layersOf(params)
	frozen := map[string]bool{}
	for _, pattern := range patterns {
		found := false
		for _, l := range layers {
			if ok, err := path.Match(pattern, l); err == nil && ok {
				frozen[l], found = true, true
			}
		}
		if !found {
			return fmt.Errorf("train: recipe: freeze: %q matches none of the layers %s", pattern, strings.Join(layers, ", "))
		}
	}
	if len(frozen) == len(layers) {
		return fmt.Errorf("train: recipe: freeze: %q: nothing is left to learn", patterns)
	}
	for _, p := range params {
		p.Frozen = frozen[layerOf(p)]
	}
	return nil
}

// identify takes the fingerprints of the images, compares them with the checkpoint's,
// and measures what preprocessing needs to know unless the checkpoint has it. pixels,
// if it isn't nil, is the preprocessing of the weights that the run begins with, which
// goes on with them.
func (r *run) identify(ctx context.Context, from *state, pixels *preprocess.Spec) error {
	o, rec := r.o, r.o.Recipe
	var err error
	if r.trainData, err = identityOf(ctx, o.Train); err != nil {
		return err
	}
	if o.Val != nil {
		v, err := identityOf(ctx, o.Val)
		if err != nil {
			return err
		}
		r.valData = &v
	}
	if from != nil {
		if err := from.checkData(r.trainData, r.valData); err != nil {
			return err
		}
		r.trainData, r.valData = from.Train, from.Val // with the names they had
		r.stats, r.spec = from.Stats, from.Spec
		return nil
	}
	survey, _, err := dataset.CachedSurvey(ctx, o.Train, dataset.StatsOptions{Workers: o.Threads, Progress: o.OnStats, CacheDir: o.StatsDir})
	if err != nil {
		return err
	}
	if n := len(survey.Unreadable); n > 0 {
		last := survey.Unreadable[n-1]
		if err := o.tooManyBad(n, last.File, errors.New(last.Error)); err != nil {
			return err
		}
	}
	r.stats = survey.Stats
	r.spec = preprocess.Spec{Name: "vgg", Scale: 1, Std: [3]float32{1, 1, 1}}
	if pixels != nil {
		r.spec = *pixels
	} else {
		for c, m := range r.stats.Mean {
			r.spec.Mean[c] = float32(m)
			if rec.Standardise {
				r.spec.Std[c] = deviation(r.stats, c)
			}
		}
	}
	r.spec.Filter, r.spec.Crop, r.spec.Resize = rec.Filter, rec.Input, rec.TestScale
	return nil
}

func identityOf(ctx context.Context, d *dataset.Dataset) (data, error) {
	print, err := dataset.Fingerprint(ctx, d)
	return data{Name: d.Name, Images: d.Len(), Classes: d.Classes, Fingerprint: print}, err
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

// prepare makes what a step needs, and the loaders.
func (r *run) prepare() error {
	o, rec := r.o, r.o.Recipe
	if err := r.fit(); err != nil {
		return err
	}
	o = r.o
	steps := stepOptions{Recipe: rec, Task: o.Task, Samples: o.Train.Samples, Batch: min(rec.Batch, o.Train.Len()), Micro: o.Micro, Ranks: max(1, o.Ranks), Threads: o.Threads}
	var err error
	if r.stepper, err = newStepper(r.model.Net, steps); err != nil {
		return err
	}
	r.train = &dataset.Loader{Data: o.Train, Spec: r.spec, Batch: rec.Batch, Crop: rec.Input, SMin: rec.ScaleMin, SMax: rec.ScaleMax,
		Flip: rec.Flip, ShiftStd: rec.ColourShift, Seed: rec.Seed, Workers: o.Threads, CacheBytes: o.CacheBytes, Train: true}
	if rec.ColourShift > 0 {
		r.train.Shift = r.stats.Shift
	}
	if o.Val != nil {
		r.val = &dataset.Loader{Data: o.Val, Spec: r.spec, Batch: validationBatch(rec, o.Micro), Crop: rec.Input, Workers: o.Threads, CacheBytes: o.CacheBytes}
	}
	perEpoch := r.train.Batches()
	r.iterations = min(perEpoch*rec.Epochs, rec.MaxIterations)
	r.rate = newRate(rec.Schedule, rec.LearningRate, perEpoch, r.iterations)
	return nil
}

// begun tells what the run begins with.
func (r *run) begun(from *state) error {
	s := Start{Recipe: r.o.Recipe, Init: r.init, Epoch: r.epoch, Iteration: r.iteration, Iterations: r.iterations, Preprocess: r.spec, Images: r.o.Train.Len()}
	s.CopyBytes = r.copyBytes()
	f := r.footprint()
	s.Micro = f.micro()
	var err error
	if s.Memory, err = f.Bytes(); err != nil {
		return err
	}
	if from != nil {
		s.Checkpoint = checkpointPath(r.o.Dir, from.Iteration)
		r.o.Log.Info("resumed", "checkpoint", s.Checkpoint, "iteration", s.Iteration)
	} else {
		if err := r.dir.events.text(0, "recipe", "```\n"+string(r.o.Recipe.YAML())+"```"); err != nil {
			return err
		}
		if r.init != nil {
			if err := r.dir.log("init", r.init); err != nil {
				return err
			}
			r.o.Log.Info("begun with weights", "file", r.init.File, "rule", r.init.Rule, "taken", r.init.Taken, "random", r.init.Random, "left", r.init.Left)
		}
	}
	if r.o.OnStart == nil {
		return nil
	}
	s.Seconds, err = r.estimate()
	r.o.OnStart(s)
	return err
}

// About how many forward passes a training step takes the time of. Inference takes batch
// normalisation into the weights, training can't.
const (
	stepForwards           = 3.6
	normalisedStepForwards = 7
)

// estimate is the time that the rest of the run may take, in seconds.
func (r *run) estimate() (float64, error) {
	const (
		most  = 8                      // images of a pass
		least = 200 * time.Millisecond // that passes are timed: a short one says little
	)
	rec := r.o.Recipe
	n := min(validationBatch(rec, r.o.Micro), r.o.Train.Len(), most)
	x := tensor.New(n, 3, rec.Input, rec.Input)
	if _, err := r.model.Net.Forward(x); err != nil { // takes memory
		return 0, err
	}
	start, passes := time.Now(), 0
	for ; passes == 0 || time.Since(start) < least; passes++ {
		if _, err := r.model.Net.Forward(x); err != nil {
			return 0, err
		}
	}
	image := time.Since(start).Seconds() / float64(passes*n)
	forwards := stepForwards
	if r.model.Net.Chain().StatisticsLen() > 0 {
		forwards = normalisedStepForwards
	}
	left := float64(r.iterations - r.iteration)
	validated := 0.
	if r.o.Val != nil {
		validated = float64(r.o.Val.Len()) / float64(r.train.Batches())
	}
	return left * image * (forwards*float64(min(rec.Batch, r.o.Train.Len())) + validated), nil
}

// checkRecipe compares the recipe of a run that goes on with the checkpoint's, and sets
// its rule of initialisation to what it came to. Epochs and iterations may be raised,
// unless the schedule depends on them.
func (s state) checkRecipe(r *Recipe, file string) error {
	was, err := s.recipe()
	if err != nil {
		return fmt.Errorf("train: checkpoint %s: %w", file, err)
	}
	if r.InitRule == Auto {
		r.InitRule = was.InitRule
	}
	for _, d := range Differences(*r, was) {
		raised := d.Key == "epochs" && r.Epochs > was.Epochs || d.Key == "max_iterations" && r.MaxIterations > was.MaxIterations
		switch {
		case raised && r.Schedule.Name == "cosine":
			return fmt.Errorf("train: %s: %s, the checkpoint %s has %s: the cosine schedule depends on it", d.Key, d.A, file, d.B)
		case !raised && (d.Key == "epochs" || d.Key == "max_iterations"):
			return fmt.Errorf("train: %s: %s, the checkpoint %s has %s: it can be raised, not lowered", d.Key, d.A, file, d.B)
		case !raised:
			return fmt.Errorf("train: %s: %s, the checkpoint %s has %s: a run goes on with the recipe that it began with", d.Key, d.A, file, d.B)
		}
	}
	return nil
}

// checkData compares the images of a run that goes on with the checkpoint's.
func (s state) checkData(train data, val *data) error {
	if text := train.differs(s.Train); text != "" {
		return fmt.Errorf("train: training images: %s", text)
	}
	switch {
	case (val == nil) != (s.Val == nil):
		return fmt.Errorf("train: validation images: %s, the checkpoint has %s", someImages(val), someImages(s.Val))
	case val != nil:
		if text := val.differs(*s.Val); text != "" {
			return fmt.Errorf("train: validation images: %s", text)
		}
	}
	return nil
}

func someImages(d *data) string {
	if d == nil {
		return "none"
	}
	return fmt.Sprintf("%s with %d", d.Name, d.Images)
}

// restore sets the run to where the checkpoint was taken.
func (r *run) restore(f *weights.File, s state) error {
	if isa := kernel.Current().Name(); isa != s.ISA {
		r.o.Log.Warn("the checkpoint was taken with another instruction set: the run goes on, with other bits than it would have had", "checkpoint", s.ISA, "now", isa)
	}
	if v := programVersion(); v != s.Program {
		r.o.Log.Warn("the checkpoint was taken by another version of this program: the run goes on, perhaps with other bits than it would have had", "checkpoint", s.Program, "now", v)
	}
	for _, p := range r.model.Net.Params() {
		if err := readRows(f, p.Name, p, p.SetRows); err != nil {
			return err
		}
		if v := r.momentum(p); v != nil {
			if err := readMomentum(f, p, v); err != nil {
				return err
			}
		}
	}
	r.stepper.sync()
	r.epoch, r.batches, r.iteration, r.stopped = s.Epoch, s.Batches, s.Iteration, s.Stopped
	r.partial = s.Partial
	r.rate.restore(s.Schedule)
	r.seconds, r.wait = s.Seconds, s.Wait
	for _, name := range s.Unreadable {
		r.bad[name] = true
	}
	if s.Best != nil {
		r.setBest(*s.Best)
	}
	r.result.Epochs = s.Epoch - 1
	r.checkpoints.good = f.Name()
	return nil
}
