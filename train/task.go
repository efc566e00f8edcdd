package train

import (
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/nn"
)

// Task is what a network learns where that is not the classes of images: boxes, which
// package localize has (appendix A). All that it computes is a function of its arguments
// alone, and several goroutines use it at once.
type Task interface {
	// Localisation is what the weights are marked as; it tells the number of the network's
	// outputs.
	Localisation() *vgg.Localisation
	// Identity is all that the loss depends on besides the images, as a text: a run goes
	// on with the task that it began with.
	Identity() string
	// Loss is that of an image of which the network saw v; d receives its derivatives by
	// the outputs, times scale.
	Loss(s dataset.Sample, v dataset.View, outputs, d []float32, scale float32) float64
	// IoU is that of the box which the outputs give and the image's, by which
	// validation judges.
	IoU(s dataset.Sample, v dataset.View, outputs []float32) float64
}

// classification is the soft-max with multinomial logistic loss (§3.1), which is no
// [Task] since the labels are all that it takes.
const classification = "classification"

// taskName tells of what sort a run is in the errors of one that goes on.
func taskName(identity string) string {
	if identity == "" {
		return classification
	}
	return identity
}

// outputs is the number of outputs that the last layer has.
func (o Options) outputs() int {
	n := len(o.Train.Classes)
	if o.Task != nil {
		return o.Task.Localisation().Regression.Outputs(n)
	}
	return n
}

// identity is that of the task; "" of classification.
func (o Options) identity() string {
	if o.Task == nil {
		return ""
	}
	return o.Task.Identity()
}

// validateTask reports what a task has no use for.
func (o Options) validateTask() error {
	if o.Task != nil && o.Recipe.LabelSmoothing > 0 {
		return fmt.Errorf("train: recipe: label_smoothing: %v, want 0: there is no label among the outputs", o.Recipe.LabelSmoothing)
	}
	return nil
}

// checkTask compares the task of a run that goes on with the checkpoint's.
func (s state) checkTask(o Options, file string) error {
	if now := o.identity(); now != s.Task {
		return fmt.Errorf("train: task %s, the checkpoint %s has %s: a run goes on with the task that it began with", taskName(now), file, taskName(s.Task))
	}
	return nil
}

// loss is the loss of the images of b from the one numbered from on; nil for
// classification.
func (o stepOptions) loss(b *dataset.Batch, from int) nn.Loss {
	if o.Task == nil {
		return nil
	}
	return func(i int, outputs, d []float32, scale float32) float64 {
		return o.Task.Loss(o.Samples[b.Indices[from+i]], b.Views[from+i], outputs, d, scale)
	}
}

// judge adds up what validation finds.
type judge interface {
	add(s dataset.Sample, v dataset.View, outputs []float32)
	into(e *Epoch)
}

// classes judges scores of classes.
type classes struct {
	ranks []int
	loss  float64
}

func (c *classes) add(s dataset.Sample, _ dataset.View, scores []float32) {
	d := make([]float32, len(scores))                   // the derivatives are not wanted
	c.loss += nn.CrossEntropy(scores, s.Label, 0, 1, d) // by image, so that the batch changes no bit
	c.ranks = append(c.ranks, metrics.Rank(scores, s.Label))
}

func (c *classes) into(e *Epoch) {
	e.Loss = c.loss / float64(len(c.ranks))
	e.Top1Error, e.Top5Error = metrics.TopKError(c.ranks, 1), metrics.TopKError(c.ranks, 5)
}

// boxes judges the boxes of a task.
type boxes struct {
	task      Task
	n, missed int
	loss, iou float64
}

func (b *boxes) add(s dataset.Sample, v dataset.View, outputs []float32) {
	b.n++
	b.loss += b.task.Loss(s, v, outputs, make([]float32, len(outputs)), 1)
	iou := b.task.IoU(s, v, outputs)
	b.iou += iou
	if !metrics.Located(iou) {
		b.missed++
	}
}

func (b *boxes) into(e *Epoch) {
	n := float64(b.n)
	e.Loss, e.LocalisationError, e.MeanIoU = b.loss/n, float64(b.missed)/n, b.iou/n
}

func (r *run) newJudge() judge {
	if r.o.Task != nil {
		return &boxes{task: r.o.Task}
	}
	return &classes{}
}

// judged is the error that the best epoch has the least of, and that the plateau schedule
// watches.
func (r *run) judged(e Epoch) float64 {
	if r.o.Task != nil {
		return e.LocalisationError
	}
	return e.Top1Error
}
