package kernel

import (
	"syscall"
	"unsafe"
)

// adviseHuge asks for huge pages. A failure changes nothing.
func adviseHuge(buf []float32) {
	const page, advHugePage = 4096, 14 // MADV_HUGEPAGE
	p := uintptr(unsafe.Pointer(&buf[0]))
	skip := int(-p&(page-1)) / 4
	n := (len(buf) - skip) * 4 &^ (page - 1)
	if n > 0 {
		_ = syscall.Madvise(unsafe.Slice((*byte)(unsafe.Pointer(&buf[skip])), n), advHugePage)
	}
}
