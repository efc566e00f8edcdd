package comm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// each runs f on every rank of a group and returns their errors.
func each(groups []Group, f func(g Group) error) []error {
	errs := make([]error, len(groups))
	var wg sync.WaitGroup
	for i, g := range groups {
		wg.Go(func() { errs[i] = f(g) })
	}
	wg.Wait()
	return errs
}

func mustEach(t *testing.T, groups []Group, f func(g Group) error) {
	t.Helper()
	if err := errors.Join(each(groups, f)...); err != nil {
		t.Fatal(err)
	}
}

// treeSum is the sum over the leaves lo … hi−1 of one element, by the tree's definition.
func treeSum(leaves []float32, lo, hi int) float32 {
	if hi-lo == 1 {
		return leaves[lo]
	}
	mid := lo + (hi-lo)/2
	return treeSum(leaves, lo, mid) + treeSum(leaves, mid, hi)
}

// partsOf forms a rank's parts from the leaves (leaf, element).
func partsOf(t testing.TB, tree Tree, rank, size int, leaves [][]float32) [][]float32 {
	t.Helper()
	var stack [][]float32
	share := tree.Share(rank, size)
	err := tree.Sum(share, func(i int) error {
		stack = append(stack, slices.Clone(leaves[i]))
		return nil
	}, func() error {
		a, b := stack[len(stack)-2], stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for i, v := range b {
			a[i] += v
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return stack
}

// TestAllReduce checks that every rank gets the sum in the tree's order, for any number of
// ranks, whether it divides the leaves or not.
func TestAllReduce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		leaves := rapid.IntRange(1, 13).Draw(rt, "leaves")
		n := rapid.SampledFrom([]int{0, 1, 5, 2049, 4500}).Draw(rt, "elements")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		values := make([][]float32, leaves)
		for i := range values {
			values[i] = make([]float32, n)
			for j := range values[i] {
				values[i][j] = float32(rng.NormFloat64() * math.Exp(5*rng.NormFloat64()))
			}
		}
		want := make([]float32, n)
		one := make([]float32, leaves)
		for j := range want {
			for i := range values {
				one[i] = values[i][j]
			}
			want[j] = treeSum(one, 0, leaves)
		}
		for size := 1; size <= leaves; size++ {
			groups := Local(size)
			mustEach(t, groups, func(g Group) error {
				for range 3 { // one call after the other
					parts := partsOf(t, Tree(leaves), g.Rank(), g.Size(), values)
					wide := make([][]float64, len(parts))
					for i, p := range parts {
						for _, v := range p {
							wide[i] = append(wide[i], float64(v))
						}
					}
					if err := g.AllReduce(t.Context(), Tree(leaves), parts); err != nil {
						return err
					}
					for j, v := range parts[0] {
						if math.Float32bits(v) != math.Float32bits(want[j]) {
							return fmt.Errorf("%d leaves on %d ranks: element %d of rank %d is %g, want %g", leaves, size, j, g.Rank(), v, want[j])
						}
					}
					if err := g.AllReduce64(t.Context(), Tree(leaves), wide); err != nil {
						return err
					}
					for j, v := range wide[0] {
						if d := math.Abs(v - float64(want[j])); d > 1e-4*math.Abs(v)+1e-3*maxAbs(values, j) {
							return fmt.Errorf("element %d in float64 is %g, in float32 %g", j, v, want[j])
						}
					}
				}
				return nil
			})
		}
	})
}

func maxAbs(values [][]float32, j int) float64 {
	m := 0.0
	for _, v := range values {
		m = max(m, math.Abs(float64(v[j])))
	}
	return m
}

// TestTree checks that the spans of all ranks' shares are nodes, are few and cover the
// leaves, and that a rank with all leaves, or with one, has one span.
func TestTree(t *testing.T) {
	for leaves := 1; leaves <= 40; leaves++ {
		tree := Tree(leaves)
		for size := 1; size <= leaves; size++ {
			at := 0
			for rank := range size {
				share := tree.Share(rank, size)
				if n := share.Hi - share.Lo; share.Lo != at || n < leaves/size || n > (leaves+size-1)/size {
					t.Fatalf("%d leaves on %d ranks: rank %d has %v, from %d on", leaves, size, rank, share, at)
				}
				spans := tree.Spans(share)
				for _, s := range spans {
					if s.Lo != at || s.Hi <= s.Lo {
						t.Fatalf("share %v of %d leaves: spans %v", share, leaves, spans)
					}
					at = s.Hi
				}
				if at != share.Hi || (size == 1 || size == leaves) && len(spans) != 1 {
					t.Fatalf("share %v of %d leaves: spans %v", share, leaves, spans)
				}
				if most := tree.Sums(share); most < len(spans) || most > 2*7 {
					t.Errorf("share %v of %d leaves: %d sums at a time for %d spans", share, leaves, most, len(spans))
				}
			}
		}
	}
	if got := Tree(12).Spans(Tree(12).Share(1, 3)); !slices.Equal(got, []Span{{4, 6}, {6, 7}, {7, 8}}) {
		t.Errorf("rank 1 of 3 has the spans %v of 12 leaves", got)
	}
	stop := errors.New("stop")
	if err := Tree(4).Sum(Span{0, 4}, func(i int) error { return stop }, func() error { return nil }); err != stop {
		t.Errorf("error %v of a leaf, want it back", err)
	}
	if err := Tree(4).Sum(Span{0, 4}, func(i int) error { return nil }, func() error { return stop }); err != stop {
		t.Errorf("error %v of a fold, want it back", err)
	}
}

