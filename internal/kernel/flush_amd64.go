package kernel

import "github.com/klauspost/cpuid/v2"

// flushBits are FTZ, for results, and DAZ, for operands.
const flushBits = 1<<15 | 1<<6

// canFlush reports whether the processor has the mode. The first ones with SSE2 lacked DAZ;
// all with SSE3 have it.
var canFlush = cpuid.CPU.Supports(cpuid.SSE3)

// floatMode returns the thread's MXCSR.
//
//go:noescape
func floatMode() uint64

// setFloatMode sets the thread's MXCSR.
//
//go:noescape
func setFloatMode(mode uint64)
