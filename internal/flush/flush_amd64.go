package flush

import "github.com/klauspost/cpuid/v2"

// bits are FTZ, for results, and DAZ, for operands.
const bits = 1<<15 | 1<<6

// Can reports whether the processor has the mode. The first ones with SSE2 lacked DAZ;
// all with SSE3 have it.
var Can = cpuid.CPU.Supports(cpuid.SSE3)

// mode returns the thread's MXCSR.
//
//go:noescape
func mode() uint64

// setMode sets the thread's MXCSR.
//
//go:noescape
func setMode(mode uint64)
