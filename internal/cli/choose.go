package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/releases/pull"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/train"
)

// fineTuneName is the recipe that trains all layers of the weights of --init-from.
const fineTuneName = "fine-tune"

// unspecific reports whether the command line leaves recipe and network to the program.
func (c *trainCommand) unspecific() bool {
	frozen := c.Freeze == nil || slices.Equal(c.Freeze, []string{"conv*"})
	return c.Recipe == "" && c.Config == nil && c.Width == nil && c.Head == nil && c.FC == nil && c.Input == nil &&
		c.Init == nil && c.InitRule == nil && frozen && !c.sample()
}

// initialWeights describes the weights that a run begins with: those of --init-from, else of
// a release that was downloaded before; nil if there are none.
func (c *trainCommand) initialWeights(e *environment) (*vgg.Description, string, error) {
	open, err := c.initial(e)
	if err != nil {
		return nil, "", err
	}
	name := ""
	if c.InitFrom != nil {
		name = *c.InitFrom
	} else if name = c.cached(); name == "" {
		return nil, "", nil
	}
	open.options.Headless, open.options.Head = true, ""
	weights, path, err := open.identify(name)
	return weights, path, ofInitial(err)
}

// cached returns the file of the first of the usual releases that was downloaded before; "" if
// none was.
func (f releaseFlags) cached() string {
	dir, err := pull.DefaultDir()
	if err != nil {
		return ""
	}
	for _, name := range []string{"D", "E", "B", "A"} {
		r, ok, err := f.find(name)
		if err != nil || !ok {
			continue
		}
		if path := pull.Path(dir, r); fileExists(path) {
			return path
		}
	}
	return ""
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// facts are what a recipe is chosen by, or what a run takes follows from. valSet is nil where a
// part of the training images is kept for validation.
func (c *trainCommand) facts(trainSet, valSet *dataset.Dataset, outputs int) (train.Facts, error) {
	f := train.Facts{Images: trainSet.Len(), Classes: len(trainSet.Classes), Outputs: outputs, Boxes: c.boxes != nil, Memory: resources.Machine(),
		Threads: runtime.GOMAXPROCS(0), Keep: c.Keep}
	if c.Threads > 0 {
		f.Threads = c.Threads
	}
	bound := int64(0)
	if c.Memory > 0 {
		f.Memory = 2 * int64(c.Memory) // a choice takes half of what there is
		if c.Device == "" {
			bound = int64(c.Memory)
		}
	}
	f.FrontBytes = train.FrontBytes(bound)
	if valSet != nil {
		f.Validation = valSet.Len()
	} else {
		f.Validation = int(valFraction * float64(f.Images))
		f.Images -= f.Validation
	}
	var err error
	f.Speed, err = train.MeasureSpeed(f.Threads)
	return f, err
}

// choose returns the recipe that suits the images, the machine and the weights.
func (c *trainCommand) choose(e *environment, weights *vgg.Description, path string, trainSet, valSet *dataset.Dataset, outputs int) (*train.Choice, error) {
	f, err := c.facts(trainSet, valSet, outputs)
	if err != nil {
		return nil, err
	}
	if weights != nil {
		f.Weights = &train.FileFacts{Path: path, Options: weights.Options, Preprocess: weights.Preprocess}
	}
	if f.Side, err = trainSet.TypicalSide(e.ctx); err != nil {
		return nil, err
	}
	choice, err := train.Choose(f)
	return &choice, err
}

// printEstimate writes what a run that begins with weights takes, before they are read: somebody
// may be about to wait for hours.
func (c *trainCommand) printEstimate(e *environment, out io.Writer, o *train.Options) error {
	outputs := len(o.Train.Classes)
	if o.Task != nil {
		outputs = o.Task.Localisation().Regression.Outputs(outputs)
	}
	f, err := c.facts(o.Train, cmp.Or(o.Val, &dataset.Dataset{}), outputs)
	if err != nil {
		return err
	}
	if f.Side, err = o.Train.TypicalSide(e.ctx); err != nil {
		return err
	}
	cost, err := f.Estimate(o.Recipe)
	if err != nil {
		return err
	}
	frozen := "--freeze 'conv*' learns the head alone, in a fraction of the time"
	if len(o.Recipe.Freeze) > 0 {
		if frozen, err = howOften(f, cost); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "Takes about %s, %s of memory and %s of disk for %d epochs of %s images by a measured %s; %s\n",
		seconds(cost.Seconds), report.Bytes(cost.Memory), report.Bytes(cost.Disk), o.Recipe.Epochs, report.Count(int64(f.Images)), multiplications(f.Speed), frozen)
	return err
}

// howOften tells how often images go through the frozen layers of a recipe, if less would do, or
// else what takes less time.
func howOften(f train.Facts, cost train.Choice) (string, error) {
	if cost.Again > 0 {
		return fmt.Sprintf("each epoch computes the frozen layers, whose output takes %s, more than the %s that are kept: fewer --views or more memory changes that",
			report.Bytes(cost.Again), report.Bytes(f.FrontBytes)), nil
	}
	if fixed := cost.Recipe; fixed.Views == 0 && len(fixed.Freeze) > 0 {
		fixed.Views = 1
		once, err := f.Estimate(fixed)
		if err != nil {
			return "", err
		}
		if once.Seconds < worthViews*cost.Seconds {
			return fmt.Sprintf("--views 1 shows each image in one crop, which goes through the frozen layers once: about %s", seconds(once.Seconds)), nil
		}
	}
	return "fewer --epochs take less", nil
}

// worthViews is the share of the time below which one view of each image is proposed.
const worthViews = 0.7

// multiplications tells a speed.
func multiplications(speed float64) string {
	precision := 0
	if speed < 10e9 {
		precision = 1
	}
	return strconv.FormatFloat(speed/1e9, 'f', precision, 64) + " G multiplications a second"
}

// printChoice writes a choice in a line, and what to add for another. The recipe has the changes
// of the command line, which may take another time.
func printChoice(out io.Writer, c *train.Choice, r train.Recipe) error {
	f := c.Facts
	cost, err := f.Estimate(r)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s at width %g from nothing", r.Config, r.Width)
	others := "--recipe paper, --config, --width; weights to begin with: --init-from D"
	if f.Weights != nil {
		from := f.Weights.Options.WithoutHead().Config
		what = fmt.Sprintf("the frozen convolutions of %s (%s) with the head %s, %s", filepath.Base(f.Weights.Path), from, headOf(r.Config), crops(r.Views))
		others = "--recipe fine-tune for all layers, --recipe paper, --head"
	}
	_, err = fmt.Fprintf(out, "Chosen for %s images of %d pixels and a measured %s: %s, crop %d, batch %d, %d epochs; about %s, %s of memory and %s of disk. For another: %s\n",
		report.Count(int64(f.Images)), f.Side, multiplications(f.Speed), what, r.Input, r.Batch, r.Epochs, seconds(cost.Seconds), report.Bytes(cost.Memory), report.Bytes(cost.Disk), others)
	if again := cost.Again > 0 || r.Views == 0 && len(r.Freeze) > 0; err == nil && again {
		var how string
		if how, err = howOften(f, cost); err == nil {
			_, err = fmt.Fprintf(out, "For less time: %s\n", how)
		}
	}
	return err
}

// crops tells the number of crops of an image.
func crops(views int) string {
	switch views {
	case 0:
		return "new crops in each epoch"
	case 1:
		return "a crop an image"
	}
	return fmt.Sprintf("%d crops an image", views)
}

// headOf returns the head of a row.
func headOf(config string) string {
	for _, head := range []string{train.ClassHead, train.BoxHead} {
		if strings.HasSuffix(config, head) {
			return head
		}
	}
	return config
}

// recordedRecipe returns the recipe in the directory of a run that resumes and has no
// checkpoint yet; nil if there is none. A choice made again might be another.
func (c *trainCommand) recordedRecipe() (*train.Recipe, error) {
	if !c.Resume || c.Out == "" {
		return nil, nil
	}
	r, err := train.LoadRecipe(filepath.Join(c.Out, train.RecipeFile), train.PaperRecipe())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &r, err
}

// A verdict is what an error says beside chance: that of always answering the commonest class of
// the validation images, or the mean box of the training images.
type verdict int

const (
	better    verdict = iota // its 95 % confidence interval ends below chance, or there is no such error
	uncertain                // it is less than half of chance, but on few images
	noBetter                 // chance, or worse, lies in its interval; of boxes: it is that error or worse
)

// besideChance is a top-1 error or a localisation error beside chance.
type besideChance struct {
	verdict
	rule   string // that errs by chance
	chance float64
	images int // of the validation
}

// chanceOf compares a top-1 error on validation images of one class each with chance.
func chanceOf(val *dataset.Dataset, top1 float64) besideChance {
	if val == nil || val.Len() == 0 || val.MultiLabel || len(val.Classes) < 2 {
		return besideChance{}
	}
	n := val.Len()
	c := besideChance{rule: "always answering the commonest class", chance: 1 - float64(slices.Max(val.Counts()))/float64(n), images: n}
	switch _, high := metrics.Wilson(min(int(top1*float64(n)+0.5), n), n); {
	case high < c.chance:
	case top1 < c.chance/2:
		c.verdict = uncertain
	default:
		c.verdict = noBetter
	}
	return c
}

// unseenOf compares a localisation error on validation images with that of the mean box.
func unseenOf(val *dataset.Dataset, unseen *localize.Baseline, localisation float64) besideChance {
	if unseen == nil {
		return besideChance{}
	}
	n := val.Len()
	c := besideChance{rule: "always answering the mean box of the training images", chance: unseen.Error, images: n}
	switch _, high := metrics.Wilson(min(int(localisation*float64(n)+0.5), n), n); {
	case localisation >= c.chance:
		c.verdict = noBetter
	case high >= c.chance:
		c.verdict = uncertain
	}
	return c
}

// text tells a result that may be chance, with what to try; "" for one that is better. look is
// the command that shows the images.
func (c besideChance) text(epochs int, look string) string {
	switch c.verdict {
	case uncertain:
		return fmt.Sprintf("On %d validation images that may be chance: %s errs on %s. More validation images tell.\n\n", c.images, c.rule, report.Percent(c.chance))
	case noBetter:
		return fmt.Sprintf("That is no better than chance: on the %d validation images %s errs on %s. Nothing was learnt that they show.\n"+
			"Try weights to begin with (--init-from D), more epochs (--epochs %d) or images; and check that images and classes belong together: %s\n",
			c.images, c.rule, report.Percent(c.chance), 4*max(1, epochs), look)
	}
	return ""
}
