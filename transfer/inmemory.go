package transfer

import (
	"context"
	"fmt"

	"github.com/verydeep/vgg/dataset"
)

// Compute is [Extract] without a file: the descriptors stay in memory, and their numbers
// (Len × Header.Dim) are returned too. Numbers of unreadable images are zero.
func Compute(ctx context.Context, nets []Net, images *Images, o Options) (*Descriptors, []float32, error) {
	p, err := newExtraction(nets, images, o)
	if err != nil {
		return nil, nil, err
	}
	if p.header.Data.Fingerprint, err = dataset.Fingerprint(ctx, images.Dataset); err != nil {
		return nil, nil, err
	}
	n, dim := p.header.Rows(), p.header.Dim
	to := &memory{rows: make([][]float32, n), errs: make([]error, n), header: p.header, columns: p.header.columns()}
	x := make([]float32, n*dim)
	for r := range to.rows {
		to.rows[r] = x[r*dim : (r+1)*dim]
	}
	if _, err := p.run(ctx, to); err != nil {
		return nil, nil, err
	}
	rows := make([]Row, n)
	for r := range rows {
		i := p.header.image(r)
		rows[r] = Row{Image: i, File: images.Samples[i].Name, Part: images.part(i)}
		rows[r].Labels, rows[r].Difficult = images.labels(i)
		if to.errs[r] != nil {
			rows[r].Error = to.errs[r].Error()
			clear(to.rows[r])
		}
	}
	return InMemory(p.header, rows, x), x, nil
}

// InMemory returns descriptors whose numbers (rows × h.Dim) the caller has in memory.
func InMemory(h Header, rows []Row, x []float32) *Descriptors {
	return &Descriptors{Header: h, Rows: rows, read: func(start int, dst []float32) error {
		if start < 0 || start+len(dst) > len(x) {
			return fmt.Errorf("numbers %d to %d of %d", start, start+len(dst), len(x))
		}
		copy(dst, x[start:])
		return nil
	}}
}
