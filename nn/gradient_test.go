package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
)

// gradientTolerance bounds the difference between a layer's gradient and central
// differences, relative to the largest gradient of the tensor. Rounding of y, about
// ε = 2⁻²⁴ times √(outputs that change), is divided by the step; the error of the central
// difference grows with the square of the step. Steps of 2⁻⁹ to 2⁻⁷ keep both under the
// bound. Winograd's algorithm has larger rounding errors.
const (
	gradientTolerance         = 1e-3
	winogradGradientTolerance = 3e-3
)

// problem is a layer whose gradient is checked, of the scalar Σ y·r for a random r.
type problem struct {
	name  string
	layer Layer
	n     int
	in    Shape
	step  float64
	pass  Pass
	relu  bool      // y has kinks, where an element of y leaves zero
	x     []float32 // random if nil
}

// checkGradient compares dx and the gradient of every learnt parameter with central
// differences, element by element.
func checkGradient(c problem) error {
	rng := rand.New(rand.NewPCG(11, uint64(c.in.C)))
	randomise(rng, c.layer)
	r, err := newRig(c.layer, c.n, c.in, 1)
	if err != nil {
		return err
	}
	x := c.x
	if x == nil {
		x = randoms(rng, c.n*c.in.C*c.in.H*c.in.W, 1)
	}
	p := c.pass
	p.Train = true
	at := slices.Clone(r.forward(x, p))
	dy := randoms(rng, len(at), 1)
	dx := r.backward(dy, p)

	d := differences{c: c, r: r, pass: p, x: x, dy: dy}
	all := make([]int, len(x))
	for i := range all {
		all[i] = i
	}
	if err := d.compare("dx", x, all, dx); err != nil {
		return err
	}
	for _, w := range r.trainable {
		if err := d.compare("d"+w.Name, w.Value, packedIndices(w), canonical(w, w.Grad)); err != nil {
			return err
		}
	}
	return nil
}

type differences struct {
	c     problem
	r     *rig
	pass  Pass
	x, dy []float32
}

// compare moves values[at[i]] up and down by a step, and compares the difference of Σ y·r
// with got[i]. It skips elements whose step crosses the kink of a rectification, at most a
// third.
func (d *differences) compare(what string, values []float32, at []int, got []float32) error {
	var worst, scale float64
	var worstAt, skipped int
	want := make([]float64, len(at))
	for i, place := range at {
		old := values[place]
		values[place] = old + float32(d.c.step)
		up, yUp := values[place], d.r.forward(d.x, d.pass)
		values[place] = old - float32(d.c.step)
		down, yDown := values[place], d.r.forward(d.x, d.pass)
		values[place] = old
		var change float64
		kink := false
		for j, r := range d.dy {
			change += (float64(yUp[j]) - float64(yDown[j])) * float64(r)
			kink = kink || d.c.relu && (yUp[j] > 0) != (yDown[j] > 0)
		}
		if kink {
			skipped++
			want[i] = math.NaN()
			continue
		}
		want[i] = change / (float64(up) - float64(down))
		scale = math.Max(scale, math.Abs(want[i]))
	}
	for i, w := range want {
		if math.IsNaN(w) {
			continue
		}
		if e := math.Abs(float64(got[i]) - w); !(e <= worst) {
			worst, worstAt = e, i
		}
	}
	tolerance := gradientTolerance
	if conv, ok := d.c.layer.(*Conv); ok {
		if _, ok := conv.winograd(d.c.n, d.c.in, d.r.work.Team.Threads(), true); ok {
			tolerance = winogradGradientTolerance
		}
	}
	switch {
	case 3*skipped > len(at):
		return fmt.Errorf("%s: %d of %d elements are at a kink", what, skipped, len(at))
	case scale == 0:
		return fmt.Errorf("%s: all differences are zero", what)
	case !(worst <= tolerance*scale):
		return fmt.Errorf("%s: element %d is %g, central differences give %g (largest %g)", what, worstAt, got[worstAt], want[worstAt], scale)
	}
	return nil
}

// spaced returns n distinct values in random order, gap apart and gap/2 from zero.
func spaced(n int, gap float32) []float32 {
	x := make([]float32, n)
	for i, j := range rand.New(rand.NewPCG(5, 5)).Perm(n) {
		x[i] = (float32(j-n/2) + 0.5) * gap
	}
	return x
}

