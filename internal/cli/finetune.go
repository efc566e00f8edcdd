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

// fineTuning is the start of a run whose command line names weights and images, and nothing
// else of the network.
type fineTuning struct {
	recipe train.Recipe
	config string // of the weights
	side   int    // typical smallest side of the images
}

// fineTune returns the recipe for the weights and images of the command line; nil if the
// command line isn't one of fine-tuning.
func (c *trainCommand) fineTune(e *environment, from *train.CheckpointInfo) (*fineTuning, error) {
	if c.InitFrom == nil || c.Recipe != "" || c.Config != nil || c.InitRule != nil || c.boxes != nil || from != nil || c.sample() {
		return nil, nil
	}
	contents, path, err := c.describe(e, *c.InitFrom, vgg.OpenOptions{Headless: c.Head != nil})
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

// unbalanced is the ratio of the largest class to the smallest from which the output mentions
// it.
const unbalanced = 3

// balance prints the network that is fine-tuned, the scales and the sizes of the classes.
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
