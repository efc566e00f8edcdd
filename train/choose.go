package train

import (
	"fmt"
	"math"
	"time"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// Facts are what a recipe is chosen by.
type Facts struct {
	Images     int     `json:"images"` // of the training set
	Validation int     `json:"validation"`
	Classes    int     `json:"classes"`
	Outputs    int     `json:"outputs"` // of the network; the classes, unless it learns boxes
	Boxes      bool    `json:"boxes"`   // whether it does
	Side       int     `json:"side"`    // typical smallest side of the images, pixels
	Speed      float64 `json:"speed"`   // multiplications a second, of [MeasureSpeed]
	Memory     int64   `json:"memory"`  // bytes that the process may use; 0: not known
	Threads    int     `json:"threads"` // of the run
	Keep       int     `json:"keep"`    // checkpoints that stay on disk
	// FrontBytes bounds what is kept of the frozen layers' output, for each of training and
	// validation, as [FrontBytes] gives it; 0: all of it is kept.
	FrontBytes int64 `json:"front_bytes,omitempty"`
	// Weights describe the file of weights to begin with; nil: all are drawn at random.
	Weights *FileFacts `json:"weights,omitempty"`
}

// FileFacts describe a file of weights.
type FileFacts struct {
	Path       string          `json:"path"`
	Options    network.Options `json:"options"`
	Preprocess preprocess.Spec `json:"preprocess"`
}

// Choice is a recipe that suits the facts, with what a run of it takes.
type Choice struct {
	Facts   Facts   `json:"facts"`
	Recipe  Recipe  `json:"-"`
	Seconds float64 `json:"estimated_seconds"`
	Memory  int64   `json:"estimated_memory"` // bytes
	Disk    int64   `json:"estimated_disk"`   // bytes
	// Again is the bytes of the frozen layers' output where the recipe shows each crop again, but
	// that is more than is kept: each epoch computes it. 0: it is kept, or there is none.
	Again int64 `json:"again,omitempty"`
}

// Heads that are learnt on frozen features. The norm of an image's features is 1 there, so
// that the loss is no steeper for one network's activations than for another's: the Hessian of
// the soft-max's loss is at most ½ times the squared norm of its input, which is 2 with the
// bias, and gradient descent with momentum 0.9 is stable up to a rate of 3.8; half of that for
// the squared loss of boxes. docs/decisions/0033 compares it with other ways.
const (
	ClassHead = "GAP L2 FC"
	BoxHead   = "L2 FC"

	headRate  = 3.5
	boxRate   = 1.0
	headDecay = 1e-6 // the weights are as much larger as the features are smaller
)

const (
	headIterations = 1000  // of a head, if the set is small
	shownImages    = 60000 // images that a network is shown that begins with nothing
	mostSeconds    = 300.0 // of a run that is chosen, if something is that quick
	mostForOne     = 900.0 // of a run that shows each image once to given weights
	valueBytes     = 4
	heapSlack      = 1.5 // memory of the heap before the collector runs, times what is in use
	// Share of the measured speed that the layers of narrow networks reach in training, and
	// those of wide ones in inference.
	narrowShare, wideShare = 0.5, 0.9
)

// Choose returns a recipe for the facts: a function of them alone. With weights, it learns a
// small head on their frozen convolutions, in as many crops of each image as take minutes.
// Without, it trains a narrow network that takes minutes. Images are shown at a size that is
// not much above their own. Speeds of one class (see [speedClass]) give one choice.
func Choose(f Facts) (Choice, error) {
	if f.Images < 1 || f.Outputs < 1 || f.Side < 1 || !(f.Speed > 0) {
		return Choice{}, fmt.Errorf("train: a choice by %d images of %d pixels, %d outputs and a speed of %v, want all above 0", f.Images, f.Side, f.Outputs, f.Speed)
	}
	list := f.narrow
	if f.Weights != nil {
		list = f.heads
	}
	candidates, err := list()
	if err != nil {
		return Choice{}, err
	}
	var c Choice
	for _, a := range candidates {
		if c, err = f.Estimate(a.Recipe); err != nil {
			return c, err
		}
		if c.Seconds*f.Speed/speedClass(f.Speed) <= a.most && (f.Memory == 0 || c.Memory <= f.Memory/2) {
			break
		}
	}
	return c, nil
}

// candidate is a recipe with the seconds that it may take to be chosen.
type candidate struct {
	Recipe
	most float64
}

// heads lists recipes that learn a head on the weights' convolutions, the best first.
func (f Facts) heads() ([]candidate, error) {
	base, file := PaperRecipe(), f.Weights
	base.Filter, base.Resize, base.Orient = file.Preprocess.Filter, file.Preprocess.Fit, file.Preprocess.Orient
	head := ClassHead
	if f.Boxes {
		head = BoxHead
	}
	var err error
	if base.Config, err = architecture.WithHead(file.Options.Config, head); err != nil {
		return nil, err
	}
	base.Width = file.Options.Width
	if file.Options.LRN != "" {
		base.LRN = file.Options.LRN
	}
	base.InitFrom, base.InitRule = file.Path, FineTune
	base.Freeze = []string{"conv*"}
	base.ColourShift = 0
	base.Batch = 16
	base.LearningRate, base.WeightDecay, base.DecayBiases = headRate, headDecay, false
	if f.Boxes {
		base.LearningRate, base.MeanStart = boxRate, true
	}
	base.Schedule = Schedule{Name: "cosine", Factor: 0.1, Decreases: 0, Patience: 5, Threshold: 1e-3, Steps: []int{}, WarmupFactor: 0.1}
	base.Epochs = min(max(headIterations*base.Batch/f.Images, 10), 40)
	var all []candidate
	for _, c := range []struct {
		side  float64 // of the crop, a part of the weights' own
		views int
		most  float64
	}{{1, 4, mostSeconds}, {1, 2, mostSeconds}, {1, 1, mostForOne}, {0.72, 1, mostForOne}, {0.57, 1, mostForOne}} {
		r := base
		r.Views = c.views
		own := file.Options.Input
		r.Input = own
		if !f.Boxes { // of which the head is built for one side; small images are enlarged to twice theirs
			r.Input = min(own, roundSide(int(c.side*float64(own))), roundSide(2*f.Side))
			r.Input = max(r.Input, min(own, leastSide))
		}
		r.ScaleMin = max(r.Input, file.Preprocess.Resize*r.Input/own)
		r.ScaleMax = r.ScaleMin
		if base.Resize == preprocess.Keep && !f.Boxes {
			r.ScaleMax = max(r.ScaleMin, min(f.Side, r.ScaleMin*5/4))
		}
		r.TestScale = (r.ScaleMin + r.ScaleMax) / 2 // §4
		all = append(all, candidate{r, c.most})
	}
	return all, nil
}

// leastSide is the side of the smallest crop, pixels: a pixel after five poolings.
const leastSide = 32

// roundSide rounds the side of a crop down to whole maps after five poolings.
func roundSide(side int) int { return max(side/leastSide*leastSide, leastSide) }

// narrow lists recipes that train a narrow network from nothing, the best first.
func (f Facts) narrow() ([]candidate, error) {
	base := SampleRecipe()
	head := "GAP FC"
	if f.Boxes {
		head = "FC"
	}
	var err error
	if base.Config, err = architecture.WithHead("A-BN", head); err != nil {
		return nil, err
	}
	base.Orient = preprocess.Upright
	base.Batch, base.LearningRate, base.WeightDecay, base.DecayBiases = 32, 0.05, 1e-3, false
	base.Schedule = Schedule{Name: "cosine", Factor: 0.1, Patience: 5, Threshold: 1e-3, Steps: []int{}, WarmupEpochs: 1, WarmupFactor: 0.1}
	base.Epochs = min(max(shownImages/f.Images, 15), 100)
	if f.Boxes {
		base.LearningRate, base.MeanStart = 0.005, true
	}
	var all []candidate
	for _, c := range []struct {
		width float64
		input int
	}{{0.5, 96}, {0.5, 64}, {0.25, 96}, {0.25, 64}, {0.125, 64}, {0.125, 32}} {
		r := base
		r.Width, r.Input = c.width, min(c.input, roundSide(f.Side))
		r.ScaleMin = r.Input * 9 / 8
		r.ScaleMax = max(r.ScaleMin, min(r.Input*3/2, f.Side))
		r.TestScale = r.ScaleMin
		all = append(all, candidate{r, mostSeconds})
	}
	return all, nil
}

// Estimate returns what a run of a recipe takes by the facts: time on an otherwise idle machine,
// memory and disk. It is an error if the recipe's network can't be built.
func (f Facts) Estimate(r Recipe) (Choice, error) {
	c := Choice{Facts: f, Recipe: r}
	foot := Footprint{Recipe: r, Classes: f.Outputs, Images: f.Images, Threads: max(1, f.Threads)}
	chain, err := foot.plan()
	if err != nil {
		return c, err
	}
	w, err := workOf(chain, r.Input)
	if err != nil {
		return c, err
	}
	share := narrowShare
	if r.Views > 0 || r.Width >= 1 {
		share = wideShare
	}
	batches := (f.Images + r.Batch - 1) / r.Batch
	epochs := min(float64(r.Epochs), float64(r.MaxIterations)/float64(batches))
	if c.Memory, err = foot.Bytes(); err != nil {
		return c, err
	}
	_, between, front, err := foot.split(chain)
	if err != nil {
		return c, err
	}
	views := r.Views
	if front != nil {
		kept, judged := featureBytes(between, f.Images, r.Views), featureBytes(between, f.Validation, 1)
		if most := max(kept, judged); f.FrontBytes > 0 && most > f.FrontBytes {
			c.Again, views = most, 0
		} else {
			c.Memory += kept + judged
		}
	}
	c.Seconds = w.epochs(epochs, f.Images, f.Validation, views) / (f.Speed * share)
	c.Memory = int64(heapSlack * float64(c.Memory+f.decoded(r)))
	weights := chain.ParamBytes()
	c.Disk = 2*weights + int64(f.Keep)*(weights+valueBytes*int64(chain.LearntFloats()))
	return c, nil
}

// decoded estimates the bytes of the decoded images that a run keeps: those that it needs again.
func (f Facts) decoded(r Recipe) int64 {
	const aspect = 1.4 // of a photograph
	image := 3 * aspect * float64(f.Side) * float64(f.Side)
	most := float64(DefaultOptions().CacheBytes)
	bytes := 0.0
	if r.Views != 1 {
		bytes += min(image*float64(f.Images), most)
	}
	if r.Views == 0 {
		bytes += min(image*float64(f.Validation), most)
	}
	return int64(bytes)
}

// speedClass rounds a speed to one of a few, each four times the one before, so that what
// disturbs a measurement seldom changes a choice. Two threads with AVX-512 of 2024 are in the
// middle of a class.
func speedClass(speed float64) float64 {
	const middle, step = 8e11, 4.0
	return middle * math.Pow(step, math.Round(math.Log(speed/middle)/math.Log(step)))
}

// MeasureSpeed returns the multiplications a second of forward passes on that many threads of
// this processor, by the quickest of many passes on one thread. Larger images use the processor
// better, up to a side of 64 pixels by half; but passes are to be about as short as the time that
// a busy system gives to a process in turn, so that some are not interrupted. It takes about half
// a second.
func MeasureSpeed(threads int) (float64, error) {
	const short, budget, least, most = 4 * time.Millisecond, 500 * time.Millisecond, 8, 64 // pixels
	speed := 0.0
	quickest := time.Duration(0)
	tick := clockTick()
	start := time.Now()
	for side := least; side <= most && quickest < short; side *= 2 {
		pass, macs, err := speedPass(side)
		if err != nil {
			return 0, err
		}
		quickest = math.MaxInt64
		last := func() bool { return side == most || quickest >= short }
		for i := 0; i < 5 || last() && time.Since(start) < budget; i++ { // the first one also allocates memory
			n, took := 0, time.Duration(0)
			for began := nextTick(); took < 4*tick; n++ {
				if err := pass(); err != nil {
					return 0, err
				}
				took = time.Since(began)
			}
			quickest = min(quickest, took/time.Duration(n))
		}
		speed = max(speed, float64(macs)/quickest.Seconds())
	}
	return speed * float64(max(1, threads)), nil
}

// nextTick returns the time as soon as the clock moves on.
func nextTick() time.Time {
	for start := time.Now(); ; {
		if now := time.Now(); now.Sub(start) > 0 {
			return now
		}
	}
}

// clockTick returns the shortest time that the clock tells: less than a microsecond, but up to
// 16 ms on Windows.
func clockTick() time.Duration {
	start := nextTick()
	return nextTick().Sub(start)
}

// speedPass returns a forward pass on one thread of a network on images of a side, in pixels,
// and the number of its multiplications.
func speedPass(side int) (pass func() error, macs int64, err error) {
	net, err := network.New(network.Options{Config: "64 64 M 128 128 M 256 256 M", Width: 1, Input: side})
	if err != nil {
		return nil, 0, err
	}
	net.SetThreads(1)
	if macs, err = net.Chain().MACs(side, side); err != nil {
		return nil, 0, err
	}
	x, y := tensor.New(1, 3, side, side), tensor.New(1, 256, side/8, side/8)
	return func() error { return net.ForwardInto(y, x) }, macs, nil
}
