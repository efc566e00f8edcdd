package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/train"
)

type localizeTrainCommand struct {
	Regression string `default:"PCR" enum:"SCR,PCR,scr,pcr" placeholder:"NAME" help:"SCR: single-class regression, one box for all classes; PCR: per-class regression, a box for each class (PCR)."`
	BoxRule    string `default:"${boxrule}" placeholder:"RULE" help:"Target for boxes that extend beyond the crop: whole keeps them, clip cuts them to the crop. A number after a colon is the least share of a box that the crop must show (${boxrule})."`
	S          *int   `name:"scale" placeholder:"S" help:"Smallest side to which images are rescaled, in pixels, for --scale-min, --scale-max and --test-scale (that of the classification network)."`
	boxFlags
	trainCommand `embed:""`
}

// boxFlags choose the boxes of images.
type boxFlags struct {
	Strict       bool `help:"Stop at the first bad annotation or box that extends beyond its image, instead of skipping or cutting it."`
	RescaleBoxes bool `help:"Rescale boxes whose annotations give another size of the image."`
}

func (localizeTrainCommand) Help() string {
	return `Fine-tunes the classification network --init-from to give boxes: its last layer is replaced, and the loss is Euclidean. The recipe is the paper's, with learning rate 1e-3; --recipe, --set and the other flags change it. Without --init-from, or with weights of features alone, the recipe suits the images and the machine, as in vgg train.

  - The configuration is the classification network's. --freeze 'conv*' fine-tunes the fully connected layers alone.
  - Images without a box of their class are left out.
  - Run directory, interruption and --resume are as in vgg train.
  - The best weights have the least localisation error on the central crops of the validation images.

Examples:

    vgg localize train --data photos
    vgg localize train --init-from D --data photos
    vgg localize train --init-from best.safetensors --data photos --regression SCR --freeze 'conv*'` + exitHelp
}

// boxTraining makes a training run learn boxes.
type boxTraining struct {
	boxFlags
	annotations string // where the boxes are
	regression  vgg.Regression
	rule        localize.Rule
	base        train.Recipe
	choice      *train.Choice // by which base was chosen; nil if the weights tell it

	unseen *localize.Baseline // of the validation images, without a look at them; nil without validation
}

// Keys of the flags of boxes in a checkpoint's note.
const (
	noteRegression  = "regression"
	noteRule        = "box_rule"
	noteAnnotations = "annotations"
	noteRescale     = "rescale_boxes"
)

// regressionName returns a regression's name in words.
func regressionName(r vgg.Regression) string {
	if r == vgg.SCR {
		return "single-class regression (SCR)"
	}
	return "per-class regression (PCR)"
}

func (c *localizeTrainCommand) Run(e *environment) error { return c.together(e, c.train) }

func (c *localizeTrainCommand) train(e *environment) error {
	if err := c.take(""); err != nil {
		return err
	}
	c.boxes = &boxTraining{boxFlags: c.boxFlags, annotations: c.Annotations}
	if err := c.decide(e); err != nil {
		return err
	}
	if c.S != nil {
		for _, at := range []**int{&c.ScaleMin, &c.ScaleMax, &c.TestScale} {
			if *at == nil {
				*at = c.S
			}
		}
	}
	return c.trainCommand.train(e)
}

