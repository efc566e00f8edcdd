package flush

// bits is FZ, for operands and results of one and two words.
const bits = 1 << 24

// Can reports whether the processor has the mode.
const Can = true

// mode returns the thread's FPCR.
//
//go:noescape
func mode() uint64

// setMode sets the thread's FPCR.
//
//go:noescape
func setMode(mode uint64)
