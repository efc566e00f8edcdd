package eval

import (
	"context"
	"fmt"
	"image"
	"runtime"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/prefetch"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// pass takes images through one network, by any number of views at once.
type pass struct {
	model   *vgg.Model
	data    *dataset.Dataset
	views   []View
	limits  limits
	batch   int // pieces that go through the network together at most; 0: chosen by size
	workers int // images prepared at once

	// reduce computes the answer for a piece from the network's output, (K,OH,OW); nil:
	// the class posteriors of the map's mean over space.
	reduce func(answer, output []float32)
	region func(image int) image.Rectangle // part of an image that is shown; nil: all
	layers []string                        // whose activations are reduced, one behind the other; nil: the network's last

	// done takes the posteriors of an image, one for each wanted view in the order wanted,
	// or the error that makes it unreadable. One goroutine calls it.
	done func(image int, posteriors [][]float32, err error) error

	// prepare, where set, transforms the weights, which all ranks share, for a batch.
	prepare func(n, h, w int) error

	large  []int // images put off: a pass of one of their pieces takes more than limits.pass
	queues map[size]*queue
	queued int64 // bytes of the images in the queues
	grown  int64 // bytes of the largest pass so far
	x      []float32
	y      [][]float32 // by stage
	score  []float32   // of one piece
	parts  [][]float32 // of score, by stage
	stages []*nn.Chain // that end with the layers; one, the network, without layers
}

// size is the size of a piece, in pixels. Pieces of one size share a batch.
type size struct{ h, w int }

// queue holds the pieces of one size that wait for a batch.
type queue struct {
	pieces []queued
	limit  int // pieces of a batch
}

type queued struct {
	piece
	of *pending
}

// pending is an image of which some pieces have not been through the network.
type pending struct {
	index int
	name  string
	sums  []sum
	left  int   // pieces
	bytes int64 // of its rescaled images
}

// sum adds up a view's posteriors in the order of its pieces.
type sum struct {
	p []float64
	n int
}

func (s sum) mean() []float32 {
	p := make([]float32, len(s.p))
	for k, v := range s.p {
		p[k] = float32(v / float64(s.n))
	}
	return p
}

const (
	// batchPixels is the number of pixels of a batch: sixteen crops of the paper's size.
	// Larger batches take more memory and hardly less time an image.
	batchPixels = 16 * 224 * 224
	// batchPieces bounds the number of small crops in a batch.
	batchPieces = 128
)

// run takes the images that next returns through the network. wanted lists the views that
// are wanted of an image; several goroutines call it. prep, which several passes may
// share, reads the images. An unreadable image doesn't stop the run; an error of the
// network, of done or of ctx does.
func (p *pass) run(ctx context.Context, prep *preparer, next func() (image int, ok bool), wanted func(image int) []int) error {
	p.queues = map[size]*queue{}
	if err := p.plan(); err != nil {
		return err
	}
	if p.reduce == nil {
		posterior := p.model.Net.Options().Posterior()
		p.reduce = func(p, scores []float32) {
			spatialMean(p, scores)
			posterior.Of(p, p)
		}
	}
	for im := range prefetch.Unordered(ctx, next, p.workers, func(ctx context.Context, i int) prepared {
		return prep.prepare(ctx, i, wanted(i), p.limits.pass)
	}) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		prep.release(im)
		switch {
		case im.large:
			p.large = append(p.large, im.index)
		case dataset.Environment(ctx, im.err):
			return im.err
		case im.err != nil:
			if err := p.done(im.index, nil, im.err); err != nil {
				return err
			}
		default:
			if err := p.add(ctx, im); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.flush(ctx, 0)
}

// plan divides the network into stages, and the answer among them.
func (p *pass) plan() error {
	side := p.model.Net.Options().Input
	p.stages = []*nn.Chain{p.model.Net.Chain()}
	order := []int{0}
	if p.layers != nil {
		var err error
		if p.stages, order, err = p.model.Net.Chain().Stages(side, side, p.layers...); err != nil {
			return err
		}
	}
	channels := make([]int, len(order))
	h, w := side, side
	for i, c := range p.stages {
		shapes, err := c.Shapes(h, w)
		if err != nil {
			return err
		}
		out := shapes[len(shapes)-1]
		h, w, channels[order[i]] = out.H, out.W, out.C
	}
	p.y, p.parts, p.score = make([][]float32, len(order)), make([][]float32, len(order)), nil
	starts, length := make([]int, len(order)), 0
	for k, c := range channels {
		starts[k], length = length, length+c
	}
	p.score = make([]float32, length)
	for i, k := range order {
		p.parts[i] = p.score[starts[k] : starts[k]+channels[k]]
	}
	return nil
}

// add puts an image's pieces into the queues and runs the batches that are full.
func (p *pass) add(ctx context.Context, im prepared) error {
	pend := &pending{index: im.index, name: p.data.Samples[im.index].Name, sums: make([]sum, len(im.views)), bytes: im.kept}
	p.queued += im.kept
	for i, v := range im.views {
		pend.left += len(v.pieces)
		pend.sums[i] = sum{p: make([]float64, len(p.score)), n: len(v.pieces)}
	}
	for i, v := range im.views {
		for _, piece := range v.pieces {
			piece.target = &pend.sums[i]
			s := size{piece.h, piece.w}
			q := p.queues[s]
			if q == nil {
				limit, err := p.limit(s)
				if err != nil {
					return err
				}
				q = &queue{limit: limit}
				p.queues[s] = q
			}
			q.pieces = append(q.pieces, queued{piece, pend})
			if len(q.pieces) >= q.limit {
				if err := p.forward(ctx, s, q); err != nil {
					return err
				}
			}
		}
	}
	if p.queued > p.limits.queue {
		return p.flush(ctx, p.limits.queue/2)
	}
	return nil
}

// limit returns the number of pieces of a size in a batch: what the options or the size
// suggest, or fewer if the memory doesn't hold them.
func (p *pass) limit(s size) (int, error) {
	d := p.design()
	n := p.batch
	if n == 0 {
		n = min(max(1, batchPixels/(s.h*s.w)), batchPieces)
	}
	for ; n > 1; n-- {
		need, err := d.passBytes(n, s.h, s.w)
		if err != nil {
			return 0, err
		}
		if need <= p.limits.pass {
			break
		}
	}
	return n, nil
}

// design describes the pass's network.
func (p *pass) design() design {
	d := designOf(p.model)
	if p.layers != nil {
		d.stages = p.stages
	}
	return d
}

// flush runs batches, the fullest queue first, until the queues hold at most so many
// bytes.
func (p *pass) flush(ctx context.Context, bytes int64) error {
	for p.queued > bytes || bytes == 0 {
		var most *queue
		var at size
		for s, q := range p.queues {
			if len(q.pieces) == 0 {
				delete(p.queues, s)
				continue
			}
			if most == nil || len(q.pieces)*s.h*s.w > len(most.pieces)*at.h*at.w {
				most, at = q, s
			}
		}
		if most == nil {
			return nil
		}
		if err := p.forward(ctx, at, most); err != nil {
			return err
		}
	}
	return nil
}

// forward runs the first pieces of a queue as a batch.
func (p *pass) forward(ctx context.Context, s size, q *queue) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	batch := q.pieces[:min(q.limit, len(q.pieces))]
	ys, err := p.scores(ctx, s, batch)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("eval: %s: %w", batch[0].of.name, err)
	}
	for i, b := range batch {
		for j, y := range ys {
			output := y.Index(i).Data
			if !tensor.Finite(output) { // soft-max, sigmoid and maximum may hide an infinity
				return fmt.Errorf("eval: %s: %s: %w", p.data.Name, b.of.name, vgg.ErrNotFinite)
			}
			p.reduce(p.parts[j], output)
		}
		for k, v := range p.score {
			b.target.p[k] += float64(v)
		}
		b.of.left--
		if b.of.left > 0 {
			continue
		}
		p.queued -= b.of.bytes
		posteriors := make([][]float32, len(b.of.sums))
		for j, sum := range b.of.sums {
			posteriors[j] = sum.mean()
		}
		if err := p.done(b.of.index, posteriors, nil); err != nil {
			return err
		}
	}
	left := copy(q.pieces, q.pieces[len(batch):])
	clear(q.pieces[left:])
	q.pieces = q.pieces[:left]
	return nil
}

