package perceptual

import (
	"context"
	"fmt"

	"github.com/verydeep/vgg/internal/prefetch"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// PairsOptions says how many pairs are compared.
type PairsOptions struct {
	// Workers decode pictures ahead of the network; 0 stands for one.
	Workers int
	// Maps says whether the distances have maps.
	Maps bool
}

// Compared is the result of a pair.
type Compared struct {
	Index int
	A, B  *preprocess.Image // as they were loaded; nil with an error
	Distance
	Err error // of loading the pair
}

// SizesError is the error of two pictures of different sizes.
type SizesError struct{ AW, AH, BW, BH int }

func (e *SizesError) Error() string {
	return fmt.Sprintf("%d×%d and %d×%d pixels, want pictures of one size", e.AW, e.AH, e.BW, e.BH)
}

// batchPixels is about the number of pixels of the pictures that go through the network at
// once: sixteen pictures of the paper's crop.
const batchPixels = 16 * 224 * 224

// loaded is a pair that is preprocessed.
type loaded struct {
	Compared
	x []float32 // (2,3,H,W)
}

// Pairs compares pairs 0 … n−1, which load returns, and calls found with each result in
// order. Pairs of one size that follow one another go through the network at once, while the
// next ones are loaded. It ends with found's error and when ctx does.
func (m *Metric) Pairs(ctx context.Context, n int, load func(ctx context.Context, i int) (a, b *preprocess.Image, err error), o PairsOptions, found func(Compared) error) error {
	items := make([]int, n)
	for i := range items {
		items[i] = i
	}
	var batch []loaded
	flush := func() error {
		full := batch
		batch = nil
		return m.compareBatch(ctx, full, o.Maps, found)
	}
	for l := range prefetch.Ordered(ctx, items, max(1, o.Workers), func(ctx context.Context, i int) loaded {
		l := loaded{Compared: Compared{Index: i}}
		l.A, l.B, l.Err = load(ctx, i)
		if l.Err == nil && (l.A.W != l.B.W || l.A.H != l.B.H) {
			l.Err = &SizesError{l.A.W, l.A.H, l.B.W, l.B.H}
		}
		if l.Err != nil {
			return l
		}
		size := 3 * l.A.W * l.A.H
		l.x = make([]float32, 2*size)
		m.model.Preprocess.Tensor(l.x[:size], l.A, [3]float32{})
		m.model.Preprocess.Tensor(l.x[size:], l.B, [3]float32{})
		return l
	}) {
		if len(batch) > 0 && l.Err == nil && (l.A.W != batch[0].A.W || l.A.H != batch[0].A.H) || l.Err != nil {
			if err := flush(); err != nil {
				return err
			}
		}
		if l.Err != nil {
			if err := found(l.Compared); err != nil {
				return err
			}
			continue
		}
		batch = append(batch, l)
		if 2*l.A.W*l.A.H*(len(batch)+1) > batchPixels {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return flush()
}

// compareBatch compares pairs of one size, and calls found with each.
func (m *Metric) compareBatch(ctx context.Context, batch []loaded, maps bool, found func(Compared) error) error {
	if len(batch) == 0 {
		return nil
	}
	x := tensor.New(2*len(batch), 3, batch[0].A.H, batch[0].A.W)
	for i, l := range batch {
		copy(x.Data[i*len(l.x):], l.x)
	}
	distances, err := m.Compare(ctx, x, maps)
	if err != nil {
		return err
	}
	for i, l := range batch {
		l.Distance = distances[i]
		if err := found(l.Compared); err != nil {
			return err
		}
	}
	return nil
}
