package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// stepRecipe trains a network of all kinds of layers: convolutions by Winograd, by the
// direct and by the packed algorithm, 1×1 ones among them, and dropout.
func stepRecipe(config string, groups int) Recipe {
	r := tinyRecipe()
	r.Config, r.Width, r.FC, r.LearningRate = config, 0.125, 48, 1e-2
	r.Groups, r.Batch = groups, 24
	return r
}

const stepClasses = 5

func stepNetwork(t testing.TB, r Recipe) *network.Network {
	t.Helper()
	net, err := network.New(r.Options(stepClasses))
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.He, 3); err != nil {
		t.Fatal(err)
	}
	return net
}

// stepBatch is n images of noise.
func stepBatch(seed uint64, n int) *dataset.Batch {
	rng := rand.New(rand.NewPCG(seed, 5))
	b := &dataset.Batch{X: tensor.New(n, 3, 32, 32)}
	for i := range b.X.Data {
		b.X.Data[i] = float32(rng.NormFloat64())
	}
	for range n {
		b.Labels = append(b.Labels, rng.IntN(stepClasses))
	}
	return b
}

func newTestStepper(t testing.TB, net *network.Network, o stepOptions) *stepper {
	t.Helper()
	s, err := newStepper(context.Background(), net, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// trained is what some steps come to.
type trained struct {
	losses []float64
	values map[string][]float32 // parameters and momenta
}

// stepBatches are the images of each step: the last batch of an epoch has fewer than
// there are groups.
var stepBatches = []int{24, 12, 7}

func trainSteps(t testing.TB, o stepOptions, batches ...int) trained {
	t.Helper()
	net := stepNetwork(t, o.Recipe)
	if err := setRates(net.Params(), o.Recipe.LayerRates); err != nil {
		t.Fatal(err)
	}
	s := newTestStepper(t, net, o)
	var got trained
	for i, n := range batches {
		loss, err := s.step(context.Background(), whole(stepBatch(uint64(i), n)), i+1, o.Recipe.LearningRate)
		if err != nil {
			t.Fatal(err)
		}
		if !finite(loss) || loss == 0 {
			t.Fatalf("step %d: loss %v", i, loss)
		}
		got.losses = append(got.losses, loss)
	}
	for rank, r := range s.ranks {
		values := map[string][]float32{}
		for _, p := range r.net.Params() {
			values[p.Name] = slices.Clone(p.Value)
			if v := r.sgd.Momentum(p); v != nil {
				values[momentumPrefix+p.Name] = slices.Clone(v)
			}
		}
		if rank == 0 {
			got.values = values
		} else if err := sameValues(values, got.values); err != nil {
			t.Errorf("rank %d against rank 0: %v", rank, err)
		}
	}
	return got
}

func sameValues(got, want map[string][]float32) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d values, want %d", len(got), len(want))
	}
	for name, w := range want {
		g := got[name]
		for i := range w {
			if len(g) != len(w) || math.Float32bits(g[i]) != math.Float32bits(w[i]) {
				return fmt.Errorf("%s[%d] of %d is %g, want %g", name, i, len(w), g[i], w[i])
			}
		}
	}
	return nil
}

