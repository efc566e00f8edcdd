package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

type transferCommand struct {
	Train   transferTrainCommand   `cmd:"" help:"Train linear SVMs on descriptors."`
	Eval    transferEvalCommand    `cmd:"" help:"Measure linear SVMs on descriptors."`
	Predict transferPredictCommand `cmd:"" help:"Predict the classes of images by linear SVMs."`
}

func (transferCommand) Help() string {
	return `Descriptors of images (vgg features) are the input of linear SVMs, which learn classes that the network has never seen (appendix B of the paper).

Examples:

    vgg features D photos --out photos.npy
    vgg transfer eval photos.npy
    vgg transfer train photos.npy --out svm.safetensors
    vgg transfer predict svm.safetensors new.jpg` + exitHelp
}

// svmFlags are shared by the commands that train SVMs.
type svmFlags struct {
	Loss      transfer.Loss `default:"l2" enum:"l2,l1" placeholder:"NAME" help:"Loss of a margin below 1: l1, linear, or l2, squared (l2)."`
	C         []float64     `name:"c" default:"0.01,0.1,1,10,100" placeholder:"C" help:"Weight of the loss. Of several, the one is taken that is best on the held-out images (0.01,0.1,1,10,100)."`
	HoldOut   share         `default:"20%" placeholder:"SHARE" help:"Share of each class's training images that chooses C (20%)."`
	Balance   bool          `help:"Weight the classes equally, whatever their number of images."`
	Bias      float64       `default:"1" placeholder:"X" help:"Constant at the end of every descriptor; 0 for no bias (1)."`
	Tolerance float64       `default:"1e-4" placeholder:"X" help:"Violation of the optimality conditions at which training stops (1e-4)."`
	Passes    int           `default:"1000" placeholder:"N" help:"Largest number of passes over the images (1000)."`
	Seed      uint64        `default:"0" placeholder:"N" help:"Seed of what is random: the splits and the image order (0)."`
}

func (f svmFlags) options() (transfer.TrainOptions, error) {
	o := transfer.DefaultTraining()
	o.Loss, o.Cs, o.HoldOut, o.Balance, o.Bias = f.Loss, f.C, float64(f.HoldOut), f.Balance, f.Bias
	o.Tolerance, o.MaxIterations, o.Seed = f.Tolerance, f.Passes, f.Seed
	for _, c := range f.C {
		if !(c > 0) || math.IsInf(c, 0) {
			return o, usagef("--c %v, want above 0", c)
		}
	}
	switch {
	case !(f.Tolerance > 0):
		return o, usagef("--tolerance %v, want above 0", f.Tolerance)
	case f.Passes < 1:
		return o, usagef("--passes %d, want at least 1", f.Passes)
	case !(f.Bias >= 0):
		return o, usagef("--bias %v, want at least 0", f.Bias)
	case len(f.C) > 1 && !(f.HoldOut > 0 && f.HoldOut < 1):
		return o, usagef("--hold-out %v, want more than 0 and less than 1", float64(f.HoldOut))
	}
	return o, nil
}

// watch shows the progress of training until stop is called.
func (e *environment) watch(o *transfer.TrainOptions) (stop func()) {
	bar := e.newProgress()
	var report progress.Func
	o.OnStage = func(stage string) { report = bar.stage(stage, unitClasses) }
	o.OnClass = func(done, total int64) { report.Report(done, total) }
	return bar.close
}

type transferTrainCommand struct {
	Descriptors []string `arg:"" help:"File of descriptors (vgg features), or all shards of one."`
	Out         string   `required:"" placeholder:"FILE" help:"Output: FILE.safetensors, with the SVMs."`
	AllParts    bool     `help:"Train on all images, also those of val and test."`
	overwriteFlag
	svmFlags
	threadsFlag
	jsonFlag
}

func (transferTrainCommand) Help() string {
	return `Trains a linear SVM for each class against the rest, by dual coordinate descent.

  - C is chosen on a part of the training images; the final SVMs are trained on all of them.
  - A set with parts is trained on train, and also on val if it has test.
  - Images that are marked difficult for a class have no part in its SVM.

Examples:

    vgg transfer train photos.npy --out svm.safetensors
    vgg transfer train 1.npy 2.npy --c 1 --out svm.safetensors` + exitHelp
}

// svmResult has the JSON keys of `vgg transfer train --json`.
type svmResult struct {
	Out string `json:"out"`
	transfer.SVMInfo
}

