package comm

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// gather is a rank's arguments of an all-gather.
type gather struct {
	data   []float32
	bounds []int
}

func (g gather) String() string {
	return fmt.Sprintf("AllGather of %d, cut at %s", len(g.data), listed(g.bounds))
}

// listed writes bounds for a person: "0, 4, 9".
func listed(bounds []int) string {
	texts := make([]string, len(bounds))
	for i, b := range bounds {
		texts[i] = strconv.Itoa(b)
	}
	return strings.Join(texts, ", ")
}

// CheckBounds returns what is wrong with the bounds of an all-gather of n elements over so many
// ranks.
func CheckBounds(bounds []int, n, ranks int) error {
	if len(bounds) != ranks+1 || !slices.IsSorted(bounds) || bounds[0] < 0 || bounds[ranks] > n {
		return fmt.Errorf("all-gather of %d elements over %d ranks, cut at %s: want %d ascending bounds within them", n, ranks, listed(bounds), ranks+1)
	}
	return nil
}

func (g *local) AllGather(ctx context.Context, data []float32, bounds []int) error {
	if err := CheckBounds(bounds, len(data), g.hub.size); err != nil {
		g.Abort(err)
		return g.hub.cause()
	}
	if err := g.meet(ctx, gather{data, bounds}); err != nil {
		return err
	}
	if err := g.same(func(any) string { return "" }); err != nil {
		return err
	}
	for rank, b := range g.hub.brought {
		if rank != g.rank {
			copy(data[bounds[rank]:bounds[rank+1]], b.(gather).data[bounds[rank]:])
		}
	}
	return g.leave(ctx)
}

func (g *nested) AllGather(ctx context.Context, data []float32, bounds []int) error {
	h := g.inner.hub
	if err := CheckBounds(bounds, len(data), g.Size()); err != nil {
		g.Abort(err)
		return h.cause()
	}
	if err := g.meet(ctx, gather{data, bounds}); err != nil {
		return err
	}
	if err := g.inner.same(func(any) string { return "" }); err != nil {
		return g.tell(err)
	}
	err := g.together(ctx, func() error { // the first rank has all of the process, then all
		outer := []int{bounds[0]}
		for rank := h.size; rank <= g.Size(); rank += h.size {
			outer = append(outer, bounds[rank])
		}
		for i, b := range h.brought {
			from, to := bounds[h.first+i], bounds[h.first+i+1]
			copy(data[from:to], b.(gather).data[from:to])
		}
		return g.outer.AllGather(ctx, data, outer)
	})
	if err != nil {
		return err
	}
	if !g.first() {
		copy(data[bounds[0]:bounds[g.Size()]], h.brought[0].(gather).data[bounds[0]:])
	}
	return g.meet(ctx, nil)
}
