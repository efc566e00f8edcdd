package transfer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Stack stacks descriptors of the same images, all with the same weight, and returns the
// stacked numbers too, row by row. An image that is unreadable in one of them is
// unreadable in the stack. Descriptors of different images are an error.
func Stack(ctx context.Context, parts ...*Descriptors) (*Descriptors, []float32, error) {
	if len(parts) == 0 {
		return nil, nil, errors.New("transfer: no descriptors to stack, want at least one part")
	}
	if slices.Contains(parts, nil) {
		return nil, nil, errNoDescriptors
	}
	if len(parts) == 1 {
		x, err := parts[0].Load(ctx)
		return parts[0], x, err
	}
	out := &Descriptors{Header: parts[0].Header, Rows: slices.Clone(parts[0].Rows)}
	out.Header.Nets, out.Header.Dim = nil, 0
	for _, p := range parts {
		if diff := p.Header.dataDifference(parts[0].Header); diff != "" || p.Len() != out.Len() {
			return nil, nil, fmt.Errorf("transfer: descriptors of other images: %d of %s, want %d of %s", p.Len(), p.Header.Data.Name, out.Len(), parts[0].Header.Data.Name)
		}
		out.Header.Nets = append(out.Header.Nets, p.Header.Nets...)
		out.Header.Dim += p.Header.Dim
		for r, row := range p.Rows {
			if row.Error != "" {
				out.Rows[r] = row
			}
		}
	}
	x := make([]float32, out.Len()*out.Header.Dim)
	weight := 1 / math.Sqrt(float64(len(parts)))
	at := 0
	for _, p := range parts {
		y, err := p.Load(ctx)
		if err != nil {
			return nil, nil, err
		}
		dim := p.Header.Dim
		for r := range p.Rows {
			if out.Rows[r].Error != "" {
				continue
			}
			to := x[r*out.Header.Dim+at:]
			for i, v := range y[r*dim : (r+1)*dim] {
				to[i] = float32(weight * float64(v))
			}
		}
		at += dim
	}
	return out, x, nil
}
