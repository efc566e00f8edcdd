package dataset

import (
	"sync/atomic"

	"github.com/verydeep/vgg/tensor"
)

// slot is a batch and the buffers that it is assembled in.
type slot struct {
	batch   Batch
	x       []float32 // (slotImages,3,Crop,Crop)
	image   int       // floats of one image
	first   int       // position of the first image
	indices []int
	views   []View
	errs    []error
	pending atomic.Int64
	ready   chan struct{}
}

func (l *Loader) newSlot() *slot {
	n, side := l.slotImages(), l.crop()
	s := &slot{
		image: 3 * side * side,
		views: make([]View, n),
		errs:  make([]error, n),
		ready: make(chan struct{}, 1),
	}
	s.x = make([]float32, n*s.image)
	s.batch.X = &tensor.Tensor{Shape: []int{n, 3, side, side}}
	s.batch.Labels = make([]int, 0, n)
	if l.Data.MultiLabel {
		s.batch.LabelSets = make([][]int, 0, n)
	}
	s.batch.Indices = make([]int, 0, n)
	s.batch.Positions = make([]int, 0, n)
	s.batch.Views = make([]View, 0, n)
	return s
}

// reset makes s the batch of the images at positions first, first+1, …
func (s *slot) reset(first int, indices []int) {
	s.first, s.indices = first, indices
	s.pending.Store(int64(len(indices)))
	if len(indices) == 0 { // a part of a batch with fewer images than parts
		s.ready <- struct{}{}
	}
}

// at returns the buffer of image i of the batch.
func (s *slot) at(i int) []float32 { return s.x[i*s.image : (i+1)*s.image] }

// done records the view of image i, which is prepared, or the error that prevented
// it. With the last image the batch is ready.
func (s *slot) done(i int, v View, err error) {
	s.views[i], s.errs[i] = v, err
	if s.pending.Add(-1) == 0 {
		s.ready <- struct{}{}
	}
}

// assemble fills in the batch, without gaps where images are bad.
func (s *slot) assemble(d *Dataset) {
	b := &s.batch
	b.LabelSets = b.LabelSets[:0]
	b.Labels, b.Indices, b.Positions, b.Views = b.Labels[:0], b.Indices[:0], b.Positions[:0], b.Views[:0]
	b.Bad = nil
	n := 0
	for i, index := range s.indices {
		if err := s.errs[i]; err != nil {
			b.Bad = append(b.Bad, BadImage{Name: d.Samples[index].Name, Index: index, Err: err})
			continue
		}
		if n < i {
			copy(s.at(n), s.at(i))
		}
		b.Labels = append(b.Labels, d.Samples[index].Label)
		if d.MultiLabel {
			b.LabelSets = append(b.LabelSets, d.Samples[index].Labels)
		}
		b.Indices = append(b.Indices, index)
		b.Positions = append(b.Positions, s.first+i)
		b.Views = append(b.Views, s.views[i])
		n++
	}
	b.X.Shape[0] = n
	b.X.Data = s.x[:n*s.image]
}
