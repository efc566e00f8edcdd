package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/train"
)

type trainCommand struct {
	setFlags
	readFlags
	MaxBad share  `default:"${maxbad}" placeholder:"SHARE" help:"Largest share of unreadable images, as 0.1% or 0.001. Above it the run stops (${maxbad})."`
	Recipe string `placeholder:"NAME|FILE" help:"Recipe: paper, paper-384, paper-multiscale, sample, or fine-tune (all layers of --init-from); or a YAML file with changes to paper, or to sample without --data (with --data alone, a recipe by the images, the weights and the machine)."`
	Out    string `placeholder:"DIR" help:"Output: the run directory, new or empty (a new one in runs)."`

	Resume bool `help:"Continue from the newest checkpoint in --out, to the same bits as an uninterrupted run. Without a checkpoint the run starts."`
	verifyFlag
	CheckpointEvery time.Duration `default:"${checkpointevery}" placeholder:"TIME" help:"Time between checkpoints. One is also written at the end of every epoch (${checkpointevery})."`
	Keep            int           `default:"${keep}" placeholder:"N" help:"Number of checkpoints to keep; 0 writes none (${keep})."`

	Set map[string]string `mapsep:"none" placeholder:"KEY=VALUE" help:"Value of the recipe by its key, as schedule.name=cosine. Can be given more than once."`

	Page pageAddress `placeholder:"HOST:PORT" help:"Serve a live view of the run in a browser, at an address of this machine (127.0.0.1:8081, if none is given)."`

	NoRescue bool `help:"Stop with an error when training diverges, instead of going back to the end of the last epoch with a tenth of the learning rate, up to three times."`

	MultiLabel bool `help:"Take the class of each image as the only one of its labels, for a network of several labels an image. It then ends with a sigmoid for each class, as it does by itself where the data have several labels an image."`
	mapFlag

	Config   *string       `placeholder:"CONFIG" help:"Configuration, or a row of layers: ${configs}, each also with -BN or -LRN (D)."`
	Width    *float64      `placeholder:"X" help:"Factor for the channels of every convolution (1)."`
	Head     *string       `placeholder:"ROW" help:"Head, the layers after the convolutions: 'gap FC256 bn relu FC', 'FC1 sigmoid' (the configuration's)."`
	FC       *int          `name:"fc" placeholder:"N" help:"Units of fc6 and fc7 (4096)."`
	Input    *int          `placeholder:"PIXELS" help:"Side of the network's square input, which is that of the crop (224)."`
	Init     *network.Init `placeholder:"NAME" help:"Initialisation: he, glorot, normal-0.1 or normal-0.01."`
	InitFrom *string       `placeholder:"FILE" help:"Initial weights: a file, or a configuration's name for its public release."`
	initFlags
	InitRule     *train.InitRule    `placeholder:"NAME" help:"Layers taken from --init-from: pre-initialisation (the first four convolutional layers and the fully connected ones) or fine-tune (all; pre-initialisation if the configurations differ)."`
	Freeze       []string           `placeholder:"PATTERN" help:"Pattern of layers that are not trained, as conv1_* or fc[67]. Can be given more than once."`
	Views        *int               `placeholder:"N" help:"Different crops of each image, shown in turn. What frozen layers make of a crop is computed once and kept (0: new crops in each epoch)."`
	Epochs       *int               `placeholder:"N" help:"Largest number of epochs."`
	Batch        *int               `placeholder:"N" help:"Batch size: images of a mini-batch."`
	LearningRate *float64           `placeholder:"X" help:"Initial learning rate."`
	ScaleMin     *int               `placeholder:"PIXELS" help:"Least training scale S, in pixels of the smallest side."`
	ScaleMax     *int               `placeholder:"PIXELS" help:"Greatest training scale S."`
	Resize       *preprocess.Fit    `placeholder:"HOW" help:"Rescaling: keep keeps the aspect of images, squash makes them square (keep; in fine-tuning, as the weights tell)."`
	Orient       *preprocess.Orient `placeholder:"WAY" help:"Orientation: upright turns images by their EXIF data, stored ignores it, as published figures do (upright; in a named recipe, stored; in fine-tuning, as the weights tell)."`
	TestScale    *int               `placeholder:"PIXELS" help:"Test scale Q of the validation images."`
	Seed         *uint64            `placeholder:"N" help:"Seed of what is random: initialisation, image order, augmentation and dropout."`

	Groups   *int      `placeholder:"N" help:"Parts of the batch whose gradients are summed separately. Any number of ranks that divides it gives the same bits (the number of ranks)."`
	Ranks    rankCount `default:"1" placeholder:"N" help:"Ranks, which work at the same time: copies of the network, which share the groups and the threads (1). Under a launcher of MPI (mpirun, srun), the number in each process; mpi joins other processes where no launcher is recognised."`
	RankLogs string    `placeholder:"DIR" help:"Folder for what the processes other than the first would print, a file for each."`
	Memory   size      `placeholder:"SIZE" help:"Bound of the memory, as 4GiB. The batch is computed in parts that fit, to the same bits."`

	releaseFlags
	deviceFlags
	threadsFlag
	jsonFlag

	boxes     *boxTraining `kong:"-"` // of vgg localize train
	processes *processes   `kong:"-"` // that train together; nil: this one alone
}