func (c *transferTrainCommand) Run(e *environment) error {
	if _, err := c.apply(); err != nil {
		return err
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	release, err := c.claim([]output{{"--out", c.Out}}, c.Descriptors...)
	if err != nil {
		return err
	}
	defer release()
	d, x, err := load(e.ctx, c.Descriptors)
	if err != nil {
		return err
	}
	rows := d.Readable()
	if d.HasParts() && !c.AllParts {
		split, err := d.Parts()
		if err != nil {
			return err
		}
		rows = split.Train
	}
	stop := e.watch(&o)
	s, err := transfer.Train(e.ctx, d, x, rows, o)
	stop()
	if err != nil {
		return err
	}
	if err := s.Save(c.Out); err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(e.stdout, svmResult{c.Out, s.Info})
	}
	if len(s.Info.Tried) > 0 {
		t := report.NewTable(right("C"), right(scoreName(s.Info.Multi)+" on images held out"))
		for _, trial := range s.Info.Tried {
			t.Row(fmt.Sprint(trial.C), report.Percent(trial.Score))
		}
		fmt.Fprintf(e.stdout, "%s\n", t)
	}
	if !s.Info.Converged {
		fmt.Fprintf(e.stderr, "not all classes converged in %d passes\n", s.Info.MaxIterations)
	}
	_, err = fmt.Fprintf(e.stdout, "SVMs of %d classes on %s images, C %g, in %s\n\nNext: %s\n      %s\n",
		len(s.Info.Classes), report.Count(int64(s.Info.Images)), s.Info.C, seconds(s.Info.Seconds),
		commandLine(append([]string{"transfer", "eval", "--svm", c.Out}, c.Descriptors...)...), commandLine("transfer", "predict", c.Out, anyFile(d.Rows)))
	return err
}

