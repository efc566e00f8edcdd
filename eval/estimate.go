package eval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// Estimate is the expected cost of an evaluation.
type Estimate struct {
	Images  int           // images still to do
	MACs    float64       // multiplications of one of these images through all networks, mean
	Time    time.Duration // of all images
	Memory  int64         // bound of the process's memory, bytes
	Largest int64         // memory of the network with the largest weights before it sees an image, bytes
}

// Work estimates the cost of evaluating the set: the multiplications from the sizes of
// some of its images, and the time from a short measurement of every network on inputs of
// those sizes and of the reading of some images. Images that o.Out holds already don't
// count. Without measure the time is 0, and networks with a Description are not opened. The
// networks are measured from the last to the first, so that an Open which keeps the
// latest network in memory has the first at hand for [RunNets].
func Work(ctx context.Context, nets []Net, data *dataset.Dataset, o Options, measure bool) (Estimate, error) {
	r, err := newRun(ctx, nets, data, o)
	if err != nil {
		return Estimate{}, err
	}
	todo, err := r.counts(ctx)
	if err != nil {
		return Estimate{}, err
	}
	var e Estimate
	for i, n := range slices.Backward(r.nets) {
		d, err := n.design()
		if err != nil {
			return Estimate{}, err
		}
		l, err := r.limits(d, n.Views())
		if err != nil {
			return Estimate{}, err
		}
		w := viewWork{
			net: n, design: d, data: data, views: n.Views(), limits: l, batch: o.Batch, ranks: o.Ranks, workers: o.AllWorkers(),
			images: r.images, todo: todo[i], wanted: slices.Repeat([]int{todo[i]}, len(n.Views())),
		}
		if err := w.addTo(ctx, &e, measure); err != nil {
			return Estimate{}, err
		}
		e.Images = max(e.Images, todo[i])
	}
	e.MACs /= float64(max(1, e.Images))
	return e, nil
}

// counts returns the number of images that each network has still to see.
func (r *run) counts(ctx context.Context) ([]int, error) {
	answers, err := r.openStore(ctx)
	if err != nil {
		return nil, err
	}
	if f, ok := answers.(*resultFile); ok {
		defer f.close()
	}
	counts := make([]int, len(r.nets))
	for n := range counts {
		counts[n] = len(r.todo(n, answers))
	}
	return counts, nil
}

// viewWork is the work of one network: some of the images, each by some of the views.
type viewWork struct {
	net     Net
	design  design
	data    *dataset.Dataset
	views   []View
	limits  limits
	batch   int
	ranks   int
	workers int
	images  []int // to take samples from
	todo    int   // number of images to do
	wanted  []int // number of images to do by each view
}

const (
	// sampledSizes is the number of images whose sizes are read, sampledImages that of
	// the images that are decoded.
	sampledSizes, sampledImages = 96, 8
	// leastProbe is the least time of a measurement, except for work that takes seconds itself,
	// of whose time it is probeShare.
	leastProbe = 150 * time.Millisecond
	probeShare = 0.02
)

// addTo adds the cost of the work to an estimate, whose MACs are those of all images until
// the end.
func (w *viewWork) addTo(ctx context.Context, e *Estimate, timed bool) error {
	e.Memory, e.Largest = max(e.Memory, w.limits.total), max(e.Largest, w.limits.fixed)
	if w.todo == 0 {
		return nil
	}
	shapes := w.sampleSizes()
	if len(shapes) == 0 {
		return nil // unreadable images take no time
	}
	macs := make([]float64, len(w.views))
	for v := range w.views {
		var err error
		if macs[v], err = w.macs(v, shapes); err != nil {
			return err
		}
		e.MACs += macs[v]
	}
	if !timed {
		return nil
	}
	m, err := w.net.Open()
	if err != nil {
		return err
	}
	p := &probe{crew{ranks: w.ranks, pass: pass{model: m, data: w.data, views: w.views, limits: w.limits, batch: w.batch, workers: w.workers}}}
	seconds := 0.0
	for v := range w.views {
		if w.wanted[v] == 0 {
			continue
		}
		sizes := make([]size, len(shapes))
		for i, s := range shapes {
			sizes[i] = s[v]
		}
		t, err := p.seconds(ctx, sizes, macs[v], w.todo, w.wanted[v], w.views[v].pieces())
		if err != nil {
			return err
		}
		seconds += t
	}
	reading, err := p.reading(ctx, w.images)
	if err != nil {
		return err
	}
	// Images are read while the network runs, on the same processors.
	seconds += reading * float64(w.todo) / float64(w.workers)
	e.Time += time.Duration(seconds * float64(time.Second))
	return nil
}

// sampleSizes returns, for some readable images, the size of each view's pieces.
func (w *viewWork) sampleSizes() [][]size {
	every := everyView(len(w.views))(0)
	prep := newPreparer(w.design, w.data, w.views, w.limits)
	var shapes [][]size
	for _, i := range spread(w.images, sampledSizes) {
		raw, err := w.data.Read(i)
		if err != nil {
			continue
		}
		header, err := preprocess.ReadHeader(raw)
		if err != nil || header.Check(w.limits.maxPixels) != nil {
			continue
		}
		shown, err := prep.shown(i, raw, header.W, header.H)
		if err != nil {
			continue
		}
		if _, err := prep.check(header, shown, every); err != nil {
			continue
		}
		s := make([]size, len(w.views))
		for v, view := range w.views {
			s[v] = size{w.design.input, w.design.input}
			if view.Protocol == Dense {
				s[v].w, s[v].h = w.design.preprocess.Fit.Size(shown.X, shown.Y, view.Scale)
			}
		}
		shapes = append(shapes, s)
	}
	return shapes
}