// initFlags complete what the file of --init-from doesn't tell about itself.
type initFlags struct {
	InitHead  string `placeholder:"ROW" help:"Head of the network in --init-from, if the tensors don't tell it and it is to be taken: 'gap FC'."`
	InitInput int    `placeholder:"PIXELS" help:"Side of the input of the network in --init-from, if the tensors don't tell it."`
	// Preprocess replaces what the file tells.
	Preprocess string `placeholder:"NAME" help:"Preprocessing of the weights: vgg, caffe, keras, torchvision, unit (pixel/255) or a JSON object. The network that is trained from --init-from goes on with it (as the weights tell)."`
	leftoverFlags
}

// options returns what the flags tell of the file.
func (f initFlags) options() (vgg.OpenOptions, error) {
	return fileFlags{Preprocess: f.Preprocess, Head: f.InitHead, Input: f.InitInput, leftoverFlags: f.leftoverFlags}.options()
}

// initial returns an opener of the network in --init-from.
func (c *trainCommand) initial(e *environment) (*opener, error) {
	o := c.opener(e, nn.F32, 0)
	given, err := c.initFlags.options()
	given.FCStorage = nn.F32
	o.options = given
	return o, err
}

func (trainCommand) Help() string {
	return `Trains a network. With --data alone, the recipe suits the number of the images, their classes and sizes, the memory and the processor's speed, and is finished in minutes; a line tells the choice, what it takes, and what to add for another. --recipe paper is the paper's recipe; --set changes a recipe, and the other flags come last. The whole recipe is printed. The run directory gets:

  - recipe.yaml, the recipe
  - metrics.jsonl, curve.png and events for TensorBoard
  - best.safetensors (least validation error) and last.safetensors
  - checkpoints

A folder without a val part keeps a fifth of its images for validation. The built-in photographs are ten categories of Caltech-101, CC BY 4.0.

With --init-from, or a release that was downloaded before (vgg pull D), a small head is trained on the frozen convolutions of these weights, which see each image a few times. --recipe fine-tune trains all layers; so do --head and --freeze. The last layer then is initialised at random and has ten times the learning rate of the others.

Training that diverges goes back and on with a tenth of the learning rate, up to three times; --no-rescue stops it.

An interruption saves a checkpoint and last.safetensors, and --resume continues from there. A second interruption stops at once.

Examples:

    vgg train
    vgg train --data photos
    vgg train --data photos --init-from D
    vgg train --data photos --init-from D --head 'gap FC256 bn relu FC'
    vgg train --resume --out runs/photos` + exitHelp
}

// trainingDefaults are the library's defaults, for the flags of training and sharding.
func trainingDefaults() kong.Vars {
	o := train.DefaultOptions()
	return kong.Vars{
		"keep":            fmt.Sprint(o.Keep),
		"checkpointevery": strings.TrimSuffix(o.CheckpointEvery.String(), "0s"),
		"maxbad":          fmt.Sprintf("%g%%", 100*o.MaxBad),
		"cachesize":       fmt.Sprintf("%dGiB", mostKeptImages>>30),
		"shardsize":       fmt.Sprintf("%dMB", dataset.DefaultShardBytes/1_000_000),
	}
}

func (c *trainCommand) Run(e *environment) error { return c.together(e, c.train) }

// together runs a training in all processes of a launcher.
func (c *trainCommand) together(e *environment, training func(*environment) error) error {
	var err error
	if c.processes, err = e.join(c.Ranks.mpi, &c.Threads, c.RankLogs); err != nil {
		return c.processes.leave(err)
	}
	return c.processes.leave(training(e))
}

