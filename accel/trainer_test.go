package accel

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/nn"
)

// smallChain is a chain with all that training has to do: batch normalisation, pooling,
// dropout, a layer with a rate of its own.
func smallChain(t *testing.T, norm bool) *nn.Chain {
	t.Helper()
	layers := []nn.Layer{nn.NewConv("conv", 3, 6, 3, 1, !norm)}
	if norm {
		layers = append(layers, nn.NewBatchNorm("norm", 6, true))
	}
	c := nn.NewChain(3, append(layers, nn.NewMaxPool("pool"), nn.NewFC("fc1", 6, 4, 7, true), nn.NewDropout("drop", 0.4, 7), nn.NewFC("fc2", 7, 1, 4, false))...)
	setWaves(t, c)
	p := c.Params()
	p[len(p)-1].RateFactor = 2
	return c
}

// steps trains on batches of several sizes and returns the losses and all values, with the
// momenta.
func steps(t *testing.T, d *Device, c *nn.Chain, o nn.TrainerOptions, u nn.Update, set func(b *nn.TrainerBatch)) (losses []float64, values []float32) {
	t.Helper()
	o.H, o.W = 8, 8
	tr := newTrainer(t, d, c, o)
	sgd := nn.NewSGD(c)
	for i, n := range []int{12, 12, 7, 12} {
		x := generatedImages(t, "12x3x8x8", uint32(i+1))
		x.Shape[0], x.Data = n, x.Data[:n*3*8*8]
		b := nn.TrainerBatch{X: x, Seed: 5, Iteration: i + 1}
		for j := range n {
			b.Labels = append(b.Labels, (3*j+i)%4)
		}
		if set != nil {
			set(&b)
		}
		loss, err := tr.Step(t.Context(), b, u)
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, loss)
	}
	if err := tr.Fetch(sgd.Momentum); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Params() {
		v := make([]float32, p.Len())
		if err := p.Get(v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v...)
	}
	for _, p := range sgd.Params() {
		v := make([]float32, p.Len())
		if err := p.Unpack(v, sgd.Momentum(p)); err != nil {
			t.Fatal(err)
		}
		values = append(values, v...)
	}
	return losses, values
}

var paperUpdate = nn.Update{Rate: 0.05, Momentum: 0.9, Decay: 5e-4}

// TestRanksChangeNoBit: groups of unequal sizes, by micro-batches, on one, two and four devices.
func TestRanksChangeNoBit(t *testing.T) {
	d := testDevice(t, Options{Count: 4})
	for name, o := range map[string]nn.TrainerOptions{
		"micro-batches": {Batch: 12, Groups: 4, Micro: 2},
		"normalised":    {Batch: 12, Groups: 4},
	} {
		t.Run(name, func(t *testing.T) {
			o.Ranks = 1
			losses, values := steps(t, d, smallChain(t, o.Micro == 0), o, paperUpdate, nil)
			for _, o.Ranks = range []int{2, 4} {
				l, v := steps(t, d, smallChain(t, o.Micro == 0), o, paperUpdate, nil)
				if err := vggtest.SameBits(v, values); err != nil {
					t.Errorf("%d ranks: %v", o.Ranks, err)
				}
				for i := range l {
					if l[i] != losses[i] {
						t.Errorf("%d ranks: loss %v, want %v", o.Ranks, l[i], losses[i])
					}
				}
			}
		})
	}
}

