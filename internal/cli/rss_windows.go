package cli

import (
	"syscall"
	"unsafe"
)

var processMemory = syscall.NewLazyDLL("kernel32.dll").NewProc("K32GetProcessMemoryInfo")

// memoryCounters is PROCESS_MEMORY_COUNTERS.
type memoryCounters struct {
	size, pageFaults           uint32
	peakWorkingSet, workingSet uintptr // bytes
	rest                       [6]uintptr
}

// peakRSS returns the largest working set of the process so far, in bytes; 0 if the system
// doesn't tell.
func peakRSS() int64 {
	var m memoryCounters
	m.size = uint32(unsafe.Sizeof(m))
	process, err := syscall.GetCurrentProcess()
	if err != nil || processMemory.Find() != nil {
		return 0
	}
	if ok, _, _ := processMemory.Call(uintptr(process), uintptr(unsafe.Pointer(&m)), uintptr(m.size)); ok == 0 {
		return 0
	}
	return int64(m.peakWorkingSet)
}
