package accel

import (
	"errors"
	"fmt"
	"sync"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// place is where a micro-batch of images goes: to a rank of the process, from a number of the
// whole batch on.
type place struct{ rank, from int }

// sentBatch is the images of a batch on the devices before its step.
type sentBatch struct {
	x       *tensor.Tensor
	n, from int
	images  map[place]*pjrt.Buffer
}

func (a sentBatch) free() error {
	var errs []error
	for _, b := range a.images {
		errs = append(errs, b.Free())
	}
	return errors.Join(errs...)
}

// sentBatches are the batches whose steps come: the next one, and the one after it, if that is
// sent before the next step begins.
type sentBatches struct {
	mu  sync.Mutex
	all []sentBatch
}

// add keeps a batch.
func (s *sentBatches) add(b sentBatch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, b)
	var err error
	for len(s.all) > 2 { // the first had no step
		err = errors.Join(err, s.all[0].free())
		s.all = s.all[1:]
	}
	return err
}

// take returns the images of a batch, if they are there, and frees those of earlier ones.
func (s *sentBatches) take(b nn.TrainerBatch) map[place]*pjrt.Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, a := range s.all {
		if a.x == b.X && a.n == whole(b) && a.from == b.From {
			for _, earlier := range s.all[:i] {
				earlier.free() // an error of the device is the step's, too
			}
			s.all = s.all[i+1:]
			return a.images
		}
	}
	return nil
}

func (s *sentBatches) free() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, a := range s.all {
		errs = append(errs, a.free())
	}
	s.all = nil
	return errors.Join(errs...)
}

// Ahead implements [nn.Trainer].
func (t *Trainer) Ahead(b nn.TrainerBatch) {
	if t.check(nn.TrainerBatch{X: b.X, N: b.N, From: b.From, Loss: func(int, []float32, []float32, float32) float64 { return 0 }}) != nil {
		return // the step will tell
	}
	n := whole(b)
	images := map[place]*pjrt.Buffer{}
	for rank := range t.o.Ranks {
		share := t.at.share(t.tree, rank)
		for g := share.Lo; g < share.Hi; g++ {
			for from, end := g*n/t.o.Groups, (g+1)*n/t.o.Groups; from < end; from += t.plan.images {
				x, err := t.sendImages(b, rank, from, min(t.plan.images, end-from))
				if err != nil { // the step sends what is missing, and tells
					break
				}
				images[place{rank, from}] = x
			}
		}
	}
	t.next.add(sentBatch{b.X, n, b.From, images}) // an error of the device is the step's, too
}

// sendImages sends a micro-batch to a rank's device: images of the whole batch from a number on,
// which are filled up.
func (t *Trainer) sendImages(b nn.TrainerBatch, rank, from, count int) (*pjrt.Buffer, error) {
	in, n := t.plan.in, t.plan.images
	size := in.C * in.H * in.W
	from -= b.From
	values := b.X.Data[from*size : (from+count)*size]
	if count < n {
		values = append(make([]float32, 0, n*size), values...)[:n*size]
	}
	x, err := pjrt.Upload(t.d.devices[rank], values, n, in.C, in.H, in.W)
	if err != nil {
		return nil, fmt.Errorf("accel: %w", err)
	}
	return x, nil
}
