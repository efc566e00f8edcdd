package nn

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// freezeAll freezes the parameters whose names begin with one of the prefixes.
func freezeAll(c *Chain, prefixes ...string) {
	for _, p := range c.Params() {
		p.Frozen = !p.Running && slices.ContainsFunc(prefixes, func(s string) bool { return strings.HasPrefix(p.Name, s) })
	}
}

// TestFrozen: frozen parameters have no gradient and no momentum, and keep their bits. The
// other gradients are those of training everything, unless frozen first layers run as in
// inference, which rounds differently.
func TestFrozen(t *testing.T) {
	x, p := images(40, 4, 8, 8), Pass{Seed: 2, Iteration: 3}
	all := testChain(t, 2, false)
	trAll := newTraining(t, all, 4)
	all.ZeroGrad()
	mustStep(t, trAll, x, 0, 4, p)
	grads := map[string][]float32{}
	for _, q := range all.Params() {
		grads[q.Name] = q.Grad
	}
	for _, frozen := range [][]string{
		{"conv2_1"}, {"conv2_2.weight"}, {"conv2_1.bias"}, {"fc6"}, {"fc8"}, {"fc6.weight", "conv2_2"}, {"conv1_1.weight"}, {"conv1_1.bias", "fc8.weight"},
	} {
		t.Run(strings.Join(frozen, "_"), func(t *testing.T) {
			c := testChain(t, 2, false)
			freezeAll(c, frozen...)
			tr := newTraining(t, c, 4)
			c.ZeroGrad()
			mustStep(t, tr, x, 0, 4, p)
			for _, q := range c.Params() {
				switch {
				case q.Frozen:
					if q.Grad != nil || q.accum != nil {
						t.Errorf("%s is frozen and has a gradient", q.Name)
					}
				default:
					if err := sameBits(q.Grad, grads[q.Name]); err != nil {
						t.Errorf("%s: %v", q.Name, err)
					}
				}
			}
			sgd := NewSGD(c)
			before := map[string][]float32{}
			for _, q := range c.Params() {
				before[q.Name] = slices.Clone(q.Value)
			}
			if _, err := tr.StepSGD(x, labelsOf(4), p, sgd, Update{Rate: 0.1, Momentum: 0.9, Decay: 0.1, DecayBiases: true}); err != nil {
				t.Fatal(err)
			}
			for _, q := range c.Params() {
				if same := slices.Equal(q.Value, before[q.Name]); same != q.Frozen {
					t.Errorf("%s unchanged: %v, frozen: %v", q.Name, same, q.Frozen)
				}
				if (sgd.Momentum(q) == nil) != q.Frozen {
					t.Errorf("%s: momentum of %d values, frozen: %v", q.Name, len(sgd.Momentum(q)), q.Frozen)
				}
			}
		})
	}
}

// TestFrozenFirstLayers: the layers before the first that is learnt run as in inference,
// share two buffers, and have no backward pass. A chain of the other layers, on their
// output, learns the same.
func TestFrozenFirstLayers(t *testing.T) {
	for _, norm := range []bool{false, true} {
		c := testChain(t, 2, norm)
		freezeAll(c, "conv1", "conv2_1")
		x := images(41, 4, 8, 8)
		p := Pass{Seed: 2, Iteration: 3}
		tr := newTraining(t, c, 4)
		var hooked []string
		tr.Hook = func(layer string, _, _ *tensor.Tensor) { hooked = append(hooked, layer) }
		running := map[string][]float32{}
		for _, q := range c.Params() {
			if q.Running {
				running[q.Name] = slices.Clone(q.Value)
			}
		}
		for _, n := range []int{4, 2, 4} { // the shared buffers change their shapes
			hooked = nil
			got := run(t, tr, x, n, p)
			if want := []string{"fc8", "drop6", "fc6", "pool2", "relu2_2", "conv2_2"}; !slices.Equal(hooked, want) {
				t.Errorf("backward passes of %v, want %v", hooked, want)
			}

			at := slices.IndexFunc(c.Layers(), func(l Layer) bool { return l.Name() == "conv2_2" })
			front := NewChain(3, testChain(t, 2, norm).Layers()[:at]...)
			part, err := tensor.FromSlice(x.Data[:n*3*64], n, 3, 8, 8)
			if err != nil {
				t.Fatal(err)
			}
			y, err := front.Forward(part)
			if err != nil {
				t.Fatal(err)
			}
			rest := NewChain(33, testChain(t, 2, norm).Layers()[at:]...)
			rest.SetThreads(2)
			trRest, err := rest.NewTraining(n, y.Shape[2], y.Shape[3])
			if err != nil {
				t.Fatal(err)
			}
			rest.ZeroGrad()
			loss, err := trRest.Step(y, labelsOf(n), p)
			if err != nil {
				t.Fatal(err)
			}
			// Inference may fold the normalisation into the convolution, which rounds differently.
			var want step
			want.gather(rest)
			if e := relativeError(got.grads, want.grads); e > 1e-5 || !(got.loss > 0) || (got.loss-loss)/loss > 1e-6 {
				t.Errorf("batch normalisation %v, %d images: gradients differ by %.2g, loss %v, of the rest alone %v", norm, n, e, got.loss, loss)
			}
		}
		for _, q := range c.Params() {
			if q.Running && !slices.Equal(q.Value, running[q.Name]) {
				t.Errorf("%s has moved, though the layer is frozen", q.Name)
			}
		}
	}
}