// load reads labelled descriptors into memory.
func load(ctx context.Context, paths []string) (*transfer.Descriptors, []float32, error) {
	d, err := transfer.OpenMerged(ctx, paths...)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	x, err := d.Load(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !d.Header.Labelled() {
		return nil, nil, fmt.Errorf("%s: descriptors without labels, want those of labelled images", strings.Join(paths, ", "))
	}
	return d, x, nil
}

func scoreName(multi bool) string {
	if multi {
		return "Mean AP (area)"
	}
	return "Mean class recall"
}

type transferEvalCommand struct {
	Descriptors  []string `arg:"" help:"File of descriptors (vgg features), or all shards of one."`
	SVM          string   `name:"svm" placeholder:"FILE" help:"SVMs to measure, from vgg transfer train (they are trained)."`
	Splits       int      `placeholder:"N" help:"Number of random splits (3, or the parts of the set)."`
	TrainImages  *int     `placeholder:"N" help:"Training images of each class in a random split (30, or half of the smallest class if it has no more)."`
	TestImages   int      `default:"50" placeholder:"N" help:"Largest number of test images of each class in a random split; 0 for all others (50)."`
	ClassResults bool     `help:"Show every class."`
	svmFlags
	threadsFlag
	jsonFlag
}

func (transferEvalCommand) Help() string {
	return `Measures linear SVMs: those of --svm, or those that it trains on the set's own parts or on random splits.

  - Images with one class each: mean class recall, and the classes most often confused, over all splits.
  - Images with several: mean average precision, by PASCAL VOC's definition until 2009 (11-point), by that from 2010 on (area) and by scikit-learn's (step).
  - Random splits: mean and standard deviation of one split. The defaults are the paper's protocol for Caltech-101; --train-images 60 is that for Caltech-256.
  - With --svm, a set with parts is tested on test (or val), any other on all images.

Examples:

    vgg transfer eval caltech101.npy
    vgg transfer eval voc.npy --svm svm.safetensors --class-results` + exitHelp
}

func (c *transferEvalCommand) Run(e *environment) error {
	if _, err := c.apply(); err != nil {
		return err
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	switch {
	case c.Splits < 0:
		return usagef("--splits %d, want at least 1", c.Splits)
	case c.Splits > 0 && c.SVM != "":
		return usagef("--splits and --svm both, want one of them")
	case c.TrainImages != nil && *c.TrainImages < 1:
		return usagef("--train-images %d, want at least 1", *c.TrainImages)
	case c.TestImages < 0:
		return usagef("--test-images %d, want at least 0", c.TestImages)
	}
	d, x, err := load(e.ctx, c.Descriptors)
	if err != nil {
		return err
	}
	m, how, err := c.measure(e, d, x, o)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(e.stdout, m)
	}
	return printMeasured(e, m, how, c.ClassResults)
}

// measure measures the SVMs of a file, or trains them.
func (c *transferEvalCommand) measure(e *environment, d *transfer.Descriptors, x []float32, o transfer.TrainOptions) (m *transfer.Measured, how string, err error) {
	if c.SVM != "" {
		s, err := transfer.OpenSVM(e.ctx, c.SVM)
		if err != nil {
			return nil, "", err
		}
		rows := d.Readable()
		if d.HasParts() {
			split, err := d.Parts()
			if err != nil {
				return nil, "", err
			}
			rows = split.Test
		}
		score, err := s.Evaluate(e.ctx, d, x, rows)
		if err != nil {
			return nil, "", err
		}
		return &transfer.Measured{Data: d.Header.Data.Name, Dim: d.Header.Dim, Splits: []transfer.SplitResult{{C: s.Info.C, Trained: s.Info.Images, Converged: s.Info.Converged, Score: score}}}, c.SVM, nil
	}
	p := transfer.Protocol{Splits: c.Splits, Train: c.trainImages(d), Test: c.TestImages, Seed: c.Seed}
	if p.Splits == 0 && !d.HasParts() {
		if d.Header.Multi() {
			return nil, "", errors.New("images with several classes and no parts, want train and test in the lists")
		}
		p.Splits = 3
	}
	stop := e.watch(&o)
	m, err = transfer.Measure(e.ctx, d, x, p, o)
	stop()
	return m, p.String(), err
}

// trainImages returns the number of training images of each class in a random split: the paper's
// unless classes are too small for it.
func (c *transferEvalCommand) trainImages(d *transfer.Descriptors) int {
	const paper = 30
	smallest := d.SmallestClass()
	switch {
	case c.TrainImages != nil:
		return *c.TrainImages
	case smallest > paper:
		return paper
	}
	return max(1, smallest/2)
}

// printMeasured prints a result as text.
func printMeasured(e *environment, m *transfer.Measured, how string, classes bool) error {
	multi := m.Splits[0].Score.Multi()
	columns := []report.Column{right("Split"), right("Training images"), right("Test images"), right("C")}
	values := []func(*transfer.Score) float64{
		func(s *transfer.Score) float64 { return s.MeanClassRecall },
		func(s *transfer.Score) float64 { return 1 - s.Top1Error },
	}
	names := []string{"Mean class recall", "Right"}
	if multi {
		values, names = nil, nil
		for _, form := range metrics.APForms() {
			values = append(values, func(s *transfer.Score) float64 { return s.MeanAP[form] })
			names = append(names, "Mean AP ("+string(form)+")")
		}
	}
	for _, n := range names {
		columns = append(columns, right(n))
	}
	t := report.NewTable(columns...)
	for i, s := range m.Splits {
		row := []string{fmt.Sprint(i + 1), report.Count(int64(s.Trained)), report.Count(int64(s.Score.Images)), fmt.Sprint(s.C)}
		for _, v := range values {
			row = append(row, report.Percent(v(s.Score)))
		}
		t.Row(row...)
		if !s.Converged {
			fmt.Fprintf(e.stderr, "split %d: not all classes converged\n", i+1)
		}
	}
	if len(m.Splits) > 1 {
		t.Rule()
		row := []string{"mean", "", "", ""}
		for _, v := range values {
			mean, deviation := m.Of(v)
			row = append(row, report.PlusMinus(mean, deviation))
		}
		t.Row(row...)
	}
	if classes {
		printClasses(e, m, multi)
	}
	if pairs := m.Confusions(); len(pairs) > 0 {
		fmt.Fprintf(e.stdout, "%s\n", confusionTable(pairs[:min(len(pairs), eval.DefaultOptions().Confusions)]))
	}
	_, err := fmt.Fprintf(e.stdout, "%s\n%d numbers a descriptor, %s: %s.\n", t, m.Dim, m.Data, how)
	return err
}

// printClasses prints the classes of the first split.
func printClasses(e *environment, m *transfer.Measured, multi bool) {
	columns := []report.Column{left("Class"), right("Test images")}
	if multi {
		for _, form := range metrics.APForms() {
			columns = append(columns, right("AP ("+string(form)+")"))
		}
	} else {
		columns = append(columns, right("Recall"), left("Most often taken for"))
	}
	t := report.NewTable(columns...)
	for _, c := range m.Splits[0].Score.Classes {
		row := []string{c.Class, report.Count(int64(c.Images))}
		if multi {
			for _, form := range metrics.APForms() {
				row = append(row, report.Percent(c.AP[form]))
			}
		} else {
			row = append(row, report.Percent(c.Recall), classLabel(c.ConfusedWith))
		}
		t.Row(row...)
	}
	fmt.Fprintf(e.stdout, "%s\n", t)
}
