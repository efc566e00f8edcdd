// Package resources holds the one type that gives a run its share of the machine.
package resources

import (
	"fmt"
	"runtime"
)

// Resources is a run's share of the machine. The bits of a result don't depend on it. The zero
// value leaves all choices to the package that runs, whose options say what it chooses.
type Resources struct {
	Batch   int   // most images, or crops, that a rank takes through the network at a time; 0: the package chooses
	Ranks   int   // concurrent passes, which share Workers and Memory; 0: the package chooses
	Workers int   // goroutines of all ranks together: they decode images and, in training, compute; 0: runtime.GOMAXPROCS
	Memory  int64 // bound of the process's memory, in bytes, to which batches shrink; 0: the package chooses
	// MaxPixels is the most pixels of an image; a larger one is unreadable. 0:
	// preprocess.DefaultMaxPixels.
	MaxPixels int
	// OnRemark hears once, of whatever a reader of the result should know about how images were
	// read, such as preprocess.Grey16Remark; nil: nobody.
	OnRemark func(text string)
}

// Validate returns an error for a negative value. The error begins with the name of the
// package that runs.
func (r Resources) Validate(of string) error {
	for _, field := range []struct {
		name  string
		value int64
	}{{"batch", int64(r.Batch)}, {"ranks", int64(r.Ranks)}, {"workers", int64(r.Workers)}, {"memory", r.Memory}, {"max pixels", int64(r.MaxPixels)}} {
		if field.value < 0 {
			return fmt.Errorf("%s: %s: %d, want at least 0", of, field.name, field.value)
		}
	}
	return nil
}

// AllWorkers returns Workers, or runtime.GOMAXPROCS for 0.
func (r Resources) AllWorkers() int {
	if r.Workers > 0 {
		return r.Workers
	}
	return runtime.GOMAXPROCS(0)
}
