// Package train trains a network by the paper's recipe (§3.1): mini-batch gradient
// descent with momentum and weight decay on the multinomial logistic loss, over random
// crops of rescaled, flipped and colour-shifted images.
package train

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"

	"go.yaml.in/yaml/v3"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// Recipe is everything that determines a training run besides its data. No value
// means another when it is zero: [PaperRecipe] and [SampleRecipe] return every value,
// and the caller edits them.
type Recipe struct {
	Config  string     `yaml:"config"`  // configuration: A, …, E, with -BN or -LRN
	Width   float64    `yaml:"width"`   // multiplies the channels of every convolution
	FC      int        `yaml:"fc"`      // units of fc6 and fc7
	Input   int        `yaml:"input"`   // side of the training crop, pixels
	Dropout float32    `yaml:"dropout"` // ratio of units of fc6 and fc7 dropped
	LRN     nn.LRNForm `yaml:"lrn"`     // form of local response normalisation
	Init    vgg.Init   `yaml:"init"`    // initialisation

	Batch        int      `yaml:"batch"`         // images of a mini-batch
	Epochs       int      `yaml:"epochs"`        // passes over the training set at most
	LearningRate float64  `yaml:"learning_rate"` // to begin with
	Momentum     float64  `yaml:"momentum"`
	WeightDecay  float64  `yaml:"weight_decay"` // on weights and biases alike
	Schedule     Schedule `yaml:"schedule"`

	ScaleMin    int               `yaml:"scale_min"`    // Smin, pixels: smallest side of the rescaled image
	ScaleMax    int               `yaml:"scale_max"`    // Smax; S is drawn for each image from [Smin, Smax]
	Flip        bool              `yaml:"flip"`         // mirror half of the crops
	ColourShift float64           `yaml:"colour_shift"` // standard deviation of αᵢ; 0: none
	Filter      preprocess.Filter `yaml:"filter"`       // of the rescaling
	Standardise bool              `yaml:"standardise"`  // divide pixels by the training set's standard deviation
	TestScale   int               `yaml:"test_scale"`   // Q, pixels: smallest side for validation's central crop

	Seed uint64 `yaml:"seed"`
}

// Schedule says when the learning rate decreases.
type Schedule struct {
	// Name is "plateau": when the validation's top-1 error has not fallen for Patience
	// epochs, as the paper does; or "step": after the epochs in Steps.
	Name   string  `yaml:"name"`
	Factor float64 `yaml:"factor"` // multiplies the learning rate
	// Decreases is how often plateau decreases the rate; at the next plateau training
	// stops.
	Decreases int `yaml:"decreases"`
	Patience  int `yaml:"patience"`
	// Threshold is the least fall of the error, as a fraction, that counts as one.
	Threshold float64 `yaml:"threshold"`
	Steps     []int   `yaml:"steps,flow"`
}

// PaperRecipe returns the paper's recipe for configuration D (§3.1): batch 256,
// momentum 0.9, weight decay 5e-4, dropout 0.5, learning rate 1e-2 divided by 10 when
// validation accuracy stops improving, three times in all, at most 74 epochs; crops of
// 224 from images rescaled to S = 256.
//
// Deviation: weights are drawn as Glorot & Bengio (2010) do, which the paper found to
// make its pre-initialisation from A unnecessary. Patience and threshold are not in
// the paper.
func PaperRecipe() Recipe {
	return Recipe{
		Config: "D", Width: 1, FC: 4096, Input: 224, Dropout: 0.5, LRN: nn.Krizhevsky, Init: vgg.Glorot,
		Batch: 256, Epochs: 74, LearningRate: 1e-2, Momentum: 0.9, WeightDecay: 5e-4,
		Schedule: Schedule{Name: "plateau", Factor: 0.1, Decreases: 3, Patience: 5, Threshold: 1e-3, Steps: []int{}},
		ScaleMin: 256, ScaleMax: 256, Flip: true, ColourShift: 0.1, Filter: preprocess.Bilinear, TestScale: 256,
		Seed: 1,
	}
}

