package kernel

import (
	"fmt"
	"time"
)

// Name is the plan as output shows it: "F(6×6,3×3), 28 tiles, by panel". It names no more
// tiles than n images of h × w have.
func (p Winograd) Name(g Conv, n, h, w int) string {
	th, tw := p.grid(g, h, w)
	return fmt.Sprintf("F(%d×%[1]d,%d×%[2]d), %d tiles, %v", p.M, p.R, min(p.Tiles, n*th*tw), p.Order)
}

// Cost is the time that the cost model of [Conv.PlanWinograd] estimates for inference on n
// images of h × w. Its unit is the time of one multiplication of the register tile on one
// thread.
func (p Winograd) Cost(g Conv, n, h, w, threads int) float64 {
	return p.cost(thisMachine(), g, n, h, w, threads)
}

// Multiplications counts those of the products on n images of h × w: (M+R−1)² for each
// whole tile and pair of channels.
func (p Winograd) Multiplications(g Conv, n, h, w int) int64 {
	return int64(n*p.products(g, h, w)) * int64(g.C) * int64(g.K)
}

// Multiplications counts those of the direct algorithm on n images of h × w.
func (g Conv) Multiplications(n, h, w int) int64 {
	oh, ow := g.Out(h, w)
	return int64(n*oh*ow) * int64(g.R*g.R) * int64(g.C) * int64(g.K)
}

// Algorithm names how [Work.ConvForward] computes an image of h × w.
func (g Conv) Algorithm(h, w int) string {
	_, ow := g.Out(h, w)
	switch g.algorithm(ow) {
	case packed:
		return "packed"
	case patch:
		return "patches"
	case rgb:
		return "direct, RGB"
	default:
		return "direct"
	}
}

// A measurement of the machine takes at least measureTime, and is repeated; the best counts.
const (
	measureTime   = 4 * time.Millisecond
	measureTrials = 5
)

// MeasureFLOPS measures the floating-point operations a second of the register tile on
// all threads of t, with its operands in the first-level cache: an upper bound for every
// product.
func MeasureFLOPS(t *Team) float64 {
	task := newPeakTask(Current(), t.Threads())
	work := func() float64 {
		start := time.Now()
		t.Run(t.Threads(), task)
		return time.Since(start).Seconds()
	}
	for work() < measureTime.Seconds() {
		task.times *= 2
	}
	best := work()
	for range measureTrials - 1 {
		best = min(best, work())
	}
	return 2 * float64(task.multiplications()) * float64(task.times*t.Threads()) / best
}

// peakTask multiplies one tile again and again, each part with operands of its own.
type peakTask struct {
	isa   *ISA
	rows  int // of the tile
	offs  []int
	a, b  [][]float32
	c     [][]float32
	times int
}

func newPeakTask(isa *ISA, parts int) *peakTask {
	// 16 KiB of weights and at most 7 KiB of inputs leave room for the rest in the
	// smallest first-level cache of today, 32 KiB.
	const steps = 8
	t := &peakTask{isa: isa, rows: isa.asm.gemm.rows[1], offs: make([]int, steps), times: 1}
	for i := range t.offs {
		t.offs[i] = i * t.rows * Block
	}
	for range parts {
		t.a = append(t.a, make([]float32, steps*t.rows*Block))
		t.b = append(t.b, make([]float32, steps*Block*Panel))
		t.c = append(t.c, make([]float32, t.rows*Panel))
	}
	return t
}

// multiplications counts those of a tile.
func (t *peakTask) multiplications() int {
	return t.rows * Panel * len(t.offs) * Block
}

func (t *peakTask) Part(_, i int) {
	for range t.times {
		t.isa.rows(t.rows, 2, false, t.offs, t.a[i], t.b[i], t.c[i], t.rows*Block, nil, 0)
	}
}

// MeasureReadBytes measures the bytes a second that all threads of t together read in
// order from a buffer far larger than the caches. The buffer takes 256 to 512 MiB,
// depending on the last-level cache.
func MeasureReadBytes(t *Team) float64 {
	const least, most = 1 << 28, 1 << 29 // bytes
	size := min(max(4*machineCaches().l3, least), most)
	task := &readTask{isa: Current(), buf: Alloc(size / 4), sums: make([]float32, t.Threads()*readStride)}
	parts := len(task.buf) / readFloats
	task.touch = true // a page that was never written isn't in memory
	t.Run(parts, task)
	task.touch = false
	best := 0.0
	for range measureTrials {
		start := time.Now()
		t.Run(parts, task)
		if s := time.Since(start).Seconds(); best == 0 || s < best {
			best = s
		}
	}
	return float64(size) / best
}

const (
	readFloats = 1 << 16 // of a part
	readStride = 4 * Block
	page       = 1 << 10 // the least floats of a page
)

// readTask sums parts of a buffer, or writes to each of its pages.
type readTask struct {
	isa   *ISA
	buf   []float32
	sums  []float32 // of each thread
	touch bool
}

func (t *readTask) Part(slot, i int) {
	part := t.buf[i*readFloats:][:readFloats]
	if t.touch {
		for i := 0; i < len(part); i += page {
			part[i] = 1
		}
		return
	}
	t.isa.sumRow(readFloats/Block, part, t.sums[slot*readStride:])
}