// TestTrainerAgainstTheCPU: the ways to update, and the losses, against package nn, which is
// compared with PyTorch.
func TestTrainerAgainstTheCPU(t *testing.T) {
	d := testDevice(t, Options{})
	nesterov := paperUpdate
	nesterov.Nesterov, nesterov.ClipNorm, nesterov.DecayBiases = true, 0.1, true
	targets := func(i int, scores, dy []float32, scale float32) float64 {
		return nn.SquaredLoss(scores, []float32{1, float32(i), float32(math.NaN()), 0.5}, scale, dy)
	}
	labels := func(b *nn.TrainerBatch) {
		for _, l := range b.Labels {
			b.LabelSets = append(b.LabelSets, []int{l % 2, 2 + l%2})
		}
	}
	for name, test := range map[string]struct {
		o   nn.TrainerOptions
		u   nn.Update
		set func(b *nn.TrainerBatch)
	}{
		"smoothed, clipped, Nesterov": {nn.TrainerOptions{Smoothing: 0.1}, nesterov, nil},
		"several labels":              {nn.TrainerOptions{Labels: true, Smoothing: 0.1}, paperUpdate, labels},
		"boxes":                       {nn.TrainerOptions{}, paperUpdate, func(b *nn.TrainerBatch) { b.Loss = targets }},
	} {
		t.Run(name, func(t *testing.T) {
			test.o.Batch, test.o.Groups, test.o.Ranks = 12, 1, 1
			losses, values := steps(t, d, smallChain(t, false), test.o, test.u, test.set)

			c := smallChain(t, false)
			tr, err := c.NewTraining(12, 8, 8)
			if err != nil {
				t.Fatal(err)
			}
			tr.Smoothing = test.o.Smoothing
			sgd := nn.NewSGD(c)
			for i, n := range []int{12, 12, 7, 12} {
				x := generatedImages(t, "12x3x8x8", uint32(i+1))
				x.Shape[0], x.Data = n, x.Data[:n*3*8*8]
				b := nn.TrainerBatch{}
				for j := range n {
					b.Labels = append(b.Labels, (3*j+i)%4)
				}
				if test.set != nil {
					test.set(&b)
				}
				pass := nn.Pass{Seed: 5, Iteration: i + 1}
				loss := 0.0
				switch {
				case b.Loss != nil:
					loss, err = tr.StepLossSGD(x, b.Loss, pass, sgd, test.u)
				case b.LabelSets != nil:
					loss, err = tr.StepLossSGD(x, func(i int, scores, dy []float32, scale float32) float64 {
						return nn.LabelsCrossEntropy(scores, b.LabelSets[i], test.o.Smoothing, scale, dy)
					}, pass, sgd, test.u)
				default:
					loss, err = tr.StepSGD(x, b.Labels, pass, sgd, test.u)
				}
				if err != nil {
					t.Fatal(err)
				}
				vggtest.Near(t, "loss", []float32{float32(losses[i])}, []float32{float32(loss)})
			}
			for _, p := range c.Params() {
				v := make([]float32, p.Len())
				if err := p.Get(v); err != nil {
					t.Fatal(err)
				}
				vggtest.Near(t, p.Name, values[:len(v)], v)
				values = values[len(v):]
			}
		})
	}
}

// TestStepWithoutUpdate: a loss that is not finite and a context that is done leave weights and
// momenta as they are.
func TestStepWithoutUpdate(t *testing.T) {
	d := testDevice(t, Options{})
	c := smallChain(t, false)
	o := nn.TrainerOptions{Batch: 4, Groups: 1, Ranks: 1, H: 8, W: 8}
	tr := newTrainer(t, d, c, o)
	sgd := nn.NewSGD(c)
	before := make([]float32, c.Params()[0].Len())
	if err := c.Params()[0].Get(before); err != nil {
		t.Fatal(err)
	}
	x := generatedImages(t, "4x3x8x8", 1)
	b := nn.TrainerBatch{X: x, Labels: []int{0, 1, 2, 3}}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.Step(done, b, paperUpdate); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	x.Data[7] = float32(math.NaN())
	if loss, err := tr.Step(t.Context(), b, paperUpdate); err != nil || !math.IsNaN(loss) {
		t.Errorf("loss %v and error %v, want NaN", loss, err)
	}
	b.Labels[2] = 4
	if _, err := tr.Step(t.Context(), b, paperUpdate); err == nil || !strings.Contains(err.Error(), "label 4 of image 2, want 0 … 3") {
		t.Errorf("error %v", err)
	}
	if err := tr.Fetch(sgd.Momentum); err != nil {
		t.Fatal(err)
	}
	after := make([]float32, len(before))
	if err := c.Params()[0].Get(after); err != nil {
		t.Fatal(err)
	}
	if err := vggtest.SameBits(after, before); err != nil {
		t.Error(err)
	}
}