// SampleRecipe returns the paper's recipe scaled down to the embedded sample: a narrow
// A on 64×64 crops that trains in minutes on two cores.
//
// Deviation: 400 images want smaller batches and more weight decay than a million;
// pixels are divided by their standard deviation, as He et al. (2015) assume
// of a layer's input; at the paper's grey levels their initialisation starts with a
// loss too steep for the paper's learning rate.
func SampleRecipe() Recipe {
	r := PaperRecipe()
	r.Config, r.Width, r.FC, r.Input, r.Init = "A", 0.25, 512, 64, vgg.He
	r.Batch, r.Epochs, r.WeightDecay = 16, 220, 4e-3
	r.Schedule = Schedule{Name: "step", Factor: 0.1, Decreases: 2, Patience: 5, Threshold: 1e-3, Steps: []int{165, 205}}
	r.ScaleMin, r.ScaleMax, r.TestScale = 72, 96, 72
	r.Standardise = true
	return r
}

// LoadRecipe reads a YAML file over base: what the file doesn't say stays as it is. An
// unknown key is an error. Impossible values are found by [Recipe.Validate], when all
// that may change them has been read.
func LoadRecipe(path string, base Recipe) (Recipe, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return base, fmt.Errorf("train: recipe: %w", err)
	}
	r := base
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil && !errors.Is(err, io.EOF) {
		text := unknownField.ReplaceAllString(err.Error(), "unknown key $1")
		return base, fmt.Errorf("train: recipe %s: %s", path, text)
	}
	return r, nil
}

// unknownField is what the YAML decoder says of a key that no field has.
var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

// YAML returns the whole recipe as YAML.
func (r Recipe) YAML() []byte {
	data, err := yaml.Marshal(r)
	if err != nil {
		panic("train: a recipe has no YAML form")
	}
	return data
}

// Options returns the network that the recipe trains for a number of classes.
func (r Recipe) Options(classes int) vgg.Options {
	return vgg.Options{Config: r.Config, Classes: classes, Width: r.Width, FC: r.FC, Input: r.Input, Dropout: r.Dropout, LRN: r.LRN}
}

// Validate reports the first value that no training can run with.
func (r Recipe) Validate() error {
	if err := r.Options(1).Validate(); err != nil {
		return fmt.Errorf("train: recipe: %w", err)
	}
	if err := r.Init.Validate(); err != nil {
		return fmt.Errorf("train: recipe: %w", err)
	}
	if _, err := r.Filter.MarshalText(); err != nil {
		return fmt.Errorf("train: recipe: %w", err)
	}
	bad := func(key string, value any, want string) error {
		return fmt.Errorf("train: recipe: %s: %v, want %s", key, value, want)
	}
	positive := func(x float64) bool { return x > 0 && !math.IsInf(x, 0) }
	s := r.Schedule
	switch {
	case r.Batch < 1:
		return bad("batch", r.Batch, "at least 1")
	case r.Epochs < 1:
		return bad("epochs", r.Epochs, "at least 1")
	case !positive(r.LearningRate):
		return bad("learning_rate", r.LearningRate, "above 0")
	case !(r.Momentum >= 0 && r.Momentum < 1):
		return bad("momentum", r.Momentum, "at least 0 and below 1")
	case !(r.WeightDecay >= 0) || math.IsInf(r.WeightDecay, 0):
		return bad("weight_decay", r.WeightDecay, "at least 0")
	case !(r.ColourShift >= 0) || r.ColourShift > 10:
		return bad("colour_shift", r.ColourShift, "0 to 10")
	case r.ScaleMin < r.Input:
		return bad("scale_min", r.ScaleMin, fmt.Sprintf("at least the input side %d", r.Input))
	case r.ScaleMax < r.ScaleMin:
		return bad("scale_max", r.ScaleMax, fmt.Sprintf("at least scale_min %d", r.ScaleMin))
	case r.TestScale < r.Input:
		return bad("test_scale", r.TestScale, fmt.Sprintf("at least the input side %d", r.Input))
	case !(s.Factor > 0 && s.Factor < 1):
		return bad("schedule.factor", s.Factor, "above 0 and below 1")
	}
	switch s.Name {
	case "plateau":
		if s.Decreases < 0 {
			return bad("schedule.decreases", s.Decreases, "at least 0")
		}
		if s.Patience < 1 {
			return bad("schedule.patience", s.Patience, "at least 1")
		}
		if !(s.Threshold >= 0 && s.Threshold < 1) {
			return bad("schedule.threshold", s.Threshold, "at least 0 and below 1")
		}
	case "step":
		last := 0
		for _, e := range s.Steps {
			if e <= last {
				return bad("schedule.steps", s.Steps, "epochs in rising order, from 1")
			}
			last = e
		}
	default:
		return bad("schedule.name", fmt.Sprintf("%q", s.Name), `"plateau" or "step"`)
	}
	return nil
}