// decide sets how boxes are learnt, by the command line or by rank 0's checkpoint, and on rank 0
// the recipe that a run begins with.
func (c *localizeTrainCommand) decide(e *environment) (err error) {
	b := c.boxes
	told := struct {
		Regression, Rule, Annotations string
		Rescale                       bool
	}{c.Regression, c.BoxRule, b.annotations, b.RescaleBoxes}
	var from *train.CheckpointInfo
	if c.processes.first() {
		if from, err = c.checkpoint(e.ctx); err != nil {
			return err
		}
		if from != nil {
			if from.Note[noteRegression] == "" {
				return fmt.Errorf("%s: a checkpoint of a classification network, want vgg train to continue from it", from.Path)
			}
			told.Regression, told.Rule, told.Rescale = from.Note[noteRegression], from.Note[noteRule], from.Note[noteRescale] != ""
			b.base = from.Recipe
			if told.Annotations == "" {
				told.Annotations = from.Note[noteAnnotations]
			}
		}
	}
	if err := c.processes.share(&told); err != nil {
		return err
	}
	b.annotations, b.RescaleBoxes = told.Annotations, told.Rescale
	if b.regression, err = vgg.ParseRegression(told.Regression); err != nil {
		return usageError{err}
	}
	if b.rule, err = localize.ParseRule(told.Rule); err != nil {
		return usageError{err}
	}
	switch {
	case !c.processes.first():
		return nil
	case c.sample():
		return usagef("--data SET is needed: images with bounding boxes")
	case from == nil:
		return c.begin(e)
	}
	return nil
}

// begin sets the recipe that a run begins with: the paper's for a classification network, else
// one by the images, the weights and the machine.
func (c *localizeTrainCommand) begin(e *environment) (err error) {
	b := c.boxes
	if c.unspecific() {
		weights, path, err := c.boxWeights(e)
		if err != nil {
			return err
		}
		if c.InitFrom == nil || weights.Options.Headless() {
			return c.chooseBoxes(e, weights, path)
		}
	}
	if c.InitFrom == nil || *c.InitFrom == "" {
		return usagef("--init-from FILE is needed with a network or recipe of your own: a classification network to fine-tune")
	}
	b.base, err = c.base(e)
	return err
}

// boxWeights describes the weights of the command line as they are, or those of a release that
// was downloaded before; nil if there are none.
func (c *localizeTrainCommand) boxWeights(e *environment) (*vgg.Description, string, error) {
	if c.InitFrom == nil {
		return c.initialWeights(e)
	}
	open, err := c.initial(e)
	if err != nil {
		return nil, "", err
	}
	weights, path, err := open.identify(*c.InitFrom)
	return weights, path, ofInitial(err)
}

// chooseBoxes sets the recipe by images, weights and machine.
func (c *localizeTrainCommand) chooseBoxes(e *environment, weights *vgg.Description, path string) error {
	if was, err := c.recordedRecipe(); was != nil || err != nil {
		if was != nil {
			c.boxes.base = *was
		}
		return err
	}
	trainSet, valSet, err := c.dataFlags.open(e, c.Data)
	if err != nil {
		return err
	}
	choice, err := c.choose(e, weights, path, trainSet, valSet, c.boxes.regression.Outputs(len(trainSet.Classes)))
	if err == nil {
		c.boxes.choice, c.boxes.base = choice, choice.Recipe
		c.boxes.base.Groups = c.allRanks()
	}
	return err
}

// base returns the paper's recipe for the classification network, or for convolutions without a
// head, whose network the command line or a recipe's file gives.
func (c *localizeTrainCommand) base(e *environment) (train.Recipe, error) {
	open, err := c.initial(e)
	if err != nil {
		return train.Recipe{}, err
	}
	net, path, err := open.identify(*c.InitFrom)
	if err != nil {
		return train.Recipe{}, ofInitial(err)
	}
	_, named := train.NamedRecipe(c.Recipe)
	switch file := c.Recipe != "" && named != nil; {
	case net.Localisation != nil:
		return train.Recipe{}, fmt.Errorf("--init-from %s: a localisation network, want a classification network, or its convolutions; --resume --out DIR trains one further", path)
	case net.Options.Headless() && c.Config == nil && !file:
		return train.Recipe{}, usagef("--init-from %s: convolutions without a head: add a network that has one (--config %s), or leave the other flags out, and one is chosen for you", path, net.Options.Config)
	case net.Options.Headless():
		net.Options.FC = network.DefaultOptions(net.Options.Config).FC
	default:
		// The outputs are boxes, whatever the classes' scores became.
		if net.Options.Config, err = architecture.WithEnding(net.Options.Config, architecture.Softmax); err != nil {
			return train.Recipe{}, err
		}
	}
	r := localize.PaperRecipe(path, net.Options, net.Preprocess, max(net.Preprocess.Resize, net.Options.Input))
	r.Groups = c.allRanks()
	return r, nil
}

