package localize

import (
	"fmt"
	"iter"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/nn"
)

// Task is box regression as a [train.Task]. The target of an image is the box of its class
// of which the crop shows most, after the rule is applied. Boxes of other classes and boxes
// marked difficult are ignored. The loss is Euclidean, ½·Σ (output − target)², of centre,
// width and height in units of the crop's side. The loss of a mini-batch is the mean over its
// N images, and so Caffe's 1/(2N)·Σ‖·‖². With PCR only the four outputs of the image's class
// have a loss.
type Task struct {
	head     vgg.Localisation
	rule     Rule
	identity string
}

// NewTask returns the task of learning the boxes of the training images, from which head's
// mean boxes were computed ([MeanBoxes]). val, the validation images, may be nil.
func NewTask(head vgg.Localisation, rule Rule, train, val *dataset.Dataset) *Task {
	head.Rule = rule.String()
	return &Task{head, rule, fmt.Sprintf("%s, box rule %s, boxes %s", head.Regression, rule, boxesHash(train, val))}
}

// Localisation implements [train.Task].
func (t *Task) Localisation() *vgg.Localisation { return &t.head }

// Identity implements [train.Task]: regression, rule and a hash of the boxes.
func (t *Task) Identity() string { return t.identity }

// slot returns the index of the first of the four outputs for a class.
func slot(r vgg.Regression, class int) int {
	if r == vgg.SCR {
		return 0
	}
	return 4 * class
}

// Loss implements [train.Task].
func (t *Task) Loss(s dataset.Sample, v dataset.View, outputs, d []float32, scale float32) float64 {
	clear(d)
	target, ok := t.target(s, v)
	if !ok {
		return 0
	}
	at := slot(t.head.Regression, s.Label)
	return nn.SquaredLoss(outputs[at:at+4], target[:], scale, d[at:at+4])
}

// target returns the outputs to learn for a view of a sample, in centre, width and height.
// ok is false if the view shows no box.
func (t *Task) target(s dataset.Sample, v dataset.View) (target [4]float32, ok bool) {
	most := -1.0
	for _, b := range turn(truths(s), v.ImageW, v.ImageH, v.Orientation) {
		box, shown, fits := t.rule.apply(toCrop(v, b))
		if !fits || shown <= most {
			continue
		}
		most, ok = shown, true
		for i, x := range encode(box) {
			target[i] = float32(x)
		}
	}
	return target, ok
}

// Start implements [train.Task]: the mean box of the views, in centre, width and height; with
// PCR of each class, and for a class without images that of all.
func (t *Task) Start(images iter.Seq2[dataset.Sample, dataset.View]) []float32 {
	outputs := make([]float32, t.head.Regression.Outputs(len(t.head.ClassBoxes)))
	sums, counts := make([]float64, len(outputs)), make([]int, len(outputs)/4)
	var all [4]float64
	n := 0
	for s, v := range images {
		target, ok := t.target(s, v)
		if !ok {
			continue
		}
		at := slot(t.head.Regression, s.Label)
		for i, x := range target {
			sums[at+i] += float64(x)
			all[i] += float64(x)
		}
		counts[at/4]++
		n++
	}
	for i := range outputs {
		if of := counts[i/4]; of > 0 {
			outputs[i] = float32(sums[i] / float64(of))
		} else if n > 0 {
			outputs[i] = float32(all[i%4] / float64(n))
		}
	}
	return outputs
}

// IoU implements [train.Task]: the intersection over union of the predicted box of the
// sample's class, cut to the image, and the most similar box of that class.
func (t *Task) IoU(s dataset.Sample, v dataset.View, outputs []float32) float64 {
	at := slot(t.head.Regression, s.Label)
	return bestIoU(predicted(v, outputs[at:at+4]), turn(truths(s), v.ImageW, v.ImageH, v.Orientation))
}

// truths returns the true boxes of a sample, in pixels of the image as it is stored: those of
// its own class that aren't marked difficult.
func truths(s dataset.Sample) []corners {
	var boxes []corners
	for _, b := range s.Boxes {
		if b.Class == s.Label && !b.Difficult {
			boxes = append(boxes, corners{b.X0, b.Y0, b.X1, b.Y1})
		}
	}
	return boxes
}

// bestIoU returns the greatest intersection over union of a box with one of others; 0 if
// there are none.
func bestIoU(b corners, others []corners) float64 {
	best := 0.0
	for _, o := range others {
		best = max(best, metrics.IoU(b, o))
	}
	return best
}
