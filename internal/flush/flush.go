// Package flush makes a thread take denormal numbers as zeros.
package flush

import "runtime"

// Mode is the mode that [Begin] found.
type Mode struct{ before uint64 }

// Begin makes its thread take a float of a magnitude under 2⁻¹²⁶ (of a float64, 2⁻¹⁰²²) as a
// zero of its sign, as an operand and as a result, until [Mode.End] is called. Where the
// processor lacks such a mode ([Can]) it does nothing.
//
// The mode is the thread's, and goroutines move between threads: between the calls the
// goroutine stays on its thread, and no other goroutine runs there. Calls nest.
func Begin() Mode {
	if !Can {
		return Mode{}
	}
	runtime.LockOSThread()
	m := Mode{mode()}
	setMode(m.before | bits)
	return m
}

// End restores the mode.
func (m Mode) End() {
	if !Can {
		return
	}
	setMode(m.before)
	runtime.UnlockOSThread()
}
