// Package progress holds the one type by which long work tells how far it is.
package progress

import "sync"

// Func is called during long work with the units that are done and those in all, in the
// units that the function taking it names: images, files, bytes, values. A total of 0 is
// one that is not known yet. Calls come one at a time and done never decreases; the
// function must return soon, as the work waits for it. A nil Func reports nothing.
type Func func(done, total int64)

// Report calls f, unless it is nil.
func (f Func) Report(done, total int64) {
	if f != nil {
		f(done, total)
	}
}

// Counter adds up units that any number of goroutines finish, and reports each sum.
type Counter struct {
	report Func
	total  int64

	mu   sync.Mutex
	done int64
}

// NewCounter returns a counter of total units that reports to f, which may be nil.
func NewCounter(f Func, total int64) *Counter { return &Counter{report: f, total: total} }

// Add reports that n more units are done.
func (c *Counter) Add(n int) {
	if c.report == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += int64(n)
	c.report(c.done, c.total)
}
