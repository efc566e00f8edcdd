package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// newRun prepares a run, or the resumption of one. Nothing is made in o.Dir before
// everything that may be refused has been checked.
func newRun(ctx context.Context, o Options) (_ *run, err error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	recipe := string(o.Recipe.YAML())
	r := &run{o: o.withDefaults(), bad: map[string]bool{}, position: position{epoch: 1}, room: o.DecodeRoom()}
	defer func() {
		if err != nil {
			r.abandon()
		}
	}()
	from, err := r.openCheckpoint(ctx)
	if err != nil {
		return nil, err
	}
	if from != nil {
		defer from.close()
	}
	if err := r.checkMachine(); err != nil {
		return nil, err
	}
	fileSpec, err := r.buildNetwork(ctx, from)
	if err != nil {
		return nil, err
	}
	if err := r.boundMemory(); err != nil {
		return nil, err
	}
	if err := r.identifyImages(ctx, from); err != nil {
		return nil, err
	}
	if err := r.agree(ctx, recipe); err != nil {
		return nil, err
	}
	if err := r.choosePreprocessing(ctx, from, fileSpec); err != nil {
		return nil, err
	}
	if r.first() && from == nil {
		if err := r.startAtMean(ctx); err != nil {
			return nil, err
		}
	}
	if from, err = r.shareBeginning(ctx, from); err != nil {
		return nil, err
	}
	if err := r.prepareSteps(ctx); err != nil {
		return nil, err
	}
	r.prepareReports()
	if from != nil {
		if err := r.restore(ctx, from); err != nil {
			return nil, err
		}
	}
	if !r.first() {
		return r, nil
	}
	if err := r.takeDirectory(from); err != nil {
		return nil, err
	}
	if err := r.announce(from); err != nil {
		return nil, err
	}
	return r, nil
}

// abandon releases what an unsuccessful newRun holds.
func (r *run) abandon() {
	if err := r.release(); err != nil {
		r.o.Log.Warn("device not released", "error", err)
	}
	if r.dir != nil {
		r.dir.close()
	}
	if r.unlock != nil {
		r.unlock()
	}
}

// savedRun is the checkpoint that a run continues from.
type savedRun struct {
	file *weights.File // nil in a process that isn't the first
	runState
}

func (s *savedRun) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// openCheckpoint locks the directory of a run that resumes, opens its newest intact
// checkpoint and compares task and recipe with it. It returns nil if the run begins.
func (r *run) openCheckpoint(ctx context.Context) (*savedRun, error) {
	o := &r.o
	if !o.Resume || !r.first() {
		return nil, nil
	}
	// The lock comes before reading, as another run may be writing.
	if _, err := os.Stat(o.Dir); err == nil {
		if r.unlock, err = lockRun(o.Dir, o.Log); err != nil {
			return nil, err
		}
	}
	f, s, err := openCheckpoint(ctx, o.Dir, o.Log)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, checkNoCheckpoint(o.Dir, o.Log)
	}
	err = s.checkTask(*o, f.Name())
	if err == nil {
		err = s.checkRecipe(o.Dir, &o.Recipe, f.Name())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &savedRun{f, s}, nil
}

// checkNoCheckpoint reports a run whose checkpoints have been taken away. The first one is on
// disk before the third epoch is logged: of a run that was killed earlier there need be none,
// and it begins anew.
func checkNoCheckpoint(dir string, log *slog.Logger) error {
	n, err := loggedEpochs(dir)
	if err != nil {
		return err
	}
	if n > 2 {
		return &OtherRunError{Dir: dir, Reason: fmt.Sprintf("%s: the log %s has %d epochs and %s no checkpoint: bring the checkpoints back, or begin anew in another directory", dir, MetricsFile, n, filepath.Join(dir, CheckpointDir))}
	}
	if _, err := os.Stat(filepath.Join(dir, RecipeFile)); err == nil {
		log.Info("the earlier run came to no checkpoint: this one begins at the first epoch", "dir", dir)
	}
	return nil
}

