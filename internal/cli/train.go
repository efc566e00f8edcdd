package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/train"
)

type trainCommand struct {
	Data   string `placeholder:"DIR" help:"Images: one folder a class, or train and val with these; ILSVRC as it is distributed; tar shards; a ZIP file. Without it, the photographs that are built in."`
	MaxBad share  `default:"1%" placeholder:"SHARE" help:"Share of the images that may be unreadable, 0.1% or 0.001; past it the run stops (1%)."`
	Recipe string `placeholder:"NAME|FILE" help:"Recipe: paper, paper-384, paper-multiscale or sample; or a YAML file over the one that the command begins with, which is paper with --data, else sample."`
	Out    string `placeholder:"DIR" help:"Run directory, new or empty (a new one in runs)."`

	Resume          bool          `help:"Go on with the run in --out from its newest checkpoint, to the same bits as if it had not stopped; begin it if it has none."`
	CheckpointEvery time.Duration `default:"10m" placeholder:"TIME" help:"Time between checkpoints, besides those at the end of every epoch (10m)."`
	Keep            int           `default:"3" placeholder:"N" help:"Checkpoints that stay; 0: none is written (3)."`

	Set map[string]string `mapsep:"none" placeholder:"KEY=VALUE" help:"Any value of the recipe, by its key: schedule.name=cosine. Can be given more than once."`

	Config       *string         `placeholder:"C" help:"Configuration: ${configs}; with -BN or -LRN behind it."`
	Width        *float64        `placeholder:"X" help:"Multiplies the channels of every convolution."`
	FC           *int            `name:"fc" placeholder:"N" help:"Units of fc6 and fc7."`
	Input        *int            `placeholder:"PIXELS" help:"Side of the square crop."`
	Init         *vgg.Init       `placeholder:"NAME" help:"Initialisation: he, glorot, normal-0.1 or normal-0.01."`
	InitFrom     *string         `placeholder:"FILE" help:"Weights to begin with: a file, or a configuration's name for its public release."`
	InitRule     *train.InitRule `placeholder:"NAME" help:"What is taken from them: pre-initialisation, the first four convolutional layers and the fully connected ones; or fine-tune, all (pre-initialisation if the configurations differ)."`
	Freeze       []string        `placeholder:"PATTERN" help:"Layers that are not learnt: conv1_*, fc[67]. Can be given more than once."`
	Epochs       *int            `placeholder:"N" help:"Passes over the training images, at most."`
	Batch        *int            `placeholder:"N" help:"Images of a mini-batch."`
	LearningRate *float64        `placeholder:"X" help:"Learning rate to begin with."`
	ScaleMin     *int            `placeholder:"PIXELS" help:"Least smallest side S that training images are rescaled to."`
	ScaleMax     *int            `placeholder:"PIXELS" help:"Greatest smallest side S that training images are rescaled to."`
	TestScale    *int            `placeholder:"PIXELS" help:"Smallest side Q that validation images are rescaled to."`
	Seed         *uint64         `placeholder:"N" help:"Of initialisation, order, augmentation and dropout."`

	Groups *int `placeholder:"N" help:"Parts of the batch whose gradients are summed apart; any number of ranks that divides them gives the same bits (the number of ranks)."`
	Ranks  int  `default:"1" placeholder:"N" help:"Copies of the network that share the groups and the threads (1)."`
	Memory size `placeholder:"SIZE" help:"Memory that the run is to stay within, such as 8GiB: it takes the batch in parts small enough, to the same bits."`

	releaseFlags
	threadsFlag
	jsonFlag

	boxes *boxTraining `kong:"-"` // of vgg localize train
}

func (trainCommand) Help() string {
	return `Trains by the paper's recipe: what --recipe says goes over it, --set over that, and the other flags over all. The resolved recipe is printed and kept in the run directory, with metrics.jsonl, curve.png, events for TensorBoard, best.safetensors (least validation error), last.safetensors and checkpoints. Of a folder without a val part a fifth is kept for validation. With --init-from and --data, and neither --recipe nor --config, the network of that file is fine-tuned: its last layer is drawn at random and learnt ten times as fast as the others, and S is chosen by the sizes of the images. The built-in photographs are ten categories of Caltech-101, CC BY 4.0. Interrupted, it saves a checkpoint and last.safetensors, and --resume goes on; a second interruption stops it at once.` + exitHelp
}

