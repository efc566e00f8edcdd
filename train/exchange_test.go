package train

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/nn"
)

// slow is a group whose sums take a while; it keeps their lengths.
type slow struct {
	comm.Group
	sums []int
}

const slowly = 5 * time.Millisecond

func (s *slow) AllReduce(ctx context.Context, tree comm.Tree, parts [][]float32) error {
	s.sums = append(s.sums, len(parts[0]))
	time.Sleep(slowly)
	return s.Group.AllReduce(ctx, tree, parts)
}

// TestExchangeSums: small parameters are summed together, everything once, in the same order on
// all ranks; sums after the backward pass are time that it didn't hide.
func TestExchangeSums(t *testing.T) {
	r := stepRecipe("A-BN", 2)
	r.Width, r.FC = 0.125, 256
	s := newTestStepper(t, stepNetwork(t, r), stepOptions{Recipe: r, Batch: 4, Ranks: 2, Threads: 2})
	groups := make([]*slow, len(s.ranks))
	for i, rank := range s.ranks {
		groups[i] = &slow{Group: rank.exchange.comm}
		rank.exchange.comm = groups[i]
	}
	var all sync.WaitGroup
	for _, rank := range s.ranks {
		all.Go(func() {
			sum := rank.sums.push()
			for _, g := range sum.grads { // 1 on rank 0, 1 + j on rank 1
				for j := range g {
					g[j] = float32(1 + rank.comm.Rank()*j)
				}
			}
			rank.exchange.begin(context.Background())
			if err := rank.exchange.end(nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i, g := range s.ranks[0].sums.total().grads {
		for j, v := range g {
			if v != float32(2+j) {
				t.Fatalf("parameter %d, element %d: the sum is %g, want %d", i, j, v, 2+j)
			}
		}
	}
	params := s.ranks[0].sums.params
	want, got, alone := 0, 0, 0
	for _, p := range params {
		want += len(p.Value)
		if len(p.Value) >= bundle {
			alone++
		}
	}
	for i, n := range groups[0].sums {
		got += n
		if n < bundle && i < len(groups[0].sums)-1 {
			t.Errorf("sum %d is of %d values", i, n)
		}
	}
	if got != want || alone == 0 || len(groups[0].sums) >= len(params)/2 {
		t.Errorf("%d sums of %d values, want all %d of %d parameters, %d of which are large", len(groups[0].sums), got, want, len(params), alone)
	}
	if !slices.Equal(groups[0].sums, groups[1].sums) {
		t.Errorf("rank 1 sums %v, rank 0 %v", groups[1].sums, groups[0].sums)
	}
	for i, rank := range s.ranks {
		spent := rank.exchange.spent()
		if least := (time.Duration(len(groups[i].sums)) * slowly).Seconds(); spent.ExchangeWaitSeconds < least || spent.ExchangeSeconds < least {
			t.Errorf("rank %d: %+v, though all sums, of at least %g s, came after the backward pass", i, spent, least)
		}
	}
}

// watched is a group alone that tells how long each sum is when it begins.
type watched struct {
	comm.Group
	begun chan int
}

func (w *watched) AllReduce(ctx context.Context, tree comm.Tree, parts [][]float32) error {
	w.begun <- len(parts[0])
	return w.Group.AllReduce(ctx, tree, parts)
}

// TestExchangeOverlaps: the sum of a gradient begins while the backward pass has other layers
// before it, the last layer's first. The backward pass waits here for the sum of each gradient that
// it completes, so one that began later would never come.
func TestExchangeOverlaps(t *testing.T) {
	r := stepRecipe("A", 1)
	s := newTestStepper(t, stepNetwork(t, r), stepOptions{Recipe: r, Batch: 4, Ranks: 1, Threads: 1})
	rank := s.ranks[0]
	group := &watched{Group: rank.exchange.comm, begun: make(chan int, len(rank.sums.params))}
	rank.exchange.comm = group
	ctx := vggtest.UntilDeadline(t)
	params := rank.sums.params
	complete := map[int]bool{}
	var completed, summed []int // parameters in order
	wait := func() {
		select {
		case n := <-group.begun:
			i := len(params) - 1 - len(summed)
			if n != len(params[i].Value) {
				t.Errorf("sum %d is of %d values, want the %d of %s", len(summed), n, len(params[i].Value), params[i].Name)
			}
			summed = append(summed, i)
		case <-ctx.Done():
			t.Fatalf("%d of %d gradients are complete, and %d sums have begun", len(completed), len(params), len(summed))
		}
	}
	b := whole(stepBatch(1, 4))
	rank.sums.push()
	rank.chain.ZeroGrad()
	rank.exchange.factors.begin(b.n)
	rank.exchange.begin(t.Context())
	_, err := s.gradient(t.Context(), rank, b, 1, 0, 4, func(p *nn.Param) {
		i := rank.exchange.place[p]
		completed = append(completed, i)
		complete[i] = true
		rank.exchange.complete(p)
		for complete[len(params)-1-len(summed)] {
			wait()
		}
	})
	if err := rank.exchange.end(err); err != nil {
		t.Fatal(err)
	}
	if len(completed) != len(params) || len(summed) != len(params) {
		t.Fatalf("%d gradients complete and %d summed in the backward pass, want all %d", len(completed), len(summed), len(params))
	}
	// The two of the last layer come first, those of the first layer last.
	if first, last := completed[:2], completed[len(completed)-2:]; slices.Min(first) != len(params)-2 || slices.Max(last) != 1 {
		t.Errorf("gradients are complete in the order %v", completed)
	}
}
