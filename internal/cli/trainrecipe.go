package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/train"
)

// chooseEnding ends the network as the images ask for, unless the command line says how: with
// a sigmoid for each class if an image has several labels, and with the soft-max if it has one
// class and the network of --init-from ends in a way that can't be trained on them.
func (c *trainCommand) chooseEnding(human io.Writer, tuned bool, o *train.Options) error {
	a, err := architecture.Parse(o.Recipe.Config)
	if err != nil || c.Head != nil || c.boxes != nil {
		return err
	}
	ending, word := architecture.Softmax, "An image has one class: the network ends with the soft-max"
	if o.Train.MultiLabel {
		ending, word = architecture.Sigmoids, "An image has any number of labels: the network ends with a sigmoid for each"
	}
	labels := a.Ending == architecture.Sigmoids && !a.Binary()
	switch {
	case o.Train.MultiLabel == labels && a.Ending != architecture.Scores && !(a.Binary() && len(o.Train.Classes) != 2):
		return nil
	case !o.Train.MultiLabel && !tuned: // the recipe says so
		return nil
	}
	if o.Recipe.Config, err = architecture.WithEnding(o.Recipe.Config, ending); err == nil {
		fmt.Fprintf(human, "%s (%s)\n", word, o.Recipe.Config)
	}
	return err
}

// resolveRecipe returns the recipe of the run, which may continue from a checkpoint or
// fine-tune. Initial weights that are a release are downloaded.
func (c *trainCommand) resolveRecipe(e *environment) (train.Recipe, *fineTuning, *train.CheckpointInfo, error) {
	from, err := c.checkpoint(e.ctx)
	if err != nil {
		return train.Recipe{}, nil, nil, err
	}
	tuning, err := c.fineTune(e, from)
	if err != nil {
		return train.Recipe{}, nil, nil, err
	}
	recipe, err := c.recipe(from, tuning)
	if err == nil && recipe.InitFrom != "" && from == nil {
		if recipe.InitFrom, err = c.opener(e, nn.F32, 0).path(recipe.InitFrom); err == nil {
			err = notWeights(recipe.InitFrom, nil)
		}
	}
	return recipe, tuning, from, err
}

// allRanks is the number of ranks of all processes.
func (c *trainCommand) allRanks() int {
	n := max(1, c.Ranks.n)
	if c.processes != nil {
		n *= c.processes.Size()
	}
	return n
}

// commonRecipe is resolveRecipe by the first process where the recipe depends on more than the
// command line: on a checkpoint, the weights or the machine. tuned says that the weights of
// --init-from are tuned.
func (c *trainCommand) commonRecipe(e *environment) (recipe train.Recipe, tuning *fineTuning, tuned bool, err error) {
	var common struct {
		Recipe string            // YAML
		Note   map[string]string // of the checkpoint; nil without
		Tuned  bool
		Other  bool // each process can tell the recipe
	}
	if c.processes.first() {
		var from *train.CheckpointInfo
		if recipe, tuning, from, err = c.resolveRecipe(e); err != nil {
			return recipe, nil, false, err
		}
		common.Recipe, common.Tuned = string(recipe.YAML()), tuning != nil && c.InitFrom != nil
		common.Other = from == nil && tuning == nil && c.boxes == nil
		if from != nil {
			common.Note = from.Note
		}
	}
	if err = c.processes.share(&common); err != nil || c.processes.first() {
		return recipe, tuning, common.Tuned, err
	}
	if common.Note != nil {
		if err := c.takeNote(common.Note); err != nil {
			return recipe, nil, false, err
		}
	}
	if common.Other { // the library compares it
		recipe, err = c.recipe(nil, nil)
	} else {
		recipe, err = train.ParseRecipe([]byte(common.Recipe), train.PaperRecipe())
	}
	return recipe, nil, common.Tuned, err
}

// recipe applies to the initial recipe, which is the checkpoint's if there is one: the
// recipe of --recipe, then --set, then the other flags.
func (c *trainCommand) recipe(from *train.CheckpointInfo, tuning *fineTuning) (train.Recipe, error) {
	r := train.PaperRecipe()
	if tuning != nil {
		r = tuning.recipe
	} else if c.boxes != nil {
		r = c.boxes.base
	} else if c.sample() {
		r = train.SampleRecipe()
	} else {
		r.Orient = preprocess.Upright // people's own photographs
	}
	if n := c.allRanks(); n > 1 {
		r.Groups = n
	}
	if from != nil {
		r = from.Recipe
	}
	if c.Recipe == fineTuneName {
		// tuning.recipe is it
	} else if named, err := train.NamedRecipe(c.Recipe); err == nil {
		named.Groups = c.allRanks()
		r = named
	} else if c.Recipe != "" {
		if r, err = train.LoadRecipe(c.Recipe, r); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%w; a recipe is a file or one of %s", err, strings.Join(append(train.RecipeNames(), fineTuneName), ", "))
			}
			return r, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Set)) {
		var err error
		if r, err = r.With(key, c.Set[key]); err != nil {
			return r, usageError{fmt.Errorf("--set: %w", err)}
		}
	}
	set(&r.Config, c.Config)
	if c.Head != nil {
		var err error
		if r.Config, err = architecture.WithHead(r.Config, *c.Head); err != nil {
			return r, usageError{fmt.Errorf("--head: %w", err)}
		}
	}
	set(&r.Width, c.Width)
	set(&r.FC, c.FC)
	set(&r.Input, c.Input)
	set(&r.Init, c.Init)
	set(&r.InitFrom, c.InitFrom)
	set(&r.InitRule, c.InitRule)
	if c.Freeze != nil {
		r.Freeze = c.Freeze
	}
	set(&r.Views, c.Views)
	set(&r.Epochs, c.Epochs)
	set(&r.Batch, c.Batch)
	set(&r.Groups, c.Groups)
	set(&r.LearningRate, c.LearningRate)
	set(&r.ScaleMin, c.ScaleMin)
	set(&r.ScaleMax, c.ScaleMax)
	set(&r.TestScale, c.TestScale)
	set(&r.Resize, c.Resize)
	set(&r.Orient, c.Orient)
	set(&r.Seed, c.Seed)
	if err := r.Validate(); err != nil {
		return r, usageError{err}
	}
	return r, nil
}
