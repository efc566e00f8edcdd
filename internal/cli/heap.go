package cli

import (
	"runtime"
	"runtime/debug"
)

// outsideHeap is the memory outside the heap in bytes: code and stacks.
const outsideHeap = 32 << 20

// heapLimit returns the collector's limit for a process that must stay within a bound. It
// leaves a margin, because the collector may exceed its limit for a moment.
func heapLimit(bound int64) int64 { return max(bound-bound/50-outsideHeap, outsideHeap) }

// boundHeap keeps the process within a bound of memory while images go through a network.
// The garbage of decoded images is collected long before it is as large as a network: using
// memory again is cheaper than getting more from the system, and the heap is mostly long
// arrays, which are quick to scan.
func boundHeap(bound int64) (restore func()) {
	const leave, least, most = 64 << 20, 10, 100 // bytes, per cent of the heap
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	percent := debug.SetGCPercent(int(min(max(100*leave/max(m.HeapAlloc, 1), least), most)))
	limit := debug.SetMemoryLimit(heapLimit(bound))
	return func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	}
}
