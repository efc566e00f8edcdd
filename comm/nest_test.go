package comm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// processes are the ranks of a number of processes with some ranks in each.
func processes(n, ranks int) []Group {
	var all []Group
	for _, outer := range Local(n) {
		all = append(all, Nest(outer, ranks)...)
	}
	return all
}

// TestNestedSums: the ranks of several processes have the sums of as many in one.
func TestNestedSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ processes, ranks, leaves, n int }{
		{1, 1, 1, 3}, {2, 1, 5, 7}, {1, 3, 7, 10}, {2, 2, 4, 5000}, {2, 3, 12, 2050}, {3, 2, 13, 0}, {3, 2, 6, 1}, {2, 4, 11, 4100},
	} {
		values := make([][]float32, c.leaves)
		for i := range values {
			for range c.n {
				values[i] = append(values[i], float32(rng.NormFloat64()*math.Exp(5*rng.NormFloat64())))
			}
		}
		want := make([]float32, c.n)
		one := make([]float32, c.leaves)
		for j := range want {
			for i := range values {
				one[i] = values[i][j]
			}
			want[j] = treeSum(one, 0, c.leaves)
		}
		groups := processes(c.processes, c.ranks)
		mustEach(t, groups, func(g Group) error {
			if g.Size() != len(groups) || groups[g.Rank()] != g {
				return fmt.Errorf("rank %d of %d, want of %d", g.Rank(), g.Size(), len(groups))
			}
			for range 2 {
				parts := partsOf(t, Tree(c.leaves), g.Rank(), g.Size(), values)
				wide := make([][]float64, len(parts))
				for i, p := range parts {
					for _, v := range p {
						wide[i] = append(wide[i], float64(v))
					}
				}
				if err := errors.Join(g.AllReduce(t.Context(), Tree(c.leaves), parts), g.AllReduce64(t.Context(), Tree(c.leaves), wide)); err != nil {
					return err
				}
				if !slices.Equal(parts[0], want) {
					return fmt.Errorf("%+v: rank %d has other sums than one process", c, g.Rank())
				}
				for j, v := range wide[0] {
					if math.Abs(v-float64(want[j])) > 1e-4*math.Abs(v)+1e-3*maxAbs(values, j) {
						return fmt.Errorf("%+v: element %d in float64 is %g, in float32 %g", c, j, v, want[j])
					}
				}
			}
			for root := range g.Size() {
				data := []float32{float32(g.Rank()), -1}
				if err := g.Broadcast(t.Context(), root, data); err != nil {
					return err
				}
				if data[0] != float32(root) {
					return fmt.Errorf("%+v: rank %d received %g from %d", c, g.Rank(), data[0], root)
				}
			}
			all, err := Gather(t.Context(), g, []byte(strings.Repeat("ü", g.Rank())+"."))
			if err != nil {
				return err
			}
			for rank, text := range all {
				if string(text) != strings.Repeat("ü", rank)+"." {
					return fmt.Errorf("%+v: rank %d gathered %q of rank %d", c, g.Rank(), text, rank)
				}
			}
			return g.Barrier(t.Context())
		})
	}
}

// TestNestedFailures: whatever makes one rank fail makes all ranks of all processes fail with it.
func TestNestedFailures(t *testing.T) {
	why := errors.New("photo.jpg is gone")
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for name, c := range map[string]struct {
		call func(g Group) error
		want string
	}{
		"abort of the first rank": {func(g Group) error {
			if g.Rank() == 2 {
				g.Abort(why)
			}
			return g.Barrier(t.Context())
		}, "comm: rank 2: photo.jpg is gone"},
		"abort of another": {func(g Group) error {
			if g.Rank() == 3 {
				g.Abort(why)
				return g.Barrier(t.Context())
			}
			return g.Barrier(t.Context())
		}, "comm: rank 3: photo.jpg is gone"},
		"context": {func(g Group) error {
			ctx := t.Context()
			if g.Rank() == 1 {
				ctx = stopped
			}
			return g.AllReduce(ctx, 4, [][]float32{{1}})
		}, "comm: rank 1: photo.jpg is gone"},
		"another call": {func(g Group) error {
			if g.Rank() == 3 {
				return g.Barrier(t.Context())
			}
			return g.Broadcast(t.Context(), 0, nil)
		}, "comm: rank 3 calls Barrier, rank 2 Broadcast of 0 from 0: want the same call of all ranks"},
		"parts": {func(g Group) error {
			return g.AllReduce(t.Context(), 4, [][]float32{{1}, {2}}[:1+g.Rank()/3])
		}, "comm: rank 3 calls AllReduce with 2 parts, want 1"},
		"few leaves":   {func(g Group) error { return g.AllReduce64(t.Context(), 3, [][]float64{{1}}) }, "all-reduce over fewer leaves than ranks"},
		"no such root": {func(g Group) error { return g.Broadcast(t.Context(), 4, nil) }, "broadcast from rank 4, want 0 … 3"},
	} {
		t.Run(name, func(t *testing.T) {
			for rank, err := range each(processes(2, 2), func(g Group) error {
				err := c.call(g)
				if err == nil {
					return nil
				}
				if again := g.Barrier(t.Context()); again == nil || again.Error() != err.Error() {
					return fmt.Errorf("%v, then %v", err, again)
				}
				return err
			}) {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("rank %d: error %v, want %s", rank, err, c.want)
				}
			}
		})
	}
}
