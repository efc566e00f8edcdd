package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/train"
)

type trainCommand struct {
	Data   string `placeholder:"DIR" help:"Folder of images: one folder a class, or train and val with these. Without it, the photographs that are built in."`
	Recipe string `placeholder:"FILE" help:"YAML file over the recipe that the command begins with: the paper's with --data, else a small one."`
	Out    string `placeholder:"DIR" help:"Run directory, new or empty (a new one in runs)."`

	Config       *string   `placeholder:"C" help:"Configuration: ${configs}; with -BN or -LRN behind it."`
	Width        *float64  `placeholder:"X" help:"Multiplies the channels of every convolution."`
	FC           *int      `name:"fc" placeholder:"N" help:"Units of fc6 and fc7."`
	Input        *int      `placeholder:"PIXELS" help:"Side of the square crop."`
	Init         *vgg.Init `placeholder:"NAME" help:"Initialisation: he, glorot, normal-0.1 or normal-0.01."`
	Epochs       *int      `placeholder:"N" help:"Passes over the training images, at most."`
	Batch        *int      `placeholder:"N" help:"Images of a mini-batch."`
	LearningRate *float64  `placeholder:"X" help:"Learning rate to begin with."`
	ScaleMin     *int      `placeholder:"PIXELS" help:"Least smallest side S that training images are rescaled to."`
	ScaleMax     *int      `placeholder:"PIXELS" help:"Greatest smallest side S that training images are rescaled to."`
	TestScale    *int      `placeholder:"PIXELS" help:"Smallest side Q that validation images are rescaled to."`
	Seed         *uint64   `placeholder:"N" help:"Of initialisation, order, augmentation and dropout."`

	threadsFlag
	jsonFlag
}

func (trainCommand) Help() string {
	return `Trains by the paper's recipe: what --recipe says goes over it, and flags over both. The resolved recipe is printed and kept in the run directory, with metrics.jsonl, curve.png, best.safetensors (least validation error) and last.safetensors. Of a folder without a val part a fifth is kept for validation. The built-in photographs are ten categories of Caltech-101, CC BY 4.0. Interrupted, it saves last.safetensors; a second interruption stops it at once.` + exitHelp
}

// sampleName stands for the embedded photographs where a folder is asked for.
const sampleName = "sample"

// valFraction of a folder without a val part is kept for validation.
const valFraction = 0.2

// trainCacheBytes bounds the decoded images kept in memory.
const trainCacheBytes = 512 << 20

func (c *trainCommand) Run(e *environment) error {
	threads, err := c.apply()
	if err != nil {
		return err
	}
	recipe, err := c.recipe()
	if err != nil {
		return err
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
	fmt.Fprintf(human, "%d training and %d validation images of %d classes\nRun directory %s\n\nRecipe\n%s\n",
		trainSet.Len(), valSet.Len(), len(trainSet.Classes), dir, indent(recipe.YAML()))

	// The bar runs over iterations, of which train.Run knows the number.
	perEpoch := (trainSet.Len() + recipe.Batch - 1) / recipe.Batch
	p := &trainProgress{
		out: human, bar: newProgress(e.stderr, perEpoch*recipe.Epochs, "iterations"), perEpoch: perEpoch,
		curve:     report.Curve{Title: curveTitle(recipe, trainSet.Name)},
		curveFile: filepath.Join(dir, "curve.png"),
	}
	result, err := train.Run(e.ctx, train.Options{
		Recipe: recipe, Train: trainSet, Val: valSet, Dir: dir, Threads: threads, CacheBytes: trainCacheBytes,
		OnIteration: p.iteration, OnEpoch: p.epoch,
	})
	p.bar.close()
	if drawErr := p.draw(); err == nil {
		err = drawErr
	}
	if err != nil {
		os.Remove(dir) // goes only if it is empty
		if result != nil && err == context.Cause(e.ctx) {
			return fmt.Errorf("interrupted; the weights so far are in %s", filepath.Join(dir, "last.safetensors"))
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

// recipe puts the flags over the file over the recipe to begin with.
func (c *trainCommand) recipe() (train.Recipe, error) {
	r := train.PaperRecipe()
	if c.sample() {
		r = train.SampleRecipe()
	}
	if c.Recipe != "" {
		var err error
		if r, err = train.LoadRecipe(c.Recipe, r); err != nil {
			return r, err
		}
	}
	set(&r.Config, c.Config)
	set(&r.Width, c.Width)
	set(&r.FC, c.FC)
	set(&r.Input, c.Input)
	set(&r.Init, c.Init)
	set(&r.Epochs, c.Epochs)
	set(&r.Batch, c.Batch)
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
	trainSet, valSet, err = dataset.OpenFolder(c.Data)
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
		case err == nil && len(entries) > 0:
			return "", fmt.Errorf("--out %s: the folder is not empty; a run wants a new one", c.Out)
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
	_, err := fmt.Fprintf(out, "\n%d epochs, %d iterations in %s. Best epoch %d: top-1 error %s, top-5 error %s.\n\n"+
		"Next: vgg classify %[7]s PHOTO.jpg\n      vgg eval %[7]s%[8]s\n",
		r.Epochs, r.Iterations, report.Duration(time.Duration(r.Seconds*float64(time.Second))),
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
