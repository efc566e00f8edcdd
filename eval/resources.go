package eval

import (
	"fmt"
	"runtime"
)

// Resources is a run's share of the machine. Neither the bits of a result nor, within the
// same Memory, the set of unreadable images depends on it. The zero value leaves all
// choices to the library.
type Resources struct {
	Batch   int   // crops or images of one size that go through the network together; 0: as many as hold 16·224² pixels, at most 128
	Ranks   int   // concurrent passes over one network, each with its share of threads and memory; 0: two, if there are threads and memory for them
	Workers int   // images decoded at once, by all ranks together; 0: runtime.GOMAXPROCS
	Memory  int64 // bound of the process's memory, bytes; 0: [DefaultMemory]. Batches and ranks shrink to fit; an image that doesn't fit counts as unreadable
}

// check returns an error for a negative value.
func (r Resources) check() error {
	for _, f := range []struct {
		name  string
		value int64
	}{{"batch", int64(r.Batch)}, {"ranks", int64(r.Ranks)}, {"workers", int64(r.Workers)}, {"memory", r.Memory}} {
		if f.value < 0 {
			return fmt.Errorf("eval: %s: %d, want at least 0", f.name, f.value)
		}
	}
	return nil
}

// workers returns the number of images to decode at once.
func (r Resources) workers() int {
	if r.Workers > 0 {
		return r.Workers
	}
	return runtime.GOMAXPROCS(0)
}
