package train

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/kernel"
)

// TestSumsNearZero: gradients around the least number that isn't denormal have the same sum
// in a rank's own sums and in the all-reduce of ranks.
func TestSumsNearZero(t *testing.T) {
	const leaves, n = 4, 1000
	rng := rand.New(rand.NewPCG(1, 2))
	var values [leaves][]float32
	for i := range values {
		for range n {
			values[i] = append(values[i], float32(math.Copysign(0x1p-126*(1+3*rng.Float64()), rng.Float64()-0.5)))
		}
	}
	copied := func(rank, ranks int) [][]float32 {
		var parts [][]float32
		share := comm.Tree(leaves).Share(rank, ranks)
		for _, v := range values[share.Lo:share.Hi] {
			parts = append(parts, append([]float32(nil), v...))
		}
		return parts
	}
	s := sums{team: kernel.NewTeam(2)}
	own := copied(0, 1)
	s.add(own[0], own[1])
	s.add(own[2], own[3])
	s.add(own[0], own[2])
	groups := comm.Local(leaves)
	got := make([][]float32, leaves)
	var ranks sync.WaitGroup
	for r, g := range groups {
		ranks.Go(func() {
			parts := copied(r, leaves)
			if err := g.AllReduce(t.Context(), leaves, parts); err != nil {
				t.Error(err)
			}
			got[r] = parts[0]
		})
	}
	ranks.Wait()
	for r := range got {
		for i, v := range got[r] {
			if math.Float32bits(v) != math.Float32bits(own[0][i]) {
				t.Fatalf("rank %d: element %d is %g, want %g", r, i, v, own[0][i])
			}
		}
	}
}
