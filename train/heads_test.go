package train

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
)

// withHead returns the options of a run of A with another head.
func withHead(t *testing.T, o Options, head string) Options {
	t.Helper()
	var err error
	if o.Recipe.Config, err = architecture.WithHead("A", head); err != nil {
		t.Fatal(err)
	}
	return o
}

// severalLabels is [colours] whose image i shows red if i is even, green if it is one of three
// and blue never, but for the first.
func severalLabels(t testing.TB, name string, n int, bad ...int) *dataset.Dataset {
	d := *colours(t, name, n, bad...)
	d.MultiLabel = true
	for i := range d.Samples {
		d.Samples[i].Labels = []int{}
		for k, every := range []int{2, 3, n} {
			if i%every == 0 {
				d.Samples[i].Labels = append(d.Samples[i].Labels, k)
			}
		}
	}
	return &d
}

// TestResumeHeads: a run with any head that is stopped and goes on has the bits of one that
// isn't, on several ranks too.
func TestResumeHeads(t *testing.T) {
	for _, c := range []struct {
		head   string
		labels bool
		ranks  int
	}{
		{"gap FC24 bn relu FC", false, 1},
		{"FC1 sigmoid", false, 1},
		{"FC16 tanh drop0.3 FC leaky0.1", false, 2},
		{"gap FC sigmoid", true, 1},
		{"gap L2 FC16 elu FC sigmoid", true, 2},
	} {
		options := func() Options {
			o := withHead(t, resumeOptions(t), c.head)
			o.Recipe.Groups, o.Ranks, o.Recipe.LabelSmoothing = c.ranks, c.ranks, 0.1
			switch {
			case c.labels:
				o.Train, o.Val = severalLabels(t, "train", 10, 3), severalLabels(t, "val", 6)
			case strings.HasPrefix(c.head, "FC1 "):
				o.Train, o.Val = twoOf(o.Train), twoOf(o.Val)
			}
			return o
		}
		whole := options()
		want := mustRun(t, whole)
		for _, at := range []int{2, 3, 5} {
			o := options()
			stopAt(t, o, at)
			o.Resume, o.Workers, o.Ranks = true, 1+at%3, 1
			got := mustRun(t, o)
			what := fmt.Sprintf("%s stopped at iteration %d", c.head, at)
			sameRun(t, what, o.Dir, whole.Dir)
			if got.BestEpoch != want.BestEpoch || c.labels && (got.MeanAP != want.MeanAP || got.MicroF1 != want.MicroF1) || c.labels != math.IsNaN(got.Top1Error) {
				t.Errorf("%s: result %+v, want as %+v", what, got, want)
			}
		}
	}
}

// twoOf returns the images of the first two classes.
func twoOf(d *dataset.Dataset) *dataset.Dataset {
	two := *d.Select(func(s dataset.Sample) bool { return s.Label < 2 })
	two.Classes = two.Classes[:2]
	return &two
}

// TestLabelsAreJudged: the loss is the sum of logistic losses over the labels, and the best
// epoch is that of the greatest mean average precision, as computed from the weights it left.
func TestLabelsAreJudged(t *testing.T) {
	o := withHead(t, tinyOptions(t), "gap FC sigmoid")
	o.Train, o.Val, o.Recipe.Epochs = severalLabels(t, "train", 10), severalLabels(t, "val", 6), 3
	var epochs []Epoch
	o.OnEpoch = func(e Epoch) { epochs = append(epochs, e) }
	res := mustRun(t, o)
	for i, e := range epochs {
		if e.MeanAP > res.MeanAP || e.Best && i > 0 && e.MeanAP < epochs[i-1].MeanAP {
			t.Errorf("epoch %+v, the best has %v", e, res.MeanAP)
		}
	}
	m, err := vgg.Open(t.Context(), res.BestWeights, vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scores, positive := make([][]float32, 3), make([][]bool, 3)
	loss := 0.0
	l := dataset.Loader{Data: o.Val, Spec: m.Preprocess, Batch: 2}
	for b, err := range l.Epoch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		y, err := m.Net.Forward(b.X)
		if err != nil {
			t.Fatal(err)
		}
		for i, labels := range b.LabelSets {
			for k := range 3 {
				s, shown := y.Data[3*i+k], slices.Contains(labels, k)
				scores[k], positive[k] = append(scores[k], s), append(positive[k], shown)
				p := 1 / (1 + math.Exp(-float64(s)))
				if !shown {
					p = 1 - p
				}
				loss -= math.Log(p) / 6
			}
		}
	}
	best := epochs[res.BestEpoch-1]
	if ap := metrics.MeanAveragePrecision(scores, positive, metrics.Step); ap != res.MeanAP || math.Abs(loss-best.Loss) > 1e-6 {
		t.Errorf("mean average precision %v and loss %v of the best weights, the run says %v and %v", ap, loss, res.MeanAP, best.Loss)
	}
	if e := metricsLines(t, o.Dir); e[len(e)-1]["mean_ap"] == nil || e[len(e)-1]["top1_error"] != nil {
		t.Errorf("the metrics end with %v", e[len(e)-1])
	}
}

