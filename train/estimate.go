package train

import (
	"time"

	"github.com/verydeep/vgg/tensor"
)

// Time of a training step in forward passes of inference. stepForwards is the ratio of their
// multiplications for D: a step has three passes (forward, gradient of the input except the
// image's, gradient of the weights), and their Winograd tiles are smaller than inference's.
// With batch normalisation, which inference folds into the weights, a step takes about seven
// forward passes, as timed. docs/training.md has both numbers.
const (
	stepForwards           = 3.6
	normalisedStepForwards = 7
)

// estimate times forward passes and returns the time that the rest of the run may take, in
// seconds.
func (r *run) estimate() (float64, error) {
	const (
		most  = 8                      // images of a pass
		least = 200 * time.Millisecond // time of all passes: a shorter time is too inaccurate
	)
	rec := r.o.Recipe
	n := min(validationBatch(rec, r.o.Batch), r.o.Train.Len(), most)
	x := tensor.New(n, 3, rec.Input, rec.Input)
	forward := r.model.Net.Forward
	if r.trainFeatures != nil {
		forward = r.trainFeatures.front.Forward
	}
	if _, err := forward(x); err != nil { // allocates memory
		return 0, err
	}
	start, passes := time.Now(), 0
	for ; passes == 0 || time.Since(start) < least; passes++ {
		if _, err := forward(x); err != nil {
			return 0, err
		}
	}
	perImage := time.Since(start).Seconds() / float64(passes*n)
	if f := r.trainFeatures; f != nil && f.keeps { // the rest of the network takes next to nothing
		epochs := min(f.loader.Views, rec.Epochs)
		images := epochs * r.o.Train.Len()
		if r.o.Val != nil {
			images += r.o.Val.Len()
		}
		return perImage * float64(images) / float64(r.o.processes()), nil
	}
	left := float64(r.iterations - r.iteration)
	validated := 0. // images, for each iteration
	if r.o.Val != nil {
		validated = float64(r.o.Val.Len()) / float64(r.trainLoader.Batches())
	}
	forwards := trainingForwards(r.model.Net.Chain().StatisticsLen() > 0)
	return left * perImage / float64(r.o.processes()) * (forwards*float64(min(rec.Batch, r.o.Train.Len())) + validated), nil
}
