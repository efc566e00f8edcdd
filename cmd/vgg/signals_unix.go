//go:build unix

package main

import (
	"os"
	"syscall"
)

// signals end a command, which saves its results. SIGUSR1 is what schedulers send before a
// job's time is up (Slurm's --signal=USR1@120), and what mpirun passes on.
var signals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1}
