package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

const groupSide = 56 // large enough for groups

// groupChain is a chain whose first layers run by groups of images: convolutions with and
// without a pooling, other layers between them, and a first convolution that is cheap
// enough to be computed again.
func groupChain(t testing.TB, threads int, kind string) *Chain {
	t.Helper()
	first := NewConv("conv1_1", 3, 16, 3, 1, true)
	layers := []Layer{first, NewConv("conv1_2", 16, 64, 3, 1, true), NewMaxPool("pool1")}
	switch kind {
	case "lrn":
		l, err := NewLRN("lrn", LRNOptions{Size: 5, K: 2, Alpha: 0.1, Beta: 0.75, Form: Krizhevsky})
		if err != nil {
			t.Fatal(err)
		}
		layers = slices.Insert(layers, 1, Layer(l))
	case "1x1":
		layers = slices.Insert(layers, 2, Layer(NewConv("conv1_3", 64, 64, 1, 0, true)))
	case "norm":
		layers = slices.Insert(layers, 2, Layer(NewBatchNorm("conv1_2.bn", 64, true)))
	case "drop":
		layers = slices.Insert(layers, 1, Layer(NewDropout("drop1", 0.3, 1)))
	case "pooled":
		first.ReLU = false
		layers = append([]Layer{NewConv("conv0", 3, 3, 3, 1, true), NewMaxPool("pool0")}, layers...)
	}
	side := groupSide / 2
	if kind == "pooled" {
		side /= 2
	}
	layers = append(layers, NewConv("conv2_1", 64, 64, 3, 1, true), NewConv("conv2_2", 64, 64, 3, 1, true), NewMaxPool("pool2"),
		NewFC("fc6", 64, side/2, testClasses, false))
	c := NewChain(3, layers...)
	c.SetThreads(threads)
	rng := rand.New(rand.NewPCG(61, 8))
	for _, l := range layers {
		randomise(rng, l)
	}
	return c
}

// emulated reports whether this is a short run on arm64 or on the portable kernels. It probably
// runs in an emulator, where a training step takes seconds.
func emulated() bool {
	return testing.Short() && (runtime.GOARCH == "arm64" || kernel.Current().Name() == "go")
}

// kindsOf returns the given kinds, or the first alone in an emulator.
func kindsOf(kinds ...string) []string {
	if emulated() {
		return kinds[:1]
	}
	return kinds
}

func groupKinds() []string { return kindsOf("plain", "lrn", "1x1", "norm", "drop", "pooled") }

