package nn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// TestLossGradients compares the derivatives of the losses of one image with central
// differences.
func TestLossGradients(t *testing.T) {
	const k, scale, h = 9, 0.25, 0x1p-10
	rng := rand.New(rand.NewPCG(4, 4))
	target := randoms(rng, k, 1)
	target[2] = float32(math.NaN()) // counts for nothing
	for name, loss := range map[string]func(s, d []float32) float64{
		"cross-entropy": func(s, d []float32) float64 { return CrossEntropy(s, 3, 0, scale, d) },
		"smoothed":      func(s, d []float32) float64 { return CrossEntropy(s, 3, 0.1, scale, d) },
		"uniform":       func(s, d []float32) float64 { return CrossEntropy(s, 3, 1, scale, d) },
		"squared":       func(s, d []float32) float64 { return SquaredLoss(s, target, scale, d) },
	} {
		s, d, unused := randoms(rng, k, 2), make([]float32, k), make([]float32, k)
		if l := loss(s, d); !(l > 0) {
			t.Errorf("%s: loss %v", name, l)
		}
		for j := range s {
			old := s[j]
			s[j] = old + h
			up := loss(s, unused)
			s[j] = old - h
			down := loss(s, unused)
			s[j] = old
			if want := scale * (up - down) / (2 * h); math.Abs(float64(d[j])-want) > 1e-5 {
				t.Errorf("%s: derivative %d is %g, central differences give %g", name, j, d[j], want)
			}
		}
	}
	d := make([]float32, 2)
	if got, want := SquaredLoss([]float32{3, 1}, []float32{1, float32(math.NaN())}, 0.5, d), 2.0; got != want || d[0] != 1 || d[1] != 0 {
		t.Errorf("squared loss %g with derivatives %v, want %g with [1 0]", got, d, want)
	}
}

// TestStepLoss: with the soft-max loss it does what Step does; another loss is called for the
// images in order, and its gradient is used.
func TestStepLoss(t *testing.T) {
	x, labels := images(31, 5, 8, 8), labelsOf(5)
	p := Pass{Seed: 1, Iteration: 4}
	want := run(t, newTraining(t, testChain(t, 2, true), 5), x, 5, p)

	c := testChain(t, 2, true)
	tr := newTraining(t, c, 5)
	c.ZeroGrad()
	next := 0
	softmax := func(i int, s, d []float32, scale float32) float64 {
		if i != next || len(s) != testClasses || len(d) != testClasses || scale != 1/float32(5) {
			t.Errorf("loss called for image %d with %d scores, %d derivatives and scale %g; image %d is next", i, len(s), len(d), scale, next)
		}
		next++
		return CrossEntropy(s, labels[i], 0, scale, d)
	}
	loss, err := tr.StepLoss(x, softmax, p)
	if err != nil {
		t.Fatal(err)
	}
	got := step{loss: loss, scores: tr.Scores().Data}
	got.gather(c)
	compareSteps(t, "the soft-max as a loss of one's own", got, want)

	// The same, with the update.
	a, b := testChain(t, 2, true), testChain(t, 2, true)
	u := Update{Rate: 0.01, Momentum: 0.9, Decay: 5e-4}
	if _, err := newTraining(t, a, 5).StepSGD(x, labels, p, NewSGD(a), u); err != nil {
		t.Fatal(err)
	}
	next = 0
	if _, err := newTraining(t, b, 5).StepLossSGD(x, softmax, p, NewSGD(b), u); err != nil {
		t.Fatal(err)
	}
	for i, p := range a.Params() {
		if err := sameBits(b.Params()[i].Value, p.Value); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}

	// Ten steps towards boxes.
	target := randoms(rand.New(rand.NewPCG(1, 1)), 5*testClasses, 1)
	squared := func(i int, s, d []float32, scale float32) float64 {
		return SquaredLoss(s, target[i*testClasses:][:testClasses], scale, d)
	}
	for _, l := range b.Layers() {
		if d, ok := l.(*Dropout); ok {
			d.Ratio = 0
		}
	}
	tr, sgd := newTraining(t, b, 5), NewSGD(b)
	var losses []float64
	for range 10 {
		l, err := tr.StepLossSGD(x, squared, p, sgd, Update{Rate: 0.002, Momentum: 0.9})
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, l)
	}
	if !(losses[9] < losses[0]/2) {
		t.Errorf("squared losses of ten steps %v: want them to fall by half", losses)
	}
}

// TestSmoothing: label smoothing reaches the scores' gradient.
func TestSmoothing(t *testing.T) {
	c := testChain(t, 1, false)
	tr := newTraining(t, c, 2)
	tr.Smoothing = 0.2
	var d []float32
	tr.Hook = func(layer string, _, grad *tensor.Tensor) {
		if layer == "fc8" {
			d = append(d, grad.Data...)
		}
	}
	x := images(32, 2, 8, 8)
	got := run(t, tr, x, 2, Pass{})
	var loss float64
	want := make([]float32, len(got.scores))
	for i, label := range labelsOf(2) {
		loss += CrossEntropy(got.scores[i*testClasses:][:testClasses], label, 0.2, 0.5, want[i*testClasses:][:testClasses])
	}
	if got.loss != loss {
		t.Errorf("loss %v, want %v", got.loss, loss)
	}
	if err := sameBits(d, want); err != nil {
		t.Errorf("gradient of the scores: %v", err)
	}
}
