//go:build mpi && (linux || darwin || freebsd)

package mpi

import (
	"time"

	"github.com/verydeep/vgg/comm"
)

// Hurry shortens how long a rank waits for others, and then for MPI_Abort.
func Hurry(g comm.Group, others, abort time.Duration) {
	g.(*group).patience = patience{ended: others, aborted: others, abort: abort}
}

// Occupy keeps MPI's thread in a call that doesn't return.
func Occupy(g comm.Group) { g.(*group).calls <- func() { time.Sleep(time.Hour) } }
