package kernel

import "runtime"

// flushes switches the mode off, for tests and benchmarks of what it does.
var flushes = canFlush

// flushing makes its thread take a float of a magnitude under 2⁻¹²⁶ (of a float64, 2⁻¹⁰²²)
// as a zero of its sign, as an operand and as a result, until end is called. Processors take
// up to a hundred times longer over such a number. Twins in Go obey it too, so all
// instruction sets behave alike; docs/kernels.md has the details.
//
// The mode is the thread's, and goroutines move between threads: between the calls the
// goroutine stays on its thread, and no other goroutine runs there. Calls nest.
type flushing struct{ before uint64 }

func beginFlushing() flushing {
	if !flushes {
		return flushing{}
	}
	runtime.LockOSThread()
	f := flushing{floatMode()}
	setFloatMode(f.before | flushBits)
	return f
}

func (f flushing) end() {
	if !flushes {
		return
	}
	setFloatMode(f.before)
	runtime.UnlockOSThread()
}
