package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/teach"
	"github.com/verydeep/vgg/train"
	"github.com/verydeep/vgg/transfer"
)

type teachCommand struct {
	Photos      string    `arg:"" help:"Pictures: a folder with a folder for each class, or any other set that vgg train reads; sample for the built-in photographs."`
	Net         string    `placeholder:"WEIGHTS" help:"Network whose features are used: a file of weights, or a configuration's name for its public release (of D, E, B and A, the first that was downloaded before)."`
	Out         string    `placeholder:"FILE" help:"Output: FILE.safetensors, the model (the folder's name with .safetensors)."`
	Sheet       string    `placeholder:"FILE" help:"Contact sheet of pictures that are taken for another class, look mislabelled or are there twice, as PNG; none for no sheet (the model's name with .png)."`
	Descriptors string    `placeholder:"FILE" help:"FILE.npy that keeps the descriptors for the next time (one in the user's cache)."`
	Scale       int       `placeholder:"S" help:"Smallest side to which images are rescaled, in pixels (as the weights tell)."`
	C           []float64 `name:"c" default:"1,10,100" placeholder:"C" help:"Weight of the loss. Of several, cross-validation chooses (1,10,100)."`
	Folds       int       `default:"5" placeholder:"N" help:"Folds of the cross-validation (5)."`
	Duplicates  *float64  `placeholder:"X" help:"Least similarity of the near-duplicates that are listed, and that stay in one fold; 0 looks for none (that of pictures 25 times as near to each other as two mostly are)."`
	Refine      bool      `help:"Fine-tune the head, then also the last block of convolutions, on four fifths of the pictures; the others, of which none is a near-duplicate of these, tell whether that is better than the SVMs, which else learn again, from all pictures."`
	Seed        uint64    `default:"0" placeholder:"N" help:"Seed of what is random: the folds and the order of learning (0)."`
	dataFlags
	overwriteFlag

	Config     string `placeholder:"CONFIG" help:"Configuration, or a row of layers (as the tensors tell)."`
	Preprocess string `placeholder:"NAME" help:"Preprocessing of the weights: vgg, caffe, keras, torchvision, unit (pixel/255) or a JSON object (as the weights tell)."`
	leftoverFlags
	shownFlags
	releaseFlags
	Memory size `placeholder:"SIZE" help:"Bound of the memory, as 4GiB. A picture that needs more is unreadable (the memory of the weights and 2 GiB)."`
	pixelsFlag
	threadsFlag
	jsonFlag
}

func (teachCommand) Help() string {
	return `Teaches a network the classes of a few pictures. The network describes each picture (the mean of its last convolutions' activations, of norm 1), linear SVMs learn the classes from that, and both become one model, for vgg classify, eval, explain, convert and serve.

  - The error is that on pictures which were not learnt from: those of a part val or test, or all of them by cross-validation. Near-duplicates are never on both sides.
  - The SVMs' answers are unchanged in the model; its probabilities are calibrated on pictures that the SVMs have not seen.
  - Pictures that are wrong, look mislabelled or are there twice are listed, and shown on the contact sheet.
  - Descriptors are kept: after pictures have been added, the same command with --overwrite describes only those. An interrupted run goes on by the same command.

Examples:

    vgg teach photos
    vgg teach photos --net vgg16_notop.h5 --out birds.safetensors` + exitHelp
}

// teachResult has the JSON keys of `vgg teach --json`.
type teachResult struct {
	Out     string  `json:"out"`
	Sheet   string  `json:"sheet,omitempty"`
	Net     string  `json:"net"`
	Seconds float64 `json:"seconds"`
	teach.Report
	Refined *teach.Refinement `json:"refined"` // null without --refine
}

// noSheet is the word for no contact sheet.
const noSheet = "none"

