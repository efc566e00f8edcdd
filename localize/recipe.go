package localize

import (
	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/train"
)

// PaperRecipe returns the paper's recipe (§A.1) for the classification network with the
// options o in the file, which was tested at the given scale. All layers but the last are
// initialised from it, the learning rate begins at 1e-3, S is the scale, and the rest is as in
// classification. The paper trains D at S = 256 and at S = 384.
//
// In the paper's other variant only fc6, fc7 and the new last layer learn: set Freeze to
// [ConnectedOnly].
func PaperRecipe(file string, o vgg.Options, scale int) train.Recipe {
	r := train.PaperRecipe()
	r.Config, r.Width, r.FC, r.Input, r.Dropout = o.Config, o.Width, o.FC, o.Input, o.Dropout
	if o.LRN != "" {
		r.LRN = o.LRN
	}
	r.InitFrom, r.InitRule = file, train.FineTune
	r.LearningRate = 1e-3
	r.ScaleMin, r.ScaleMax, r.TestScale = scale, scale, scale
	return r
}

// ConnectedOnly returns the Freeze of a recipe in which only fully connected layers learn.
func ConnectedOnly() []string { return []string{"conv*"} }
