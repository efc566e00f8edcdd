//go:build !mpi

package cli

import (
	"context"

	"github.com/verydeep/vgg/comm"
)

func openGroup(context.Context, string) (comm.Group, error) { return nil, errWithoutMPI }

func closeGroup(comm.Group) error { return nil }
