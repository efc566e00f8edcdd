//go:build mpi

package cli

import (
	"context"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/comm/mpi"
)

// openGroup joins the ranks that a launcher started; library is the file of the MPI library, ""
// for the launcher's. Libraries wait without end for a rank that doesn't come, so this returns at
// the end of ctx, and the process must then end.
func openGroup(ctx context.Context, library string) (comm.Group, error) {
	type opened struct {
		group comm.Group
		err   error
	}
	done := make(chan opened, 1)
	go func() {
		group, err := mpi.Open(mpi.Options{Library: library})
		done <- opened{group, err}
	}()
	select {
	case o := <-done:
		return o.group, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// closeGroup leaves them.
func closeGroup(g comm.Group) error { return mpi.Close(g) }

// Exit ends the process, as libraries of MPI want it.
func Exit(code int) { mpi.Exit(code) }