// macs estimates the multiplications of a view on all images that want it.
func (w *viewWork) macs(v int, shapes [][]size) (float64, error) {
	total := 0.0
	for _, s := range shapes {
		n, err := w.design.chain.MACs(s[v].h, s[v].w)
		if err != nil {
			return 0, err
		}
		total += float64(n) * float64(w.views[v].pieces()*w.wanted[v]) / float64(len(shapes))
	}
	return total, nil
}

// probe measures a network and the reading of images.
type probe struct{ crew }

// seconds estimates the time of a number of images by a view of so many pieces each, whose
// sizes are a sample and whose multiplications are macs. todo is the number of images by
// all views.
func (p *probe) seconds(ctx context.Context, sizes []size, macs float64, todo, images, pieces int) (float64, error) {
	middle, alone := middleSize(sizes)
	rate, err := p.rate(ctx, middle, todo, images*pieces, (1-alone)*macs)
	if err != nil {
		return 0, err
	}
	seconds := (1 - alone) * macs / rate
	if alone > 0 {
		if rate, err = p.rate(ctx, middle, todo, pieces, alone*macs); err != nil {
			return 0, err
		}
		seconds += alone * macs / rate
	}
	return seconds, nil
}

// spread picks n of the images, evenly over the list.
func spread(images []int, n int) []int {
	n = min(n, len(images))
	picked := make([]int, n)
	for i := range picked {
		picked[i] = images[(2*i+1)*len(images)/(2*n)]
	}
	return picked
}

// middleSize returns the median of the sizes by area, and the share of the sizes that
// occur once: images of rare sizes find few others for their batches.
func middleSize(sizes []size) (middle size, alone float64) {
	slices.SortFunc(sizes, func(a, b size) int { return a.h*a.w - b.h*b.w })
	times := map[size]int{}
	for _, s := range sizes {
		times[s]++
	}
	if len(sizes) > 1 {
		for _, n := range times {
			if n == 1 {
				alone += 1 / float64(len(sizes))
			}
		}
	}
	return sizes[len(sizes)/2], alone
}

// rate measures the multiplications a second of all ranks together on batches of pieces
// of a size, at most so many; work is how many multiplications there are to do.
func (p *probe) rate(ctx context.Context, s size, images, pieces int, work float64) (float64, error) {
	macs, err := p.model.Net.Chain().MACs(s.h, s.w)
	if err != nil {
		return 0, err
	}
	ranks, err := p.share(images)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	rates, errs := make([]float64, len(ranks)), make([]error, len(ranks))
	for r, rank := range ranks {
		wg.Go(func() { rates[r], errs[r] = rank.rate(ctx, s, pieces, float64(macs), work/float64(len(ranks))) })
	}
	wg.Wait()
	total := 0.0
	for _, r := range rates {
		total += r
	}
	return total, errors.Join(errs...)
}

// rate measures the multiplications a second on batches of at most so many pieces, macs
// each, of work in all.
func (p *pass) rate(ctx context.Context, s size, pieces int, macs, work float64) (float64, error) {
	limit, err := p.limit(s)
	if err != nil {
		return 0, err
	}
	n := max(1, min(limit, pieces))
	shape, err := p.model.Net.OutputShape(n, s.h, s.w)
	if err != nil {
		return 0, err
	}
	x, y := tensor.New(n, 3, s.h, s.w), tensor.New(shape...)
	for i := range x.Data {
		x.Data[i] = float32(i%255) - 127 // the time doesn't depend on the pixels
	}
	if err := p.model.Net.ForwardInto(y, x); err != nil { // transforms the weights
		return 0, err
	}
	var best time.Duration
	enough := func() time.Duration {
		return min(leastProbe, time.Duration(probeShare*work/(macs*float64(n))*float64(best)))
	}
	for start := time.Now(); best == 0 || time.Since(start) < enough(); {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		lap := time.Now()
		if err := p.model.Net.ForwardInto(y, x); err != nil {
			return 0, err
		}
		if took := time.Since(lap); best == 0 || took < best {
			best = took
		}
	}
	return macs * float64(n) / max(best.Seconds(), 1e-9), nil
}

// reading measures the seconds that one worker takes to read and rescale an image.
func (p *probe) reading(ctx context.Context, images []int) (float64, error) {
	every := everyView(len(p.views))(0)
	prep := newPreparer(p.design(), p.data, p.views, p.limits)
	buffer := []float32{}
	start, n := time.Now(), 0
	for _, i := range spread(images, sampledImages) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		im := prep.prepare(ctx, i, every, math.MaxInt64)
		for _, v := range im.views {
			for _, piece := range v.pieces {
				buffer = grow(buffer, 3*piece.h*piece.w)
				piece.fill(buffer, p.model.Preprocess)
			}
		}
		prep.release(im)
		n++
	}
	if n == 0 {
		return 0, fmt.Errorf("eval: %s: no images", p.data.Name)
	}
	return time.Since(start).Seconds() / float64(n), nil
}
