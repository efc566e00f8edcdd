package kernel

import (
	"math"
	"math/rand/v2"
	"runtime/debug"
	"testing"
	"unsafe"
)

// memory is where a test puts the operands of a kernel.
type memory interface {
	floats(x []float32) []float32 // a copy of x
	ints(x []int) []int
	release() // no operand is used any more
}

// plain is memory from the heap.
type plain struct{}

func (plain) floats(x []float32) []float32 { return append([]float32(nil), x...) }
func (plain) ints(x []int) []int           { return x }
func (plain) release()                     {}

// unaligned is memory whose floats start one float past an allocation: aligned to no
// vector of any width.
type unaligned struct{ plain }

func (unaligned) floats(x []float32) []float32 {
	buf := make([]float32, len(x)+1)
	return buf[1 : 1+copy(buf[1:], x) : 1+len(x)]
}

// guarded is memory in which only the operands may be touched. They end where the
// accessible memory ends, or start where it starts. Accessible memory on their other side
// holds a guard value; it is a NaN, so that results show if it was read.
type guarded struct {
	t       testing.TB
	end     bool
	regions []guardedRegion
}

type guardedRegion struct {
	mem    []float32 // all that is accessible
	lo, hi int       // the operand
	free   func()
}

const guardBits = 0x7fe5a5a5

func (g *guarded) floats(x []float32) []float32 {
	mem, lo, hi, free := accessible(len(x))
	if g.end {
		lo = hi - len(x)
	} else {
		hi = lo + len(x)
	}
	for i := range mem {
		mem[i] = math.Float32frombits(guardBits)
	}
	copy(mem[lo:hi], x)
	g.regions = append(g.regions, guardedRegion{mem, lo, hi, free})
	return mem[lo:hi:hi]
}

func (g *guarded) ints(x []int) []int {
	words := len(x) * int(unsafe.Sizeof(int(0))) / 4
	o := unsafe.Slice((*int)(unsafe.Pointer(&g.floats(make([]float32, words))[0])), len(x))
	copy(o, x)
	return o
}

func (g *guarded) release() {
	g.t.Helper()
	for _, r := range g.regions {
		for i, v := range r.mem {
			if (i < r.lo || i >= r.hi) && math.Float32bits(v) != guardBits {
				g.t.Errorf("float %d of an operand of %d floats was written", i-r.lo, r.hi-r.lo)
			}
		}
		r.free()
	}
	g.regions = g.regions[:0]
}

// fault runs f and returns what it panicked with; touching inaccessible memory is a
// panic too.
func fault(f func()) (fault any) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { fault = recover() }()
	f()
	return nil
}

// eachSide runs f once with operands that end at the end of the accessible memory and
// once with operands that start at its start.
func eachSide(t *testing.T, f func(t *testing.T, mem memory)) {
	for _, end := range []bool{true, false} {
		name := map[bool]string{true: "end", false: "start"}[end]
		t.Run(name, func(t *testing.T) {
			if r := fault(func() { f(t, &guarded{t: t, end: end}) }); r != nil {
				t.Fatalf("out of bounds: %v", r)
			}
		})
	}
}

// integers returns whole numbers in −4 … 4: sums of their products are exact in float32,
// whatever their order, fused or not.
func integers(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.IntN(9) - 4)
	}
	return x
}

// filled returns n values v.
func filled(n int, v float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = v
	}
	return x
}

// differ returns the first index where got and want have different bits, or −1. Two
// NaNs are equal whatever their payload.
func differ(got, want []float32) int {
	for i, v := range want {
		if math.Float32bits(got[i]) != math.Float32bits(v) && (got[i] == got[i] || v == v) {
			return i
		}
	}
	return -1
}

func checkBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	if i := differ(got, want); i >= 0 {
		t.Fatalf("%s: element %d is %g (%#x), want %g (%#x)", what, i,
			got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
	}
}