func (c *teachCommand) Run(e *environment) error {
	start := time.Now()
	if err := c.complete(); err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	sheet := c.Sheet
	if sheet == noSheet {
		sheet = ""
	}
	release, err := c.claim([]output{{"--out", c.Out}, {"--sheet", sheet}}, c.Photos, c.Net)
	if err != nil {
		return err
	}
	defer release()
	images, err := c.images(e)
	if err != nil {
		return err
	}
	net, err := c.network(e, threads)
	if err != nil {
		return err
	}
	taught, images, refined, err := c.model(e, net, images)
	if err != nil {
		return err
	}
	if err := taught.Model.Save(e.ctx, c.Out); err != nil {
		return err
	}
	r := teachResult{Out: c.Out, Net: net.Weights, Report: taught.Report, Refined: refined}
	if sheet != "" {
		wrote, err := c.writeSheet(e, sheet, images.Dataset, &taught.Report, refined != nil && refined.Better)
		if err != nil {
			return err
		}
		if wrote {
			r.Sheet = sheet
		}
	}
	r.Seconds = time.Since(start).Seconds()
	if c.JSON {
		err = writeJSON(e.stdout, r)
	} else {
		err = r.print(e, images)
	}
	if err != nil {
		return err
	}
	return unreadable(len(r.Unreadable), images.Len())
}

// model makes the model, and refines it if that is asked for. It returns the images too that the
// report is of.
func (c *teachCommand) model(e *environment, net transfer.Net, all *transfer.Images) (*teach.Result, *transfer.Images, *teach.Refinement, error) {
	if !c.Refine {
		taught, err := c.teach(e, net, all)
		return taught, all, nil, err
	}
	if err := c.announceRefining(e, net, all); err != nil {
		return nil, nil, nil, err
	}
	var images *transfer.Images
	err := c.learning(e, net, all, func(o teach.Options) (err error) {
		images, err = teach.Divided(e.ctx, net, all, o)
		return err
	})
	if err != nil {
		return nil, nil, nil, err
	}
	taught, err := c.teach(e, net, images)
	if err != nil {
		return nil, nil, nil, err
	}
	m, refined, err := c.refine(e, images, taught)
	if err != nil {
		return nil, nil, nil, err
	}
	if refined.Better {
		taught.Model = m
		return taught, images, refined, nil
	}
	// The held pictures have told which model is better: SVMs that stay learn from them too.
	if images != all {
		fmt.Fprintln(e.stderr, "Fine-tuning errs no less than the SVMs, which learn again, from all pictures")
		if taught, err = c.teach(e, net, all); err != nil {
			return nil, nil, nil, err
		}
		images, refined.Relearnt = all, true
	}
	return taught, images, refined, nil
}

// complete chooses what the command line leaves out.
func (c *teachCommand) complete() error {
	stem := filepath.Base(filepath.Clean(c.Photos))
	if abs, err := filepath.Abs(c.Photos); err == nil && c.Photos != sampleName {
		stem = filepath.Base(abs)
	}
	if info, err := os.Stat(c.Photos); err == nil && !info.IsDir() {
		stem = strings.TrimSuffix(stem, filepath.Ext(stem))
	}
	if c.Out == "" {
		c.Out = stem + ".safetensors"
	}
	if c.Sheet == "" {
		c.Sheet = strings.TrimSuffix(c.Out, filepath.Ext(c.Out)) + ".png"
	}
	switch {
	case filepath.Ext(c.Out) != ".safetensors":
		return usagef("--out %s, want FILE.safetensors; vgg convert makes other formats of it", c.Out)
	case c.Sheet != noSheet && !strings.EqualFold(filepath.Ext(c.Sheet), ".png"):
		return usagef("--sheet %s, want FILE.png or none", c.Sheet)
	case c.Descriptors != "" && filepath.Ext(c.Descriptors) != ".npy":
		return usagef("--descriptors %s, want FILE.npy", c.Descriptors)
	case c.Folds < 3:
		return usagef("--folds %d, want at least 3", c.Folds)
	case c.Duplicates != nil && !(*c.Duplicates >= 0 && *c.Duplicates <= 1):
		return usagef("--duplicates %v, want 0 to 1", *c.Duplicates)
	case c.Scale < 0:
		return usagef("--scale %d, want at least the network's input side", c.Scale)
	}
	for _, v := range c.C {
		if !(v > 0) {
			return usagef("--c %v, want above 0", v)
		}
	}
	return nil
}

