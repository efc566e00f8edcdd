//go:build mpi && (linux || darwin || freebsd)

package mpi

import (
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"
)

// What a C function writes to a local variable arrives there, at whichever call on the way to C
// the stack grows, and so moves.
func TestLocalsOfCalls(t *testing.T) {
	address, err := purego.Dlsym(purego.RTLD_DEFAULT, "clock_gettime")
	if err != nil {
		t.Fatal(err)
	}
	l := &library{functions: map[string]uintptr{"clock_gettime": address}}
	const depths = 500
	lost := 0
	for depth := range depths {
		seconds := make(chan int64)
		go func() { seconds <- secondsAt(t, l, depth) }()
		if <-seconds == 0 {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d values were written elsewhere", lost, depths)
	}
}

// secondsAt returns the seconds of the clock, read so many frames deep.
//
//go:noinline
func secondsAt(t *testing.T, l *library, depth int) int64 {
	if depth > 0 {
		return secondsAt(t, l, depth-1)
	}
	var now [2]int64 // a timespec
	if err := l.call("clock_gettime", 0, uintptr(unsafe.Pointer(&now))); err != nil {
		t.Error(err)
	}
	return now[0]
}
