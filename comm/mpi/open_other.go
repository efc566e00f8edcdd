//go:build !mpi || !(linux || darwin || freebsd)

package mpi

import (
	"errors"
	"os"

	"github.com/verydeep/vgg/comm"
)

// Open returns this process's view of the group of all ranks that the launcher started.
func Open(Options) (comm.Group, error) {
	return nil, errors.New("mpi: this program was built without MPI: build it with go build -tags mpi, on Linux, macOS or FreeBSD")
}

// Close ends the use of MPI.
func Close(comm.Group) error { return nil }

// Exit ends the process as [os.Exit] does.
func Exit(code int) { os.Exit(code) }