func lrn(t *testing.T, o LRNOptions) *LRN {
	t.Helper()
	l, err := NewLRN("lrn", o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestGradient(t *testing.T) {
	var problems []problem
	for _, relu := range []bool{true, false} {
		if emulated() && !relu {
			continue // the same kernels, without a mask
		}
		suffix := ""
		if relu {
			suffix = "_relu"
		}
		conv := func(name string, c, k, r, pad, n, h, w int) {
			problems = append(problems, problem{name: name + suffix, layer: NewConv("conv", c, k, r, pad, relu),
				n: n, in: Shape{c, h, w}, step: 0x1p-9, relu: relu})
		}
		conv("conv3x3_patches", 3, 18, 3, 1, 2, 4, 5)
		conv("conv3x3_direct", 17, 7, 3, 1, 1, 3, 8)
		conv("conv3x3_packed", 17, 9, 3, 1, 2, 3, 3)
		conv("conv3x3_one_pixel", 2, 3, 3, 1, 3, 1, 1)
		conv("conv1x1_direct", 18, 33, 1, 0, 1, 3, 7)
		conv("conv1x1_packed", 18, 9, 1, 0, 2, 3, 4)
		conv("conv5x5_patches", 4, 6, 5, 2, 1, 5, 6)
		conv("conv5x5_direct", 9, 4, 5, 2, 1, 3, 8)
		conv("conv7x7_valid", 3, 10, 7, 0, 2, 8, 9)
		fc := func(name string, c, side, k, n int) {
			problems = append(problems, problem{name: name + suffix, layer: NewFC("fc", c, side, k, relu),
				n: n, in: Shape{c, side, side}, step: 0x1p-9, relu: relu})
		}
		fc("fc_3x3", 5, 3, 34, 3)
		fc("fc_1x1", 37, 1, 21, 4)
		problems = append(problems, problem{name: "batchnorm" + suffix, layer: NewBatchNorm("bn", 18, relu),
			n: 3, in: Shape{18, 3, 4}, step: 0x1p-8, relu: relu})
	}
	// Values large enough for the normalisation to count.
	krizhevsky := LRNOptions{Size: 5, K: 2, Alpha: 0.3, Beta: 0.75, Form: Krizhevsky}
	caffe := LRNOptions{Size: 3, K: 1, Alpha: 0.9, Beta: 0.6, Form: Caffe}
	pool, relu := Shape{17, 4, 6}, Shape{17, 3, 4}
	problems = append(problems,
		problem{name: "lrn_krizhevsky", layer: lrn(t, krizhevsky), n: 2, in: Shape{19, 2, 3}, step: 0x1p-7},
		problem{name: "lrn_caffe", layer: lrn(t, caffe), n: 2, in: Shape{6, 2, 3}, step: 0x1p-7},
		problem{name: "maxpool", layer: NewMaxPool("pool"), n: 2, in: pool, step: 0x1p-7, x: spaced(2*17*4*6, 0x1p-5)},
		problem{name: "maxpool_odd", layer: NewMaxPool("pool"), n: 2, in: Shape{3, 5, 7}, step: 0x1p-7, x: spaced(2*3*5*7, 0x1p-5)},
		problem{name: "relu", layer: NewReLU("relu"), n: 2, in: relu, step: 0x1p-7, x: spaced(2*17*3*4, 0x1p-5)},
		problem{name: "dropout", layer: NewDropout("drop", 0.4, 1), n: 3, in: Shape{18, 2, 3}, step: 0x1p-7,
			pass: Pass{Seed: 7, Iteration: 3, Image: 5}},
		problem{name: "global_average", layer: NewGlobalPool("gap", false), n: 2, in: Shape{18, 3, 5}, step: 0x1p-7},
		problem{name: "global_max", layer: NewGlobalPool("gmp", true), n: 2, in: Shape{17, 3, 4}, step: 0x1p-7, x: spaced(2*17*3*4, 0x1p-5)},
		problem{name: "global_max_average", layer: NewGlobalMaxAverage("gmap"), n: 2, in: Shape{18, 3, 4}, step: 0x1p-7, x: spaced(2*18*3*4, 0x1p-5)},
		problem{name: "flatten", layer: NewFlatten("flatten", 3), n: 2, in: Shape{18, 3, 3}, step: 0x1p-7},
		problem{name: "euclidean_vector", layer: NewEuclidean("l2", 1), n: 3, in: Shape{18, 1, 1}, step: 0x1p-7},
		problem{name: "euclidean_pixels", layer: NewEuclidean("l2", 1), n: 2, in: Shape{5, 2, 3}, step: 0x1p-8},
		problem{name: "euclidean_map", layer: NewEuclidean("l2", 3), n: 2, in: Shape{5, 3, 3}, step: 0x1p-7},
		problem{name: "binary", layer: NewBinary("binary"), n: 3, in: Shape{1, 2, 1}, step: 0x1p-7},
		problem{name: "batchnorm_vector", layer: NewBatchNorm("bn", 18, false), n: 5, in: Shape{18, 1, 1}, step: 0x1p-8},
	)
	for _, f := range []Function{LeakyReLU, ELU, GELU, SiLU, Tanh, Sigmoid} {
		a, err := NewActivation("act", f, 0.2)
		if err != nil {
			t.Fatal(err)
		}
		problems = append(problems, problem{name: string(f), layer: a, n: 2, in: relu, step: 0x1p-7, x: spaced(2*17*3*4, 0x1p-6)})
	}
	for _, p := range problems {
		t.Run(p.name, func(t *testing.T) {
			if err := checkGradient(p); err != nil {
				t.Error(err)
			}
		})
	}
}

// broken is a layer whose backward pass is wrong.
type broken struct {
	Layer
	spoil func(dy, dx *kernel.Act)
	after bool // spoil after the layer's own backward, not before
}

func (b *broken) backward(w *kernel.Work, x, y, dy, dx *kernel.Act, p Pass) {
	if !b.after {
		b.spoil(dy, dx)
	}
	b.Layer.backward(w, x, y, dy, dx, p)
	if b.after {
		b.spoil(dy, dx)
	}
}

// TestGradientCheckCatches: the gradient check fails on wrong backward passes.
func TestGradientCheckCatches(t *testing.T) {
	conv := NewConv("conv", 3, 18, 3, 1, true)
	in := Shape{3, 4, 5}
	fc := NewFC("fc", 5, 3, 7, false)
	bn := NewBatchNorm("bn", 5, false)
	for _, c := range []struct {
		name, want string // the tensor in which it shows
		layer      *broken
		in         Shape
		relu       bool
	}{
		{"dx scaled by 1.01", "dx", &broken{Layer: conv, after: true, spoil: func(_, dx *kernel.Act) {
			for i := range dx.Data {
				dx.Data[i] *= 1.01
			}
		}}, in, true},
		{"one element of dx missing", "dx", &broken{Layer: fc, after: true, spoil: func(_, dx *kernel.Act) {
			dx.Data[dx.At(1, 0, 2, 1)+3] = 0
		}}, Shape{5, 3, 3}, false},
		{"one tap of dw missing", "dconv.weight", &broken{Layer: conv, after: true, spoil: func(_, _ *kernel.Act) {
			dw := canonical(conv.Weight, conv.Weight.Grad)
			for i := 5; i < len(dw); i += 9 {
				dw[i] = 0
			}
			conv.Weight.PackRows(0, conv.Weight.Grad, dw)
		}}, in, true},
		{"filters of dw turned", "dconv.weight", &broken{Layer: conv, after: true, spoil: func(_, _ *kernel.Act) {
			dw := canonical(conv.Weight, conv.Weight.Grad)
			for i := 0; i < len(dw); i += 9 {
				slices.Reverse(dw[i : i+9])
			}
			conv.Weight.PackRows(0, conv.Weight.Grad, dw)
		}}, in, true},
		{"db ignored", "dconv.bias", &broken{Layer: conv, after: true, spoil: func(_, _ *kernel.Act) {
			clear(conv.Bias.Grad)
		}}, in, true},
		{"db counted twice", "dfc.bias", &broken{Layer: fc, after: true, spoil: func(_, _ *kernel.Act) {
			for i := range fc.Bias.Grad {
				fc.Bias.Grad[i] *= 2
			}
		}}, Shape{5, 3, 3}, false},
		{"dy halved at one pixel", "dx", &broken{Layer: conv, spoil: func(dy, _ *kernel.Act) {
			for i := range kernel.Block {
				dy.Data[dy.At(0, 0, 1, 1)+i] *= 0.5
			}
		}}, in, true},
		{"mean of dy missing from batch normalisation", "dx", &broken{Layer: bn, after: true, spoil: func(_, dx *kernel.Act) {
			for i := range dx.Data {
				dx.Data[i] += 0.02
			}
		}}, Shape{5, 3, 4}, false},
		{"dγ of one channel ignored", "dbn.weight", &broken{Layer: bn, after: true, spoil: func(_, _ *kernel.Act) {
			bn.Gamma.Grad[4] = 0
		}}, Shape{5, 3, 4}, false},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			p := problem{layer: c.layer, n: 2, in: c.in, step: 0x1p-8, relu: c.relu}
			if err := checkGradient(p); err == nil || !strings.HasPrefix(err.Error(), c.want+":") {
				t.Errorf("the check says %v, want an error in %s", err, c.want)
			}
			p.layer = c.layer.Layer
			if err := checkGradient(p); err != nil {
				t.Errorf("of the layer as it is the check says %v", err)
			}
		})
	}
}

func TestSoftmaxLossGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 3))
	const n, k, scale, step = 3, 7, 0.5, 0x1p-8
	scores, labels := randoms(rng, n*k, 2), []int{4, 0, 6}
	d, scrap := make([]float32, n*k), make([]float32, n*k)
	softmaxLoss(scores, labels, scale, d)
	for i, old := range scores {
		scores[i] = old + step
		up, upAt := softmaxLoss(scores, labels, scale, scrap), scores[i]
		scores[i] = old - step
		down, downAt := softmaxLoss(scores, labels, scale, scrap), scores[i]
		scores[i] = old
		want := scale * (up - down) / (float64(upAt) - float64(downAt))
		if math.Abs(float64(d[i])-want) > 1e-5 {
			t.Errorf("score %d: gradient %g, central differences give %g", i, d[i], want)
		}
	}
}

// softmaxLoss is the sum of [CrossEntropy] over images: scores is (N,K), labels (N), and d
// gets the derivatives times scale, of shape (N,K).
func softmaxLoss(scores []float32, labels []int, scale float32, d []float32) float64 {
	k := len(scores) / len(labels)
	var loss float64
	for i, label := range labels {
		loss += CrossEntropy(scores[i*k:(i+1)*k], label, 0, scale, d[i*k:(i+1)*k])
	}
	return loss
}