// sampleName stands for the embedded photographs where a folder is asked for.
const sampleName = "sample"

// valFraction of a folder without a val part is kept for validation.
const valFraction = 0.2

// outsideHeap is what of a process's memory the collector doesn't govern: its code.
const outsideHeap = 32 << 20

// heapLimit is what the collector is to keep to where the process is to stay within a
// bound, which it may exceed for a moment.
func heapLimit(bound int64) int64 { return max(bound-bound/50-outsideHeap, outsideHeap) }

// boundHeap keeps the process within a bound of memory while images go through a network.
// What decoded images leave behind is collected long before it has grown to what a large
// network takes: to use it again is cheaper than to have more from the system, and there is
// hardly anything but long arrays to look through.
func boundHeap(bound int64) (restore func()) {
	const leave, least, most = 64 << 20, 10, 100 // bytes, per cent of the heap
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	percent := debug.SetGCPercent(int(min(max(100*leave/max(m.HeapAlloc, 1), least), most)))
	limit := debug.SetMemoryLimit(heapLimit(bound))
	return func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	}
}

// trainCacheBytes bounds the decoded images kept in memory.
const trainCacheBytes = 512 << 20

func (c *trainCommand) Run(e *environment) error {
	threads, err := c.apply()
	if err != nil {
		return err
	}
	if c.Ranks < 1 {
		return usagef("--ranks %d, want at least 1", c.Ranks)
	}
	from, err := c.checkpoint()
	if err != nil {
		return err
	}
	tuning, err := c.fineTune(e, from)
	if err != nil {
		return err
	}
	recipe, err := c.recipe(from, tuning)
	if err != nil {
		return err
	}
	if recipe.InitFrom != "" && from == nil {
		if recipe.InitFrom, err = c.path(e, recipe.InitFrom); err != nil {
			return err
		}
	}
	human := e.stdout
	if c.JSON {
		human = e.stderr
	}
	trainSet, valSet, err := c.open(human, recipe.Seed)
	if err != nil {
		return err
	}
	dir, err := c.runDir()
	if err != nil {
		return err
	}
	note, err := c.note()
	if err != nil {
		return err
	}
	var task train.Task
	if c.boxes != nil {
		if task, trainSet, valSet, err = c.boxes.prepare(e, human, trainSet, valSet, threads); err != nil {
			return err
		}
	}
	if tuning != nil {
		tuning.balance(human, trainSet)
	}
	fmt.Fprintf(human, "%d training and %d validation images of %d classes\nRun directory %s\n\nRecipe\n%s\n",
		trainSet.Len(), valSet.Len(), len(trainSet.Classes), dir, indent(recipe.YAML()))

	p := &trainProgress{
		out: human, errors: e.stderr, dir: dir, perEpoch: (trainSet.Len() + recipe.Batch - 1) / recipe.Batch,
		curve: report.Curve{Title: curveTitle(recipe, trainSet.Name)},
	}
	if c.boxes != nil {
		p.showBoxes(string(task.Localisation().Regression))
	}
	if c.Memory > 0 { // the collector must not wait for the heap to double
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(heapLimit(int64(c.Memory))))
	}
	result, err := train.Run(e.ctx, train.Options{
		Recipe: recipe, Task: task, Train: trainSet, Val: valSet, Dir: dir, Threads: threads, CacheBytes: trainCacheBytes,
		Ranks: c.Ranks, Memory: int64(c.Memory), MaxBad: float64(c.MaxBad), StatsDir: cacheDir(),
		CheckpointEvery: c.CheckpointEvery, Keep: c.Keep, Resume: c.Resume, Note: note,
		Log: slog.New(p.warnings()), OnStats: p.stats, OnStart: p.start, OnIteration: p.iteration, OnEpoch: p.epoch,
	})
	p.close()
	if drawErr := p.draw(); err == nil {
		err = drawErr
	}
	if err != nil {
		os.Remove(dir) // goes only if it is empty
		if result != nil && err == context.Cause(e.ctx) {
			return fmt.Errorf("interrupted; the weights so far are in %s%s", filepath.Join(dir, train.LastFile), c.goOn(dir))
		}
		return err
	}
	if c.JSON {
		err = writeJSON(e.stdout, result)
	} else {
		err = c.print(human, result)
	}
	if err != nil {
		return err
	}
	return unreadable(result.Unreadable, trainSet.Len()+valSet.Len())
}

