package kernel

import (
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

// The constants of the rules that choose the form F(M×M,R×R), on which the bits of the
// result depend: they hold for every machine.
const (
	minGain     = 1.4     // multiplications of the direct algorithm for one of whole tiles, at least
	minSaving   = 20      // F(4×4,3×3) takes one multiplication more for so many of F(6×6,3×3), at least
	smallFilter = 1 << 20 // floats of transformed weights that a cache holds: 4 MiB
	minTiles6   = 25      // tiles of an image that share larger weights of F(6×6,3×3), at least
	minTiles7   = 9       // the same of F(2×2,7×7)
)

// The constants of the cost model, by which [Conv.PlanWinograd] chooses the tile block and
// the order of the loops. docs/kernels.md has them in a table with the way to measure each.
//
// The unit mul is the time that one thread takes for one multiplication of the register
// tile at its peak. All values were fitted together to the times that `vgg bench --tune`
// measures for the layers of configuration D, over all tile blocks and orders.
const (
	costRow       = 1.1 // mul a channel and row of a register tile, filled or not, besides its multiplications
	costCall      = 140 // mul a row and call of a register tile, filled or not, besides its channels
	costTransform = 5.5 // mul a float of V or M that a transform makes or uses
	costNear      = 0.3 // mul a float of V or U read from the second-level cache
	costScatter   = 3   // mul a float of M where M holds all panels
	costPanel     = 13  // mul a float of M where one panel's fills the second-level cache
	costMemory    = 1.3 // mul a float of U, V or M that comes from memory once, besides reach.v and reach.u
	costBack      = 10  // mul a float of V that comes back from memory for every panel, besides reach.v
	costFork      = 3e5 // mul a layer: handing parts to the threads and waiting for the last
	costStream    = 12  // mul a float of U from memory, at least: one thread's share of the bandwidth
	costWait      = 5e6 // mul a shared block of tiles: waiting for the slowest thread

	fillL3     = 0.75 // the same of the third-level cache
	fillPanel  = 0.8  // share of the free second-level cache beyond which M costs costPanel
	backFrom   = 0.85 // share of the free third-level cache from which on V comes back from memory
	backWithin = 0.6  // share of it over which the part that comes back grows from none to all

	reachRows = 14 // rows of the register tile that costs were measured with; fewer hide less
)

// reach is the cost of leaving a core's own caches, in mul a float.
type reach struct {
	v, u   float64 // reading from the third-level cache: V unprefetched, U prefetched
	shared float64 // reading V that another core wrote
	spillV float64 // writing V beyond the second-level cache
	spillM float64 // writing M there and reading it again
	fillL2 float64 // share of the second-level cache that V, U and M find free
}

// The ways to the third-level cache that were measured.
var (
	// reachComplex: a Zen core shares the cache with the other cores of its complex.
	reachComplex = reach{v: 0.2, u: 0.5, shared: 10, spillV: 6, spillM: 30, fillL2: 0.65}
	// reachMesh: an Ice Lake Xeon's core reaches the cache over the mesh of its die.
	reachMesh = reach{v: 0.5, u: 8, shared: 30, spillV: 90, spillM: 5, fillL2: 0.6}
	// reachMesh256: the same where vectors have 256 bits: a multiplication takes twice as long, and
	// memory doesn't.
	reachMesh256 = reach{v: 0.2, u: 19, shared: 14, spillV: 34, spillM: 10, fillL2: 0.7}
	// reachDies: the mesh of a later Xeon spans several dies.
	reachDies = reach{v: 6, u: 6, shared: 100, spillV: 40, spillM: 20, fillL2: 0.65}
)

// oneDie lists the models of Intel's family 6 whose mesh is that of one die: Skylake and Cascade
// Lake, of which Ice Lake stands in, and Ice Lake itself.
var oneDie = []int{0x55, 0x6a, 0x6c}

// reachOf returns the way to the third-level cache by the processor's maker and model; an unknown
// processor counts as a mesh over several dies, where sharing costs most. wide says that
// vectors of 512 bits are in use.
func reachOf(v cpuid.Vendor, family, model int, wide bool) reach {
	switch {
	case v == cpuid.AMD || v == cpuid.Hygon:
		return reachComplex
	case v == cpuid.Intel && family == 6 && slices.Contains(oneDie, model) && wide:
		return reachMesh
	case v == cpuid.Intel && family == 6 && slices.Contains(oneDie, model):
		return reachMesh256
	default:
		return reachDies
	}
}

// machine is what the cost model knows about a processor.
type machine struct {
	l2, l3 int // floats that a core's second-level cache and the third-level cache hold
	reach  reach
	rows   int // of the register tile of two column blocks
	depth  int // steps of the reduction that a tile does at a time
}

// thisReach is the way to the last cache of this processor. Apple's cores share a second level
// by fours, which counts as a complex; nobody measured there.
func thisReach() reach {
	if appleCores() {
		return reachComplex
	}
	return reachOf(cpuid.CPU.VendorID, cpuid.CPU.Family, cpuid.CPU.Model, strings.HasPrefix(Current().name, "avx512"))
}

// thisMachine is this processor with the instruction set in use.
func thisMachine() machine {
	caches := machineCaches()
	tiles := &Current().asm.gemm
	return machine{l2: caches.l2 / 4, l3: caches.l3 / 4, reach: thisReach(), rows: tiles.rows[1], depth: tiles.depth}
}

// cost estimates, in mul, the time of the slowest thread: what the register tiles
// multiply, what the transforms touch, and what reading V and U costs, which depends on
// the caches they stay in. docs/kernels.md has the loops.
func (p Winograd) cost(m machine, g Conv, n, h, w, threads int) float64 {
	th, tw := p.grid(g, h, w)
	total := n * th * tw
	p.Tiles = min(p.Tiles, total)
	whole, last := total/p.Tiles, total%p.Tiles
	used := float64(p.products(g, h, w)) / float64(th*tw*p.positions())
	if p.Order == sharedV {
		cost := float64(whole) * p.blockCost(m, g, p.Tiles, threads, used)
		if last > 0 {
			cost += p.blockCost(m, g, last, threads, used)
		}
		return cost
	}
	blocks := (total + p.Tiles - 1) / p.Tiles
	rounds := (blocks + threads - 1) / threads
	cost := float64(rounds) * p.blockCost(m, g, p.Tiles, threads, used)
	if last > 0 && blocks%threads == 1%threads { // the last round is the smaller block alone
		cost += p.blockCost(m, g, last, threads, used) - p.blockCost(m, g, p.Tiles, threads, used)
	}
	return cost + costFork
}

// blockCost is the cost of one block of tiles, or, if threads share the block, of one
// thread's part. used is the share of whole tiles' products that is computed, as the last
// tiles of a trimmed image are narrow.
func (p Winograd) blockCost(m machine, g Conv, tiles, threads int, used float64) float64 {
	b := newBlockModel(p, m, g, tiles, threads, used)
	cost := b.products() + b.transforms() + b.readU()
	allM := b.m * b.panels
	if b.m > fillPanel*b.freeL2 {
		cost += allM * costPanel
	}
	switch p.Order {
	case byPanel:
		cost += b.readV(b.v+b.m <= b.freeL2)
		if b.v+b.m > b.freeL2 {
			cost += b.v * m.reach.spillV
		}
	case byPosition:
		cost += b.v*costNear + allM*costScatter
		if b.v+allM > b.freeL2 {
			cost += b.v*m.reach.spillV + allM*m.reach.spillM
		}
		if (b.v+allM)*float64(threads) > b.freeL3 {
			cost += (b.v + allM) * costMemory
		}
	case sharedV:
		cost += b.readV(b.v <= b.freeL2) + b.v*m.reach.shared + costWait
	}
	if b.u > b.freeL3 { // prefetching doesn't make memory faster
		cost = max(cost, b.ownU*costStream)
	}
	return cost
}

// blockModel is the sizes of a block of tiles that the cost model weighs.
type blockModel struct {
	machine
	threads  int
	tiles    int
	channels int // in-channels, padded
	position int // positions of a tile
	used     float64

	v, m, u        float64 // floats of V, of one panel's M, and of U
	freeL2, freeL3 float64 // floats that the second- and the third-level cache have free
	panels         float64 // panels that a thread multiplies with
	sharers        float64 // threads that share the block
	ownU           float64 // floats of U that a thread reads
	unhidden       float64 // mul of waiting for a float that the register tile doesn't hide
}

func newBlockModel(p Winograd, m machine, g Conv, tiles, threads int, used float64) blockModel {
	c, k, pos := blocks(g.C)*Block, panels(g.K)*Panel, p.positions()
	b := blockModel{machine: m, threads: threads, tiles: tiles, channels: c, position: pos, used: used}
	b.v, b.m, b.u = used*float64(pos*c*tiles), used*float64(pos*Panel*tiles), float64(pos*c*k)
	b.freeL2, b.freeL3 = m.reach.fillL2*float64(m.l2), fillL3*float64(m.l3)
	sharers, np := 1, panels(g.K)
	if p.Order == sharedV {
		sharers = threads
		np = (np + threads - 1) / threads
	}
	b.sharers, b.panels = float64(sharers), float64(np)
	b.ownU = b.u / b.sharers
	b.unhidden = max(0, (reachRows/float64(m.rows)-1)/2)
	return b
}

// products is the cost of the register tiles' multiplications and calls.
func (b *blockModel) products() float64 {
	filled := (b.tiles + b.rows - 1) / b.rows * b.rows
	cuts := (b.channels + b.depth*Block - 1) / (b.depth * Block)
	return float64(b.position) * b.panels *
		(b.used*float64(b.channels*Panel*b.tiles) + float64(filled*b.channels)*costRow + float64(filled*cuts)*costCall)
}

// transforms is the cost of making V and of bringing M back to outputs.
func (b *blockModel) transforms() float64 {
	return b.used * float64(b.position*b.tiles) * (float64(b.channels)/b.sharers + b.panels*Panel) * costTransform
}

// readU is the cost of reading the transformed weights.
func (b *blockModel) readU() float64 {
	switch {
	case b.u <= b.freeL2:
		return b.ownU * (costNear + b.unhidden)
	case b.u <= b.freeL3:
		return b.ownU * (b.reach.u + b.unhidden)
	default:
		return b.ownU * (b.reach.u + costMemory + b.unhidden)
	}
}

// readV is the cost of reading V for every panel. V stays in the cache that holds it and
// a panel of U.
func (b *blockModel) readV(inL2 bool) float64 {
	if inL2 {
		return b.v * b.panels * costNear * (1 + b.unhidden)
	}
	size := (b.v + float64(b.position*b.channels*Panel)) * float64(b.threads)
	back := min(1, max(0, size/b.freeL3-backFrom)/backWithin)
	return b.v * b.panels * (b.reach.v*(1+b.unhidden) + back*costBack)
}