// buildNetwork makes the network, with the weights that a new run begins with. It returns
// the preprocessing of the file that they are from, or nil.
func (r *run) buildNetwork(ctx context.Context, from *savedRun) (*preprocess.Spec, error) {
	o, rec := r.o, &r.o.Recipe
	net, err := network.New(rec.Options(o.outputs()))
	if err != nil {
		return nil, err
	}
	if o.Workers > 0 {
		net.SetThreads(o.Workers)
	}
	if o.Device != nil {
		net.Chain().SetRunner(o.Device.NewRunner())
	}
	if err := freeze(net.Params(), rec.Freeze); err != nil {
		return nil, err
	}
	if err := setRates(net.Params(), rec.LayerRates); err != nil {
		return nil, err
	}
	r.model = &vgg.Model{Net: net, Classes: o.Train.Classes}
	if o.Task != nil {
		r.model.Localisation = o.Task.Localisation()
	}
	if !r.first() { // the weights come from there
		return nil, nil
	}
	if from != nil {
		r.init = from.Init
		return nil, nil
	}
	var fileSpec *preprocess.Spec
	if r.init, fileSpec, err = initialise(ctx, net, rec, o.Initial, o.Task != nil, o.Train.Classes); err != nil {
		return nil, err
	}
	if o.Resume {
		err = checkRecipeFile(o.Dir, *rec)
	}
	return fileSpec, err
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

// identifyImages takes the fingerprints of the images and compares them with the
// checkpoint's.
func (r *run) identifyImages(ctx context.Context, from *savedRun) error {
	var err error
	if r.trainSet, err = r.identify(ctx, r.o.Train); err != nil {
		return err
	}
	if r.o.Val != nil {
		v, err := r.identify(ctx, r.o.Val)
		if err != nil {
			return err
		}
		r.valSet = &v
	}
	if from == nil {
		return nil
	}
	if err := from.checkImages(r.o.Dir, r.trainSet, r.valSet); err != nil {
		return err
	}
	if err := r.checkContents(ctx, &r.trainSet, from.Train, r.o.Train); err != nil {
		return err
	}
	r.trainSet.Name = from.Train.Name // the first one
	if r.valSet == nil {
		return nil
	}
	if err := r.checkContents(ctx, r.valSet, *from.Val, r.o.Val); err != nil {
		return err
	}
	r.valSet.Name = from.Val.Name
	return nil
}

// identify returns the identity of a dataset.
func (r *run) identify(ctx context.Context, d *dataset.Dataset) (imageSet, error) {
	s := imageSet{Name: d.Name, Images: d.Len(), Classes: d.Classes}
	var err error
	if s.Fingerprint, err = dataset.Fingerprint(ctx, d); err != nil {
		return s, err
	}
	versions, err := dataset.NewVersions(ctx, d)
	if err != nil {
		return s, err
	}
	s.Times = versions.Times()
	if r.o.Verify {
		s.Contents, err = versions.Contents(ctx)
	}
	return s, err
}

// checkContents compares the contents of images that have the checkpoint's names, labels and
// sizes. They are read if the times of their last change are others, or with Options.Verify;
// without a hash in the checkpoint, the log warns of other times.
func (r *run) checkContents(ctx context.Context, now *imageSet, was imageSet, d *dataset.Dataset) error {
	touched := was.Times != "" && now.Times != was.Times
	switch {
	case was.Contents == "" && r.o.Verify:
		r.o.Log.Warn("the checkpoint has no hash of the images' contents, since the run began without verifying: they are compared from now on", "images", now.Name)
		return nil
	case was.Contents == "" && touched:
		r.o.Log.Warn("images have other times of change than at the checkpoint, and the same names and sizes: if their contents changed, the run goes on with other bits than it would have had; a run that verifies from its beginning compares contents", "images", now.Name)
		return nil
	case !touched && !r.o.Verify:
		now.Contents = was.Contents
		return nil
	case now.Contents == "":
		versions, err := dataset.NewVersions(ctx, d)
		if err == nil {
			now.Contents, err = versions.Contents(ctx)
		}
		if err != nil {
			return err
		}
	}
	if now.Contents != was.Contents {
		return &OtherRunError{Dir: r.o.Dir, Reason: fmt.Sprintf("images of %s have other contents than those of the checkpoint", now.Name)}
	}
	return nil
}

// prepareSteps makes the stepper, the loaders and the schedule.
func (r *run) prepareSteps(ctx context.Context) error {
	o, rec := r.o, r.o.Recipe
	steps := stepOptions{Recipe: rec, Task: o.Task, Samples: o.Train.Samples, Batch: min(rec.Batch, o.Train.Len()), Micro: o.Batch, Ranks: o.Ranks, Outer: o.Processes, Threads: o.Workers, Front: rec.frontLayers(r.model.Net.Chain()),
		Device: o.Device, Memory: o.Memory, severalLabels: o.Train.MultiLabel}
	var err error
	if r.stepper, err = newStepper(ctx, r.model.Net, steps); err != nil {
		return err
	}
	cache := o.CacheBytes
	if cache == 0 {
		cache = dataset.NoCache
	}
	r.trainLoader = &dataset.Loader{Data: o.Train, Spec: r.spec, Batch: rec.Batch, Crop: rec.Input, SMin: rec.ScaleMin, SMax: rec.ScaleMax,
		Flip: rec.Flip, ShiftStd: rec.ColourShift, Seed: rec.Seed, Views: rec.Views, Workers: o.Workers, CacheBytes: cache, Train: true, MaxPixels: o.MaxPixels, Room: r.room}
	if o.Device != nil {
		r.trainLoader.Held = 1 // while the next one is sent
	}
	parts := 1
	if o.Processes != nil {
		parts = o.Processes.Size()
		r.trainLoader.Part, r.trainLoader.Parts = o.Processes.Rank(), parts
	}
	if rec.ColourShift > 0 {
		r.trainLoader.Shift = r.stats.Shift
	}
	if o.Val != nil {
		r.valLoader = &dataset.Loader{Data: o.Val, Spec: r.spec, Batch: parts * validationBatch(rec, o.Batch), Part: r.trainLoader.Part, Parts: parts, Crop: rec.Input, Workers: o.Workers, CacheBytes: cache, MaxPixels: o.MaxPixels, Room: r.room}
	}
	if err := r.prepareFeatures(); err != nil {
		return err
	}
	if err := r.prepareValidation(); err != nil {
		return err
	}
	perEpoch := r.trainLoader.Batches()
	r.iterations = min(perEpoch*rec.Epochs, rec.MaxIterations)
	r.rate = r.newRate()
	if o.Val == nil && rec.Schedule.Name == "plateau" {
		o.Log.Warn("no validation images: the plateau schedule keeps the learning rate as it is")
	}
	return nil
}

// newRate returns the state of the schedule at the beginning of the run.
func (r *run) newRate() *rate {
	rec := r.o.Recipe
	return newRate(rec.Schedule, rec.LearningRate, r.trainLoader.Batches(), r.iterations)
}

// prepareReports sets up the writer of checkpoints, and the result of a run that has not
// done anything.
func (r *run) prepareReports() {
	r.checkpoints = &checkpoints{dir: r.o.Dir, keep: r.keep(), every: r.o.CheckpointEvery, log: r.o.Log, last: time.Now()}
	r.result = Result{Run: r.o.Dir, Top1Error: math.NaN(), Top5Error: math.NaN(), LocalisationError: math.NaN(), MeanIoU: math.NaN(),
		MeanAP: math.NaN(), MicroF1: math.NaN(), Init: r.init}
}

// keep is the number of checkpoints that this process keeps.
func (r *run) keep() int {
	if !r.first() {
		return 0
	}
	return r.o.Keep
}

// takeDirectory makes and locks the run directory and opens its logs.
func (r *run) takeDirectory(from *savedRun) error {
	o := r.o
	if err := makeRunDir(o.Dir, o.Resume); err != nil {
		return err
	}
	var err error
	if r.unlock == nil {
		if r.unlock, err = lockRun(o.Dir, o.Log); err != nil {
			return err
		}
	}
	if err := saveRecipe(o.Dir, o.Recipe); err != nil {
		return err
	}
	var state *runState
	if from != nil {
		state = &from.runState
	}
	r.dir, err = openRunDir(o.Dir, state, o.Log)
	return err
}

// announce logs the beginning of the run, or its resumption, and reports it to OnStart.
func (r *run) announce(from *savedRun) error {
	s := Start{Recipe: r.o.Recipe, Init: r.init, Epoch: r.epoch, Iteration: r.iteration, Iterations: r.iterations, Preprocess: r.spec, Images: r.o.Train.Len()}
	s.CopyBytes = r.copyBytes()
	f := r.footprint()
	s.Micro = f.micro()
	if r.o.Device != nil {
		s.Micro = r.stepper.o.Micro
	}
	var err error
	if s.Whole, err = r.slowIterations(); err != nil {
		return err
	}
	if s.Memory, err = f.Bytes(); err != nil {
		return err
	}
	if from != nil {
		s.Checkpoint = checkpointPath(r.o.Dir, from.Iteration)
		r.o.Log.Info("resumed", "checkpoint", s.Checkpoint, "iteration", s.Iteration)
	} else if err := r.logBeginning(); err != nil {
		return err
	}
	if r.o.OnStart == nil {
		return nil
	}
	s.Seconds, err = r.estimate()
	r.o.OnStart(s)
	return err
}

// logBeginning logs the recipe and the initial weights.
func (r *run) logBeginning() error {
	if err := r.dir.events.text(0, "recipe", "```\n"+string(r.o.Recipe.YAML())+"```"); err != nil {
		return err
	}
	if r.o.Choice != nil {
		if err := r.dir.log("choice", r.o.Choice); err != nil {
			return err
		}
	}
	rec := r.o.Recipe
	if err := r.dir.log("start", beginning{r.iterations, rec.Epochs, r.o.Train.Len(), r.o.Val.Len(), len(r.o.Train.Classes), rec.Batch}); err != nil {
		return err
	}
	if r.init == nil {
		return nil
	}
	if err := r.dir.log("init", r.init); err != nil {
		return err
	}
	r.o.Log.Info("begun with weights", "file", r.init.File, "rule", r.init.Rule, "taken", r.init.Taken, "random", r.init.Random, "left", r.init.Left)
	return nil
}

// checkRecipe compares the recipe of a run that resumes with the checkpoint's, and sets its
// rule of initialisation to the one that was applied, and the forms of Winograd's algorithm to
// those of the version that began the run, if its recipe doesn't name them. Epochs and iterations may be raised,
// unless the schedule depends on them.
func (s runState) checkRecipe(dir string, r *Recipe, file string) error {
	was, err := s.recipe()
	if err != nil {
		return fmt.Errorf("train: checkpoint %s: %w", file, err)
	}
	if r.InitRule == Auto {
		r.InitRule = was.InitRule
	}
	if !hasKey(s.Recipe, "winograd") {
		r.Winograd = was.Winograd
	}
	for _, d := range Differences(*r, was) {
		length := d.Key == "epochs" || d.Key == "max_iterations"
		raised := d.Key == "epochs" && r.Epochs > was.Epochs || d.Key == "max_iterations" && r.MaxIterations > was.MaxIterations
		var why string
		switch {
		case raised && r.Schedule.Name == "cosine":
			why = "the cosine schedule depends on it"
		case raised:
			continue
		case length:
			why = "it can be raised, not lowered"
		default:
			why = "a run goes on with the recipe that it began with"
		}
		return &OtherRunError{Dir: dir, Key: d.Key, Reason: fmt.Sprintf("%s: %s, the checkpoint %s has %s: %s", d.Key, d.A, file, d.B, why)}
	}
	return nil
}

// checkRecipeFile compares the recipe of a run that begins, as it found no checkpoint to
// resume from, with the recipe file in its directory, if there is one.
func checkRecipeFile(dir string, r Recipe) error {
	path := filepath.Join(dir, RecipeFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	base := PaperRecipe()
	base.Winograd = r.Winograd // an earlier version named none, and has left no weights
	was, err := LoadRecipe(path, base)
	if err != nil {
		return err
	}
	for _, d := range Differences(r, was) {
		return &OtherRunError{Dir: dir, Key: d.Key, Reason: fmt.Sprintf("%s: %s, the run in %s, which came to no checkpoint, has %s: want its recipe, or another directory", d.Key, d.A, path, d.B)}
	}
	return nil
}

// checkImages compares the images of a run that resumes with the checkpoint's.
func (s runState) checkImages(dir string, train imageSet, val *imageSet) error {
	fail := func(format string, args ...any) error {
		return &OtherRunError{Dir: dir, Reason: fmt.Sprintf(format, args...)}
	}
	if difference := train.difference(s.Train); difference != "" {
		return fail("training images: %s", difference)
	}
	if (val == nil) != (s.Val == nil) {
		return fail("validation images: %s, the checkpoint has %s", val.describe(), s.Val.describe())
	}
	if val != nil {
		if difference := val.difference(*s.Val); difference != "" {
			return fail("validation images: %s", difference)
		}
	}
	return nil
}

// restore sets the run to the state of the checkpoint.
func (r *run) restore(ctx context.Context, from *savedRun) error {
	if now := r.computesOn(); now != from.ISA {
		r.o.Log.Warn("the checkpoint was taken with another instruction set, or on another device: the run goes on, with other bits than it would have had", "checkpoint", from.ISA, "now", now)
	}
	if v := programVersion(); v != from.Program {
		r.o.Log.Warn("the checkpoint was taken by another version of this program: the run goes on, perhaps with other bits than it would have had", "checkpoint", from.Program, "now", v)
	}
	for _, p := range r.model.Net.Params() {
		if from.file == nil { // sync brings them
			break
		}
		if err := readRows(from.file, p.Name, p, p.SetRows); err != nil {
			return err
		}
		if v := r.stepper.momentum(p); v != nil {
			if err := readMomentum(from.file, p, v); err != nil {
				return err
			}
		}
	}
	if err := r.stepper.sync(ctx); err != nil {
		return err
	}
	r.position = position{epoch: from.Epoch, batches: from.Batches, iteration: from.Iteration, stopped: from.Stopped, partial: from.Partial}
	r.rate.restore(from.Schedule)
	r.rescues, r.loss = from.Rescues, from.Judged
	r.seconds, r.wait = from.Seconds, from.Wait
	for _, name := range from.Unreadable {
		r.bad[name] = true
	}
	if from.Best != nil {
		r.setBest(*from.Best)
	}
	r.result.Epochs = from.Epoch - 1
	if from.file != nil {
		r.checkpoints.good = from.file.Name()
	}
	return nil
}
