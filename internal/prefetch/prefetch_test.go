package prefetch

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// sequences are both kinds of sequence over a list.
func sequences(ctx context.Context, items []int, workers int, prepare func(context.Context, int) int) map[string]iter.Seq[int] {
	return map[string]iter.Seq[int]{
		"unordered": Unordered(ctx, List(items), workers, prepare),
		"ordered":   Ordered(ctx, slices.Values(items), workers, prepare),
	}
}

func count(n int) []int {
	items := make([]int, n)
	for i := range items {
		items[i] = i
	}
	return items
}

// Every item comes once, in order where that is promised, however long each takes.
func TestEveryItemOnce(t *testing.T) {
	square := func(_ context.Context, i int) int {
		time.Sleep(time.Duration(i%3) * time.Millisecond)
		return i * i
	}
	for _, n := range []int{0, 1, 2, 50} {
		var want []int
		for i := range n {
			want = append(want, i*i)
		}
		for _, workers := range []int{-1, 1, 3, 100} {
			for name, sequence := range sequences(t.Context(), count(n), workers, square) {
				got := slices.Collect(sequence)
				if name == "unordered" {
					slices.Sort(got)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s, %d items, %d workers: %v", name, n, workers, got)
				}
			}
		}
	}
}

// No more items are prepared ahead of the loop than there are workers and room for their
// results, and none once it has ended.
func TestLoopThatEnds(t *testing.T) {
	const workers = 3
	for name := range sequences(t.Context(), nil, 1, nil) {
		var begun atomic.Int64
		sequence := sequences(t.Context(), count(100), workers, func(_ context.Context, i int) int {
			begun.Add(1)
			return i
		})[name]
		used := int64(0)
		for range sequence {
			if used++; used == 10 {
				break
			}
			// One result with the loop, one with each worker, and as many that wait.
			if ahead := begun.Load() - used; ahead > 2*workers+1 {
				t.Errorf("%s: %d items ahead of the loop", name, ahead)
			}
		}
		after := begun.Load()
		time.Sleep(5 * time.Millisecond)
		if begun.Load() != after || used != 10 {
			t.Errorf("%s: %d items begun when the loop ended after %d, later %d", name, after, used, begun.Load())
		}
	}
}

// A sequence ends when its context is done, in the middle of an item too.
func TestCancelled(t *testing.T) {
	for name := range sequences(t.Context(), nil, 1, nil) {
		ctx, cancel := context.WithCancel(t.Context())
		used := 0
		for range sequences(ctx, count(100), 2, func(ctx context.Context, i int) int {
			if i == 7 {
				cancel()
			}
			if i >= 7 {
				<-ctx.Done()
			}
			return i
		})[name] {
			used++
		}
		if used > 7 {
			t.Errorf("%s: %d items after the context was done", name, used)
		}
		cancel()
	}
}
