package nn

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// step is the results of one training step.
type step struct {
	loss          float64
	scores, grads []float32
	running       []float32
}

// gather copies the gradients and the running statistics of a chain.
func (s *step) gather(c *Chain) {
	for _, p := range c.Params() {
		if p.Running {
			s.running = append(s.running, p.Value...)
		} else {
			s.grads = append(s.grads, p.Grad...)
		}
	}
}

func newTraining(t *testing.T, c *Chain, n int) *Training {
	t.Helper()
	tr, err := c.NewTraining(n, 8, 8)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// run zeroes the gradients and takes one step on images 0 … n−1 of x.
func run(t *testing.T, tr *Training, x *tensor.Tensor, n int, p Pass) step {
	t.Helper()
	tr.chain.ZeroGrad()
	var s step
	s.loss = mustStep(t, tr, x, 0, n, p)
	s.scores = slices.Clone(tr.Scores().Data)
	s.gather(tr.chain)
	return s
}

// mustStep takes one step on images from … to−1 of x, labelled as in the whole batch.
func mustStep(t *testing.T, tr *Training, x *tensor.Tensor, from, to int, p Pass) float64 {
	t.Helper()
	size := x.Len() / x.Dim(0)
	part, err := tensor.FromSlice(x.Data[from*size:to*size], to-from, x.Dim(1), x.Dim(2), x.Dim(3))
	if err != nil {
		t.Fatal(err)
	}
	loss, err := tr.Step(part, labelsOf(to)[from:], p)
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

func compareSteps(t *testing.T, what string, got, want step) {
	t.Helper()
	if math.Float64bits(got.loss) != math.Float64bits(want.loss) {
		t.Errorf("%s: loss %v, want %v", what, got.loss, want.loss)
	}
	for _, c := range []struct {
		name      string
		got, want []float32
	}{{"scores", got.scores, want.scores}, {"gradients", got.grads, want.grads}, {"running statistics", got.running, want.running}} {
		if err := sameBits(c.got, c.want); err != nil {
			t.Errorf("%s: %s: %v", what, c.name, err)
		}
	}
}

func TestStepThreads(t *testing.T) {
	x := images(6, 5, 8, 8)
	var first step
	for _, threads := range []int{1, 2, 7} {
		var dx []float32
		tr := newTraining(t, testChain(t, threads, true), 5)
		tr.Hook = func(name string, _, grad *tensor.Tensor) {
			if name == "input" {
				dx = slices.Clone(grad.Data)
			}
		}
		got := run(t, tr, x, 5, Pass{Seed: 3, Iteration: 2})
		got.grads = append(got.grads, dx...)
		if threads == 1 {
			first = got
			for i, v := range got.grads {
				if v != v {
					t.Fatalf("gradient %d is NaN", i)
				}
			}
		}
		compareSteps(t, "threads", got, first)
	}
}

// TestStepOnFewerImages: a training planned for more images gives the bits of one
// planned for just as many, before and after a larger step.
func TestStepOnFewerImages(t *testing.T) {
	x := images(7, 5, 8, 8)
	p := Pass{Seed: 1}
	fresh := func(n int) step { return run(t, newTraining(t, testChain(t, 2, false), n), x, n, p) }
	tr := newTraining(t, testChain(t, 2, false), 5)
	for _, n := range []int{3, 5, 1, 5, 3} {
		compareSteps(t, "a step on fewer images", run(t, tr, x, n, p), fresh(n))
		if got := tr.Scores().Shape; !slices.Equal(got, []int{n, testClasses}) {
			t.Errorf("scores of shape %v, want [%d %d]", got, n, testClasses)
		}
	}
}

// TestStepScores: the scores of a step without dropout are those of Forward, and the
// loss is that of the scores.
func TestStepScores(t *testing.T) {
	c := testChain(t, 2, false)
	for _, l := range c.Layers() {
		if d, ok := l.(*Dropout); ok {
			d.Ratio = 0
		}
	}
	x := images(8, 4, 8, 8)
	got := run(t, newTraining(t, c, 4), x, 4, Pass{})
	want, err := c.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	if err := sameBits(got.scores, want.Data); err != nil {
		t.Errorf("scores of a step and of Forward: %v", err)
	}
	loss := softmaxLoss(want.Data, labelsOf(4), 1, make([]float32, want.Len()))
	if got.loss != loss {
		t.Errorf("loss %v, that of the scores is %v", got.loss, loss)
	}
}

// TestMicroBatches: the parts of a batch give the bits of the whole, as every sum over images
// goes on from the gradient in their order. The chain has no batch normalisation, whose
// statistics are those of a part.
func TestMicroBatches(t *testing.T) {
	x := images(9, 6, 8, 8)
	whole := run(t, newTraining(t, testChain(t, 2, false), 6), x, 6, Pass{Seed: 4, Iteration: 9})
	for _, parts := range [][]int{{3, 6}, {1, 2, 3, 4, 5, 6}, {4, 5, 6}} {
		tr := newTraining(t, testChain(t, 2, false), 4)
		var got step
		from := 0
		for _, to := range parts {
			mustStep(t, tr, x, from, to, Pass{Seed: 4, Iteration: 9, Image: from, Batch: 6, More: to < 6})
			for _, l := range tr.Losses() {
				got.loss += l
			}
			got.scores = append(got.scores, tr.Scores().Data...)
			from = to
		}
		got.gather(tr.chain)
		compareSteps(t, "micro-batches", got, whole)
	}
}

// TestBatchScalesGradients: halving the share of each image is exact.
func TestBatchScalesGradients(t *testing.T) {
	x := images(10, 2, 8, 8)
	tr := newTraining(t, testChain(t, 1, false), 2)
	alone := run(t, tr, x, 2, Pass{Seed: 2})
	same := run(t, tr, x, 2, Pass{Seed: 2, Batch: 2})
	compareSteps(t, "Batch of these images", same, alone)
	quarter := run(t, tr, x, 2, Pass{Seed: 2, Batch: 8})
	for i := range quarter.grads {
		quarter.grads[i] *= 4
	}
	compareSteps(t, "a Batch of four times the images", quarter, alone)

	// Without ZeroGrad between them, steps add up.
	once := step{}
	tr.chain.ZeroGrad()
	mustStep(t, tr, x, 0, 2, Pass{Seed: 2})
	once.gather(tr.chain)
	mustStep(t, tr, x, 0, 2, Pass{Seed: 2})
	twice := step{}
	twice.gather(tr.chain)
	if e := relativeError(twice.grads, once.grads); math.Abs(e-1) > 1e-5 {
		t.Errorf("a second step changes the gradients by %g of the first's, want 1", e)
	}
}

// TestStepGradient compares the gradients of a whole chain, input included, with central
// differences along one direction for each: half the gradient, half random.
func TestStepGradient(t *testing.T) {
	const n, h = 3, 0x1p-9
	for _, norm := range []bool{false, true} {
		c := testChain(t, 1, norm)
		tr := newTraining(t, c, n)
		x := images(11, n, 8, 8)
		pass := Pass{Seed: 5, Iteration: 1}
		var dx []float32
		tr.Hook = func(name string, _, grad *tensor.Tensor) {
			if name == "input" {
				dx = slices.Clone(grad.Data)
			}
		}
		run(t, tr, x, n, pass)
		type variable struct {
			name        string
			value, grad []float32
			at          []int
		}
		vars := []variable{{name: "input", value: x.Data, grad: dx}}
		for i := range x.Data {
			vars[0].at = append(vars[0].at, i)
		}
		for _, p := range c.Params() {
			if !p.Running {
				vars = append(vars, variable{p.Name, p.Value, canonical(p, p.Grad), packedIndices(p)})
			}
		}
		rng := rand.New(rand.NewPCG(6, 6))
		for _, v := range vars {
			dir := randoms(rng, len(v.grad), 1)
			scale := length(dir)
			size := length(v.grad)
			var want float64
			for i, g := range v.grad {
				dir[i] = float32(float64(g)/size + float64(dir[i])/scale)
				want += float64(g) * float64(dir[i])
			}
			old := slices.Clone(v.value)
			loss := func(step float32) float64 {
				for i, at := range v.at {
					v.value[at] = old[at] + step*dir[i]
				}
				return mustStep(t, tr, x, 0, n, pass) / n
			}
			got := (loss(h) - loss(-h)) / (2 * h)
			copy(v.value, old)
			// The constant is for a bias before batch normalisation, whose gradient is
			// rounding alone; the others are 0.7 and longer.
			if size == 0 || math.Abs(got-want) > 0.02*size+2e-3 {
				t.Errorf("%s (batch normalisation %v): derivative %g, central differences give %g, gradient of length %g", v.name, norm, want, got, size)
			}
		}
	}
}

func length(x []float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

func TestHook(t *testing.T) {
	c := testChain(t, 2, true)
	tr := newTraining(t, c, 2)
	x := images(12, 2, 8, 8)
	plain := run(t, newTraining(t, testChain(t, 2, true), 2), x, 2, Pass{})
	shapes, err := c.Shapes(8, 8)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"input"}
	want := [][]int{{2, 3, 8, 8}}
	for i, l := range c.Layers() {
		names = append(names, l.Name())
		want = append(want, []int{2, shapes[i].C, shapes[i].H, shapes[i].W})
	}
	at := len(names)
	tr.Hook = func(name string, act, grad *tensor.Tensor) {
		if at--; at < 0 || name != names[at] || !slices.Equal(act.Shape, want[at]) || !slices.Equal(grad.Shape, want[at]) {
			t.Errorf("hook called for %s with %v and %v", name, act.Shape, grad.Shape)
			return
		}
		switch name {
		case "input":
			if err := sameBits(act.Data, x.Data); err != nil {
				t.Errorf("the input: %v", err)
			}
		case "fc8":
			if err := sameBits(act.Data, tr.Scores().Data); err != nil {
				t.Errorf("the scores: %v", err)
			}
		}
		if length(grad.Data) == 0 {
			t.Errorf("%s: gradient zero", name)
		}
	}
	compareSteps(t, "with a hook", run(t, tr, x, 2, Pass{}), plain)
	if at != 0 {
		t.Errorf("%d layers without a call", at)
	}
}

// TestFirstLayers: any layer may be the first, of which no dx is computed.
func TestFirstLayers(t *testing.T) {
	lrn, err := NewLRN("lrn", PaperLRN())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []Layer{NewBatchNorm("bn", 3, true), NewMaxPool("pool"), NewReLU("relu"), lrn,
		NewDropout("drop", 0.5, 1), NewConv("patched", 3, 3, 3, 1, true), NewConv("packed", 3, 3, 1, 0, false)} {
		side := 8
		if s, err := l.Out(Shape{3, 8, 8}); err != nil {
			t.Fatal(err)
		} else {
			side = s.H
		}
		grads := func(hook bool) step {
			fc := NewFC("fc", 3, side, testClasses, false)
			c := NewChain(3, l, fc)
			rng := rand.New(rand.NewPCG(1, 1))
			randomise(rng, l)
			randomise(rng, fc)
			tr := newTraining(t, c, 2)
			if hook {
				tr.Hook = func(string, *tensor.Tensor, *tensor.Tensor) {}
			}
			return run(t, tr, images(13, 2, 8, 8), 2, Pass{})
		}
		compareSteps(t, l.Name()+" without dx", grads(false), grads(true))
	}
}

func TestTrainingFloats(t *testing.T) {
	for _, threads := range []int{1, 3} {
		for _, n := range []int{1, 2, 17} {
			c := testChain(t, threads, true)
			want, err := c.TrainingFloats(n, 8, 8)
			if err != nil {
				t.Fatal(err)
			}
			tr := newTraining(t, c, n)
			sgd := NewSGD(c)
			for range 2 {
				if _, err := tr.StepSGD(images(14, n, 8, 8), make([]int, n), Pass{}, sgd, Update{Rate: 0.01, Momentum: 0.9, Decay: 5e-4, DecayBiases: true}); err != nil {
					t.Fatal(err)
				}
			}
			got := allocated(tr)
			if got != want {
				t.Errorf("%d threads, %d images: %d floats allocated, estimated %d", threads, n, got, want)
			}
		}
	}
}

func TestStepErrors(t *testing.T) {
	c := testChain(t, 1, true)
	tr := newTraining(t, c, 2)
	labelled := func(labels []int, shape ...int) func() error {
		return func() error { _, err := tr.Step(tensor.New(shape...), labels, Pass{}); return err }
	}
	planned := func(n, h, w int) func() error {
		return func() error { _, err := c.NewTraining(n, h, w); return err }
	}
	before := step{}
	before.gather(c)
	for _, test := range []struct {
		name, want string
		run        func() error
	}{
		{"label too large", "nn: label 7 of image 1, want 0 … 6", labelled([]int{0, 7}, 2, 3, 8, 8)},
		{"label negative", "nn: label -1 of image 0, want 0 … 6", labelled([]int{-1, 0}, 2, 3, 8, 8)},
		{"label missing", "nn: training step with input of shape [2 3 8 8] and 1 labels, want", labelled([]int{0}, 2, 3, 8, 8)},
		{"too many images", "nn: training step with input of shape [3 3 8 8], want at most 2 images of 8×8", labelled([]int{0, 0, 0}, 3, 3, 8, 8)},
		{"another size", "nn: training step with input of shape [2 3 8 9]", labelled([]int{0, 0}, 2, 3, 8, 9)},
		{"four channels", "nn: input of shape [2 4 8 8], want [N 3 H W]", labelled([]int{0, 0}, 2, 4, 8, 8)},
		{"no images", "nn: input of shape [0 3 8 8], want [N 3 H W]", labelled(nil, 0, 3, 8, 8)},
		{"plan for a score map", "nn: training on 2 images of 8×12: the scores are 7×1×2, want one pixel", planned(2, 8, 12)},
		{"plan for no images", "nn: training on 0 images of 8×8", planned(0, 8, 8)},
		{"plan for small images", "nn: fc6: input of 1×1 pixels, want at least 2×2", planned(1, 4, 4)},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			if err := test.run(); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			after := step{}
			after.gather(c)
			compareSteps(t, "a step that failed changed the chain", after, before)
		})
	}
}