// note adds the flags of boxes to a checkpoint's note.
func (b *boxTraining) note(note map[string]string) error {
	note[noteRegression], note[noteRule] = string(b.regression), b.rule.String()
	if b.RescaleBoxes {
		note[noteRescale] = "true"
	}
	if b.annotations == "" {
		return nil
	}
	path, err := filepath.Abs(b.annotations)
	note[noteAnnotations] = path
	return err
}

// prepare reads the boxes and computes their means.
func (b *boxTraining) prepare(e *environment, out io.Writer, trainSet, valSet *dataset.Dataset, orient preprocess.Orient, threads int) (train.Task, *dataset.Dataset, *dataset.Dataset, error) {
	trainSet, err := b.boxed(e, out, "training", trainSet, b.annotations)
	if err == nil {
		valSet, err = b.boxed(e, out, "validation", valSet, b.annotations)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	bar := e.newProgress()
	defer bar.close()
	head, err := localize.MeanBoxes(e.ctx, trainSet, b.regression, orient, threads, bar.stage("reading the images' sizes", unitImages))
	if err != nil {
		return nil, nil, nil, err
	}
	if valSet != nil && valSet.Len() > 0 {
		unseen, err := localize.MeanBoxResult(e.ctx, valSet, head, orient, threads)
		if err != nil {
			return nil, nil, nil, err
		}
		b.unseen = &unseen
	}
	return localize.NewTask(head, b.rule, trainSet, valSet), trainSet, valSet, nil
}

// boxed returns a dataset with its boxes, without the images that have none, and prints
// their numbers.
func (f boxFlags) boxed(e *environment, out io.Writer, what string, d *dataset.Dataset, annotations string) (*dataset.Dataset, error) {
	d, err := f.read(e, out, what, d, annotations)
	if err != nil {
		return nil, err
	}
	boxed, left, err := localize.Boxed(d)
	if left > 0 && err == nil {
		fmt.Fprintf(out, "  %s %s images have no box of their class and are left out\n", report.Count(int64(left)), what)
	}
	return boxed, err
}

// read reads the boxes of a dataset, and prints their numbers.
func (f boxFlags) read(e *environment, out io.Writer, what string, d *dataset.Dataset, annotations string) (*dataset.Dataset, error) {
	d, r, err := dataset.ReadBoxes(e.ctx, d, dataset.BoxOptions{From: annotations, Strict: f.Strict, Rescale: f.RescaleBoxes})
	if err != nil {
		return nil, err
	}
	printBoxes(out, what, r)
	return d, nil
}

// printBoxes prints the numbers of boxes.
func printBoxes(out io.Writer, what string, r dataset.BoxReport) {
	fmt.Fprintf(out, "Boxes: %s of %s %simages, from %s (%s)\n", report.Count(int64(r.Boxes)), report.Count(int64(r.Images)), strings.TrimPrefix(what+" ", " "), r.Format, r.Corners)
	if r.Clipped > 0 {
		fmt.Fprintf(out, "  %s reached beyond their image and were cut to it\n", report.Count(int64(r.Clipped)))
	}
	if r.Crowds > 0 {
		fmt.Fprintf(out, "  %s are round crowds and, like difficult ones, not used\n", report.Count(int64(r.Crowds)))
	}
	if r.Others > 0 {
		fmt.Fprintf(out, "  %s more are of classes that are never an image's largest, and left out\n", report.Count(int64(r.Others)))
	}
	if n := len(r.Bad); n > 0 {
		fmt.Fprintf(out, "  %s bad annotations are skipped:\n", report.Count(int64(n)))
		const shown = 5
		for _, bad := range r.Bad[:min(shown, n)] {
			fmt.Fprintf(out, "    %s: %s\n", bad.Source, strings.ReplaceAll(bad.Err.Error(), "\n", "; "))
		}
		if n > shown {
			fmt.Fprintf(out, "    and %s more\n", report.Count(int64(n-shown)))
		}
	}
}