// goOn says how an interrupted run goes on.
func (c *trainCommand) goOn(dir string) string {
	if c.Keep == 0 {
		return ""
	}
	command := "train"
	if c.boxes != nil {
		command = "localize train"
	}
	return fmt.Sprintf("; vgg %s --resume --out %s goes on", command, dir)
}

// noteData is the key under which a checkpoint has the folder of images.
const noteData = "data"

// checkpoint describes the one that the run goes on from; nil if it begins.
func (c *trainCommand) checkpoint() (*train.CheckpointInfo, error) {
	switch {
	case !c.Resume:
		return nil, nil
	case c.Out == "":
		return nil, usagef("--resume wants the run directory, --out DIR")
	case c.Keep == 0:
		return nil, usagef("--resume with --keep 0: a run without checkpoints can't go on")
	}
	from, err := train.LatestCheckpoint(c.Out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if c.Data == "" {
		c.Data = from.Note[noteData]
	}
	return &from, nil
}

// note is what the checkpoints hold of the command line.
func (c *trainCommand) note() (map[string]string, error) {
	if c.sample() {
		return map[string]string{noteData: sampleName}, nil
	}
	path, err := filepath.Abs(c.Data)
	note := map[string]string{noteData: path}
	if c.boxes != nil {
		err = errors.Join(err, c.boxes.note(note))
	}
	return note, err
}

// recipe puts the flags over --set over the file over the recipe to begin with, which
// is that of the checkpoint if there is one.
func (c *trainCommand) recipe(from *train.CheckpointInfo, tuning *fineTuning) (train.Recipe, error) {
	r := train.PaperRecipe()
	if tuning != nil {
		r = tuning.recipe
	} else if c.boxes != nil {
		r = c.boxes.base
	} else if c.sample() {
		r = train.SampleRecipe()
	}
	if c.Ranks > 1 {
		r.Groups = c.Ranks
	}
	if from != nil {
		r = from.Recipe
	}
	if named, err := train.NamedRecipe(c.Recipe); err == nil {
		named.Groups = max(1, c.Ranks)
		r = named
	} else if c.Recipe != "" {
		if r, err = train.LoadRecipe(c.Recipe, r); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%w; a recipe is a file or one of %s", err, strings.Join(train.RecipeNames(), ", "))
			}
			return r, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Set)) {
		var err error
		if r, err = r.With(key, c.Set[key]); err != nil {
			return r, usageError{fmt.Errorf("--set: %w", err)}
		}
	}
	set(&r.Config, c.Config)
	set(&r.Width, c.Width)
	set(&r.FC, c.FC)
	set(&r.Input, c.Input)
	set(&r.Init, c.Init)
	set(&r.InitFrom, c.InitFrom)
	set(&r.InitRule, c.InitRule)
	if c.Freeze != nil {
		r.Freeze = c.Freeze
	}
	set(&r.Epochs, c.Epochs)
	set(&r.Batch, c.Batch)
	set(&r.Groups, c.Groups)
	set(&r.LearningRate, c.LearningRate)
	set(&r.ScaleMin, c.ScaleMin)
	set(&r.ScaleMax, c.ScaleMax)
	set(&r.TestScale, c.TestScale)
	set(&r.Seed, c.Seed)
	if err := r.Validate(); err != nil {
		return r, usageError{err}
	}
	return r, nil
}

func (c *trainCommand) sample() bool { return c.Data == "" || c.Data == sampleName }

