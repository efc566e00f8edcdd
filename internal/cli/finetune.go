package cli

import (
	"fmt"
	"io"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/train"
)

// fineTuning is what training begins with where the command line names weights and
// images, and nothing else of the network.
type fineTuning struct {
	recipe train.Recipe
	config string // of the weights
	side   int    // typical smallest side of the images
}

// fineTune returns what the weights and images of the command line come to; nil if it is
// about something else than fine-tuning.
func (c *trainCommand) fineTune(e *environment, from *train.CheckpointInfo) (*fineTuning, error) {
	if c.InitFrom == nil || c.Recipe != "" || c.Config != nil || c.InitRule != nil || c.boxes != nil || from != nil || c.sample() {
		return nil, nil
	}
	contents, path, err := c.describe(e, *c.InitFrom, vgg.OpenOptions{})
	if err != nil {
		return nil, err
	}
	data, _, err := dataset.Open(e.ctx, c.Data, dataset.OpenOptions{})
	if err != nil {
		return nil, err
	}
	t := &fineTuning{config: contents.Options.Config}
	if t.side, err = data.TypicalSide(e.ctx); err != nil {
		return nil, err
	}
	t.recipe, err = train.FineTuneRecipe(path, contents.Options, contents.Preprocess, t.side)
	return t, err
}

// unbalanced is how many times as many images the largest class has as the smallest where
// that is worth a word.
const unbalanced = 3

// balance says what is fine-tuned on, and how many images the classes have.
func (t *fineTuning) balance(out io.Writer, data *dataset.Dataset) {
	counts := data.Counts()
	least, most := slices.Min(counts), slices.Max(counts)
	fmt.Fprintf(out, "Fine-tuning %s: smallest side of the images %d pixels, S %d to %d\nClasses of %s to %s training images",
		t.config, t.side, t.recipe.ScaleMin, t.recipe.ScaleMax, report.Count(int64(least)), report.Count(int64(most)))
	if most >= unbalanced*least {
		fmt.Fprintf(out, ": unbalanced, the fewest are of %s", data.Classes[slices.Index(counts, least)])
	}
	fmt.Fprintln(out)
}