// TestSameBitsOfSteps: for a number of groups, weights, momentum and loss have the same bits on
// any number of ranks that divides it, with micro-batches of any size, on any number of
// threads.
func TestSameBitsOfSteps(t *testing.T) {
	for _, test := range []struct {
		config        string
		groups        int
		ranks, micros []int
		edit          func(*Recipe)
	}{
		{"C-LRN", 12, []int{1, 2, 3, 4}, []int{1, 2, 8}, nil},
		{"C-BN", 12, []int{1, 2, 3, 4}, []int{2, 8}, nil}, // a micro-batch holds a group of 2
		{"C-LRN", 1, []int{1}, []int{0, 1, 2, 8, 24}, nil},
		{"C-LRN", 5, []int{1, 5}, []int{0, 3}, func(r *Recipe) { r.Nesterov, r.ClipNorm, r.LabelSmoothing, r.DecayBiases = true, 0.1, 0.1, false }},
		{"C-LRN", 4, []int{1, 2, 4}, []int{3}, func(r *Recipe) { r.LayerRates = []string{"conv*=0.1", "fc8=10"} }},
		{"C-LRN", 1, []int{1}, []int{0, 7}, func(r *Recipe) { r.Nesterov, r.ClipNorm, r.LabelSmoothing, r.DecayBiases = true, 0.1, 0.1, false }},
	} {
		name := fmt.Sprintf("%s_%d_groups", test.config, test.groups)
		t.Run(name, func(t *testing.T) {
			var want *trained
			for i, ranks := range test.ranks {
				for j, micro := range test.micros {
					for _, threads := range []int{1, 2, 3} {
						left := !vggtest.All() && (i+j+threads)%3 != 0 // each pair of the three is met
						if testing.Short() {
							left = (ranks*7+micro*3+threads)%5 != 0
						}
						if left && want != nil {
							continue
						}
						r := stepRecipe(test.config, test.groups)
						if test.edit != nil {
							test.edit(&r)
						}
						got := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Micro: micro, Ranks: ranks, Threads: threads * ranks}, stepBatches...)
						if want == nil {
							want = &got
							continue
						}
						what := fmt.Sprintf("%d ranks, micro-batches of %d, %d threads each", ranks, micro, threads)
						for i, l := range got.losses {
							if math.Float64bits(l) != math.Float64bits(want.losses[i]) {
								t.Errorf("%s: loss %v of step %d, want %v", what, l, i, want.losses[i])
							}
						}
						if err := sameValues(got.values, want.values); err != nil {
							t.Errorf("%s: %v", what, err)
						}
					}
				}
			}
		})
	}
}

// TestGroupsSumTheSame: without batch normalisation the number of groups changes the
// rounding and nothing else; with other numbers of groups the bits do differ, which the
// tests of equal bits would have to find.
func TestGroupsSumTheSame(t *testing.T) {
	r := stepRecipe("C-LRN", 1)
	one := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Ranks: 1, Threads: 2}, 24)
	r.Groups = 12
	twelve := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Ranks: 3, Threads: 2}, 24)
	if sameValues(one.values, twelve.values) == nil {
		t.Error("1 and 12 groups give the same bits: the comparison of bits sees nothing")
	}
	for name, a := range one.values {
		var diff, size float64
		for i, v := range a {
			d := float64(v) - float64(twelve.values[name][i])
			diff, size = diff+d*d, size+float64(v)*float64(v)
		}
		if math.Sqrt(diff) > 1e-5*math.Sqrt(size) {
			t.Errorf("%s: 1 and 12 groups differ by %.2g of its length", name, math.Sqrt(diff/size))
		}
	}
}

// TestRunningStatisticsOfGroups: they move towards the mean of the groups' statistics.
func TestRunningStatisticsOfGroups(t *testing.T) {
	after := func(groups int, b *dataset.Batch) map[string][]float32 {
		r := stepRecipe("C-BN", groups)
		net := stepNetwork(t, r)
		s := newTestStepper(t, net, stepOptions{Recipe: r, Batch: 24, Ranks: groups, Threads: 2})
		if _, err := s.step(context.Background(), whole(b), 1, 0); err != nil {
			t.Fatal(err)
		}
		values := map[string][]float32{}
		for _, p := range net.Params() {
			if p.Running {
				values[p.Name] = p.Value[:p.Len()]
			}
		}
		return values
	}
	b := stepBatch(1, 9) // groups of 4 and 5
	both := after(2, b)
	var halves [2]map[string][]float32
	for i, r := range [][2]int{{0, 4}, {4, 9}} {
		x, labels, err := images(b, r[0], r[1])
		if err != nil {
			t.Fatal(err)
		}
		halves[i] = after(1, &dataset.Batch{X: x, Labels: labels})
	}
	if len(both) == 0 {
		t.Fatal("no running statistics")
	}
	for name, got := range both {
		for i, v := range got {
			want := (4*float64(halves[0][name][i]) + 5*float64(halves[1][name][i])) / 9
			if math.Abs(float64(v)-want) > 1e-5*math.Abs(want)+1e-6 {
				t.Errorf("%s[%d] is %g, want %g", name, i, v, want)
			}
		}
	}
}

