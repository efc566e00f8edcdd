package dataset

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"
)

// Epoch returns the batches of one pass over the data, in order. Batch b has
// the images at places b·Batch to (b+1)·Batch-1 of the epoch's order. Every
// image is in exactly one batch (except with DropLast); an unreadable one is
// listed in its Bad. With Parts, this holds for the batches of all parts together.
//
// Workers goroutines prepare batches ahead of their use, in a ring of three
// buffers (more if Batch is less than Workers, and Held more). The goroutines have stopped when
// the loop over the batches ends, however it ends.
//
// An error ends the sequence, with a nil batch: a field that Validate refuses,
// a context that is done, an image that can't be read for want of open files ([Environment]), or, after the last batch, an epoch in which no image was
// readable; the last wraps a [*BadImage], the first one.
func (l *Loader) Epoch(ctx context.Context, epoch int) iter.Seq2[*Batch, error] {
	return l.EpochFrom(ctx, epoch, 0)
}

// EpochFrom is Epoch beginning with the batch of the given number, 0 to Batches.
// The batches are the same bits as Epoch's, and the images of earlier ones are
// not read. With it a run resumes in the middle of an epoch.
func (l *Loader) EpochFrom(ctx context.Context, epoch, batch int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		if err := l.Validate(); err != nil {
			yield(nil, err)
			return
		}
		if batch < 0 || batch > l.Batches() {
			yield(nil, fmt.Errorf("dataset: %s: epoch %d: from batch %d, want 0 to %d", l.Data.Name, epoch, batch, l.Batches()))
			return
		}
		p := l.start(ctx, epoch, batch)
		defer p.stop()
		readable, firstBad := 0, BadImage{}
		var held []*slot
		for range l.Batches() - batch {
			s, err := p.next()
			if err != nil {
				yield(nil, fmt.Errorf("dataset: %s: epoch %d: %w", l.Data.Name, epoch, err))
				return
			}
			s.assemble(l.Data)
			readable += len(s.batch.Labels)
			if firstBad.Err == nil && len(s.batch.Bad) > 0 {
				firstBad = s.batch.Bad[0]
			}
			if !yield(&s.batch, nil) {
				return
			}
			if held = append(held, s); len(held) > l.Held {
				p.free <- held[0]
				held = held[1:]
			}
		}
		if readable == 0 && batch == 0 && l.Parts <= 1 { // else other parts may have some
			yield(nil, noneReadable(l.Data, firstBad.Index, firstBad.Err))
		}
	}
}

// pipeline is one running epoch. Slots circulate: the dispatcher takes one from
// free, queues it for the consumer and hands its images to the workers; the
// consumer waits until its last image is done, and returns the slot to free when
// the next batch is asked for.
type pipeline struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	free   chan *slot // has room for every slot: sending never waits
	queue  chan *slot // likewise
	unread func()     // ends the reading ahead
}

func (l *Loader) start(ctx context.Context, epoch, batch int) *pipeline {
	workers := min(l.workers(), l.Data.Len())
	slots := min(2+l.Held+(workers+l.Batch-1)/l.Batch, l.Batches()-batch)
	p := &pipeline{free: make(chan *slot, slots), queue: make(chan *slot, slots)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	for range slots {
		p.free <- l.newSlot()
	}
	type job struct {
		slot *slot
		i    int
	}
	jobs := make(chan job)
	order := l.Order(epoch)
	var own []int // images of this part, in the order of their use
	for b := batch; b < l.Batches(); b++ {
		first, end := l.Places(b)
		own = append(own, order[first:end]...)
	}
	p.unread = l.Data.aheadBut(p.ctx, own, func(i int) bool { return l.decoded.get(i).Image != nil })
	p.wg.Go(func() {
		defer close(jobs)
		for b := batch; b < l.Batches(); b++ {
			var s *slot
			select {
			case s = <-p.free:
			case <-p.ctx.Done():
				return
			}
			first, end := l.Places(b)
			s.reset(first, order[first:end])
			p.queue <- s
			for i := range s.indices {
				select {
				case jobs <- job{s, i}:
				case <-p.ctx.Done():
					return
				}
			}
		}
	})
	for range workers {
		p.wg.Go(func() {
			prep := preparer{loader: l, view: l.View(epoch)}
			for j := range jobs {
				v, err := prep.prepare(p.ctx, j.slot.at(j.i), j.slot.indices[j.i])
				j.slot.done(j.i, v, err)
			}
		})
	}
	return p
}

// next waits for the next batch.
func (p *pipeline) next() (*slot, error) {
	if err := p.ctx.Err(); err != nil {
		return nil, context.Cause(p.ctx)
	}
	asked := time.Now()
	var s *slot
	select {
	case s = <-p.queue:
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	}
	select {
	case <-s.ready:
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	}
	for _, err := range s.errs[:len(s.indices)] {
		if Environment(p.ctx, err) {
			if p.ctx.Err() != nil {
				err = context.Cause(p.ctx)
			}
			return nil, err
		}
	}
	s.batch.Wait = time.Since(asked)
	return s, nil
}

func (p *pipeline) stop() {
	p.cancel()
	p.wg.Wait()
	p.unread()
}