// scores returns the outputs of the stages for pieces of one size, (N,K,OH,OW): of the whole
// network, the class score maps.
func (p *pass) scores(ctx context.Context, s size, batch []queued) ([]*tensor.Tensor, error) {
	n, pixels := len(batch), 3*s.h*s.w
	need, err := p.design().passBytes(n, s.h, s.w)
	if err != nil {
		return nil, err
	}
	if need > p.grown {
		// Free the smaller buffers before the larger ones are allocated.
		p.grown = need
		p.release()
		runtime.GC()
	}
	p.x = grow(p.x, n*pixels)
	x, err := tensor.FromSlice(p.x, n, 3, s.h, s.w)
	if err != nil {
		return nil, err
	}
	for i, b := range batch {
		b.fill(p.x[i*pixels:(i+1)*pixels], p.model.Preprocess)
	}
	if p.prepare != nil {
		if err := p.prepare(n, s.h, s.w); err != nil {
			return nil, err
		}
	}
	if p.layers == nil {
		y, err := p.buffer(0, n, s.h, s.w)
		if err != nil {
			return nil, err
		}
		return []*tensor.Tensor{y}, p.model.Net.ForwardContext(ctx, y, x)
	}
	ys := make([]*tensor.Tensor, len(p.stages))
	for i, c := range p.stages {
		if ys[i], err = p.buffer(i, n, x.Dim(2), x.Dim(3)); err != nil {
			return nil, err
		}
		if err := c.ForwardContext(ctx, ys[i], x); err != nil {
			return nil, err
		}
		x = ys[i]
	}
	return ys, nil
}

// buffer returns memory for the output of stage i for n inputs of h×w.
func (p *pass) buffer(i, n, h, w int) (*tensor.Tensor, error) {
	shapes, err := p.stages[i].Shapes(h, w)
	if err != nil {
		return nil, err
	}
	out := shapes[len(shapes)-1]
	length, err := tensor.Size(n, out.C, out.H, out.W)
	if err != nil {
		return nil, err
	}
	p.y[i] = grow(p.y[i], length)
	return tensor.FromSlice(p.y[i], n, out.C, out.H, out.W)
}

// release frees the buffers.
func (p *pass) release() {
	p.x = nil
	clear(p.y)
	for _, c := range p.stages {
		c.Release()
	}
}

// grow returns a slice of length n, s itself if it is large enough.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// spatialMean averages a class score map over space: dst is (K), scores (K,OH,OW).
func spatialMean(dst, scores []float32) {
	n := len(scores) / len(dst)
	for k := range dst {
		sum := 0.0
		for _, s := range scores[k*n : (k+1)*n] {
			sum += float64(s)
		}
		dst[k] = float32(sum / float64(n))
	}
}
