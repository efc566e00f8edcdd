//go:build !unix

package main

import (
	"os"
	"syscall"
)

// signals end a command, which saves its results.
var signals = []os.Signal{os.Interrupt, syscall.SIGTERM}
