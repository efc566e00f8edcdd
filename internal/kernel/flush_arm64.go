package kernel

// flushBits is FZ, for operands and results of one and two words.
const flushBits = 1 << 24

// canFlush reports whether the processor has the mode.
const canFlush = true

// floatMode returns the thread's FPCR.
//
//go:noescape
func floatMode() uint64

// setFloatMode sets the thread's FPCR.
//
//go:noescape
func setFloatMode(mode uint64)
