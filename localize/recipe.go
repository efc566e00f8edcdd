package localize

import (
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/train"
)

// PaperRecipe returns the paper's recipe (§A.1) for a classification network with these
// options, in the file named, that was tested at smallest side scale: all of it but the
// last layer is taken, the learning rate begins with 1e-3, S is that scale, and the rest
// is as in classification. The paper's are D at S = 256 and at S = 384.
//
// [ConnectedOnly] is what its variant freezes, in which fc6, fc7 and the new last layer
// are learnt alone.
func PaperRecipe(file string, o network.Options, scale int) train.Recipe {
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

// ConnectedOnly is a recipe's Freeze that leaves the fully connected layers to learn.
func ConnectedOnly() []string { return []string{"conv*"} }
