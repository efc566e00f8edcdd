package kernel

import (
	"slices"
	"sync"

	"github.com/klauspost/cpuid/v2"
)

// cacheFloats is a core's second-level cache and the third-level cache, in floats; 1 MiB
// and 16 MiB where the system doesn't tell.
var cacheFloats = sync.OnceValues(func() (l2, l3 int) {
	l2, l3 = cpuid.CPU.Cache.L2, cpuid.CPU.Cache.L3
	if l2 <= 0 {
		l2 = 1 << 20
	}
	if l3 <= 0 {
		l3 = 1 << 24
	}
	return l2 / 4, l3 / 4
})

// PlanWinograd chooses how to compute the convolution of n images of h × w by Winograd;
// ok is false where the direct algorithm is better. M, on which the bits of the result
// depend, depends on the layer and on h and w alone, not on n or the threads. For
// training only F(4×4,3×3) is used, whose rounding is good enough for gradients.
func (g Conv) PlanWinograd(n, h, w, threads int, train bool) (best Winograd, ok bool) {
	if !g.canWinograd() || train && (g.R != 3 || g.transposed().patched()) {
		return best, false
	}
	p := Winograd{Form: g.winogradForm(h, w, train), Trim: !train}
	if !p.pays(g, h, w) {
		return best, false
	}
	cost := 0.0
	for _, p.Tiles = range p.tileBlocks(g, n, h, w, threads) {
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
func (p Winograd) tileBlocks(g Conv, n, h, w, threads int) [16]int {
	th, tw := p.grid(g, h, w)
	total := n * th * tw
	blocks := [16]int{14, 28, 42, 56, 84, 112, 168}
	for i := range 9 {
		if even := (total + threads*(i+1) - 1) / (threads * (i + 1)); even >= 7 && even <= 224 {
			blocks[7+i] = even
		}
	}
	for i := range blocks {
		blocks[i] = min(blocks[i], total)
	}
	return blocks
}

// F(6×6,3×3) and F(2×2,7×7) have larger filters than the alternative. Small ones stay in a
// cache; large ones are read from memory, which the tiles of an image that share them
// must pay for.
const (
	smallFilter = 1 << 20 // floats of the transformed weights
	minTiles6   = 25
	minTiles7   = 9
)

// winogradForm is F(4×4,5×5) for 5×5 filters and F(2×2,7×7) for the fully connected layer
// of dense evaluation. For 3×3 it is F(6×6,3×3) where that saves at least a twentieth of
// F(4×4,3×3)'s multiplications and its filters are no burden, else F(4×4,3×3). It is a
// rule of the layer and the image's size, not of the machine: the bits depend on it.
func (g Conv) winogradForm(h, w int, train bool) Form {
	switch g.R {
	case 5:
		return Form{4, 5}
	case 7:
		return Form{2, 7}
	}
	large, small := Winograd{Form: Form{6, 3}, Trim: true}, Winograd{Form: Form{4, 3}, Trim: true}
	th, tw := large.grid(g, h, w)
	if !train && (th*tw >= minTiles6 || large.FilterLen(g) <= smallFilter) && 21*large.products(g, h, w) <= 20*small.products(g, h, w) {
		return large.Form
	}
	return small.Form
}

var orders = [...]Order{ByPanel, ByPosition, Shared}

// What the stages cost, in the time of a multiplication of the register tile; fitted to
// measurements of VGG's layers over all tile blocks and orders.
const (
	costRow       = 1.1 // a channel of a row of a register tile, filled or not, besides its multiplications
	costCall      = 140 // a row of a register tile, filled or not, besides its channels
	costTransform = 5.5 // a float of V or M, made or used by a transform
	costNear      = 0.3 // a float of V or U read from the second-level cache
	costScatter   = 3   // a float of M of all panels
	costPanel     = 13  // a float of M where one panel's fill the second-level cache
	costMemory    = 1.3 // a float of U asked for ahead from beyond the third-level cache, or one of V or M, read once, besides
	costBack      = 10  // a float of V that comes back from there for every panel, besides
	costFork      = 3e5 // handing parts to the threads and waiting for them
	costStream    = 12  // a float of U from memory at least, for what one thread gets of its bandwidth
	costWait      = 5e6 // waiting, block by block, for the slower thread of those that share it
)

// reachRows are those of the register tile that reading V and U was measured with. Its
// multiplications hide most of the time that a float takes to come; those of a tile of
// fewer rows hide less.
const reachRows = 14

// reach is what it costs to go beyond the core's own caches.
type reach struct {
	v, u   float64 // a float read from the third-level cache: V as it comes, U asked for ahead
	shared float64 // a float of V that another core wrote
	spillV float64 // a float of V written beyond the second-level cache
	spillM float64 // a float of M written there and read again
}

// reachOf tells processors apart by how their third-level cache is reached: a Zen core
// shares it with the seven others of its complex, a Xeon core reaches it over the mesh of
// the whole die.
func reachOf(v cpuid.Vendor) reach {
	switch v {
	case cpuid.AMD, cpuid.Hygon:
		return reach{v: 0.2, u: 0.5, shared: 10, spillV: 6, spillM: 30}
	default:
		return reach{v: 6, u: 6, shared: 100, spillV: 40, spillM: 20}
	}
}

// cost estimates the time of one of the threads: what the register tiles multiply, what
// the transforms touch, and what V and U cost to read, which depends on which cache they
// stay in. docs/kernels.md has the loops.
func (p Winograd) cost(g Conv, n, h, w, threads int) float64 {
	th, tw := p.grid(g, h, w)
	total := n * th * tw
	p.Tiles = min(p.Tiles, total)
	whole, last := total/p.Tiles, total%p.Tiles
	used := float64(p.products(g, h, w)) / float64(th*tw*p.positions())
	if p.Order == Shared {
		cost := float64(whole) * p.blockCost(g, p.Tiles, threads, used)
		if last > 0 {
			cost += p.blockCost(g, last, threads, used)
		}
		return cost
	}
	blocks := (total + p.Tiles - 1) / p.Tiles
	rounds := (blocks + threads - 1) / threads
	cost := float64(rounds) * p.blockCost(g, p.Tiles, threads, used)
	if last > 0 && blocks%threads == 1%threads { // the last round is the smaller block alone
		cost += p.blockCost(g, last, threads, used) - p.blockCost(g, p.Tiles, threads, used)
	}
	return cost + costFork
}

// blockCost is that of one block of tiles: of the part that a thread has in it if it is
// shared. Of the products of whole tiles a part, used, is made.
func (p Winograd) blockCost(g Conv, tiles, threads int, used float64) float64 {
	l2Floats, l3Floats := cacheFloats()
	outside := reachOf(cpuid.CPU.VendorID)
	c, k, pos := blocks(g.C)*Block, panels(g.K)*Panel, p.positions()
	v, m, u := used*float64(pos*c*tiles), used*float64(pos*Panel*tiles), float64(pos*c*k)
	near, l3 := 0.65*float64(l2Floats), 0.75*float64(l3Floats)
	sharers, np := 1, panels(g.K)
	if p.Order == Shared {
		sharers = threads
		np = (np + threads - 1) / threads
	}
	isa := Current()
	rows := isa.asm.gemm.rows[1]
	filled := (tiles + rows - 1) / rows * rows
	cuts := (c + isa.asm.gemm.depth*Block - 1) / (isa.asm.gemm.depth * Block)
	cost := float64(pos*np) * (used*float64(c*Panel*tiles) + float64(filled*c)*costRow + float64(filled*cuts)*costCall)
	cost += used * float64(pos*tiles) * (float64(c)/float64(sharers) + float64(np*Panel)) * costTransform

	mine := u / float64(sharers)
	times := float64(np)
	unhidden := max(0, (reachRows/float64(rows)-1)/2)
	switch {
	case u <= near:
		cost += mine * (costNear + unhidden)
	case u <= l3:
		cost += mine * (outside.u + unhidden)
	default:
		cost += mine * (outside.u + costMemory + unhidden)
	}
	// V is read for every panel; it stays in the cache that holds it and a panel of U.
	readV := func(inL2 bool) float64 {
		if inL2 {
			return v * times * costNear * (1 + unhidden)
		}
		size := (v + float64(pos*c*Panel)) * float64(threads)
		missing := min(1, max(0, size/l3-0.85)/0.6)
		return v * times * (outside.v*(1+unhidden) + missing*costBack)
	}
	if m > 0.8*near {
		cost += m * times * costPanel
	}
	switch p.Order {
	case ByPanel:
		cost += readV(v+m <= near)
		if v+m > near {
			cost += v * outside.spillV
		}
	case ByPosition:
		cost += v*costNear + m*times*costScatter
		if v+m*times > near {
			cost += v*outside.spillV + m*times*outside.spillM
		}
		if (v+m*times)*float64(threads) > l3 {
			cost += (v + m*times) * costMemory
		}
	case Shared:
		cost += readV(v <= near) + v*outside.shared + costWait
	}
	if u > l3 { // what is asked for ahead comes no faster
		cost = max(cost, mine*costStream)
	}
	return cost
}

// WinogradPlans lists the plans that [Conv.PlanWinograd] chooses from for inference, or
// nothing where the layer can't run by Winograd.
func (g Conv) WinogradPlans(n, h, w, threads int) []Winograd {
	if !g.canWinograd() {
		return nil
	}
	p := Winograd{Form: g.winogradForm(h, w, false), Trim: true}
	if p.R == 7 && !p.pays(g, h, w) {
		return nil // its filters would take half a gigabyte
	}
	var plans []Winograd
	for _, tiles := range p.tileBlocks(g, n, h, w, threads) {
		for _, order := range orders {
			plan := Winograd{p.Form, tiles, order, p.Trim}
			if tiles > 0 && !slices.Contains(plans, plan) {
				plans = append(plans, plan)
			}
		}
	}
	return plans
}
