//go:build mpi && (linux || darwin || freebsd)

package mpi

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"runtime"

	"github.com/verydeep/vgg/comm"
)

func (g *group) AllGather(ctx context.Context, data []float32, bounds []int) error {
	if err := comm.CheckBounds(bounds, len(data), g.size); err != nil {
		g.Abort(err)
		return g.failure()
	}
	if len(data) > math.MaxInt32 {
		g.Abort(fmt.Errorf("all-gather of %d elements: MPI counts to %d", len(data), math.MaxInt32))
		return g.failure()
	}
	sum := fnv.New64a()
	for _, b := range bounds {
		binary.Write(sum, binary.LittleEndian, int64(b)) // a hash takes all
	}
	return g.together(ctx, call{allGather, int64(len(data)), int64(sum.Sum64())}, func() error {
		if g.size == 1 || bounds[0] == bounds[g.size] {
			return nil
		}
		counts, at := make([]int32, g.size), make([]int32, g.size)
		for r := range g.size {
			counts[r], at[r] = int32(bounds[r+1]-bounds[r]), int32(bounds[r])
		}
		var pin runtime.Pinner
		defer pin.Unpin()
		pin.Pin(&counts[0])
		pin.Pin(&at[0])
		pin.Pin(&data[0])
		l := g.library
		return l.together("MPI_Iallgatherv", l.inPlace, 0, 0, address(data), address(counts), address(at), l.float, l.world)
	})
}
