package comm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/verydeep/vgg/internal/bfloat16"
)

// TestAllReduceBF16: leaves of bfloat16 are added in float32 in the tree's order, and the sum over
// all is rounded, on any number of ranks and of processes.
func TestAllReduceBF16(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, leaves := range []int{1, 5, 12} {
		const n = 4100
		values := make([][]float32, leaves)
		for i := range values {
			for range n {
				values[i] = append(values[i], float32(rng.NormFloat64()*math.Exp(5*rng.NormFloat64())))
			}
			bfloat16.Round(values[i])
		}
		want, one, unrounded := make([]float32, n), make([]float32, leaves), 0
		for j := range want {
			for i := range values {
				one[i] = values[i][j]
			}
			sum := treeSum(one, 0, leaves)
			if want[j] = bfloat16.Float32(bfloat16.From(sum)); want[j] != sum {
				unrounded++
			}
		}
		if leaves > 1 && unrounded < n/2 {
			t.Fatalf("%d of %d sums need rounding", unrounded, n)
		}
		for _, c := range [][2]int{{1, 1}, {1, 3}, {1, 5}, {2, 1}, {2, 2}, {3, 4}} {
			groups := processes(c[0], c[1])
			if len(groups) > leaves {
				continue
			}
			mustEach(t, groups, func(g Group) error {
				for range 2 {
					parts := partsOf(t, Tree(leaves), g.Rank(), g.Size(), values)
					if err := g.AllReduceBF16(t.Context(), Tree(leaves), parts); err != nil {
						return err
					}
					if !slices.Equal(parts[0], want) {
						return fmt.Errorf("%d leaves, %d processes of %d ranks: rank %d has other sums", leaves, c[0], c[1], g.Rank())
					}
				}
				return nil
			})
		}
	}
}
