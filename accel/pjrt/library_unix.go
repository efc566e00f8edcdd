//go:build (linux || darwin || freebsd) && (amd64 || arm64)

package pjrt

import (
	"unsafe"

	"github.com/ebitengine/purego"
)

// openLibrary loads a shared library and returns the address of one of its functions.
func openLibrary(path, symbol string) (address uintptr, err error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return 0, err
	}
	return purego.Dlsym(handle, symbol)
}

// invoke calls a function of the plugin's. The conversion to uintptr within the call keeps what
// argument points to alive, and on the heap, where it doesn't move.
func invoke(f uintptr, argument unsafe.Pointer) uintptr {
	r, _, _ := purego.SyscallN(f, uintptr(argument))
	return r
}

// invokeHandle calls a function of the plugin's with a handle.
func invokeHandle(f, handle uintptr) uintptr {
	r, _, _ := purego.SyscallN(f, handle)
	return r
}
