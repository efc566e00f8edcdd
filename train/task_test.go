package train

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
)

// viewTask learns where in its image a crop was taken: a target that depends on the
// view, and so finds views that went astray.
type viewTask struct{ identity string }

func (viewTask) Localisation() *vgg.Localisation {
	return &vgg.Localisation{Regression: vgg.SCR, ClassBoxes: make([][4]float64, 3)}
}

func (t viewTask) Identity() string { return t.identity }

func (viewTask) Loss(s dataset.Sample, v dataset.View, outputs, d []float32, scale float32) float64 {
	target := []float32{float32(v.X), float32(v.Y), float32(v.W) / float32(v.ImageW), float32(s.Label)}
	if v.Flip {
		target[2] = -target[2]
	}
	return nn.SquaredLoss(outputs, target, scale, d)
}

func (viewTask) Start(images iter.Seq2[dataset.Sample, dataset.View]) []float32 {
	start := make([]float32, 4)
	n := float32(0)
	for s, v := range images {
		for i, x := range []int{v.X, v.Y, v.W, s.Label} {
			start[i] += float32(x)
		}
		n++
	}
	for i := range start {
		start[i] /= n
	}
	return start
}

func (viewTask) IoU(s dataset.Sample, _ dataset.View, outputs []float32) float64 {
	return 1 / (1 + float64(outputs[3])*float64(outputs[3]) + float64(s.Label))
}

func taskOptions(t *testing.T) Options {
	o := resumeOptions(t)
	o.Task = viewTask{"views"}
	o.Recipe.LearningRate = 1e-3
	return o
}

// TestTaskSameBits: a task gets the views of its own images, whatever shares the work.
func TestTaskSameBits(t *testing.T) {
	for _, groups := range []int{1, 2} {
		whole := taskOptions(t)
		whole.Recipe.Groups, whole.Train = groups, colours(t, "train", 12, 3)
		want := mustRun(t, whole)
		if want.MeanIoU <= 0 || want.LocalisationError < 0 || want.Top1Error == want.Top1Error {
			t.Fatalf("result %+v", want)
		}
		for ranks := 1; ranks <= groups; ranks++ {
			for micro := range 3 {
				o := taskOptions(t)
				o.Recipe, o.Train, o.Ranks, o.Batch, o.Workers = whole.Recipe, whole.Train, ranks, micro, 1+micro
				mustRun(t, o)
				sameRun(t, fmt.Sprintf("%d groups, %d ranks, micro-batches of %d", groups, ranks, micro), o.Dir, whole.Dir)
			}
		}
	}
}

func TestResumeTask(t *testing.T) {
	whole := taskOptions(t)
	mustRun(t, whole)
	o := taskOptions(t)
	stopAt(t, o, 4)
	o.Resume = true
	for task, want := range map[Task]string{
		nil:                "task classification, the checkpoint ",
		viewTask{"others"}: "task others, the checkpoint ",
	} {
		other := o
		other.Task = task
		if _, err := Run(t.Context(), other); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), " has views") {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
	mustRun(t, o)
	sameRun(t, "stopped and resumed", o.Dir, whole.Dir)
}

func TestTaskRunDirectory(t *testing.T) {
	o := taskOptions(t)
	r := mustRun(t, o)
	m, err := vgg.Open(t.Context(), filepath.Join(o.Dir, BestFile), vgg.OpenOptions{Localiser: true})
	if err != nil || m.Localisation.Regression != vgg.SCR || len(m.Classes) != 3 || m.Net.Options().Classes != 4 {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := vgg.Open(t.Context(), r.BestWeights, vgg.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "a localisation network (SCR of 3 classes)") {
		t.Errorf("opened as a classification network: %v", err)
	}
	text, err := json.Marshal(r)
	if err != nil || !bytes.Contains(text, []byte(`"top1_error":null`)) || !bytes.Contains(text, []byte(`"mean_iou":0.`)) {
		t.Errorf("%s, %v", text, err)
	}
	for _, line := range metricsLines(t, o.Dir) {
		if _, ok := line["localisation_error"].(float64); line["kind"] == "epoch" && !ok {
			t.Errorf("epoch %v", line)
		}
	}
	// Classification has none of it.
	c := tinyOptions(t)
	mustRun(t, c)
	if bytes.Contains(read(t, c.Dir, MetricsFile), []byte("localisation")) {
		t.Error("a run of classification tells of boxes")
	}
}

// TestTaskLastLayerRandom: the last layer of the weights that a task begins with stands
// for classes, and is left even where it has the same shape.
func TestTaskLastLayerRandom(t *testing.T) {
	file, _ := savedModel(t, "A", func(o *network.Options) { o.Classes = 4 })
	o := taskOptions(t)
	o.Recipe.InitFrom, o.Recipe.InitRule = file, FineTune
	r := mustRun(t, o)
	if got := strings.Join(r.Init.Random, " "); got != "fc8" {
		t.Errorf("random: %s", got)
	}
	o = taskOptions(t)
	o.Recipe.LabelSmoothing = 0.1
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "label_smoothing") {
		t.Errorf("label smoothing: %v", err)
	}
}