func TestTrainerErrors(t *testing.T) {
	d := testDevice(t, Options{})
	for _, test := range []struct {
		o    nn.TrainerOptions
		norm bool
		want string
	}{
		{nn.TrainerOptions{Batch: 4, Groups: 3, Ranks: 2, H: 8, W: 8}, false, "3 groups on 2 ranks"},
		{nn.TrainerOptions{Batch: 4, Groups: 2, Ranks: 2, H: 8, W: 8}, false, "2 ranks on 1 devices"},
		{nn.TrainerOptions{Batch: 4, Groups: 1, Ranks: 1, H: 16, W: 16}, false, "want one pixel"},
		{nn.TrainerOptions{Batch: 4, Groups: 1, Ranks: 1, Micro: 2, H: 8, W: 8}, true, "batch normalisation takes its statistics from whole groups"},
	} {
		if _, err := d.NewTrainer(smallChain(t, test.norm), test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want %s", err, test.want)
		}
	}
}

// TestDropoutMasks compares the masks with the library's, bit for bit.
func TestDropoutMasks(t *testing.T) {
	d := testDevice(t, Options{})
	const n, units, first = 3, 4096, 1 << 20
	l := nn.NewDropout("drop", 0.3, 6)
	g := newGraph(F32)
	x, upper, lower, at := g.Arg(hlo.F32, n, 1, 1, units), g.Arg(hlo.U32), g.Arg(hlo.U32), g.Arg(hlo.U32)
	g.train = &trainPass{keys: map[*nn.Dropout]hlo.Value{l: g.wide(upper, lower)}, first: g.Convert(at, hlo.U64)}
	code, err := program("masks", g.Func, 1, g.Mul(x, g.dropoutFactors(l, x)))
	if err != nil {
		t.Fatal(err)
	}
	e, err := d.compile(code, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	ones := make([]float32, n*units)
	for i := range ones {
		ones[i] = 1
	}
	key := l.MaskKey(77, 12)
	var args []*pjrt.Buffer
	for _, v := range []uint32{uint32(key >> 32), uint32(key), first} {
		b, err := pjrt.Upload(d.devices[0], []uint32{v})
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, b)
	}
	b, err := pjrt.Upload(d.devices[0], ones, n, 1, 1, units)
	if err != nil {
		t.Fatal(err)
	}
	args = append([]*pjrt.Buffer{b}, args...)
	out, err := e.Run(args...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pjrt.Download[float32](out[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pjrt.Free(args...), pjrt.Free(out...)); err != nil {
		t.Error(err)
	}
	// The library's: the output of the dropout is what the next layer's gradient shows of it.
	c := nn.NewChain(units, l, nn.NewFC("fc", units, 1, 2, false))
	tr, err := c.NewTraining(n, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	x1 := generatedImages(t, "3x4096x1x1", 1)
	for i := range x1.Data {
		x1.Data[i] = 1
	}
	fc := c.Params()[0]
	rows := make([]float32, fc.Len())
	if _, err := tr.StepLoss(x1, func(i int, scores, dy []float32, scale float32) float64 {
		dy[0], dy[1] = float32(int(1)<<(2*i)), 0 // images told apart in the sum over them
		return 0
	}, nn.Pass{Seed: 77, Iteration: 12, Image: first}); err != nil {
		t.Fatal(err)
	}
	if err := fc.Unpack(rows, fc.Grad); err != nil {
		t.Fatal(err)
	}
	for u := range units {
		sum := float32(0)
		for i := range n {
			sum += got[i*units+u] * float32(int(1)<<(2*i))
		}
		if math.Abs(float64(sum-rows[u])) > 1e-4*float64(sum)+1e-6 {
			t.Fatalf("unit %d: masks of sum %v, want %v", u, sum, rows[u])
		}
	}
	for i, v := range got {
		if v != 0 && v != 1/(1-l.Ratio) {
			t.Fatalf("factor %d is %v", i, v)
		}
	}
}

func TestRankSpans(t *testing.T) {
	for _, test := range []struct {
		groups, ranks, sums int
		folded              bool
	}{{1, 1, 1, true}, {4, 1, 1, true}, {4, 2, 1, true}, {4, 4, 1, true}, {6, 2, 1, true}, {6, 3, 2, false}, {12, 4, 1, true}} {
		spans, folded := rankSpans(comm.Tree(test.groups), test.ranks)
		if len(spans) != test.ranks || len(spans[0]) != test.sums || folded != test.folded {
			t.Errorf("%d groups on %d ranks: %v, folded %v, want %d sums, folded %v", test.groups, test.ranks, spans, folded, test.sums, test.folded)
		}
	}
}
