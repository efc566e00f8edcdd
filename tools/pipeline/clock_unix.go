//go:build unix

package main

import (
	"syscall"
	"time"
)

// processorTime is what the process has used of the processors, which others
// on the machine change little.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
