//go:build unix

package main

import (
	"syscall"
	"time"
)

// processorTime is the processor time of the process, on which other processes have little
// effect.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