// TestLabelsRefused: heads and labels that don't belong together.
func TestLabelsRefused(t *testing.T) {
	several := severalLabels(t, "train", 10)
	for want, change := range map[string]func(*Options){
		"each image of train has one class":      func(o *Options) { *o = withHead(t, *o, "gap FC sigmoid") },
		"an image of train has any number":       func(o *Options) { o.Train, o.Val = several, severalLabels(t, "val", 6) },
		"several labels an image in one alone":   func(o *Options) { o.Train = several },
		"ends with SCORES: nothing tells a loss": func(o *Options) { *o = withHead(t, *o, "gap FC scores") },
		"whose boxes are learnt":                 func(o *Options) { o.Train, o.Val, o.Task = several, nil, viewTask{} },
	} {
		o := tinyOptions(t)
		change(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestBeginWithAnotherHead: convolutions stay, and layers of a head that is the same but for
// its ending or its classes.
func TestBeginWithAnotherHead(t *testing.T) {
	const convolutions = "conv1_1 conv2_1 conv3_1 conv3_2 conv4_1 conv4_2 conv5_1 conv5_2"
	for _, c := range []struct{ from, to, taken, random string }{
		{"gap FC24 bn relu FC", "gap FC", convolutions, "fc6"},
		{"gap FC", "gap FC24 bn relu FC", convolutions, "fc6 fc6.bn fc7"},
		{"FC FC FC", "FC FC FC sigmoid", convolutions + " fc6 fc7 fc8", ""},
		{"FC FC FC", "FC FC FC1 sigmoid", convolutions + " fc6 fc7", "fc8"},
		{"FC FC FC bn", "FC FC FC bn", convolutions + " fc6 fc7 fc8 fc8.bn", ""},
	} {
		from, err := architecture.WithHead("A", c.from)
		if err != nil {
			t.Fatal(err)
		}
		file, was := savedModel(t, from, nil)
		r := tinyRecipe()
		r.InitFrom = file
		if r.Config, err = architecture.WithHead("A", c.to); err != nil {
			t.Fatal(err)
		}
		classes := []string{"a", "b", "c"}
		if strings.Contains(c.to, "FC1") {
			classes = classes[:2]
		}
		net, err := network.New(r.Options(len(classes)))
		if err != nil {
			t.Fatal(err)
		}
		report, _, err := initialise(t.Context(), net, &r, vgg.OpenOptions{}, false, classes)
		if err != nil {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
			continue
		}
		equal, _ := layersFrom(t, net, was)
		if taken, random := strings.Join(report.Taken, " "), strings.Join(report.Random, " "); taken != c.taken || random != c.random || strings.Join(equal, " ") != c.taken || r.InitRule != FineTune {
			t.Errorf("%s to %s by %s: taken %q, random %q, equal %q, want %q and %q", c.from, c.to, r.InitRule, taken, random, equal, c.taken, c.random)
		}
	}
}

// TestClassesInAnotherOrder: the last layer's rows follow the names of the classes, and where
// they can't, the layer is random.
func TestClassesInAnotherOrder(t *testing.T) {
	for _, c := range []struct {
		config  string
		classes []string
		moved   bool
	}{
		{"A", []string{"c", "a", "b"}, true},
		{"A FC FC FC bn", []string{"c", "a", "b"}, true},
		{"A", []string{"c", "a", "x"}, false},
		{"A gap FC1 sigmoid", []string{"b", "a"}, false},
	} {
		file, from := savedModel(t, c.config, func(o *network.Options) { o.Classes = len(c.classes) })
		r := tinyRecipe()
		r.Config, r.InitFrom = c.config, file
		net, err := network.New(r.Options(len(c.classes)))
		if err != nil {
			t.Fatal(err)
		}
		report, _, err := initialise(t.Context(), net, &r, vgg.OpenOptions{}, false, c.classes)
		if err != nil {
			t.Fatal(err)
		}
		last := lastLayers(layersOf(net.Params()))
		for _, l := range last {
			if c.moved != slices.Contains(report.Taken, l) {
				t.Errorf("%s, classes %v: taken %v", c.config, c.classes, report.Taken)
			}
		}
		if !c.moved {
			continue
		}
		for i, p := range net.Params() {
			if !slices.Contains(last, layerOf(p)) {
				continue
			}
			for row, was := range []int{2, 0, 1} {
				if got, want := rowOf(t, p, row), rowOf(t, from.Params()[i], was); !slices.Equal(got, want) {
					t.Errorf("%s: %s: row %d is %v, want row %d of the file, %v", c.config, p.Name, row, got, was, want)
				}
			}
		}
	}
}

// rowOf returns the values of an out-channel.
func rowOf(t *testing.T, p *nn.Param, row int) []float32 {
	t.Helper()
	v := make([]float32, p.Len()/p.Shape[0])
	if err := p.GetRows(row, v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestLabelsSameBits: the run directory of a network
// of labels is the same for any number of images computed at a time.
func TestLabelsSameBits(t *testing.T) {
	options := func() Options {
		o := withHead(t, resumeOptions(t), "gap FC sigmoid")
		o.Train, o.Val = severalLabels(t, "train", 10), severalLabels(t, "val", 6)
		return o
	}
	whole := options()
	mustRun(t, whole)
	for _, micro := range []int{1, 3} {
		o := options()
		o.Batch = micro
		o.Dir = filepath.Join(t.TempDir(), "run")
		mustRun(t, o)
		sameRun(t, fmt.Sprintf("micro-batches of %d", micro), o.Dir, whole.Dir)
	}
}
