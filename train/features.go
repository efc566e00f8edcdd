package train

import (
	"context"
	"iter"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/tensor"
)

// frontImages is the most images that go through the frozen layers at a time.
const frontImages = 16

// frontLayers returns the number of layers that a run computes apart: those whose output for
// a crop never changes, if the recipe shows each crop again. 0: none.
func (r Recipe) frontLayers(c *nn.Chain) int {
	if r.Views == 0 {
		return 0
	}
	n := c.Front()
	for _, l := range c.Layers()[:n] {
		if _, ok := l.(*nn.Conv); ok {
			return n
		}
	}
	return 0 // nothing worth keeping
}

// features makes the mini-batches of a loader with what the frozen front of the network makes
// of the images in place of them. It keeps that where there is room, so that a crop goes
// through the front once. Nothing that it returns depends on whether it does.
type features struct {
	front  *nn.Chain
	shape  nn.Shape // of the front's output for an image
	loader *dataset.Loader
	keeps  bool
	kept   map[int]*keptView // by the number of the view
	x      []float32
	batch  dataset.Batch
}

// keptView is the features of the images in one view.
type keptView struct {
	values []float32
	known  []bool // also of unreadable images
	views  []dataset.View
	bad    map[int]dataset.BadImage
}

// frontShare is the divisor of the machine's memory that gives what frozen layers make of the
// images of training, or of validation.
const frontShare = 8

// FrontBytes returns the most bytes of the frozen layers' output that a run keeps, for each of
// training and validation: with the default [Options.CacheBytes], an eighth of the machine's
// memory, but at least those; of a bounded memory (0: it is not bounded) what decoded images have.
func FrontBytes(memory int64) int64 {
	return frontBytes(DefaultOptions().CacheBytes, memory)
}

// frontBytes is FrontBytes with a number of bytes for decoded images, which bounds both where it
// is less than the default.
func frontBytes(cache, memory int64) int64 {
	switch {
	case memory > 0:
		return min(cache, memory/cacheShare)
	case cache < DefaultOptions().CacheBytes:
		return cache
	}
	return max(cache, resources.Machine()/frontShare)
}

// newFeatures returns the features of a loader's images, of the given shape. They are kept if
// they take at most the given bytes, of which the loader then has the rest, but no more than it
// had, for the images that it needs again.
func newFeatures(front *nn.Chain, shape nn.Shape, l *dataset.Loader, bytes int64) *features {
	f := &features{front: front, shape: shape, loader: l, kept: map[int]*keptView{}}
	f.keeps = f.bytes() <= bytes
	if f.keeps {
		if l.CacheBytes = min(max(0, l.CacheBytes), bytes-f.bytes()); l.CacheBytes == 0 || !l.Train || l.Views == 1 {
			l.CacheBytes = dataset.NoCache
		}
	}
	return f
}

// bytes returns the memory of all features, kept.
func (f *features) bytes() int64 {
	views := 1
	if f.loader.Train {
		views = f.loader.Views
	}
	return featureBytes(f.shape, f.loader.Data.Len(), views)
}

// featureBytes returns the memory of the features of a number of images in several views.
func featureBytes(s nn.Shape, images, views int) int64 {
	return 4 * int64(s.C*s.H*s.W) * int64(images) * int64(views)
}

// size returns the number of values of an image's features.
func (f *features) size() int { return f.shape.C * f.shape.H * f.shape.W }

