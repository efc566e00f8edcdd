package accel

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/oracle"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
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
		x := oracle.Images(t, "12x3x8x8", i)
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
				x := oracle.Images(t, "12x3x8x8", i)
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
	x := oracle.Images(t, "4x3x8x8", 0)
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

// TestFailedDevice: what a lost device's error says, and that no step follows one whose update
// failed, since weights and momenta aren't whole.
func TestFailedDevice(t *testing.T) {
	lost := &pjrt.Error{Code: pjrt.Unavailable, Function: "PJRT_Event_Await", Message: "CUDA_ERROR_ILLEGAL_ADDRESS"}
	if err := failed(lost); !errors.Is(err, pjrt.Unavailable) || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("%v", err)
	}
	if err := failed(errors.New("shapes differ")); strings.Contains(err.Error(), "--resume") {
		t.Errorf("%v", err)
	}
	d := testDevice(t, Options{})
	c := smallChain(t, false)
	tr := newTrainer(t, d, c, nn.TrainerOptions{Batch: 4, Groups: 1, Ranks: 1, H: 8, W: 8})
	b := nn.TrainerBatch{X: oracle.Images(t, "4x3x8x8", 0), Labels: []int{0, 1, 2, 3}}
	tr.err = failed(lost)
	if _, err := tr.Step(t.Context(), b, paperUpdate); !errors.Is(err, pjrt.Unavailable) {
		t.Errorf("a step after a failure: %v", err)
	}
	if err := tr.Fetch(nn.NewSGD(c).Momentum); !errors.Is(err, pjrt.Unavailable) {
		t.Errorf("weights after a failure: %v", err)
	}
}

// TestDropoutMasks compares the factors of each unit with the library's, bit for bit.
func TestDropoutMasks(t *testing.T) {
	d := testDevice(t, Options{})
	for _, size := range []string{"3x512x1x1", "3x50x7x5"} {
		t.Run(size, func(t *testing.T) {
			x := oracle.Images(t, size, 0)
			for i := range x.Data {
				x.Data[i] = 1 // so the dropout's output is the factors
			}
			n, units, h, w := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
			const ratio = 0.3
			// Training reports layers from the first learnt one on: one that passes its input.
			one := nn.NewConv("one", units, units, 1, 0, false)
			c := nn.NewChain(units, one, nn.NewDropout("drop", ratio, 6), nn.NewGlobalPool("pool", false), nn.NewFC("fc", units, 1, 2, false))
			identity := make([]float32, units*units)
			for i := range units {
				identity[i*units+i] = 1
			}
			if err := one.Weight.Set(identity); err != nil {
				t.Fatal(err)
			}
			tr, err := c.NewTraining(n, h, w)
			if err != nil {
				t.Fatal(err)
			}
			var want []float32
			tr.Hook = func(layer string, act, _ *tensor.Tensor) {
				if layer == "drop" {
					want = slices.Clone(act.Data)
				}
			}
			labels := make([]int, n)
			if _, err := tr.Step(x, labels, nn.Pass{Seed: 77, Iteration: 12}); err != nil {
				t.Fatal(err)
			}
			got := record(t, d, c, x, labels, 77, 12).acts["drop"].Data
			if err := vggtest.SameBits(got, want); err != nil {
				t.Error(err)
			}
			kept := 0
			for i, v := range want {
				if v != 0 {
					kept++
				}
				if v != 0 && v != 1/(1-float32(ratio)) {
					t.Fatalf("factor %d is %v", i, v)
				}
			}
			if share := float64(kept) / float64(len(want)); math.Abs(share-(1-ratio)) > 0.05 {
				t.Errorf("%v of the units are kept, want %v", share, 1-ratio)
			}
		})
	}
}

func TestRankSpans(t *testing.T) {
	for _, test := range []struct {
		groups, ranks, sums int
		folded              bool
	}{{1, 1, 1, true}, {4, 1, 1, true}, {4, 2, 1, true}, {4, 4, 1, true}, {6, 2, 1, true}, {6, 3, 2, false}, {12, 4, 1, true}} {
		spans, folded := ranks{0, test.ranks, test.ranks}.spans(comm.Tree(test.groups))
		if len(spans) != test.ranks || len(spans[0]) != test.sums || folded != test.folded {
			t.Errorf("%d groups on %d ranks: %v, folded %v, want %d sums, folded %v", test.groups, test.ranks, spans, folded, test.sums, test.folded)
		}
	}
}