// open returns the images to train and to validate on, and says where they are from.
func (c *trainCommand) open(out io.Writer, seed uint64) (trainSet, valSet *dataset.Dataset, err error) {
	if c.sample() {
		fmt.Fprintf(out, "Data: %s\n", dataset.SampleCredit)
		return dataset.OpenSample()
	}
	trainSet, valSet, err = dataset.Open(c.Data)
	if err != nil {
		return nil, nil, err
	}
	if valSet == nil {
		if trainSet, valSet, err = dataset.Split(trainSet, valFraction, seed); err != nil {
			return nil, nil, err
		}
		fmt.Fprintf(out, "Data: %s; it has no val part, so %.0f %% of each class are kept for validation\n", c.Data, 100*valFraction)
		return trainSet, valSet, nil
	}
	fmt.Fprintf(out, "Data: %s\n", c.Data)
	return trainSet, valSet, nil
}

// runDir makes the run directory.
func (c *trainCommand) runDir() (string, error) {
	if c.Out != "" {
		entries, err := os.ReadDir(c.Out)
		switch {
		case err == nil && len(entries) > 0 && !c.Resume:
			if err := train.Held(c.Out); err != nil {
				return "", fmt.Errorf("--out %w", err)
			}
			return "", fmt.Errorf("--out %s: the folder is not empty; a run wants a new one, or --resume", c.Out)
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return "", fmt.Errorf("--out: %w", err)
		}
		if err := os.MkdirAll(c.Out, 0o777); err != nil {
			return "", fmt.Errorf("--out: %w", err)
		}
		return c.Out, nil
	}
	name := sampleName
	if !c.sample() {
		path, err := filepath.Abs(c.Data)
		if err != nil {
			return "", err
		}
		name = filepath.Base(path)
	}
	if err := os.MkdirAll("runs", 0o777); err != nil {
		return "", err
	}
	stem := filepath.Join("runs", name+"-"+time.Now().Format("20060102-150405"))
	for n := 1; ; n++ {
		dir := stem
		if n > 1 {
			dir = fmt.Sprintf("%s-%d", stem, n)
		}
		if err := os.Mkdir(dir, 0o777); !errors.Is(err, os.ErrExist) {
			return dir, err
		}
	}
}

func (c *trainCommand) print(out io.Writer, r *train.Result) error {
	data := ""
	if !c.sample() {
		data = " --data " + c.Data
	}
	waited := ""
	if r.Seconds > 0 {
		waited = fmt.Sprintf(", %.1f %% of it waiting for images", 100*r.WaitSeconds/r.Seconds)
	}
	if c.boxes != nil {
		_, err := fmt.Fprintf(out, "\n%d epochs, %d iterations in %s%s. Best epoch %d: localisation error %s, mean IoU %.3f.\n\n"+
			"Next: vgg localize --boxes %[8]s --draw boxes.png PHOTO.jpg\n      vgg localize eval %[8]s%[9]s\n",
			r.Epochs, r.Iterations, report.Duration(time.Duration(r.Seconds*float64(time.Second))), waited,
			r.BestEpoch, report.Percent(r.LocalisationError), r.MeanIoU, r.BestWeights, data)
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d epochs, %d iterations in %s%s. Best epoch %d: top-1 error %s, top-5 error %s.\n\n"+
		"Next: vgg classify %[8]s PHOTO.jpg\n      vgg eval %[8]s%[9]s\n",
		r.Epochs, r.Iterations, report.Duration(time.Duration(r.Seconds*float64(time.Second))), waited,
		r.BestEpoch, report.Percent(r.Top1Error), report.Percent(r.Top5Error), r.BestWeights, data)
	return err
}

func curveTitle(r train.Recipe, data string) string {
	width := ""
	if r.Width != 1 {
		width = fmt.Sprintf(", width %g", r.Width)
	}
	return fmt.Sprintf("%s%s, %d×%d crops, %s", r.Config, width, r.Input, r.Input, data)
}

func indent(text []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString("  " + line)
	}
	return b.String()
}
