package train

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

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
	// Start returns outputs that are right on average over some of the training images, each
	// with the view that validation would have of it.
	Start(images iter.Seq2[dataset.Sample, dataset.View]) []float32
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
	case o.Task != nil && o.Train.MultiLabel:
		return fmt.Errorf("train: %s: several labels an image, want one class an image, whose boxes are learnt", o.Train.Name)
	case o.Task == nil && posterior == network.ByLabel && !o.Train.MultiLabel:
		return fmt.Errorf("train: recipe: config: %q makes each class a label of its own, but each image of %s has one class: want a head that ends with FC, or the class as an image's only label (--multi-label)", a.Name, o.Train.Name)
	case posterior != network.ByLabel && o.Train.MultiLabel:
		return fmt.Errorf("train: recipe: config: %q takes each image for one of the classes, but an image of %s has any number of labels: want a head that ends with FC SIGMOID", a.Name, o.Train.Name)
	}
	if o.Task == nil && o.Recipe.MeanStart {
		return errors.New("train: recipe: mean_start: true, want false: the outputs are scores of classes, of which the mean is no use")
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

// loss returns the loss of the images of b, counted from the one at from: the task's, or
// that of several labels; nil for one class an image.
func (o stepOptions) loss(b *dataset.Batch, from int) nn.Loss {
	switch {
	case o.Task == nil && b.LabelSets == nil:
		return nil
	case o.Task == nil:
		smoothing := float32(o.Recipe.LabelSmoothing)
		return func(i int, scores, d []float32, scale float32) float64 {
			return nn.LabelsCrossEntropy(scores, b.LabelSets[from+i], smoothing, scale, d)
		}
	}
	return func(i int, outputs, d []float32, scale float32) float64 {
		return o.Task.Loss(o.Samples[b.Indices[from+i]], b.Views[from+i], outputs, d, scale)
	}
}

// judge sums up a validation. see may be called in another process than the rest.
type judge interface {
	see(s dataset.Sample, v dataset.View, outputs []float32) verdict
	add(s dataset.Sample, v verdict) // in the order of the images
	into(e *Epoch)                   // sets the epoch's losses and errors
}

// verdict is what a judge keeps of an image.
type verdict struct {
	Index       int // of the image
	Loss        float64
	Rank, Best  int       // rank of the true class, the most probable one
	Probability float32   // of that one
	IoU         float64   // of boxes
	Scores      []float32 // of several labels
}

// classJudge judges the scores of classes.
type classJudge struct {
	classes []string
	ranks   []int
	loss    float64
	worst   []Mistake // by falling loss
}

// mostMistakes is the number of mistakes that an epoch lists.
const mostMistakes = 12

func (*classJudge) see(s dataset.Sample, _ dataset.View, scores []float32) verdict {
	d := make([]float32, len(scores))
	v := verdict{Rank: metrics.Rank(scores, s.Label), Best: metrics.TopK(scores, 1)[0]}
	v.Loss = nn.CrossEntropy(scores, s.Label, 0, 1, d) // image by image, so that the batch size changes no bit
	v.Probability = d[v.Best]                          // d is the posterior, less 1 of the true class
	return v
}

func (c *classJudge) add(s dataset.Sample, v verdict) {
	c.loss += v.Loss
	c.ranks = append(c.ranks, v.Rank)
	if v.Best == s.Label || math.IsNaN(v.Loss) {
		return
	}
	m := Mistake{File: s.Name, Class: c.classes[s.Label], Predicted: c.classes[v.Best], Probability: v.Probability, loss: v.Loss}
	at, _ := slices.BinarySearchFunc(c.worst, m, func(a, b Mistake) int {
		if a.loss >= b.loss { // the first of equal ones stays before
			return -1
		}
		return 1
	})
	if at < mostMistakes {
		c.worst = slices.Insert(c.worst, at, m)
		c.worst = c.worst[:min(len(c.worst), mostMistakes)]
	}
}

func (c *classJudge) into(e *Epoch) {
	e.Mistakes = c.worst
	e.Loss = c.loss / float64(len(c.ranks))
	e.Top1Error, e.Top5Error = metrics.TopKError(c.ranks, 1), metrics.TopKError(c.ranks, 5)
}

// labelJudge judges the scores of labels. It keeps all of them.
type labelJudge struct {
	n        int
	loss     float64
	scores   [][]float32 // by label and image
	positive [][]bool
}

func (*labelJudge) see(s dataset.Sample, _ dataset.View, scores []float32) verdict {
	return verdict{Loss: nn.LabelsCrossEntropy(scores, s.Labels, 0, 1, make([]float32, len(scores))), Scores: slices.Clone(scores)}
}

func (l *labelJudge) add(s dataset.Sample, v verdict) {
	l.n++
	l.loss += v.Loss
	if l.scores == nil {
		l.scores, l.positive = make([][]float32, len(v.Scores)), make([][]bool, len(v.Scores))
	}
	for k, score := range v.Scores {
		l.scores[k] = append(l.scores[k], score)
		l.positive[k] = append(l.positive[k], slices.Contains(s.Labels, k))
	}
}

// into takes the mean average precision over the labels that an image shows, and the F1 of
// all labels together at the probability ½, which is the score 0.
func (l *labelJudge) into(e *Epoch) {
	e.Loss = l.loss / float64(l.n)
	var all metrics.Decisions
	e.MeanAP = metrics.MeanAveragePrecision(l.scores, l.positive, metrics.Step)
	for k := range l.scores {
		all = all.Add(metrics.Decide(l.scores[k], l.positive[k], 0))
	}
	e.MicroF1 = all.F1()
}

// boxJudge judges the boxes of a task.
type boxJudge struct {
	task      Task
	n, missed int
	loss, iou float64
}

func (b *boxJudge) see(s dataset.Sample, v dataset.View, outputs []float32) verdict {
	return verdict{Loss: b.task.Loss(s, v, outputs, make([]float32, len(outputs)), 1), IoU: b.task.IoU(s, v, outputs)}
}

func (b *boxJudge) add(_ dataset.Sample, v verdict) {
	b.n++
	b.loss += v.Loss
	b.iou += v.IoU
	if !metrics.Located(v.IoU) {
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
	if r.o.Train.MultiLabel {
		return &labelJudge{}
	}
	return &classJudge{classes: r.o.Train.Classes}
}

// judged returns the error by which epochs are compared, and which the plateau schedule
// watches.
func (r *run) judged(e Epoch) float64 {
	switch {
	case r.o.Task != nil:
		return e.LocalisationError
	case r.o.Train.MultiLabel:
		return 1 - e.MeanAP
	}
	return e.Top1Error
}