// images opens the pictures and says what they are.
func (c *teachCommand) images(e *environment) (*transfer.Images, error) {
	if c.Photos == sampleName {
		fmt.Fprintf(e.stderr, "Data: %s\n", sample.Credit)
		train, val, err := sample.Open()
		if err != nil {
			return nil, err
		}
		return transfer.JoinParts(sampleName, train, val)
	}
	o, err := c.dataFlags.options(e)
	if err != nil {
		return nil, err
	}
	images, err := transfer.OpenImages(e.ctx, transfer.ImageOptions{Classes: o}, c.Photos)
	if err == nil && !images.Labelled { // the reason is that of opening classes
		if _, _, err = c.dataFlags.open(e, c.Photos); err == nil {
			err = fmt.Errorf("%s: the pictures have no classes", c.Photos)
		}
	}
	return images, err
}

// network returns the network to learn on. Its head, if it has one, is not read.
func (c *teachCommand) network(e *environment, threads int) (transfer.Net, error) {
	open := c.opener(e, nn.F32, threads)
	flags := fileFlags{Preprocess: c.Preprocess, Config: c.Config, leftoverFlags: c.leftoverFlags, shownFlags: c.shownFlags}
	var err error
	if open.options, err = flags.options(); err != nil {
		return transfer.Net{}, err
	}
	open.options.FCStorage, open.options.Headless, open.headless = nn.F32, true, true
	name := c.Net
	if name == "" {
		if name = c.cached(); name == "" {
			return transfer.Net{}, usagef("no network to learn on: --net FILE names a file of weights, of which the convolutions are used (vgg16_notop.h5 from Keras, a torchvision .pth); vgg pull D downloads the ImageNet weights of D, which then are taken without --net")
		}
	}
	path, err := open.path(name)
	if err != nil {
		return transfer.Net{}, err
	}
	n, err := open.net(path, eval.Setting{}, true)
	if err != nil {
		return transfer.Net{}, err
	}
	m, err := n.Open()
	if err != nil {
		return transfer.Net{}, err
	}
	if c.Scale > 0 {
		if err := checkScales("--scale", m.Net.Options(), c.Scale); err != nil {
			return transfer.Net{}, err
		}
	}
	return transfer.Net{Weights: path, SHA256: n.SHA256, FCWeights: n.FCWeights, Open: n.Open}, nil
}

// announceRefining says how long fine-tuning will take, before anything that takes long.
func (c *teachCommand) announceRefining(e *environment, net transfer.Net, images *transfer.Images) error {
	m, err := net.Open()
	if err != nil {
		return err
	}
	threads := c.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	speed, err := train.MeasureSpeed(threads)
	if err != nil {
		return err
	}
	times, err := teach.RefineSeconds(e.ctx, m, images, speed)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stderr, "Refining will take about %s more: %s for the head, %s for the last block of convolutions, by a measured %s\n",
		seconds(times[0]+times[1]), seconds(times[0]), seconds(times[1]), multiplications(speed))
	return err
}

// taughtName is the file of the model to refine in the folder of the run directories.
const taughtName = "taught.safetensors"

// refine fine-tunes a model. The folder beside the output has the model and the run directories;
// a command that was interrupted goes on there, as it makes the same model again.
func (c *teachCommand) refine(e *environment, images *transfer.Images, taught *teach.Result) (*vgg.Model, *teach.Refinement, error) {
	dir := strings.TrimSuffix(c.Out, filepath.Ext(c.Out)) + "-refine"
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, nil, err
	}
	file, next := filepath.Join(dir, taughtName), filepath.Join(dir, "next-"+taughtName)
	if err := taught.Model.Save(e.ctx, next); err != nil {
		return nil, nil, err
	}
	if exists(file) {
		same, err := sameContents(e.ctx, file, next)
		if err == nil && !same && !c.Overwrite {
			err = fmt.Errorf("%s: the refining of other pictures, or by other options: want another --out, or --overwrite to begin anew", dir)
		}
		if err == nil && !same {
			err = clearRefining(dir)
		}
		if err != nil {
			return nil, nil, errors.Join(err, os.Remove(next))
		}
	}
	if err := atomicfile.Rename(next, file); err != nil {
		return nil, nil, err
	}
	m, refined, err := c.run(e, images, file, taught.Report.Error)
	if _, other := errors.AsType[*train.OtherRunError](err); other {
		if !c.Overwrite {
			return nil, nil, fmt.Errorf("%w (--overwrite begins anew)", err)
		}
		if err := errors.Join(clearRefining(dir), taught.Model.Save(e.ctx, file)); err != nil {
			return nil, nil, err
		}
		m, refined, err = c.run(e, images, file, taught.Report.Error)
	}
	return m, refined, e.interrupted(err, c.Out)
}

