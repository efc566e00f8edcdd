//go:build !mpi

package cli

import (
	"errors"

	"github.com/verydeep/vgg/comm"
)

// openGroup says that this program can't join other processes.
func openGroup(string) (comm.Group, error) {
	return nil, errors.New("this program was built without MPI, and each process would work for itself and on the same files: build it with go build -tags mpi ./cmd/vgg; or set VGG_MPI=off, so that each process does its own command")
}

func closeGroup(comm.Group) error { return nil }
