//go:build linux || darwin

package kernel

import (
	"syscall"
	"unsafe"
)

// accessible maps memory for n floats between two pages that can be neither read nor
// written. An operand lies in mem[lo:hi].
func accessible(n int) (mem []float32, lo, hi int, free func()) {
	page := syscall.Getpagesize()
	size := max(page, (n*4+page-1)/page*page)
	m, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	inner := m[page : page+size]
	if err := syscall.Mprotect(inner, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		panic(err)
	}
	mem = unsafe.Slice((*float32)(unsafe.Pointer(&inner[0])), size/4)
	return mem, 0, len(mem), func() {
		if err := syscall.Munmap(m); err != nil {
			panic(err)
		}
	}
}
