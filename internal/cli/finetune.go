package cli

import (
	"fmt"
	"io"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/train"
)

// fineTuning is a run whose command line names initial weights and images, but no recipe and
// no configuration.
type fineTuning struct {
	recipe train.Recipe
	config string // of the weights
	side   int    // typical smallest side of the images
}

// fineTune returns the fine-tuning of the command line; nil if it asks for none.
func (c *trainCommand) fineTune(e *environment, from *train.CheckpointInfo) (*fineTuning, error) {
	if c.InitFrom == nil || c.Recipe != "" || c.Config != nil || c.InitRule != nil || c.boxes != nil || from != nil || c.sample() {
		return nil, nil
	}
	open := c.opener(e, nn.F32, 0)
	open.options.Headless = c.Head != nil
	weights, path, err := open.identify(*c.InitFrom)
	if err != nil {
		return nil, err
	}
	data, _, err := c.dataFlags.open(e.ctx, c.Data)
	if err != nil {
		return nil, err
	}
	t := &fineTuning{config: weights.Options.Config}
	if t.side, err = data.TypicalSide(e.ctx); err != nil {
		return nil, err
	}
	t.recipe, err = train.FineTuneRecipe(path, weights.Options, weights.Preprocess, t.side)
	return t, err
}

// unbalanced is the least ratio of the largest class to the smallest that the output
// mentions.
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