func (c *trainCommand) train(e *environment) error {
	human := e.human(c.JSON)
	o, err := c.options(e, human)
	if err != nil {
		return err
	}
	p := c.showProgress(e, human, &o)
	if c.Memory > 0 { // the collector must not wait for the heap to double
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(heapLimit(int64(c.Memory))))
	}
	if !c.processes.first() {
		c.Page = ""
	}
	closePage, err := c.Page.showPage(human, o.Dir)
	if err != nil {
		os.Remove(o.Dir) // succeeds only if it is empty
		return err
	}
	result, err := train.Run(e.ctx, o)
	closePage()
	p.bar.close()
	if !c.processes.first() {
		return err
	}
	if err == nil {
		p.report(p.last, true)
	}
	if drawErr := p.draw(); err == nil {
		err = drawErr
	}
	if err != nil {
		os.Remove(o.Dir) // succeeds only if it is empty
		if result != nil && (err == context.Cause(e.ctx) || err == train.ErrStopped) {
			return interruptedError{fmt.Errorf("interrupted; the weights so far are in %s%s", filepath.Join(o.Dir, train.LastFile), c.continuing(o.Dir))}
		}
		if err == train.ErrStopped { // before the first step
			return interruptedError{err}
		}
		return err
	}
	if c.JSON {
		err = writeJSON(e.stdout, result)
	} else {
		err = c.print(human, result, o)
	}
	if err != nil {
		return err
	}
	return unreadable(result.Unreadable, o.Train.Len()+o.Val.Len())
}

// options returns the options of the run. It opens the images, makes the run directory and
// prints both.
func (c *trainCommand) options(e *environment, human io.Writer) (train.Options, error) {
	o := train.DefaultOptions()
	fail := func(err error) (train.Options, error) { return o, err }
	var err error
	if o.Workers, err = c.apply(); err != nil {
		return fail(err)
	}
	if err := errors.Join(c.take(""), c.check()); err != nil {
		return fail(err)
	}
	if c.Recipe == "finetune" { // as it is often written
		c.Recipe = fineTuneName
	}
	var tuning *fineTuning
	tuned := false
	if o.Recipe, tuning, tuned, err = c.commonRecipe(e); err != nil {
		return fail(err)
	}
	if o.Train, o.Val, err = c.open(e, human, o.Recipe.Seed, o.Workers); err != nil {
		return fail(err)
	}
	if c.processes.first() {
		o.Dir, err = c.runDir()
	}
	if err == nil {
		err = c.processes.share(&o.Dir)
	}
	if err != nil {
		return fail(err)
	}
	if o.Note, err = c.note(); err != nil {
		return fail(err)
	}
	if c.boxes != nil {
		if o.Task, o.Train, o.Val, err = c.boxes.prepare(e, human, o.Train, o.Val, o.Recipe.Orient, o.Workers); err != nil {
			return fail(err)
		}
	}
	if err := c.chooseEnding(human, tuned, &o); err != nil {
		return fail(err)
	}
	if tuning != nil {
		if err := tuning.print(human, o.Recipe); err != nil {
			return fail(err)
		}
		o.Choice = tuning.choice
	}
	if c.boxes != nil && c.boxes.choice != nil {
		o.Choice = c.boxes.choice
		if err := printChoice(human, o.Choice, o.Recipe); err != nil {
			return fail(err)
		}
	}
	if o.Recipe.InitFrom != "" && o.Choice == nil && !c.Resume && c.processes.first() {
		if err := c.printEstimate(e, human, &o); err != nil {
			return fail(err)
		}
	}
	o.NoRescue = c.NoRescue
	if o.Initial, err = c.initFlags.options(); err != nil {
		return fail(err)
	}
	o.Initial.Described = func(d *vgg.Description) { e.reportIgnored(o.Recipe.InitFrom, d) }
	d, err := c.deviceFlags.on(e, c.processes.firstDevice(c.Ranks.n), c.Ranks.n)
	if err != nil {
		return fail(err)
	}
	if d != nil {
		o.Device = d
	}
	o.Ranks, o.Memory, o.MaxPixels, o.Resume, o.StatsDir = c.Ranks.n, int64(c.Memory), c.pixels(), c.Resume, cacheDir()
	o.Verify = c.Verify
	if c.processes != nil {
		o.Processes = c.processes
		fmt.Fprintln(human, c.processes.describe(c.Ranks.n))
	}
	// 0 is the default in the library, and none on the command line.
	if o.MaxBad = float64(c.MaxBad); c.MaxBad == 0 {
		o.MaxBad = train.NoneBad
	}
	if o.CheckpointEvery = c.CheckpointEvery; c.CheckpointEvery == 0 {
		o.CheckpointEvery = train.EpochsOnly
	}
	if o.Keep = c.Keep; c.Keep == 0 {
		o.Keep = train.KeepNone
	}
	what := "classes"
	if o.Train.MultiLabel {
		what = fmt.Sprintf("labels, %.2f an image", labelsEach(o.Train))
	}
	fmt.Fprintf(human, "%d training and %d validation images of %d %s\nRun directory %s\n\nRecipe\n%s\n",
		o.Train.Len(), o.Val.Len(), len(o.Train.Classes), what, o.Dir, indent(o.Recipe.YAML()))
	return o, nil
}

