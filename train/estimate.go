package train

import (
	"time"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// Time of a training step in forward passes of inference, as timed for D. By its
// multiplications a step has three passes: forward, gradient of the input except the image's,
// gradient of the weights. In each it also transforms weights, which inference does once. With
// batch normalisation, which inference folds into the weights, a step takes about seven forward
// passes. docs/training.md has both numbers.
const (
	stepForwards           = 3.6
	normalisedStepForwards = 7
)

// work is what a run computes for an image, in multiplications of a forward pass.
type work struct {
	front float64 // of the frozen layers before the first that is learnt
	rest  float64 // of the others
	step  float64 // time that learning takes of the rest, in forward passes
}

// workOf returns the work of a network for images of side × side pixels.
func workOf(chain *nn.Chain, side int) (work, error) {
	w := work{step: stepForwards}
	if chain.StatisticsLen() > 0 {
		w.step = normalisedStepForwards
	}
	whole, err := chain.MACs(side, side)
	if err != nil {
		return w, err
	}
	if n := chain.Front(); n > 0 {
		front, _, _, err := chain.Split(n, side, side)
		if err != nil {
			return w, err
		}
		macs, err := front.MACs(side, side)
		if err != nil {
			return w, err
		}
		w.front = float64(macs)
	}
	w.rest = float64(whole) - w.front
	return w, nil
}

// epochs returns the multiplications of a number of epochs, which may be a fraction. With views,
// what the front makes of that many crops of each training image, and of each validation image, is
// computed once; 0: it is computed again each time.
func (w work) epochs(epochs float64, images, validation, views int) float64 {
	learnt, judged := epochs*float64(images), epochs*float64(validation)
	front := learnt + judged
	if views > 0 {
		front = min(float64(views), epochs)*float64(images) + float64(validation)
	}
	return w.front*front + w.rest*(w.step*learnt+judged)
}

// keptViews is the number of crops of an image of which the front's output is kept; 0: none is.
func (r *run) keptViews() int {
	if f := r.trainFeatures; f != nil && f.keeps {
		return f.loader.Views
	}
	return 0
}

// validationImages returns the number of validation images.
func (r *run) validationImages() int {
	if r.o.Val == nil {
		return 0
	}
	return r.o.Val.Len()
}

// slowIterations returns the number of iterations that the frozen front takes part in, if the
// others take next to no time beside it; else 0.
func (r *run) slowIterations() (int, error) {
	const little = 0.02 // of the time of an iteration
	views := r.keptViews()
	if views == 0 {
		return 0, nil
	}
	w, err := workOf(r.model.Net.Chain(), r.o.Recipe.Input)
	if err != nil || w.step*w.rest > little*w.front {
		return 0, err
	}
	return min(r.iterations, views*r.trainLoader.Batches()), nil
}

// estimate times forward passes and returns the time that the rest of the run may take, in
// seconds.
func (r *run) estimate() (float64, error) {
	const (
		most  = 8    // images of a pass
		least = 0.2  // seconds of all passes: a shorter time is too inaccurate,
		share = 0.02 // except for a run that takes seconds itself
	)
	rec := r.o.Recipe
	w, err := workOf(r.model.Net.Chain(), rec.Input)
	if err != nil {
		return 0, err
	}
	n := min(validationBatch(rec, r.o.Batch), r.o.Train.Len(), most)
	x := tensor.New(n, 3, rec.Input, rec.Input)
	forward, pass := r.model.Net.Forward, w.front+w.rest
	if r.trainFeatures != nil { // the rest has no memory for images of its own yet
		forward, pass = r.trainFeatures.front.Forward, w.front
	}
	left := float64(r.iterations-r.iteration) / float64(r.trainLoader.Batches())
	work := w.epochs(left, r.o.Train.Len(), r.validationImages(), r.keptViews()) / float64(r.o.processes())
	if _, err := forward(x); err != nil { // allocates memory
		return 0, err
	}
	start := time.Now()
	for done := float64(n) * pass; ; done += float64(n) * pass {
		if _, err := forward(x); err != nil {
			return 0, err
		}
		spent := time.Since(start).Seconds()
		if seconds := spent / done * work; spent > 0 && spent >= min(least, share*seconds) {
			return seconds, nil
		}
	}
}