// TestFrozenNormGradient: the gradient of a batch normalisation by its running statistics
// reaches the convolution before it.
func TestFrozenNormGradient(t *testing.T) {
	for _, frozen := range [][]string{{"conv2_1.bn"}, {"conv2_1.bn.weight"}, {"conv2_1.bn.bias"}} {
		c := testChain(t, 1, true)
		freezeAll(c, frozen...)
		tr := newTraining(t, c, 3)
		x := images(42, 3, 8, 8)
		p := Pass{Seed: 5, Iteration: 1}
		run(t, tr, x, 3, p)
		var checked []*Param
		var grads [][]float32
		for _, q := range c.Params() {
			if q.Name == "conv1_1.weight" || q.Name == "conv2_1.weight" || q.Name == "conv1_1.bias" {
				checked, grads = append(checked, q), append(grads, canonical(q, q.Grad))
			}
		}
		for i, q := range checked {
			grad := grads[i]
			at := packedIndices(q)
			size := length(grad)
			old := slices.Clone(q.Value)
			const h = 0x1p-9
			loss := func(step float64) float64 {
				for i, place := range at {
					q.Value[place] = old[place] + float32(step*float64(grad[i])/size)
				}
				q.Changed()
				return mustStep(t, tr, x, 0, 3, p) / 3
			}
			got := (loss(h) - loss(-h)) / (2 * h)
			copy(q.Value, old)
			q.Changed()
			if d := got - size; d > 0.02*size || -d > 0.02*size {
				t.Errorf("%v frozen: %s: central differences along the gradient give %g, its length is %g", frozen, q.Name, got, size)
			}
		}
	}
}

func TestAllFrozen(t *testing.T) {
	c := testChain(t, 1, true)
	freezeAll(c, "")
	if _, err := c.NewTraining(1, 8, 8); err == nil || err.Error() != "nn: training with all parameters frozen" {
		t.Errorf("error %v, want one that says that all is frozen", err)
	}
}

// TestFrozenFloats: the estimate of memory accounts for frozen parameters. Unless they are
// the first layers, it may count scratch memory that isn't taken.
func TestFrozenFloats(t *testing.T) {
	for i, frozen := range [][]string{{"conv1"}, {"conv1", "conv2"}, {"conv2_1.weight", "fc6"}, {"fc6.weight", "fc8"}} {
		for _, n := range []int{1, 5} {
			c := testChain(t, 2, true)
			freezeAll(c, frozen...)
			want, err := c.TrainingFloats(n, 8, 8)
			if err != nil {
				t.Fatal(err)
			}
			tr, sgd := newTraining(t, c, n), NewSGD(c)
			for range 2 {
				if _, err := tr.StepSGD(images(14, n, 8, 8), make([]int, n), Pass{}, sgd, Update{Rate: 0.01, Momentum: 0.9}); err != nil {
					t.Fatal(err)
				}
			}
			if got := allocated(tr); got > want || i < 2 && got < want {
				t.Errorf("%s: %d floats allocated, estimated %d", fmt.Sprintf("%v frozen, %d images", frozen, n), got, want)
			}
		}
	}
}

// allocated is the memory of a training, in floats.
func allocated(tr *Training) int {
	b := &tr.buffers
	got := tr.work.Floats() + cap(b.unpool)
	for _, floats := range [][][]float32{b.acts, b.groupActs, b.whole[:], b.grads[:]} {
		for _, f := range floats {
			got += cap(f)
		}
	}
	for _, hits := range b.hits {
		got += cap(hits) / 2
	}
	for _, l := range tr.chain.Layers() {
		if conv, ok := l.(*Conv); ok {
			for i := range conv.filters {
				if f := conv.filters[i].Load(); f != nil {
					got += cap(f.u)
				}
			}
		}
	}
	for _, p := range tr.chain.Params() {
		got += cap(p.Grad) + cap(p.accum)
	}
	return got
}
