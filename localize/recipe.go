package localize

import (
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/train"
)

// PaperRecipe returns the paper's recipe (§A.1) for the classification network in a file,
// with options o and preprocessing s, that is tested at the given smallest side, in pixels. All layers but the
// last are taken from the file, the learning rate is 1e-3, S is that side, and everything else
// is as in classification. The paper has D at S = 256 and at S = 384.
//
// In the paper's other variant only fc6, fc7 and the new last layer are learnt: Freeze is
// then [ConnectedOnly].
func PaperRecipe(file string, o network.Options, s preprocess.Spec, scale int) train.Recipe {
	r := train.PaperRecipe()
	r.Config, r.Width, r.FC, r.Input, r.Dropout = o.Config, o.Width, o.FC, o.Input, o.Dropout
	if o.LRN != "" {
		r.LRN = o.LRN
	}
	r.InitFrom, r.InitRule = file, train.FineTune
	r.LearningRate = 1e-3
	r.Resize, r.Orient = s.Fit, s.Orient
	r.ScaleMin, r.ScaleMax, r.TestScale = scale, scale, scale
	return r
}

// ConnectedOnly returns the Freeze of a recipe that learns the fully connected layers alone.
func ConnectedOnly() []string { return []string{"conv*"} }
