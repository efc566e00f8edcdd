package kernel

import (
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
	if !g.canWinograd() || train && g.transposed().patched() {
		return best, false
	}
	p := Winograd{M: winogradM(h, w, train)}
	if !p.pays(h, w) {
		return best, false
	}
	cost := 0.0
	for _, p.Tiles = range tileBlocks {
		for _, p.Shared = range [...]bool{false, true} {
			if c := p.cost(g, n, h, w, threads); !ok || c < cost {
				best, cost, ok = p, c, true
			}
		}
	}
	return best, ok
}

// winogradM is 6 where F(6×6,3×3) saves at least a twentieth of F(4×4,3×3)'s
// multiplications: its tiles fit h × w worse, its filters are larger and its rounding
// is rougher.
func winogradM(h, w int, train bool) int {
	multiplications := func(p Winograd) int {
		th, tw := p.grid(h, w)
		return th * tw * p.positions()
	}
	if !train && 21*multiplications(Winograd{M: 6}) <= 20*multiplications(Winograd{M: 4}) {
		return 6
	}
	return 4
}

// tileBlocks are the tile blocks that a plan chooses from.
var tileBlocks = [...]int{14, 28, 42, 56, 84, 112, 168}

// Costs in multiplications' time of moving a float from the second-level cache and
// from beyond it.
const (
	costNear = 1.0
	costFar  = 8.0
)

// cost estimates the time of a thread, in the time of a multiplication: what the
// register tiles multiply, and what the three stages move between caches.
func (p Winograd) cost(g Conv, n, h, w, threads int) float64 {
	th, tw := p.grid(h, w)
	total := n * th * tw
	c, k := float64(blocks(g.C)*Block), float64(panels(g.K)*Panel)
	p.Tiles = min(p.Tiles, total)
	pos, tiles := float64(p.positions()), float64(p.Tiles)
	rounds := float64((total + p.Tiles - 1) / p.Tiles)
	near := func(floats float64) float64 { // cost of a float of a buffer so large, read over and over
		if floats <= float64(cacheFloats())/2 {
			return costNear
		}
		return costFar
	}
	// Rows of a register tile are filled as evenly as they go.
	const mr = 14
	groups := (p.Tiles + mr - 1) / mr
	fill := 1 + 0.15*(float64(groups*mr)/tiles-1)
	multiply := pos * c * k * tiles * fill
	v, u := pos*c*tiles, pos*c*k
	transform := pos * tiles * (c + k) * 2 * costNear
	if p.Shared {
		perRound := (multiply+transform)/float64(threads) + v*costFar/float64(threads) +
			(u*near(u)+v*k/Panel*near(v))/float64(threads) + 20_000*float64(threads-1)
		return rounds * perRound
	}
	perRound := multiply + transform + u*near(u) + v*k/Panel*near(v)
	share := float64((int(rounds) + threads - 1) / threads)
	return share * perRound
}