func newGroupTraining(t *testing.T, c *Chain, n int) *Training {
	t.Helper()
	tr, err := c.NewTraining(n, groupSide, groupSide)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestGroups: groups of images, activations that are computed again, and fused poolings and
// rectifications don't change a bit. With a hook there are none of these.
func TestGroups(t *testing.T) {
	const n = 6
	x := images(62, n, groupSide, groupSide)
	p := Pass{Seed: 5, Iteration: 7}
	for _, kind := range groupKinds() {
		t.Run(kind, func(t *testing.T) {
			hooked := newGroupTraining(t, groupChain(t, 1, kind), n)
			layers := 0
			hooked.Hook = func(string, *tensor.Tensor, *tensor.Tensor) { layers++ }
			want := run(t, hooked, x, n, p)
			if all := len(hooked.chain.Layers()) + 1; layers != all {
				t.Errorf("hook called %d times, want %d", layers, all)
			}
			for _, threads := range []int{1, 3} {
				tr := newGroupTraining(t, groupChain(t, threads, kind), n)
				if s := tr.layout.sections[0]; threads == 1 && (!s.grouped || s.groupSize >= n || tr.layout.kept[0]) {
					t.Errorf("the first section %+v doesn't run by groups", s)
				}
				if kind == "plain" { // the buffers are used again, with another number of images
					run(t, tr, x, 5, p)
				}
				compareSteps(t, fmt.Sprintf("%d threads", threads), run(t, tr, x, n, p), want)
			}
		})
	}
	if l := newGroupTraining(t, groupChain(t, 1, "plain"), n).layout; l.kept[1] || !l.kept[2] || !l.kept[3] || l.sections[0].kept != 1 {
		t.Errorf("kept %v, of the first section from layer %d on: want the second activation computed again", l.kept, l.sections[0].kept)
	}
}

// TestGroupsOfParts: micro-batches, cut into groups of their own, give the bits of the
// batch.
func TestGroupsOfParts(t *testing.T) {
	if emulated() {
		t.Skip("not on an emulator, where it takes minutes: TestGroups runs the same kernels")
	}
	const n = 6
	x := images(63, n, groupSide, groupSide)
	for _, kind := range kindsOf("plain", "1x1", "drop") {
		whole := run(t, newGroupTraining(t, groupChain(t, 1, kind), n), x, n, Pass{Seed: 4})
		tr := newGroupTraining(t, groupChain(t, 1, kind), 4)
		tr.chain.ZeroGrad()
		var got step
		from := 0
		for _, to := range []int{3, 4, 6} {
			mustStep(t, tr, x, from, to, Pass{Seed: 4, Image: from, Batch: n, More: to < n})
			for _, l := range tr.Losses() {
				got.loss += l
			}
			got.scores = append(got.scores, tr.Scores().Data...)
			from = to
		}
		got.gather(tr.chain)
		compareSteps(t, kind, got, whole)
	}
}

// TestGroupsUpdate: updating within the backward pass gives the weights of a separate update,
// before and after another step.
func TestGroupsUpdate(t *testing.T) {
	const n = 5
	x := images(64, n, groupSide, groupSide)
	u := Update{Rate: 0.01, Momentum: 0.9, Decay: 5e-4, DecayBiases: true}
	for _, kind := range groupKinds() {
		fused, apart := groupChain(t, 2, kind), groupChain(t, 2, kind)
		trFused, trApart := newGroupTraining(t, fused, n), newGroupTraining(t, apart, n)
		sgdFused, sgdApart := NewSGD(fused), NewSGD(apart)
		for i := range 3 {
			p := Pass{Seed: 3, Iteration: i}
			if i == 1 {
				u.ClipNorm = 1 // wants all gradients at once
			}
			if _, err := trFused.StepSGD(x, labelsOf(n), p, sgdFused, u); err != nil {
				t.Fatal(err)
			}
			apart.ZeroGrad()
			mustStep(t, trApart, x, 0, n, p)
			sgdApart.Step(u)
			u.ClipNorm = 0
		}
		for i, q := range fused.Params() {
			if err := sameBits(q.Value, apart.Params()[i].Value); err != nil {
				t.Errorf("%s: %s: %v", kind, q.Name, err)
			}
		}
	}
}

// TestGroupsFloats: the memory is as estimated, with groups and with frozen layers.
func TestGroupsFloats(t *testing.T) {
	if emulated() {
		t.Skip("not on an emulator, where it takes minutes: TestGroups runs the same kernels")
	}
	for _, kind := range kindsOf("plain", "lrn", "pooled") {
		for threads, frozen := range []string{1: "", 2: "conv1_1"} {
			if threads == 0 {
				continue
			}
			for _, n := range []int{1, 7} {
				c := groupChain(t, threads, kind)
				if frozen != "" {
					freezeAll(c, frozen)
				}
				want, err := c.TrainingFloats(n, groupSide, groupSide)
				if err != nil {
					t.Fatal(err)
				}
				tr, sgd := newGroupTraining(t, c, n), NewSGD(c)
				x := images(65, n, groupSide, groupSide)
				step := func() {
					if _, err := tr.StepSGD(x, labelsOf(n), Pass{}, sgd, Update{Rate: 1e-4, Momentum: 0.9}); err != nil {
						t.Fatal(err)
					}
				}
				step()
				step()
				if got := allocated(tr); got != want {
					t.Errorf("%s, %q frozen, %d images: %d floats allocated, estimated %d", kind, frozen, n, got, want)
				}
				more, err := c.GradientFloats(n, groupSide, groupSide)
				if err != nil {
					t.Fatal(err)
				}
				mustStep(t, tr, x, 0, n, Pass{})
				if got := allocated(tr); got != want+more {
					t.Errorf("%s, %q frozen, %d images: %d floats with gradients kept, estimated %d", kind, frozen, n, got, want+more)
				}
				if threads > 1 || n > 1 {
					continue
				}
				if allocs := testing.AllocsPerRun(3, step); allocs != 0 {
					t.Errorf("%s: %g allocations a step, want 0", kind, allocs)
				}
			}
		}
	}
}

// TestGroupsNonFinite: activations that are not kept are checked too.
func TestGroupsNonFinite(t *testing.T) {
	c := groupChain(t, 1, "plain")
	tr := newGroupTraining(t, c, 3)
	x := images(66, 3, groupSide, groupSide)
	mustStep(t, tr, x, 0, 3, Pass{})
	if got := tr.NonFinite(); got != "" {
		t.Errorf("%q of a sound network", got)
	}
	bias := c.Params()[1]
	for i := range bias.Value {
		bias.Value[i] = math.MaxFloat32
	}
	for i := range c.Params()[0].Value {
		c.Params()[0].Value[i] = 1e37
	}
	c.Params()[0].Changed()
	for i := range x.Data {
		x.Data[i] = 1
	}
	mustStep(t, tr, x, 0, 3, Pass{})
	if got := tr.NonFinite(); got != "conv1_1" {
		t.Errorf("%q, want conv1_1", got)
	}
}

// TestProfile: every layer has times, and they add up to the time of the step.
func TestProfile(t *testing.T) {
	c := groupChain(t, 1, "lrn")
	tr, sgd := newGroupTraining(t, c, 3), NewSGD(c)
	times, err := tr.Profile(images(67, 3, groupSide, groupSide), labelsOf(3), Pass{}, sgd, Update{Rate: 1e-4})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range times {
		names = append(names, l.Layer)
		conv := l.Layer != "input" && l.Layer != "loss" && l.Layer != "biases" && l.Layer != "lrn"
		fc := l.Layer == "fc6"
		if l.Forward <= 0 && l.Layer != "biases" || conv && !fc && l.Weights <= 0 || fc && l.Update <= 0 ||
			l.Pool != (l.Layer == "conv1_2" || l.Layer == "conv2_2") {
			t.Errorf("%+v", l)
		}
	}
	if want := []string{"input", "conv1_1", "lrn", "conv1_2", "conv2_1", "conv2_2", "fc6", "loss", "biases"}; !slices.Equal(names, want) {
		t.Errorf("times of %v, want %v", names, want)
	}
	for i, p := range tr.Plans() {
		if want := []string{"conv1_1", "conv1_2", "conv2_1", "conv2_2", "fc6"}; p.Layer != want[i] {
			t.Errorf("plan %d is of %s, want %s", i, p.Layer, want[i])
		}
	}
}
