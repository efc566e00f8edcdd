package teach

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
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
	// Low and High bound After (Wilson's 95 % interval), without what is lost as the pictures that
	// it is of have chosen the epoch.
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Stage  string  `json:"stage"`  // of that: head or upper
	Better bool    `json:"better"` // after is less than before, and the model the refined one
	// Relearnt tells that the SVMs stayed and have learnt again, from the held pictures too.
	Relearnt bool `json:"relearnt"`
}

// refineStages are the stages of [Refine], in order.
var refineStages = []string{"head", "upper"}

// RefineStages lists the stages of [Refine], in order: the names of its run directories.
func RefineStages() []string { return slices.Clone(refineStages) }

// RefineSeconds estimates the time of each stage of [Refine], head and upper, on an otherwise idle
// machine of a speed ([train.MeasureSpeed]): for images with the parts of [Divided] or, as
// estimated, without them, and the network that [Teach] is to learn on.
func RefineSeconds(ctx context.Context, base *vgg.Model, images *transfer.Images, speed float64) ([]float64, error) {
	if err := checkImages(images); err != nil {
		return nil, err
	}
	if images.MultiLabel {
		return nil, errSeveralLabels
	}
	learnt := images.Part("train")
	if learnt == nil {
		learnt = images.Dataset
	}
	count, held := learnt.Len(), 0
	if val := images.Part("val"); val != nil {
		held = val.Len()
	} else {
		held = max(1, count/5)
		count -= held
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
	facts := train.Facts{Images: count, Validation: held, Classes: classes, Outputs: classes, Side: side, Speed: speed}
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
		err = errSeveralLabels
	}
	return learnt, val, err
}

var errSeveralLabels = errors.New("teach: pictures with several labels can't be refined here, want vgg train --init-from with the model")

// Divided returns images with a part to train on and one to validate on: their own parts, or a
// fifth of each class is held out, with near-duplicates on one side. To know these it describes
// the pictures, as [Teach] does by net and o. A part to test on is left out.
func Divided(ctx context.Context, net transfer.Net, images *transfer.Images, o Options) (*transfer.Images, error) {
	if err := checkImages(images); err != nil {
		return nil, err
	}
	if images.MultiLabel {
		return nil, errSeveralLabels
	}
	train, val := images.Part("train"), images.Part("val")
	switch {
	case train == nil && images.Parts != nil:
		return nil, fmt.Errorf("teach: %s: parts without one to train on, want train and val", images.Name)
	case train != nil && val != nil && images.Part("test") == nil:
		return images, nil
	case train != nil && val != nil:
		return transfer.JoinParts(images.Name, train, val)
	case train != nil:
		images = &transfer.Images{Dataset: train, Labelled: true}
	}
	l, _, _, err := begin(ctx, net, images, o)
	if err != nil {
		return nil, err
	}
	if err := l.group(ctx); err != nil {
		return nil, err
	}
	held, err := l.held()
	if err != nil {
		return nil, err
	}
	parts := slices.Repeat([]string{"train"}, images.Len())
	for _, r := range held {
		parts[l.d.Rows[r].Image] = "val"
	}
	return &transfer.Images{Dataset: images.Dataset, Labelled: true, Parts: parts}, nil
}

// held returns the rows to hold out: of each class a fifth, at least one, such that two are left
// to learn from. Near-duplicates are one picture; those of several classes stay.
func (l *learning) held() ([]int, error) {
	byClass := make([][][]int, len(l.classes()))
	for _, u := range l.units(l.d.Readable()) {
		class := l.d.Rows[u[0]].Labels[0]
		if !slices.ContainsFunc(u, func(r int) bool { return l.d.Rows[r].Labels[0] != class }) {
			byClass[class] = append(byClass[class], u)
		}
	}
	var rows []int
	rng := rand.New(rand.NewPCG(l.o.Seed, 1<<35))
	for _, units := range byClass {
		n := 0
		for _, u := range units {
			n += len(u)
		}
		rng.Shuffle(len(units), func(i, j int) { units[i], units[j] = units[j], units[i] })
		most := max(1, int(math.Round(0.2*float64(n))))
		got := 0
		for _, u := range units[:max(0, len(units)-2)] {
			if got == 0 || got+len(u) <= most {
				rows, got = append(rows, u...), got+len(u)
			}
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("teach: %s: no class has three readable pictures that are no near-duplicates of each other, of which one could be held out: add some, or teach without refining", l.d.Header.Data.Name)
	}
	return rows, nil
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
	r.Low, r.High = metrics.Wilson(int(math.Round(r.After*float64(r.Held))), r.Held)
	if r.Better = r.After < before; !r.Better {
		return m, r, nil
	}
	refined, err := vgg.Open(ctx, best, vgg.OpenOptions{})
	if err != nil {
		return nil, nil, err
	}
	r.describe(refined, m)
	return refined, r, nil
}

// describe completes the provenance of the refined model by that of the taught one. What says
// that weights are a release's stays only if the convolutions are still the release's.
func (r *Refinement) describe(refined, taught *vgg.Model) {
	p := refined.Provenance
	for key, v := range taught.Provenance {
		if _, ok := p[key]; !ok {
			p[key] = v
		}
	}
	p["taught"] = fmt.Sprintf("linear SVMs, then fine-tuned (%s): %.4g of %d pictures wrong that were not learnt from and that chose the epoch", r.Stage, math.Round(r.After*float64(r.Held)), r.Held)
	if r.Stage == "head" {
		return
	}
	if from, ok := p["release"]; ok {
		p["refined_from"] = from
	}
	for _, key := range []string{"release", "url", "sha256"} {
		delete(p, key)
	}
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
