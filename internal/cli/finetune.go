package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/train"
)

// fineTuning is a run whose recipe follows from the images, and from the initial weights if
// there are any.
type fineTuning struct {
	recipe train.Recipe
	choice *train.Choice // nil where the command line asks for another network or recipe
	config string        // of the weights; "" without
	side   int           // typical smallest side of the images
}

// fineTune returns the recipe that follows from images and weights; nil if the command line
// tells it.
func (c *trainCommand) fineTune(e *environment, from *train.CheckpointInfo) (*fineTuning, error) {
	if c.boxes != nil || from != nil {
		return nil, nil
	}
	if c.unspecific() {
		return c.chosen(e)
	}
	if c.InitFrom == nil || c.Recipe != "" && c.Recipe != fineTuneName || c.Config != nil || c.InitRule != nil || c.sample() {
		if c.Recipe == fineTuneName {
			return nil, usagef("--recipe %s needs --init-from and --data, and neither --config nor --init-rule", fineTuneName)
		}
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
	data, _, err := c.dataFlags.open(e, c.Data)
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

// chosen returns the choice by images, weights and machine.
func (c *trainCommand) chosen(e *environment) (*fineTuning, error) {
	switch was, err := c.recordedRecipe(); {
	case err != nil:
		return nil, err
	case was != nil:
		return &fineTuning{recipe: *was}, nil
	}
	weights, path, err := c.initialWeights(e)
	if err != nil {
		return nil, err
	}
	trainSet, valSet, err := c.dataFlags.open(e, c.Data)
	if err != nil {
		return nil, err
	}
	choice, err := c.choose(e, weights, path, trainSet, valSet, len(trainSet.Classes))
	if err != nil {
		return nil, err
	}
	return &fineTuning{recipe: choice.Recipe, choice: choice}, nil
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

// print writes the choice with the changes of the command line, or the network that is fine-tuned and the scales.
func (t *fineTuning) print(out io.Writer, r train.Recipe) error {
	if t.choice != nil {
		if err := printChoice(out, t.choice, r); err != nil {
			return err
		}
	}
	if t.config == "" {
		return nil
	}
	_, err := fmt.Fprintf(out, "Fine-tuning %s: smallest side of the images %d pixels, S %d to %d\n", t.config, t.side, t.recipe.ScaleMin, t.recipe.ScaleMax)
	return err
}
