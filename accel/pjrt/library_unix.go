//go:build (linux || darwin || freebsd) && (amd64 || arm64)

package pjrt

import (
	"os"
	"unsafe"

	"github.com/ebitengine/purego"
)

// openLibrary loads a shared library and returns the address of one of its functions. Libraries
// that it calls are loaded before, for all to see; it says itself which it misses.
func openLibrary(path, symbol string, before []string) (address uintptr, err error) {
	quiet()
	for _, path := range before {
		_, _ = purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return 0, err
	}
	return purego.Dlsym(handle, symbol)
}

// quiet lets XLA log nothing but why it ends the process, unless the user wants more: errors come
// back as errors. Go's environment isn't C's where there is no cgo.
func quiet() {
	name, level := append([]byte("TF_CPP_MIN_LOG_LEVEL"), 0), []byte("3\x00")
	if _, ok := os.LookupEnv(string(name[:len(name)-1])); ok {
		return
	}
	if set, err := purego.Dlsym(purego.RTLD_DEFAULT, "setenv"); err == nil {
		purego.SyscallN(set, uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&level[0])), 0)
	}
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