// TestRestoredRanks: what is set on rank 0 and then synchronised is what all ranks go on
// with.
func TestRestoredRanks(t *testing.T) {
	r := stepRecipe("C-LRN", 2)
	alone := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Ranks: 2, Threads: 2}, stepBatches...)

	net := stepNetwork(t, r)
	s := newTestStepper(t, net, stepOptions{Recipe: r, Batch: 24, Ranks: 2, Threads: 2})
	for i, n := range stepBatches[:2] {
		if _, err := s.step(context.Background(), whole(stepBatch(uint64(i), n)), i+1, r.LearningRate); err != nil {
			t.Fatal(err)
		}
	}
	again := stepNetwork(t, r)
	s2 := newTestStepper(t, again, stepOptions{Recipe: r, Batch: 24, Ranks: 2, Threads: 2})
	for i, p := range again.Params() {
		copy(p.Value, net.Params()[i].Value)
		p.Changed()
		copy(s2.momentum(p), s.momentum(net.Params()[i]))
	}
	if err := s2.sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := s2.step(context.Background(), whole(stepBatch(2, stepBatches[2])), 3, r.LearningRate); err != nil {
		t.Fatal(err)
	}
	got := map[string][]float32{}
	for _, p := range again.Params() {
		got[p.Name] = p.Value
		got[momentumPrefix+p.Name] = s2.momentum(p)
	}
	if err := sameValues(got, alone.values); err != nil {
		t.Error(err)
	}
}

// TestFailedStep: whatever ends a step before its update leaves weights and momentum of
// all ranks as they were.
func TestFailedStep(t *testing.T) {
	why := errors.New("enough")
	for _, groups := range []int{1, 4} {
		for _, test := range []struct {
			name, want string
			step       func(s *stepper) (float64, error)
			cause      error
		}{
			{"label", "label 99 of image", func(s *stepper) (float64, error) {
				b := stepBatch(1, 24)
				b.Labels[23] = 99
				return s.step(context.Background(), whole(b), 1, 1)
			}, nil},
			{"context", "enough", func(s *stepper) (float64, error) {
				ctx, cancel := context.WithCancelCause(context.Background())
				cancel(why)
				return s.step(ctx, whole(stepBatch(1, 24)), 1, 1)
			}, why},
			{"cancelled amid the step", "enough", func(s *stepper) (float64, error) {
				ctx, cancel := context.WithCancelCause(context.Background())
				s.ranks[len(s.ranks)-1].training.Hook = func(string, *tensor.Tensor, *tensor.Tensor) { cancel(why) }
				return s.step(ctx, whole(stepBatch(1, 24)), 1, 1)
			}, why},
			{"infinite", "", func(s *stepper) (float64, error) {
				b := stepBatch(1, 24)
				b.X.Data[len(b.X.Data)-1] = float32(math.NaN())
				loss, err := s.step(context.Background(), whole(b), 1, 1)
				if !math.IsNaN(loss) {
					t.Errorf("loss %v, want NaN", loss)
				}
				return loss, err
			}, nil},
			{"too many images", "train: a batch of 25 images, want at most 24", func(s *stepper) (float64, error) {
				return s.step(context.Background(), whole(stepBatch(1, 25)), 1, 1)
			}, nil},
		} {
			t.Run(fmt.Sprintf("%s/%d_groups", strings.ReplaceAll(test.name, " ", "_"), groups), func(t *testing.T) {
				r := stepRecipe("C-LRN", groups)
				net := stepNetwork(t, r)
				s := newTestStepper(t, net, stepOptions{Recipe: r, Batch: 24, Micro: 3, Ranks: min(2, groups), Threads: 2})
				_, err := test.step(s)
				switch {
				case test.want == "":
					if err != nil || s.nonFinite() == "" {
						t.Errorf("error %v, not finite %q", err, s.nonFinite())
					}
				case err == nil || !strings.Contains(err.Error(), test.want) || test.cause != nil && !errors.Is(err, test.cause):
					t.Errorf("error %v, want %s", err, test.want)
				}
				fresh := stepNetwork(t, r).Params()
				for _, k := range s.ranks {
					for i, p := range k.net.Params() {
						if !slices.Equal(p.Value, fresh[i].Value) {
							t.Errorf("rank %d: %s has changed", k.comm.Rank(), p.Name)
						}
						for _, v := range k.sgd.Momentum(p) {
							if v != 0 {
								t.Fatalf("rank %d: the momentum of %s has changed", k.comm.Rank(), p.Name)
							}
						}
					}
				}
			})
		}
	}
}