// check returns an error for a flag out of range.
func (c *trainCommand) check() error {
	switch {
	case c.Keep < 0:
		return usagef("--keep %d, want 0 or more", c.Keep)
	case c.CheckpointEvery < 0:
		return usagef("--checkpoint-every %v, want 0 or more", c.CheckpointEvery)
	}
	return nil
}

// showProgress makes the run report to the terminal and to the curve.
func (c *trainCommand) showProgress(e *environment, human io.Writer, o *train.Options) *trainProgress {
	p := &trainProgress{
		out: human, errors: e.stderr, bar: e.newProgress(), dir: o.Dir, perEpoch: (o.Train.Len() + o.Recipe.Batch - 1) / o.Recipe.Batch,
		curve: report.Curve{Title: curveTitle(o.Recipe, o.Train.Name)},
	}
	if o.Train.MultiLabel {
		p.showLabels()
	}
	if c.boxes != nil {
		p.showBoxes(string(o.Task.Localisation().Regression))
	}
	o.Log, o.OnSurvey, o.OnStart, o.OnIteration, o.OnEpoch = slog.New(p.warnings()), p.bar.stage("measuring the images' colours", unitImages), p.start, p.iteration, p.epoch
	o.OnRescue = p.rescue
	if c.processes.first() {
		var err error
		if p.status, err = newTrainerStatus(e.getenv); err != nil {
			p.warn(fmt.Sprintf("no progress for Kubeflow: %v", err))
		}
	}
	return p
}

// print writes the result of a run, and the commands that use its weights.
func (c *trainCommand) print(out io.Writer, r *train.Result, o train.Options) error {
	set := c.dataFlags.text()
	if !c.sample() || c.MultiLabel && c.Data != "" {
		set = " --data " + quoted(remote.Plain(c.Data)) + set
	}
	waited := ""
	if r.Seconds > 0 {
		waited = fmt.Sprintf(", %.1f %% of it waiting for images", 100*r.WaitSeconds/r.Seconds)
	}
	if r.Seconds > 0 && r.ExchangeSeconds > 0 {
		waited += fmt.Sprintf(", %.1f %% exchanging gradients, %.0f %% of that hidden behind the backward pass", 100*r.ExchangeSeconds/r.Seconds, 100*r.Hidden())
	}
	fmt.Fprintf(out, "\n%d epochs, %d iterations in %s%s. Best epoch %d: ", r.Epochs, r.Iterations, seconds(r.Seconds), waited, r.BestEpoch)
	weights, photo := r.BestWeights, photoOf(c.Data, o.Val)
	show := []string{"classify", weights, photo}
	measure := commandLine("eval", weights) + set
	chance := besideChance{}
	switch {
	case c.boxes != nil:
		fmt.Fprintf(out, "localisation error %s, mean IoU %.3f.\n\n", report.Percent(r.LocalisationError), r.MeanIoU)
		show = []string{"localize", weights, photo, "--draw", "boxes.png"}
		if o.Task.Localisation().Regression == vgg.PCR && photo != "" {
			show = append(show, "--class", o.Val.Classes[o.Val.Samples[0].Label])
		}
		measure = commandLine("localize", "eval", weights) + set
		chance = unseenOf(o.Val, c.boxes.unseen, r.LocalisationError)
	case !math.IsNaN(r.MeanAP):
		fmt.Fprintf(out, "mean average precision %s, F1 %s at probability 0.5.\n\n", report.Percent(r.MeanAP), report.Percent(r.MicroF1))
		if c.MultiLabel {
			measure += " --multi-label"
		}
	default:
		fmt.Fprintf(out, "top-1 error %s, top-5 error %s.\n\n", report.Percent(r.Top1Error), report.Percent(r.Top5Error))
		chance = chanceOf(o.Val, r.Top1Error)
	}
	fmt.Fprint(out, chance.text(r.Epochs, commandLine("stats", cmp.Or(remote.Plain(c.Data), sampleName))+c.dataFlags.text()))
	if chance.verdict == noBetter {
		return nil
	}
	next := []string{measure}
	if photo != "" {
		next = []string{commandLine(show...), measure}
	}
	_, err := fmt.Fprintf(out, "Next: %s\n", strings.Join(next, "\n      "))
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
