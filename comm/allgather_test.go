package comm

import (
	"fmt"
	"strings"
	"testing"
)

// TestAllGather: every rank has what each brought, in one process and in several.
func TestAllGather(t *testing.T) {
	for _, c := range []struct{ processes, ranks int }{{1, 1}, {1, 4}, {3, 1}, {2, 3}, {3, 2}} {
		groups := processes(c.processes, c.ranks)
		for _, bounds := range [][]int{{0, 3, 3, 10, 11, 40, 41}, {2, 2, 2, 2, 2, 2, 2}, {1, 5, 9, 12, 20, 30, 40}} {
			bounds = bounds[:len(groups)+1]
			mustEach(t, groups, func(g Group) error {
				for round := range 2 {
					data := make([]float32, 41)
					for i := bounds[g.Rank()]; i < bounds[g.Rank()+1]; i++ {
						data[i] = float32(100*round + i)
					}
					if err := g.AllGather(t.Context(), data, bounds); err != nil {
						return err
					}
					for i, v := range data {
						want := float32(0)
						if bounds[0] <= i && i < bounds[len(groups)] {
							want = float32(100*round + i)
						}
						if v != want {
							return fmt.Errorf("%+v, bounds %v: rank %d has %g at %d, want %g", c, bounds, g.Rank(), v, i, want)
						}
					}
				}
				return nil
			})
		}
	}
}

func TestAllGatherErrors(t *testing.T) {
	for name, bounds := range map[string]func(rank int) []int{
		"want 3 ascending bounds":       func(int) []int { return []int{0, 5, 4} },
		"want 3 ascending bounds w":     func(int) []int { return []int{0, 4, 9} },
		"want the same call of all":     func(rank int) []int { return []int{0, 1 + rank, 5} },
		"want 3 ascending bounds withi": func(int) []int { return []int{0, 5} },
	} {
		for _, groups := range [][]Group{Local(2), processes(1, 2), processes(2, 1)} {
			for rank, err := range each(groups, func(g Group) error { return g.AllGather(t.Context(), make([]float32, 5), bounds(g.Rank())) }) {
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("rank %d: %v, want an error with %q", rank, err, name)
				}
			}
		}
	}
}
