package kernel

import (
	"slices"
	"sync"

	"github.com/klauspost/cpuid/v2"
)

// cacheFloats is the second-level cache of a core, in floats; 1 MiB where the system
// doesn't tell.
var cacheFloats = sync.OnceValue(func() int {
	if l2 := cpuid.CPU.Cache.L2; l2 > 0 {
		return l2 / 4
	}
	return 1 << 18
})

// PlanWinograd chooses how to compute the convolution of n images of h × w by Winograd;
// ok is false where the direct algorithm is better. M, on which the bits of the result
// depend, depends on the layer and on h and w alone, not on n or the threads. For
// training only F(4×4,3×3) is used, whose rounding is good enough for gradients.
func (g Conv) PlanWinograd(n, h, w, threads int, train bool) (best Winograd, ok bool) {
	if !g.canWinograd() || train && (g.R != 3 || g.transposed().patched()) {
		return best, false
	}
	p := Winograd{Form: g.winogradForm(h, w, train)}
	if !p.pays(h, w) {
		return best, false
	}
	cost := 0.0
	for _, p.Tiles = range p.tileBlocks(n, h, w, threads) {
		if p.Tiles == 0 {
			continue
		}
		for _, p.Order = range orders {
			if c := p.cost(g, n, h, w, threads); !ok || c < cost {
				best, cost, ok = p, c, true
			}
		}
	}
	return best, ok
}

// tileBlocks are the tile blocks that a plan chooses from: some multiples of the
// register tile's rows, and those that give every thread the same number of blocks.
// Zeros are none.
func (p Winograd) tileBlocks(n, h, w, threads int) [12]int {
	th, tw := p.grid(h, w)
	total := n * th * tw
	blocks := [12]int{14, 28, 42, 56, 84, 112, 168}
	for i := range 5 {
		if even := (total + threads*(i+1) - 1) / (threads * (i + 1)); even >= 7 && even <= 224 {
			blocks[7+i] = even
		}
	}
	for i := range blocks {
		blocks[i] = min(blocks[i], total)
	}
	return blocks
}

// largeFilter is the transformed weights, in floats, above which F(6×6,3×3) is not used.
const largeFilter = 1 << 20

// winogradForm is F(4×4,5×5) for 5×5 filters. For 3×3 it is F(6×6,3×3) where that saves
// at least a twentieth of F(4×4,3×3)'s multiplications and its filters, which are 1.8 times as large, are not so large that
// reading them costs more than that. It is a rule of the layer, not of the machine:
// the bits depend on it.
func (g Conv) winogradForm(h, w int, train bool) Form {
	if g.R == 5 {
		return Form{4, 5}
	}
	multiplications := func(p Winograd) int {
		th, tw := p.grid(h, w)
		return th * tw * p.positions()
	}
	p, small := Winograd{Form: Form{6, 3}}, Winograd{Form: Form{4, 3}}
	if !train && p.FilterLen(g) <= largeFilter && 21*multiplications(p) <= 20*multiplications(small) {
		return p.Form
	}
	return small.Form
}

var orders = [...]Order{ByPanel, ByPosition, Shared}

// What the stages cost, in the time of a multiplication of the register tile; fitted to
// measurements of VGG's layers over all tile blocks, local and shared.
const (
	costTransform = 10  // a float of V or M, made or used by a transform
	costNear      = 0.5 // a float of V or U read from the second-level cache
	costFar       = 6   // … from beyond it
	costSpill     = 40  // a float of V written beyond the second-level cache
	costShared    = 100 // a float of V that another core wrote
	costCall      = 4e3 // a product of a position and a panel
	costFork      = 5e5 // handing parts to the threads and waiting for them
)

// cost estimates the time of one of the threads: what the register tiles multiply, what
// the transforms touch, and what V and U cost to read, which depends on whether they
// stay in the second-level cache. docs/kernels.md has the loops.
func (p Winograd) cost(g Conv, n, h, w, threads int) float64 {
	th, tw := p.grid(h, w)
	total := n * th * tw
	p.Tiles = min(p.Tiles, total)
	np := float64(panels(g.K))
	c, k := float64(blocks(g.C)*Block), np*Panel
	pos, tiles := float64(p.positions()), float64(p.Tiles)
	rounds := (total + p.Tiles - 1) / p.Tiles
	v, m, u := pos*c*tiles, pos*Panel*tiles, pos*c*k

	// Rows of a register tile are filled as evenly as they go.
	const mr = 14
	fill := 1 + 0.1*(float64((p.Tiles+mr-1)/mr*mr)/tiles-1)
	near := float64(cacheFloats()) / 2
	work := pos*c*k*tiles*fill + pos*tiles*(c+k)*costTransform + pos*np*costCall
	if u <= near {
		work += u * costNear
	} else {
		work += u * costFar
	}
	switch {
	case p.Order == ByPosition:
		work += v*costNear + m*np*costNear
		if v+m*np > near {
			work += (v + m*np) * costSpill / 2
		}
	case p.Order == Shared:
		work += v*np*costFar + v*costShared
	case v+m <= near:
		work += v * np * costNear
	default:
		work += v*np*costFar + v*costSpill
	}
	if p.Order == Shared {
		return float64(rounds) * (work/min(float64(threads), np) + 2*costFork)
	}
	return float64((rounds+threads-1)/threads)*work + costFork
}

// WinogradPlans lists the plans that [Conv.PlanWinograd] chooses from for inference, or
// nothing where the layer can't run by Winograd.
func (g Conv) WinogradPlans(n, h, w, threads int) []Winograd {
	if !g.canWinograd() {
		return nil
	}
	p := Winograd{Form: g.winogradForm(h, w, false)}
	var plans []Winograd
	for _, tiles := range p.tileBlocks(n, h, w, threads) {
		for _, order := range orders {
			plan := Winograd{p.Form, tiles, order}
			if tiles > 0 && !slices.Contains(plans, plan) {
				plans = append(plans, plan)
			}
		}
	}
	return plans
}
