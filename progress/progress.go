// Package progress holds the callback by which everything that takes long reports how
// far it has come.
package progress

// Func is told that done of total units of work are finished. The option that takes a
// Func names its unit: images, bytes, files.
//
// Calls don't overlap, and done never falls. Total is 0 as long as it isn't known. A nil
// Func is allowed wherever one is taken, and hears nothing.
type Func func(done, total int64)

// Report calls f, unless it is nil.
func (f Func) Report(done, total int64) {
	if f != nil {
		f(done, total)
	}
}
