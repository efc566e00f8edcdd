//go:build !((linux || darwin || freebsd) && (amd64 || arm64))

package pjrt

import (
	"errors"
	"runtime"
	"unsafe"
)

func openLibrary(string, string, []string) (uintptr, error) {
	return 0, errors.New("plugins are loaded on Linux, macOS and FreeBSD, on amd64 and arm64, not on " + runtime.GOOS + "/" + runtime.GOARCH)
}

func invoke(uintptr, unsafe.Pointer) uintptr { panic("pjrt: no plugin can be loaded") }

func invokeHandle(uintptr, uintptr) uintptr { panic("pjrt: no plugin can be loaded") }
