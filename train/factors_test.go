package train

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/verydeep/vgg/comm"
)

// TestFactoredSteps: gradients formed of exchanged factors have the bits of summed ones, with
// micro-batches, groups without images, and ranks of several processes.
func TestFactoredSteps(t *testing.T) {
	for _, test := range []struct {
		config        string
		groups        int
		ranks, micros []int
		edit          func(*Recipe)
	}{
		{"C-LRN", 12, []int{2, 3, 4}, []int{0, 1}, nil},
		{"C-BN", 12, []int{2, 6}, []int{0}, nil},
		{"C-LRN", 5, []int{5}, []int{3}, func(r *Recipe) { r.Nesterov, r.ClipNorm, r.LabelSmoothing, r.DecayBiases = true, 0.1, 0.1, false }},
		{"C-LRN", 4, []int{2, 4}, []int{4}, func(r *Recipe) { r.Freeze = []string{"fc7"} }},
	} {
		t.Run(fmt.Sprintf("%s_%d_groups", test.config, test.groups), func(t *testing.T) {
			r := stepRecipe(test.config, test.groups)
			if test.edit != nil {
				test.edit(&r)
			}
			want := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Ranks: 1, Threads: 2}, stepBatches...)
			r.Exchange = Factored
			for _, ranks := range test.ranks {
				for _, micro := range test.micros {
					got := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Micro: micro, Ranks: ranks, Threads: 2 * ranks}, stepBatches...)
					if err := sameValues(got.values, want.values); err != nil {
						t.Errorf("%d ranks, micro-batches of %d: %v", ranks, micro, err)
					}
				}
			}
		})
	}
}

// TestFactoredChoice: the weights whose rows are few enough are exchanged as factors, the others
// and all biases are summed; one rank exchanges nothing.
func TestFactoredChoice(t *testing.T) {
	r := stepRecipe("C-LRN", 4)
	r.Exchange = Factored
	for ranks, want := range map[int]string{1: "", 2: "fc6.weight fc7.weight", 4: "fc6.weight fc7.weight"} {
		s := newTestStepper(t, stepNetwork(t, r), stepOptions{Recipe: r, Batch: 24, Ranks: ranks, Threads: 1})
		for _, replica := range s.ranks {
			var names []string
			for _, p := range replica.sgd.Params() {
				if replica.exchange.has(p) {
					names = append(names, p.Name)
				}
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%d ranks: factors of %q, want %q", ranks, got, want)
			}
		}
	}
	// Configuration D, by the numbers of docs/scaling.md.
	for _, c := range []struct {
		n, in, out, ranks int
		want              bool
	}{{256, 25088, 4096, 2, true}, {256, 25088, 4096, 64, true}, {3520, 25088, 4096, 8, true}, {3522, 25088, 4096, 8, false}, {256, 4096, 1000, 8, true}, {256, 25088, 4096, 1, false}} {
		if got := factorsMoveLess(c.n, c.in+c.out, c.in*c.out, c.ranks); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestFactoredProcesses: two processes of two ranks have the bits of one rank.
func TestFactoredProcesses(t *testing.T) {
	r := stepRecipe("C-LRN", 4)
	want := trainSteps(t, stepOptions{Recipe: r, Batch: 24, Ranks: 1, Threads: 2}, 24, 12)
	r.Exchange = Factored
	processesTrain(t, 2, stepOptions{Recipe: r, Batch: 24, Ranks: 2, Threads: 2}, want, 24, 12)
}

// processesTrain lets several processes train, and compares the last rank of each with what one
// process came to.
func processesTrain(t *testing.T, processes int, o stepOptions, want trained, batches ...int) {
	t.Helper()
	outer := comm.Local(processes)
	errs := make(chan error, len(outer))
	for _, g := range outer {
		net, o := stepNetwork(t, o.Recipe), o
		o.Outer = g
		go func() {
			s, err := newStepper(context.Background(), net, o)
			if err != nil {
				errs <- err
				return
			}
			defer s.close()
			for i, n := range batches {
				if _, err := s.step(context.Background(), whole(stepBatch(uint64(i), n)), i+1, o.Recipe.LearningRate); err != nil {
					errs <- err
					return
				}
			}
			values := map[string][]float32{}
			last := s.ranks[len(s.ranks)-1]
			for _, p := range last.net.Params() {
				values[p.Name] = p.Value
				if v := last.sgd.Momentum(p); v != nil {
					values[momentumPrefix+p.Name] = v
				}
			}
			errs <- sameValues(values, want.values)
		}()
	}
	for range outer {
		if err := <-errs; err != nil {
			t.Errorf("%d processes of %d ranks: %v", processes, o.Ranks, err)
		}
	}
}