func TestBroadcast(t *testing.T) {
	for _, size := range []int{1, 2, 5} {
		groups := Local(size)
		mustEach(t, groups, func(g Group) error {
			if g.Size() != size {
				return fmt.Errorf("size %d, want %d", g.Size(), size)
			}
			for root := range size {
				data := []float32{float32(g.Rank()), float32(10 * g.Rank())}
				if err := g.Broadcast(t.Context(), root, data); err != nil {
					return err
				}
				if want := []float32{float32(root), float32(10 * root)}; !slices.Equal(data, want) {
					return fmt.Errorf("rank %d has %v, want %v", g.Rank(), data, want)
				}
			}
			return nil
		})
	}
}

// TestBarrier: no rank passes the barrier before every rank has reached it.
func TestBarrier(t *testing.T) {
	const size, rounds = 4, 50
	var mu sync.Mutex
	came := 0
	mustEach(t, Local(size), func(g Group) error {
		for round := range rounds {
			mu.Lock()
			came++
			mu.Unlock()
			if err := g.Barrier(t.Context()); err != nil {
				return err
			}
			mu.Lock()
			n := came
			mu.Unlock()
			if n < (round+1)*size {
				return fmt.Errorf("round %d: past the barrier when %d had come", round, n)
			}
		}
		return nil
	})
}

// TestErrorsReachAll: an error on one rank ends the calls of all ranks, and the group stays
// failed.
func TestErrorsReachAll(t *testing.T) {
	broken := errors.New("out of paper")
	cancelled, cancel := context.WithCancelCause(context.Background())
	cancel(broken)
	sum := func(g Group, n int) error {
		return g.AllReduce(context.Background(), 3, [][]float32{make([]float32, n)})
	}
	for _, test := range []struct {
		name, want string
		odd        func(g Group) error // what rank 1 does
		cause      error
	}{
		{"abort", "comm: rank 1: out of paper", func(g Group) error { g.Abort(broken); return sum(g, 4) }, broken},
		{"context", "comm: rank 1: out of paper", func(g Group) error { return g.Barrier(cancelled) }, broken},
		{"length", "comm: rank 1 calls AllReduce of 5 float32 over 3 leaves, rank 0 AllReduce of 4 float32 over 3 leaves", func(g Group) error { return sum(g, 5) }, nil},
		{"call", "comm: rank 1 calls Barrier, rank 0 AllReduce of 4 float32", func(g Group) error { return g.Barrier(context.Background()) }, nil},
		{"broadcast", "comm: rank 1 calls Broadcast of 4 from 0", func(g Group) error { return g.Broadcast(context.Background(), 0, make([]float32, 4)) }, nil},
		{"root", "comm: rank 1: broadcast from rank 3, want 0 … 2", func(g Group) error { return g.Broadcast(context.Background(), 3, nil) }, nil},
		{"precision", "comm: rank 1 calls AllReduce of 4 float64", func(g Group) error {
			return g.AllReduce64(context.Background(), 3, [][]float64{make([]float64, 4)})
		}, nil},
		{"parts", "comm: rank 1 calls AllReduce with 2 parts", func(g Group) error {
			return g.AllReduce(context.Background(), 3, [][]float32{make([]float32, 4), make([]float32, 4)})
		}, nil},
		{"no parts", "comm: rank 1 calls AllReduce of 0 float32", func(g Group) error { return g.AllReduce(context.Background(), 3, nil) }, nil},
		{"uneven parts", "comm: rank 1 calls AllReduce of 4 float32 over 3 leaves with parts of different lengths", func(g Group) error {
			return g.AllReduce(context.Background(), 3, [][]float32{make([]float32, 4), make([]float32, 3)})
		}, nil},
		{"few leaves", "comm: rank 1: all-reduce over fewer leaves than ranks", func(g Group) error {
			return g.AllReduce(context.Background(), 2, [][]float32{make([]float32, 4)})
		}, nil},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			groups := Local(3)
			errs := each(groups, func(g Group) error {
				if g.Rank() == 1 {
					return test.odd(g)
				}
				return sum(g, 4)
			})
			errs = append(errs, each(groups, func(g Group) error { return g.Barrier(context.Background()) })...)
			for i, err := range errs {
				if err == nil || !strings.HasPrefix(err.Error(), test.want) || test.cause != nil && !errors.Is(err, test.cause) {
					t.Errorf("rank %d: error %v, want %s", i%3, err, test.want)
				}
			}
		})
	}
}

// TestContextEndsWaiting: a rank whose peers don't come returns when its context is done.
func TestContextEndsWaiting(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	groups := Local(2)
	errs := each(groups, func(g Group) error {
		if g.Rank() == 0 {
			cancel()
			return nil
		}
		return g.AllReduce(ctx, 2, [][]float32{{1}})
	})
	if !errors.Is(errs[1], context.Canceled) {
		t.Errorf("error %v, want that of the context", errs[1])
	}
	if err := groups[0].Barrier(context.Background()); !errors.Is(err, context.Canceled) {
		t.Errorf("the other rank's next call: error %v, want that of the context", err)
	}
}

// TestGroupOfOne checks that a single rank doesn't wait.
func TestGroupOfOne(t *testing.T) {
	g := Local(0)[0]
	x := [][]float32{{1, 2}}
	if err := errors.Join(g.Barrier(t.Context()), g.AllReduce(t.Context(), 5, x), g.Broadcast(t.Context(), 0, x[0])); err != nil {
		t.Fatal(err)
	}
	if g.Size() != 1 || !slices.Equal(x[0], []float32{1, 2}) {
		t.Errorf("group of %d, sum %v", g.Size(), x[0])
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.AllReduce(ctx, 5, x); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}
