// Package train trains a network by the paper's recipe (§3.1): mini-batch gradient
// descent with momentum and weight decay on the multinomial logistic loss, over random
// crops of rescaled, flipped and colour-shifted images.
package train

import (
	"fmt"
	"strings"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// Recipe is everything that determines a training run besides its data. A zero is a
// zero, never a default: the named recipes return every value, and the caller edits
// them.
type Recipe struct {
	Config  string     `yaml:"config"`  // configuration: A, …, E, with -BN or -LRN
	Width   float64    `yaml:"width"`   // multiplies the channels of every convolution
	FC      int        `yaml:"fc"`      // units of fc6 and fc7
	Input   int        `yaml:"input"`   // side of the training crop, pixels
	Dropout float32    `yaml:"dropout"` // dropout ratio of fc6 and fc7
	LRN     nn.LRNForm `yaml:"lrn"`     // form of local response normalisation

	Init     network.Init `yaml:"init"`        // initialisation of the layers that are drawn at random
	InitFrom string       `yaml:"init_from"`   // file of initial weights; "": all layers are drawn at random
	InitRule InitRule     `yaml:"init_rule"`   // layers taken from it
	Freeze   []string     `yaml:"freeze,flow"` // layers that are not learnt: patterns of path.Match

	// LayerRates multiply the learning rates of layers: PATTERN=FACTOR. The last pattern
	// that matches a layer applies.
	LayerRates []string `yaml:"layer_rates,flow"`

	Batch          int          `yaml:"batch"`          // images of a mini-batch
	Groups         int          `yaml:"groups"`         // parts of the batch that are summed separately
	Exchange       ExchangeForm `yaml:"exchange"`       // what ranks exchange of their gradients
	Epochs         int          `yaml:"epochs"`         // most passes over the training set
	MaxIterations  int          `yaml:"max_iterations"` // most updates
	LearningRate   float64      `yaml:"learning_rate"`  // initial value
	Momentum       float64      `yaml:"momentum"`
	Nesterov       bool         `yaml:"nesterov"` // Nesterov's form of momentum
	WeightDecay    float64      `yaml:"weight_decay"`
	DecayBiases    bool         `yaml:"decay_biases"`    // weight decay on biases, scales and shifts too
	ClipNorm       float64      `yaml:"clip_norm"`       // greatest norm of the whole gradient; 0: no bound
	LabelSmoothing float64      `yaml:"label_smoothing"` // share of the target that is spread over all classes
	Schedule       Schedule     `yaml:"schedule"`

	ScaleMin    int               `yaml:"scale_min"`    // Smin, pixels: smallest side of the rescaled image
	ScaleMax    int               `yaml:"scale_max"`    // Smax; S is drawn for each image from [Smin, Smax]
	Flip        bool              `yaml:"flip"`         // mirror half of the crops
	ColourShift float64           `yaml:"colour_shift"` // standard deviation of αᵢ; 0: none
	Filter      preprocess.Filter `yaml:"filter"`       // of rescaling
	Resize      preprocess.Fit    `yaml:"resize"`       // keep the aspect, or squash images to S×S
	Orient      preprocess.Orient `yaml:"orient"`       // images as they are stored, or upright by their EXIF data
	Standardise bool              `yaml:"standardise"`  // divide pixels by the training set's standard deviation
	Views       int               `yaml:"views"`        // different crops of each image, shown in turn; 0: new ones each epoch
	TestScale   int               `yaml:"test_scale"`   // Q, pixels: smallest side for validation's central crop

	// Winograd is the largest tile of Winograd's algorithm, by which 3×3 convolutions are
	// trained: 6, or 4, with which earlier versions trained. The bits of a run depend on it.
	Winograd int `yaml:"winograd"`

	// MeanStart begins with a last layer that gives the mean target of the training images,
	// whatever it sees: its weights are 0. Only a [Task] can have it.
	MeanStart bool `yaml:"mean_start"`

	Seed uint64 `yaml:"seed"`
}

// InitRule chooses the layers that are taken from the file of initial weights.
type InitRule string

const (
	// Auto is PreInitialisation if the file's configuration differs from the recipe's,
	// else FineTune. The recipe of a run has the rule that was applied.
	Auto InitRule = "auto"
	// PreInitialisation takes the file's first four convolutional layers and its fully
	// connected layers, as the paper initialises the deeper configurations with A's (§3.1).
	PreInitialisation InitRule = "pre-initialisation"
	// FineTune takes all layers with the same name.
	FineTune InitRule = "fine-tune"
)

// PaperRecipe returns the paper's recipe for configuration D (§3.1): batch 256,
// momentum 0.9, weight decay 5e-4, dropout 0.5, learning rate 1e-2 divided by 10 when
// validation accuracy stops improving, three times in all, at most 74 epochs or 370 000
// iterations; crops of 224 from images rescaled to S = 256.
//
// Images are taken as they are stored: EXIF data has no part in published figures.
//
// Deviation: weights are drawn by Glorot & Bengio's (2010) rule, which the paper found to
// make its pre-initialisation from A unnecessary. Patience and threshold are not in the
// paper.
func PaperRecipe() Recipe {
	return Recipe{
		Config: "D", Width: 1, FC: 4096, Input: 224, Dropout: 0.5, LRN: nn.Krizhevsky,
		Init: network.Glorot, InitRule: Auto, Freeze: []string{}, LayerRates: []string{},
		Batch: 256, Groups: 1, Epochs: 74, MaxIterations: 370_000,
		LearningRate: 1e-2, Momentum: 0.9, WeightDecay: 5e-4, DecayBiases: true,
		Schedule: Schedule{Name: "plateau", Factor: 0.1, Decreases: 3, Patience: 5, Threshold: 1e-3, Steps: []int{}, WarmupFactor: 0.1},
		ScaleMin: 256, ScaleMax: 256, Flip: true, ColourShift: 0.1, Filter: preprocess.Bilinear, TestScale: 256,
		Winograd: 6, Seed: 1,
	}
}

// Paper384Recipe returns the paper's recipe for S = 384 (§3.1): initial weights are those
// of S = 256, which the caller names in InitFrom, and the learning rate is 1e-3.
func Paper384Recipe() Recipe {
	r := PaperRecipe()
	r.InitRule, r.LearningRate = FineTune, 1e-3
	r.ScaleMin, r.ScaleMax, r.TestScale = 384, 384, 384
	return r
}

// PaperMultiScaleRecipe returns the paper's recipe for scale jittering (§3.1): S drawn
// for each image from [256, 512], and all layers fine-tuned from the weights of S = 384,
// which the caller names in InitFrom. Q is the middle of the scales (§4).
//
// Deviation: the paper doesn't give the learning rate; here it is that of S = 384.
func PaperMultiScaleRecipe() Recipe {
	r := Paper384Recipe()
	r.ScaleMin, r.ScaleMax, r.TestScale = 256, 512, 384
	return r
}

// SampleRecipe returns the paper's recipe scaled down to the embedded sample: a narrow
// A on 64×64 crops that trains in minutes on two cores.
//
// Deviation: 400 images need smaller batches and more weight decay than a million.
// Pixels are divided by their standard deviation, since He et al.'s (2015) initialisation
// assumes inputs of unit variance; with grey levels the first loss is too steep for the
// paper's learning rate.
func SampleRecipe() Recipe {
	r := PaperRecipe()
	r.Config, r.Width, r.FC, r.Input, r.Init = "A", 0.25, 512, 64, network.He
	r.Batch, r.Epochs, r.WeightDecay = 16, 220, 4e-3
	r.Schedule.Name, r.Schedule.Decreases, r.Schedule.Steps = "step", 2, []int{165, 205}
	r.ScaleMin, r.ScaleMax, r.TestScale = 72, 96, 72
	r.Standardise = true
	return r
}

// namedRecipes are the recipes that have a name on the command line.
var namedRecipes = []struct {
	name   string
	recipe func() Recipe
}{
	{"paper", PaperRecipe},
	{"paper-384", Paper384Recipe},
	{"paper-multiscale", PaperMultiScaleRecipe},
	{"sample", SampleRecipe},
}

// RecipeNames returns the names of the recipes, for [NamedRecipe].
func RecipeNames() []string {
	var names []string
	for _, n := range namedRecipes {
		names = append(names, n.name)
	}
	return names
}

// NamedRecipe returns the recipe with a name. It is an error if there is none.
func NamedRecipe(name string) (Recipe, error) {
	for _, n := range namedRecipes {
		if n.name == name {
			return n.recipe(), nil
		}
	}
	return Recipe{}, fmt.Errorf("train: recipe %q: want one of %s", name, strings.Join(RecipeNames(), ", "))
}

// Options returns the options of the recipe's network for a number of classes.
func (r Recipe) Options(classes int) network.Options {
	return network.Options{Config: r.Config, Classes: classes, Width: r.Width, FC: r.FC, Input: r.Input, Dropout: r.Dropout, LRN: r.LRN}
}
