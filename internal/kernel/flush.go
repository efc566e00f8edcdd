package kernel

import "github.com/verydeep/vgg/internal/flush"

// flushes switches the mode off, for tests and benchmarks of what it does.
var flushes = flush.Can

// flushing is the mode in which parts run: denormal numbers are zeros. Processors take up to a
// hundred times longer over such a number. Twins in Go obey it too, so all instruction sets
// behave alike; docs/kernels.md has the details.
type flushing struct{ mode flush.Mode }

func beginFlushing() flushing {
	if !flushes {
		return flushing{}
	}
	return flushing{flush.Begin()}
}

func (f flushing) end() {
	if flushes {
		f.mode.End()
	}
}
