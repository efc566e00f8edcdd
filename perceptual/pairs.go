package perceptual

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/verydeep/vgg/internal/prefetch"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
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
	Err error // of loading the pair, a [SizesError] or a [TooSmallError]
}

// SizesError is the error of two pictures of different sizes.
type SizesError struct{ AW, AH, BW, BH int }

func (e *SizesError) Error() string {
	return fmt.Sprintf("%d×%d and %d×%d pixels, want pictures of one size", e.AW, e.AH, e.BW, e.BH)
}

// TooSmallError is the error of two pictures that are too small for the network.
type TooSmallError struct{ W, H, Least int }

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("%d×%d pixels, want at least %d×%d", e.W, e.H, e.Least, e.Least)
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
	lanes := m.lanes(n)
	most := (n + lanes.count() - 1) / lanes.count() // pairs of a batch, so that no lane is left without one
	batches := m.batches(ctx, n, most, batchPixels/lanes.count(), load, o.Workers)
	for b := range prefetch.Ordered(ctx, batches, lanes.count(), func(ctx context.Context, b *batch) *batch {
		b.err = lanes.compare(ctx, b.pairs, o.Maps)
		return b
	}) {
		if b.err != nil {
			return b.err
		}
		for _, l := range b.pairs {
			if err := found(l.Compared); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// batch is pairs of one size, or one that couldn't be loaded.
type batch struct {
	pairs []loaded
	err   error // of comparing them
}

// batches loads pairs 0 … n−1, at most so many, and about so many pixels, at once.
func (m *Metric) batches(ctx context.Context, n, most, pixels int, load func(ctx context.Context, i int) (a, b *preprocess.Image, err error), workers int) iter.Seq[*batch] {
	least := m.least()
	read := func(ctx context.Context, i int) loaded {
		l := loaded{Compared: Compared{Index: i}}
		l.A, l.B, l.Err = load(ctx, i)
		if l.Err == nil && (l.A == nil || l.B == nil) {
			l.Err = errNoPicture
		}
		if l.Err == nil && (l.A.W != l.B.W || l.A.H != l.B.H) {
			l.Err = &SizesError{l.A.W, l.A.H, l.B.W, l.B.H}
		}
		if l.Err == nil && min(l.A.W, l.A.H) < least {
			l.Err = &TooSmallError{l.A.W, l.A.H, least}
		}
		if l.Err != nil {
			return l
		}
		size := 3 * l.A.W * l.A.H
		l.x = make([]float32, 2*size)
		m.model.Preprocess.Tensor(l.x[:size], l.A, [3]float32{})
		m.model.Preprocess.Tensor(l.x[size:], l.B, [3]float32{})
		return l
	}
	return func(yield func(*batch) bool) {
		var pairs []loaded
		give := func() bool {
			full := pairs
			pairs = nil
			return full == nil || yield(&batch{pairs: full})
		}
		indices := func(yield func(int) bool) {
			for i := range n {
				if !yield(i) {
					return
				}
			}
		}
		for l := range prefetch.Ordered(ctx, indices, workers, read) {
			if l.Err != nil || len(pairs) > 0 && (l.A.W != pairs[0].A.W || l.A.H != pairs[0].A.H) {
				if !give() {
					return
				}
			}
			pairs = append(pairs, l)
			if l.Err != nil || len(pairs) == most || 2*l.A.W*l.A.H*(len(pairs)+1) > pixels {
				if !give() {
					return
				}
			}
		}
		if ctx.Err() == nil {
			give()
		}
	}
}

// lanes are the same distance several times: each computes on threads of its own, while the
// others wait for their last thread or for memory.
type lanes struct {
	all     *Metric
	prepare sync.Once // transforms the weights, for which all lanes wait
	free    chan *Metric
	large   sync.RWMutex // held alone by a batch that leaves no memory for another
}

// lanes returns two lanes, if there are threads and pairs for them.
func (m *Metric) lanes(pairs int) *lanes {
	threads := m.model.Net.Chain().Threads()
	n := max(1, min(2, threads, pairs))
	l := &lanes{all: m, free: make(chan *Metric, n)}
	for i := range n {
		l.free <- m.share((i+1)*threads/n - i*threads/n)
	}
	return l
}

func (l *lanes) count() int { return cap(l.free) }

// share returns the distance on other threads, of the given number.
func (m *Metric) share(threads int) *Metric {
	model := *m.model
	model.Net = m.model.Net.Share(threads)
	return &Metric{model: &model, layers: m.layers, blocks: m.blocks}
}

// compare adds the distances to a batch.
func (l *lanes) compare(ctx context.Context, pairs []loaded, maps bool) error {
	if pairs[0].Err != nil {
		return nil
	}
	n, h, w := len(pairs), pairs[0].A.H, pairs[0].A.W
	need, err := l.all.Floats(n, h, w)
	if err != nil {
		return fmt.Errorf("perceptual: %w", err)
	}
	if resources.Fits("", 4*int64(need)*int64(l.count())) == nil {
		l.large.RLock()
		defer l.large.RUnlock()
	} else {
		l.large.Lock()
		defer l.large.Unlock()
	}
	l.prepare.Do(func() { err = l.all.transform(2*n, h, w) })
	if err != nil {
		return fmt.Errorf("perceptual: %w", err)
	}
	x := tensor.New(2*n, 3, h, w)
	for i, p := range pairs {
		copy(x.Data[i*len(p.x):], p.x)
	}
	lane := <-l.free
	defer func() { l.free <- lane }()
	distances, err := lane.Compare(ctx, x, maps)
	if err != nil {
		return err
	}
	for i := range pairs {
		pairs[i].Distance, pairs[i].x = distances[i], nil
	}
	return nil
}

// transform computes the transformed weights for n pictures of h × w on all threads.
func (m *Metric) transform(n, h, w int) error {
	last := m.layers[len(m.layers)-1].Name
	c, err := m.model.Net.Until(last, true)
	if err != nil {
		return err
	}
	return c.Chain().Prepare(n, h, w)
}
