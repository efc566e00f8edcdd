package train

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/verydeep/vgg/comm"
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