// sameContents tells whether two files of weights have the same bytes.
func sameContents(ctx context.Context, a, b string) (bool, error) {
	x, err := fileSHA256(ctx, a)
	if err != nil {
		return false, err
	}
	y, err := fileSHA256(ctx, b)
	return x == y, err
}

// clearRefining removes what refining has left in a folder.
func clearRefining(dir string) error {
	var errs []error
	for _, name := range teach.RefineStages() {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	if err := os.Remove(filepath.Join(dir, taughtName)); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// run fine-tunes the model in a file, and shows the progress.
func (c *teachCommand) run(e *environment, images *transfer.Images, file string, before float64) (*vgg.Model, *teach.Refinement, error) {
	var p *trainProgress
	defer func() {
		if p != nil {
			p.bar.close()
		}
	}()
	return teach.Refine(e.ctx, file, images, before, filepath.Dir(file), func(stage string, o *train.Options) {
		if p != nil {
			p.bar.close()
		}
		fmt.Fprintf(e.stderr, "Refining (%s): %d epochs of %d pictures, in %s\n", stage, o.Recipe.Epochs, o.Train.Len(), o.Dir)
		p = (&trainCommand{}).showProgress(e, e.stderr, o)
	})
}

// teach teaches the network, and shows the progress.
func (c *teachCommand) teach(e *environment, net transfer.Net, images *transfer.Images) (taught *teach.Result, err error) {
	err = c.learning(e, net, images, func(o teach.Options) (err error) {
		taught, err = teach.Teach(e.ctx, net, images, o)
		return err
	})
	return taught, err
}

// learning calls learn with the options of the flags, within a bound of memory, and shows the
// progress.
func (c *teachCommand) learning(e *environment, net transfer.Net, images *transfer.Images, learn func(teach.Options) error) error {
	o := teach.DefaultOptions()
	o.Scale, o.Cs, o.Folds, o.Seed = c.Scale, c.C, c.Folds, c.Seed
	if c.Duplicates != nil {
		if o.Duplicates = *c.Duplicates; o.Duplicates == 0 {
			o.Duplicates = teach.NoDuplicates
		}
	}
	o.Resources = resources.Resources{Memory: int64(c.Memory), MaxPixels: c.pixels()}
	o.OnRemark = e.remark
	var err error
	if o.Descriptors, err = c.kept(net); err != nil {
		return err
	}
	m, err := net.Open()
	if err != nil {
		return err
	}
	bound := int64(c.Memory)
	if bound == 0 {
		bound = eval.DefaultMemory(m.Net)
	}
	defer boundHeap(bound)()
	fmt.Fprintf(e.stderr, "%s pictures of %d classes, on %s\n", report.Count(int64(images.Len())), len(images.Classes), filepath.Base(net.Weights))
	bar := e.newProgress()
	defer bar.close()
	var classes progress.Func
	o.OnStage = func(stage string) { classes = bar.stage(stage, unitClasses) }
	o.OnClass = func(done, total int64) { classes.Report(done, total) }
	o.OnImage = bar.stage("describing", unitImages)
	err = learn(o)
	bar.close()
	if c.Descriptors == "" && o.Descriptors != "" {
		pruneDescriptors(o.Descriptors, mostKeptDescriptors)
	}
	if _, other := errors.AsType[*transfer.OtherRunError](err); other && c.Descriptors != "" {
		return fmt.Errorf("%w; want another --descriptors", err)
	}
	if o.Descriptors == "" { // nothing is kept
		return err
	}
	return e.interrupted(err, c.Out)
}
