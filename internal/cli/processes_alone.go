//go:build !mpi

package cli

import (
	"context"
	"os"

	"github.com/verydeep/vgg/comm"
)

func openGroup(context.Context, string) (comm.Group, error) { return nil, errWithoutMPI }

func closeGroup(comm.Group) error { return nil }

// Exit ends the process.
func Exit(code int) { os.Exit(code) }
