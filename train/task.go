package train

import (
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
)

// Task is what a network learns instead of the classes of images, such as the boxes of
// package localize (appendix A). Its results must depend on its arguments alone, and
// several goroutines use it at once.
type Task interface {
	// Localisation is saved with the weights, and gives the number of the network's
	// outputs.
	Localisation() *vgg.Localisation
	// Identity is a text of everything that the loss depends on besides the images. A run
	// that resumes must have the identity that it began with.
	Identity() string
	// Loss returns the loss of an image of which the network saw v, and sets d to its
	// derivatives by the outputs, times scale.
	Loss(s dataset.Sample, v dataset.View, outputs, d []float32, scale float32) float64
	// IoU returns the intersection over union of the box that the outputs give and the
	// image's own, by which validation judges.
	IoU(s dataset.Sample, v dataset.View, outputs []float32) float64
}

// classification, the soft-max with multinomial logistic loss (§3.1), is no [Task] since it
// needs nothing but the labels.
const classification = "classification"

// taskName names a task in errors.
func taskName(identity string) string {
	if identity == "" {
		return classification
	}
	return identity
}

// outputs returns the number of the network's outputs.
func (o Options) outputs() int {
	n := len(o.Train.Classes)
	if o.Task != nil {
		return o.Task.Localisation().Regression.Outputs(n)
	}
	return n
}

// identity returns the task's identity, "" for classification.
func (o Options) identity() string {
	if o.Task == nil {
		return ""
	}
	return o.Task.Identity()
}

// validateTask reports an option that doesn't go with the task.
func (o Options) validateTask() error {
	opts := o.Recipe.Options(o.outputs())
	a, err := architecture.Parse(opts.Config)
	switch posterior := opts.Posterior(); {
	case err != nil:
		return err
	case o.Task != nil && a.Ending != architecture.Softmax:
		return fmt.Errorf("train: recipe: config: %q ends with %s, want nothing after the last fully connected layer, whose outputs are boxes", a.Name, a.Ending)
	case posterior == network.NoPosterior:
		return fmt.Errorf("train: recipe: config: %q ends with SCORES: nothing tells a loss, want SOFTMAX or SIGMOID", a.Name)
	case posterior == network.ByLabel && opts.Classes == 2:
		return fmt.Errorf("train: recipe: config: %q makes two labels of two classes of which each image has one, want FC1 SIGMOID or the soft-max", a.Name)
	}
	if o.Task != nil && o.Recipe.LabelSmoothing > 0 {
		return fmt.Errorf("train: recipe: label_smoothing: %v, want 0: there is no label among the outputs", o.Recipe.LabelSmoothing)
	}
	return nil
}

// checkTask compares the task of a run that resumes with the checkpoint's.
func (s runState) checkTask(o Options, file string) error {
	if now := o.identity(); now != s.Task {
		return &OtherRunError{Dir: o.Dir, Reason: fmt.Sprintf("task %s, the checkpoint %s has %s: a run goes on with the task that it began with", taskName(now), file, taskName(s.Task))}
	}
	return nil
}

// loss returns the task's loss of the images of b, counted from the one at from; nil for
// classification.
func (o stepOptions) loss(b *dataset.Batch, from int) nn.Loss {
	if o.Task == nil {
		return nil
	}
	return func(i int, outputs, d []float32, scale float32) float64 {
		return o.Task.Loss(o.Samples[b.Indices[from+i]], b.Views[from+i], outputs, d, scale)
	}
}

// judge sums up a validation.
type judge interface {
	add(s dataset.Sample, v dataset.View, outputs []float32)
	into(e *Epoch) // sets the epoch's losses and errors
}

// classJudge judges the scores of classes.
type classJudge struct {
	ranks  []int
	loss   float64
	labels bool // each class is a label of its own
}

func (c *classJudge) add(s dataset.Sample, _ dataset.View, scores []float32) {
	d, loss := make([]float32, len(scores)), nn.CrossEntropy // the derivatives are not used
	if c.labels {
		loss = nn.LabelsCrossEntropy
	}
	c.loss += loss(scores, s.Label, 0, 1, d) // image by image, so that the batch size changes no bit
	c.ranks = append(c.ranks, metrics.Rank(scores, s.Label))
}

func (c *classJudge) into(e *Epoch) {
	e.Loss = c.loss / float64(len(c.ranks))
	e.Top1Error, e.Top5Error = metrics.TopKError(c.ranks, 1), metrics.TopKError(c.ranks, 5)
}

// boxJudge judges the boxes of a task.
type boxJudge struct {
	task      Task
	n, missed int
	loss, iou float64
}

func (b *boxJudge) add(s dataset.Sample, v dataset.View, outputs []float32) {
	b.n++
	b.loss += b.task.Loss(s, v, outputs, make([]float32, len(outputs)), 1)
	iou := b.task.IoU(s, v, outputs)
	b.iou += iou
	if !metrics.Located(iou) {
		b.missed++
	}
}

func (b *boxJudge) into(e *Epoch) {
	n := float64(b.n)
	e.Loss, e.LocalisationError, e.MeanIoU = b.loss/n, float64(b.missed)/n, b.iou/n
}

func (r *run) newJudge() judge {
	if r.o.Task != nil {
		return &boxJudge{task: r.o.Task}
	}
	return &classJudge{labels: r.model.Net.Options().Posterior() == network.ByLabel}
}

// judged returns the error by which epochs are compared, and which the plateau schedule
// watches.
func (r *run) judged(e Epoch) float64 {
	if r.o.Task != nil {
		return e.LocalisationError
	}
	return e.Top1Error
}