// TestProcesses: the bits of one process on two and four devices of several processes, which
// goroutines stand for, with statistics, unequal groups and a loss that the CPU computes.
func TestProcesses(t *testing.T) {
	d := testDevice(t, Options{Count: 4})
	hostLoss := func(b *nn.TrainerBatch) {
		labels := b.Labels
		b.Loss = func(i int, y, d []float32, scale float32) float64 { return nn.CrossEntropy(y, labels[i], 0, scale, d) }
	}
	for name, test := range map[string]struct {
		groups, processes, ranks, micro int
		norm                            bool
		set                             func(b *nn.TrainerBatch)
	}{
		"two":             {4, 2, 1, 0, true, nil},
		"two by two":      {4, 2, 2, 1, false, nil},
		"three":           {6, 3, 1, 0, true, nil},
		"host loss":       {4, 4, 1, 2, false, hostLoss},
		"no images left":  {12, 2, 2, 0, false, nil},
		"without folding": {12, 2, 3, 0, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := nn.TrainerOptions{Batch: 12, Groups: test.groups, Ranks: 1, Micro: test.micro}
			losses, values := steps(t, d, smallChain(t, test.norm), o, paperUpdate, test.set)
			views := comm.Local(test.processes)
			var wg sync.WaitGroup
			for p, outer := range views {
				wg.Go(func() {
					o := o
					o.Ranks, o.Outer = test.ranks, outer
					got, v := steps(t, d, smallChain(t, test.norm), o, paperUpdate, func(b *nn.TrainerBatch) {
						if test.set != nil {
							test.set(b)
						}
						takePart(b, p, test.processes)
					})
					if !slices.Equal(got, losses) {
						t.Errorf("process %d: losses %v, want %v", p, got, losses)
					}
					if err := vggtest.SameBits(v, values); err != nil {
						t.Errorf("process %d: %v", p, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// takePart leaves a process its images of a batch.
func takePart(b *nn.TrainerBatch, process, processes int) {
	n := b.X.Shape[0]
	size := len(b.X.Data) / n
	from, to := process*n/processes, (process+1)*n/processes
	b.N, b.From = n, from
	b.X.Shape[0], b.X.Data = to-from, b.X.Data[from*size:to*size]
	b.Labels = b.Labels[from:to]
	if all := b.Loss; all != nil {
		b.Loss = func(i int, y, d []float32, scale float32) float64 { return all(from+i, y, d, scale) }
	}
}

// TestProcessesStopTogether: a step that the context of one process ends is nobody's, and the
// next one is everybody's; a process that fails ends the others' waiting.
func TestProcessesStopTogether(t *testing.T) {
	d := testDevice(t, Options{Count: 4})
	o := nn.TrainerOptions{Batch: 12, Groups: 4, Ranks: 1, H: 8, W: 8}
	cause := errors.New("enough")
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	var wg sync.WaitGroup
	for p, outer := range comm.Local(2) {
		wg.Go(func() {
			o := o
			o.Outer = outer
			tr := newTrainer(t, d, smallChain(t, true), o)
			b := nn.TrainerBatch{X: oracle.Images(t, "12x3x8x8", 0), Seed: 5, Iteration: 1, Labels: make([]int, 12)}
			takePart(&b, p, 2)
			ctx, want := t.Context(), nn.ErrStopped
			if p == 1 {
				ctx, want = stopped, cause
			}
			if _, err := tr.Step(ctx, b, paperUpdate); !errors.Is(err, want) {
				t.Errorf("process %d: %v, want %v", p, err, want)
			}
			if _, err := tr.Step(t.Context(), b, paperUpdate); err != nil {
				t.Errorf("process %d after a stop: %v", p, err)
			}
			if p == 1 {
				b.Labels = nil
			}
			if _, err := tr.Step(t.Context(), b, paperUpdate); err == nil || !strings.Contains(err.Error(), "0 labels for 6 images") {
				t.Errorf("process %d after another failed: %v", p, err)
			}
		})
	}
	wg.Wait()
}