func TestStepperErrors(t *testing.T) {
	for _, test := range []struct {
		config string
		o      stepOptions
		groups int
		want   string
	}{
		{"A", stepOptions{Batch: 24, Ranks: 5}, 12, "train: 12 groups on 5 ranks: want a number of ranks that divides the groups"},
		{"A", stepOptions{Batch: 24, Ranks: 2}, 1, "train: 1 groups on 2 ranks"},
		{"A-BN", stepOptions{Batch: 24, Ranks: 1, Micro: 4}, 4, "train: micro-batches of 4 images: batch normalisation takes its statistics from whole groups, of 6 (batch 24 in 4 groups): want micro-batches of at least 6, or more groups"},
	} {
		r := stepRecipe(test.config, test.groups)
		test.o.Recipe = r
		if _, err := newStepper(context.Background(), stepNetwork(t, r), test.o); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("error %v, want %s", err, test.want)
		}
	}
}

// TestFrozenSteps: what is frozen keeps its bits on all ranks and has no momentum, and
// frozen batch normalisation does not care for groups.
func TestFrozenSteps(t *testing.T) {
	r := stepRecipe("C-BN", 4)
	net := stepNetwork(t, r)
	for _, p := range net.Params() {
		p.Frozen = strings.HasPrefix(p.Name, "conv")
	}
	fresh := stepNetwork(t, r).Params()
	s := newTestStepper(t, net, stepOptions{Recipe: r, Batch: 24, Micro: 1, Ranks: 2, Threads: 2})
	if _, err := s.step(context.Background(), whole(stepBatch(1, 24)), 1, 0.1); err != nil {
		t.Fatal(err)
	}
	for _, k := range s.ranks {
		for i, p := range k.net.Params() {
			frozen := strings.HasPrefix(p.Name, "conv")
			if same := slices.Equal(p.Value, fresh[i].Value); same != frozen {
				t.Errorf("rank %d: %s unchanged: %v, frozen: %v", k.comm.Rank(), p.Name, same, frozen)
			}
			if has := k.sgd.Momentum(p) != nil || p.Grad != nil; has == frozen {
				t.Errorf("rank %d: %s has momentum or a gradient: %v, frozen: %v", k.comm.Rank(), p.Name, has, frozen)
			}
		}
	}
}

// TestAloneIsStepSGD: one rank with one group does what nn.Training does by itself.
func TestAloneIsStepSGD(t *testing.T) {
	r := stepRecipe("C-BN", 1)
	got := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Ranks: 1, Threads: 2}, stepBatches...)
	net := stepNetwork(t, r)
	tr, err := net.Chain().NewTraining(24, 32, 32)
	if err != nil {
		t.Fatal(err)
	}
	sgd := nn.NewSGD(net.Chain())
	for i, n := range stepBatches {
		b := stepBatch(uint64(i), n)
		u := nn.Update{Rate: float32(r.LearningRate), Momentum: float32(r.Momentum), Decay: float32(r.WeightDecay), DecayBiases: r.DecayBiases}
		if _, err := tr.StepSGD(b.X, b.Labels, nn.Pass{Seed: r.Seed, Iteration: i + 1}, sgd, u); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][]float32{}
	for _, p := range net.Params() {
		want[p.Name] = p.Value
		if v := sgd.Momentum(p); v != nil {
			want[momentumPrefix+p.Name] = v
		}
	}
	if err := sameValues(got.values, want); err != nil {
		t.Error(err)
	}
}
