package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
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
	open, err := c.initial(e)
	if err != nil {
		return nil, err
	}
	weights, path, err := open.identify(*c.InitFrom)
	if otherHead, headErr := c.otherHead(weights); err != nil || otherHead || headErr != nil {
		if c.Head == nil || headErr != nil {
			return nil, errors.Join(ofInitial(err), headErr)
		}
		open.options.Headless, open.options.Head = true, ""
		if weights, path, err = open.identify(*c.InitFrom); err != nil {
			return nil, err
		}
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

// ofInitial adds to the error of weights that fit several networks the flags that settle it
// for initial weights.
func ofInitial(err error) error {
	if _, ok := errors.AsType[*vgg.AmbiguousError](err); ok {
		return fmt.Errorf("%w (of initial weights, --init-head and --init-input)", err)
	}
	return err
}

// otherHead reports whether the command line gives a head that isn't that of the weights; nil
// weights have none.
func (c *trainCommand) otherHead(weights *vgg.Description) (bool, error) {
	if c.Head == nil || weights == nil {
		return c.Head != nil, nil
	}
	config, err := architecture.WithHead(weights.Options.Config, *c.Head)
	if err != nil {
		return false, usageError{fmt.Errorf("--head: %w", err)}
	}
	own, err := architecture.Canonical(weights.Options.Config)
	return config != own, err
}

// print writes the network that is fine-tuned and the scales.
func (t *fineTuning) print(out io.Writer) {
	fmt.Fprintf(out, "Fine-tuning %s: smallest side of the images %d pixels, S %d to %d\n", t.config, t.side, t.recipe.ScaleMin, t.recipe.ScaleMax)
}
