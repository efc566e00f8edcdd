package train

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/verydeep/vgg/internal/bfloat16"
)

// TestRoundedSteps: with gradients in bfloat16 the number of ranks and of processes, the
// micro-batch and the threads change no bit, and after a step momenta are near those of float32.
func TestRoundedSteps(t *testing.T) {
	for _, test := range []struct {
		config        string
		groups        int
		ranks, micros []int
		processes     [][2]int // and ranks of each
	}{
		{"C-LRN", 12, []int{2, 3, 4, 12}, []int{0, 1}, [][2]int{{2, 1}, {3, 2}, {4, 3}}},
		{"C-BN", 6, []int{2, 6}, []int{0}, [][2]int{{3, 1}, {2, 3}}},
		{"C-LRN", 5, []int{5}, []int{3}, [][2]int{{5, 1}}},
	} {
		t.Run(fmt.Sprintf("%s_%d_groups", test.config, test.groups), func(t *testing.T) {
			r := stepRecipe(test.config, test.groups)
			float32s := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Ranks: 1, Threads: 2}, 24)
			r.Exchange = Rounded
			near := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Ranks: 1, Threads: 2}, 24)
			want := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Ranks: 1, Threads: 2}, stepBatches...)
			for _, ranks := range test.ranks {
				for _, micro := range test.micros {
					got := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Micro: micro, Ranks: ranks, Threads: 2 * ranks}, stepBatches...)
					if err := sameValues(got.values, want.values); err != nil {
						t.Errorf("%d ranks, micro-batches of %d: %v", ranks, micro, err)
					}
				}
			}
			for _, p := range test.processes {
				processesTrain(t, p[0], stepOptions{Recipe: r, Batch: 24, Ranks: p[1], Threads: p[1]}, want, stepBatches...)
			}
			whole, differ := 0, 0
			for name, v := range near.values {
				if !strings.HasPrefix(name, momentumPrefix) {
					continue
				}
				far, largest := 0.0, 0.0
				for i, x := range v {
					far = max(far, math.Abs(float64(x-float32s.values[name][i])))
					largest = max(largest, math.Abs(float64(x)))
					if bfloat16.Float32(bfloat16.From(x)) != x {
						whole++
					}
				}
				if far > 0 {
					differ++
				}
				if far > 0.01*largest+1e-6 { // biases before a normalisation have gradients near 0
					t.Errorf("%s is off by %g from that of float32, of up to %g", name, far, largest)
				}
			}
			if whole == 0 || differ == 0 {
				t.Errorf("%d momenta aren't values of bfloat16, %d tensors differ from those of float32", whole, differ)
			}
		})
	}
}

// TestRoundedSum: a sum is that of the rounded gradients, rounded.
func TestRoundedSum(t *testing.T) {
	r := stepRecipe("A", 2)
	r.Exchange = Rounded
	s := newTestStepper(t, stepNetwork(t, r), stepOptions{Recipe: r, Batch: 4, Ranks: 2, Threads: 2})
	var want [][]float32
	var all sync.WaitGroup
	for rank, replica := range s.ranks {
		rng := rand.New(rand.NewPCG(uint64(rank), 3))
		sum := replica.sums.push()
		for i, g := range sum.grads {
			for j := range g {
				g[j] = float32(rng.NormFloat64())
			}
			rounded := slices.Clone(g)
			bfloat16.Round(rounded)
			if rank == 0 {
				want = append(want, rounded)
				continue
			}
			for j, v := range rounded {
				want[i][j] += v
			}
			bfloat16.Round(want[i])
		}
	}
	for _, replica := range s.ranks {
		all.Go(func() {
			replica.exchange.begin(context.Background())
			if err := replica.exchange.end(nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for rank, replica := range s.ranks {
		for i, g := range replica.sums.total().grads {
			if !slices.Equal(g, want[i]) {
				t.Errorf("rank %d: another sum of parameter %d", rank, i)
			}
		}
	}
}