// epoch is [dataset.Loader.EpochFrom] with features.
func (f *features) epoch(ctx context.Context, epoch, from int) iter.Seq2[*dataset.Batch, error] {
	return func(yield func(*dataset.Batch, error) bool) {
		order, view := f.loader.Order(epoch), f.loader.View(epoch)
		kept := f.kept[view]
		for ; from < f.loader.Batches() && kept != nil; from++ {
			first := from * f.loader.Batch
			indices := order[first:min(first+f.loader.Batch, len(order))]
			if !kept.have(indices) {
				break
			}
			f.assemble(kept, first, indices)
			if !yield(&f.batch, nil) {
				return
			}
		}
		if from == f.loader.Batches() {
			return
		}
		if kept == nil && f.keeps {
			n := f.loader.Data.Len()
			kept = &keptView{values: make([]float32, n*f.size()), known: make([]bool, n), views: make([]dataset.View, n), bad: map[int]dataset.BadImage{}}
			f.kept[view] = kept
		}
		for b, err := range f.loader.EpochFrom(ctx, epoch, from) {
			if err == nil {
				err = f.compute(ctx, b)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if kept != nil {
				kept.add(&f.batch, f.size())
			}
			if !yield(&f.batch, nil) {
				return
			}
		}
	}
}

// compute sets f.batch to the features of a batch of images.
func (f *features) compute(ctx context.Context, b *dataset.Batch) error {
	n, size := len(b.Labels), f.size()
	f.batch = *b
	f.grow(n)
	for from := 0; from < n; from += frontImages {
		to := min(from+frontImages, n)
		x, _, err := images(b, from, to)
		if err != nil {
			return err
		}
		y, err := tensor.FromSlice(f.x[from*size:to*size], to-from, f.shape.C, f.shape.H, f.shape.W)
		if err != nil {
			return err
		}
		if err := f.front.ForwardContext(ctx, y, x); err != nil {
			return err
		}
	}
	return nil
}

// grow makes f.batch.X the features of n images.
func (f *features) grow(n int) {
	if cap(f.x) < n*f.size() {
		f.x = make([]float32, n*f.size())
	}
	f.x = f.x[:n*f.size()]
	f.batch.X = &tensor.Tensor{Shape: []int{n, f.shape.C, f.shape.H, f.shape.W}, Data: f.x}
}

// assemble sets f.batch to the kept features of images that begin at a position of the
// epoch's order.
func (f *features) assemble(kept *keptView, first int, indices []int) {
	data, size := f.loader.Data, f.size()
	f.batch = dataset.Batch{}
	b := &f.batch
	f.grow(len(indices))
	for i, index := range indices {
		if bad, ok := kept.bad[index]; ok {
			b.Bad = append(b.Bad, bad)
			continue
		}
		copy(f.x[len(b.Labels)*size:], kept.values[index*size:(index+1)*size])
		b.Labels = append(b.Labels, data.Samples[index].Label)
		if data.MultiLabel {
			b.LabelSets = append(b.LabelSets, data.Samples[index].Labels)
		}
		b.Indices = append(b.Indices, index)
		b.Positions = append(b.Positions, first+i)
		b.Views = append(b.Views, kept.views[index])
	}
	f.grow(len(b.Labels))
}

// have reports whether the features of all the images are kept.
func (k *keptView) have(indices []int) bool {
	for _, i := range indices {
		if !k.known[i] {
			return false
		}
	}
	return true
}

// add keeps the features of a batch, of size values each.
func (k *keptView) add(b *dataset.Batch, size int) {
	for i, index := range b.Indices {
		copy(k.values[index*size:(index+1)*size], b.X.Data[i*size:])
		k.views[index], k.known[index] = b.Views[i], true
	}
	for _, bad := range b.Bad {
		k.bad[bad.Index], k.known[bad.Index] = bad, true
	}
}

// trainBatches returns the mini-batches of an epoch from one of them on: of images, or of
// their features.
func (r *run) trainBatches(ctx context.Context, epoch, from int) iter.Seq2[*dataset.Batch, error] {
	if r.trainFeatures != nil {
		return r.trainFeatures.epoch(ctx, epoch, from)
	}
	return r.trainLoader.EpochFrom(ctx, epoch, from)
}

// valBatches returns the mini-batches of the validation.
func (r *run) valBatches(ctx context.Context) iter.Seq2[*dataset.Batch, error] {
	if r.valFeatures != nil {
		return r.valFeatures.epoch(ctx, 0, 0)
	}
	return r.valLoader.Epoch(ctx, 0)
}

// forward runs a batch of the validation through the network, or through what follows its
// front.
func (r *run) forward(x *tensor.Tensor) (*tensor.Tensor, error) {
	if r.valFeatures == nil {
		return r.model.Net.Forward(x)
	}
	return r.rest.Forward(x)
}

// prepareFeatures makes the loaders of features, if the network has a front to be computed
// apart.
func (r *run) prepareFeatures() error {
	n := r.stepper.o.Front
	if n == 0 {
		return nil
	}
	side := r.o.Recipe.Input
	front, rest, shape, err := r.model.Net.Chain().Split(n, side, side)
	if err != nil {
		return err
	}
	r.rest = rest
	memory := r.o.Memory
	if r.o.Device != nil { // whose memory it bounds
		memory = 0
	}
	bytes := frontBytes(r.o.CacheBytes, memory)
	r.trainFeatures = newFeatures(front, shape, r.trainLoader, bytes)
	if r.valLoader != nil {
		r.valFeatures = newFeatures(front, shape, r.valLoader, bytes)
	}
	return nil
}
