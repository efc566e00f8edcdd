//go:build mpi

package cli

import (
	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/comm/mpi"
)

// openGroup joins the ranks that a launcher started; library is the file of the MPI library, ""
// for the launcher's.
func openGroup(library string) (comm.Group, error) { return mpi.Open(mpi.Options{Library: library}) }

// closeGroup leaves them.
func closeGroup(g comm.Group) error { return mpi.Close(g) }
