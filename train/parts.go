package train

import (
	"context"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/tensor"
)

// sharePart tells the other processes which images of a batch this one could not read, and
// returns this process's part of the readable ones, with the unreadable ones of all as its Bad.
// b is what the loader gave, or failed is its error. If the context of any process is done, all
// get an error.
func (r *run) sharePart(ctx context.Context, b *dataset.Batch, number int, failed error) (part, error) {
	if r.o.Processes == nil {
		if failed != nil {
			return part{}, failed
		}
		return whole(b), nil
	}
	stop := ctx.Err() != nil
	if failed != nil && !stop {
		return part{}, failed // and the others learn of it from Run
	}
	g, l := r.o.Processes, r.trainLoader
	first := number * l.Batch
	n := min(l.Batch, l.Data.Len()-first)
	flags := make([]float64, 2*n+1) // unreadable places, losses of outputs of zero, processes that stop
	if stop {
		flags[2*n] = 1
	} else {
		from, to := l.Places(number)
		for place := from; place < to; place++ {
			if !slices.Contains(b.Positions, place) {
				flags[place-first] = 1
			}
		}
		for i, loss := range r.zeroLosses(b) {
			flags[n+b.Positions[i]-first] = loss
		}
	}
	if err := g.AllReduce64(context.WithoutCancel(ctx), comm.Tree(g.Size()), [][]float64{flags}); err != nil {
		return part{}, err
	}
	if flags[2*n] > 0 {
		return part{}, stopCause(ctx)
	}
	var readable []int // places
	p := part{Batch: b}
	for i := range n {
		if flags[i] == 0 {
			readable = append(readable, first+i)
			p.zeros = append(p.zeros, flags[n+i])
		}
	}
	p.n = len(readable)
	p.from = g.Rank() * p.n / g.Size()
	if p.n == n {
		return p, nil
	}
	return r.movePart(ctx, p, readable)
}

// movePart makes p's images those of its places among the readable ones, which some unreadable
// ones have moved. What this process hasn't read, its neighbour's, it reads now.
func (r *run) movePart(ctx context.Context, p part, readable []int) (part, error) {
	g, data := r.o.Processes, r.o.Train
	all, err := gather(ctx, g, messages(p.Bad))
	if err != nil {
		return p, err
	}
	b := &dataset.Batch{Wait: p.Wait}
	for rank, bad := range all {
		if rank == g.Rank() {
			b.Bad = append(b.Bad, p.Bad...)
		} else {
			b.Bad = append(b.Bad, received(data, rank, bad)...)
		}
	}
	shape := slices.Clone(p.X.Shape)
	size := 1
	for _, d := range shape[1:] {
		size *= d
	}
	order := r.trainLoader.Order(r.epoch)
	var x []float32
	for _, place := range readable[p.from : (g.Rank()+1)*p.n/g.Size()] {
		index := order[place]
		var view dataset.View
		if i := slices.Index(p.Positions, place); i >= 0 {
			x, view = append(x, p.X.Data[i*size:(i+1)*size]...), p.Views[i]
		} else {
			v, seen, err := r.prepareImage(ctx, index)
			if err != nil {
				return p, fmt.Errorf("train: rank %d can't read an image that another rank could: %w", g.Rank(), err)
			}
			x, view = append(x, v...), seen
		}
		b.Labels = append(b.Labels, data.Samples[index].Label)
		if data.MultiLabel {
			b.LabelSets = append(b.LabelSets, data.Samples[index].Labels)
		}
		b.Indices, b.Positions, b.Views = append(b.Indices, index), append(b.Positions, place), append(b.Views, view)
	}
	shape[0] = len(b.Labels)
	b.X = &tensor.Tensor{Shape: shape, Data: x}
	p.Batch = b
	return p, nil
}

// prepareImage returns what the network is trained on of a training image in this epoch: the
// image, or what the frozen front makes of it.
func (r *run) prepareImage(ctx context.Context, index int) ([]float32, dataset.View, error) {
	x, view, err := r.trainLoader.Prepare(ctx, r.epoch, index)
	if err != nil || r.trainFeatures == nil {
		return x, view, err
	}
	f, side := r.trainFeatures, r.o.Recipe.Input
	in, err := tensor.FromSlice(x, 1, 3, side, side)
	if err != nil {
		return nil, view, err
	}
	out := tensor.New(1, f.shape.C, f.shape.H, f.shape.W)
	return out.Data, view, f.front.ForwardContext(ctx, out, in)
}

// zeroLosses returns the loss that outputs of zero have on each image of a batch; nil for one of
// K classes, where it is ln K.
func (r *run) zeroLosses(b *dataset.Batch) []float64 {
	loss := r.stepper.o.loss(b, 0)
	if loss == nil {
		return nil
	}
	outputs, d := make([]float32, r.o.outputs()), make([]float32, r.o.outputs())
	losses := make([]float64, len(b.Labels))
	for i := range losses {
		losses[i] = loss(i, outputs, d, 1)
	}
	return losses
}
