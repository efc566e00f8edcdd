package teach

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/train"
	"github.com/verydeep/vgg/transfer"
)

// Refinement tells what fine-tuning made of a model that was taught.
type Refinement struct {
	Held   int     `json:"held"`   // pictures that neither was learnt from; they chose the epoch
	Before float64 `json:"before"` // error of the model that was taught
	After  float64 `json:"after"`  // of the best epoch
	Stage  string  `json:"stage"`  // of that: head or upper
	Better bool    `json:"better"` // after is less than before, and the model the refined one
	// Relearnt tells that the SVMs stayed and have learnt again, from the held pictures too.
	Relearnt bool `json:"relearnt"`
}

// refineStages are the stages of [Refine], in order.
var refineStages = []string{"head", "upper"}

// RefineSeconds estimates the time of each stage of [Refine], head and upper, on an otherwise idle
// machine of a speed ([train.MeasureSpeed]): for images with parts ([Divided]) and the network that
// [Teach] is to learn on.
func RefineSeconds(ctx context.Context, base *vgg.Model, images *transfer.Images, speed float64) ([]float64, error) {
	learnt, val, err := refineParts(images)
	if err != nil {
		return nil, err
	}
	side, err := learnt.TypicalSide(ctx)
	if err != nil {
		return nil, err
	}
	o := base.Net.Options()
	if o.Config, err = architecture.WithHead(o.Config, head); err != nil {
		return nil, fmt.Errorf("teach: %w", err)
	}
	classes := len(learnt.Classes)
	facts := train.Facts{Images: learnt.Len(), Validation: val.Len(), Classes: classes, Outputs: classes, Side: side, Speed: speed}
	var times []float64
	for _, stage := range refineStages {
		r, err := refining(stage, "", o, base.Preprocess, side)
		if err != nil {
			return nil, err
		}
		cost, err := facts.Estimate(r)
		if err != nil {
			return nil, err
		}
		times = append(times, cost.Seconds)
	}
	return times, nil
}

// refineParts returns the parts of images to train and to validate on.
func refineParts(images *transfer.Images) (learnt, val *dataset.Dataset, err error) {
	learnt, val = images.Part("train"), images.Part("val")
	switch {
	case learnt == nil || val == nil:
		err = errors.New("teach: images without parts to train and to validate on, want those of Divided")
	case images.MultiLabel:
		err = errors.New("teach: pictures with several labels can't be refined here, want vgg train --init-from with the model")
	}
	return learnt, val, err
}

// Divided returns images with a part to train on and one to validate on: their own parts, or a
// fifth of each class is held out.
func Divided(images *transfer.Images, seed uint64) (*transfer.Images, error) {
	if err := checkImages(images); err != nil {
		return nil, err
	}
	if images.Part("train") != nil && images.Part("val") != nil {
		return images, nil
	}
	const held = 0.2
	learnt, val, err := dataset.Split(images.Dataset, held, seed)
	if err != nil {
		return nil, fmt.Errorf("teach: %w", err)
	}
	return transfer.JoinParts(images.Name, learnt, val)
}

// Refine fine-tunes a model that [Teach] made of images with parts ([Divided]) and that is in a
// file: first its head, on what its convolutions make of four crops of each picture, then also the
// last block of convolutions. The run directories are below dir; a call that was interrupted goes
// on there. tell, if set, sees the options of each run before it begins. It returns the best model
// by the error on the part to validate on: the one in the file, unless another errs less.
func Refine(ctx context.Context, file string, images *transfer.Images, before float64, dir string, tell func(stage string, o *train.Options)) (*vgg.Model, *Refinement, error) {
	m, err := vgg.Open(ctx, file, vgg.OpenOptions{})
	if err != nil {
		return nil, nil, err
	}
	learnt, val, err := refineParts(images)
	if err != nil {
		return nil, nil, err
	}
	side, err := learnt.TypicalSide(ctx)
	if err != nil {
		return nil, nil, err
	}
	r := &Refinement{Held: val.Len(), Before: before, After: 1}
	from, best := file, ""
	for _, stage := range refineStages {
		o := train.DefaultOptions()
		if o.Recipe, err = refining(stage, from, m.Net.Options(), m.Preprocess, side); err != nil {
			return nil, nil, err
		}
		o.Train, o.Val, o.Dir, o.Resume = learnt, val, filepath.Join(dir, stage), true
		if tell != nil {
			tell(stage, &o)
		}
		result, err := train.Run(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		from = result.BestWeights
		if result.Top1Error < r.After {
			r.After, r.Stage, best = result.Top1Error, stage, from
		}
	}
	if r.Better = r.After < before; !r.Better {
		return m, r, nil
	}
	refined, err := vgg.Open(ctx, best, vgg.OpenOptions{})
	if err != nil {
		return nil, nil, err
	}
	for key, v := range m.Provenance {
		if _, ok := refined.Provenance[key]; !ok {
			refined.Provenance[key] = v
		}
	}
	return refined, r, nil
}

// refining returns the recipe of a stage, for a head of features of norm 1: 0.5 is a seventh of
// the learning rate at which its loss stops falling (decision 0033), as the head begins with the
// SVMs. Convolutions are learnt at 1e-3.
func refining(stage, file string, o network.Options, s preprocess.Spec, side int) (train.Recipe, error) {
	r, err := train.FineTuneRecipe(file, o, s, side)
	if err != nil {
		return r, err
	}
	r.LayerRates = []string{}
	r.Batch, r.WeightDecay, r.DecayBiases, r.ColourShift = 16, 1e-6, false, 0
	r.Schedule = train.Schedule{Name: "cosine", Factor: 0.1, Patience: 5, Threshold: 1e-3, Steps: []int{}, WarmupFactor: 0.1}
	r.TestScale, r.ScaleMin = s.Resize, s.Resize
	r.ScaleMax = max(r.ScaleMin, min(side, r.ScaleMin*5/4))
	if stage == "head" {
		r.Freeze, r.LearningRate, r.Epochs, r.Views = []string{"conv*"}, 0.5, 10, 4
		return r, nil
	}
	r.LearningRate, r.Epochs, r.Views = 0.1, 6, 2
	r.LayerRates = []string{"conv*=0.01"}
	r.Freeze, err = lowerBlocks(o)
	return r, err
}

// lowerBlocks returns the patterns of all blocks of convolutions but the last.
func lowerBlocks(o network.Options) ([]string, error) {
	chain, err := network.Plan(o)
	if err != nil {
		return nil, err
	}
	blocks := []string{}
	for _, l := range chain.Layers() {
		if block, _, ok := strings.Cut(l.Name(), "_"); ok && strings.HasPrefix(block, "conv") {
			if pattern := block + "_*"; !slices.Contains(blocks, pattern) {
				blocks = append(blocks, pattern)
			}
		}
	}
	return blocks[:max(0, len(blocks)-1)], nil
}
