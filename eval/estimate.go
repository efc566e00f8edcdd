package eval

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// Estimate is what an evaluation will take.
type Estimate struct {
	Images  int           // that are to be done
	MACs    float64       // mean multiplications of one of these through all networks
	Time    time.Duration // of all
	Memory  int64         // bound of the process's memory, in bytes
	Largest int64         // what the network with the largest weights takes before it sees an image
}

// Work tells what evaluation of the set will take: how many multiplications, from the
// sizes of some of its images, and how long, from a short measurement of every network
// on pieces of those sizes and of the reading of some images. What o.Out holds already
// doesn't count. With measure unset the time is 0.
func Work(ctx context.Context, nets []Net, data *dataset.Dataset, o Options, measure bool) (Estimate, error) {
	r := &run{nets: slices.Clone(nets), data: data, o: o}
	if err := r.prepare(ctx); err != nil {
		return Estimate{}, err
	}
	images := r.header.Shard.images(data.Len())
	todo, err := r.todo(images)
	if err != nil {
		return Estimate{}, err
	}
	var e Estimate
	for i, n := range r.nets {
		m, err := n.Open()
		if err != nil {
			return Estimate{}, err
		}
		l, err := newLimits(m.Net, anySize(n.views()), o.Memory)
		if err != nil {
			return Estimate{}, err
		}
		e.Memory, e.Largest = max(e.Memory, l.total), max(e.Largest, l.fixed)
		e.Images = max(e.Images, todo[i])
		if todo[i] == 0 {
			continue
		}
		p := &probe{crew{ranks: o.Ranks, pass: pass{model: m, data: data, views: n.views(), limits: l, batch: o.Batch, workers: r.workers()}}}
		if err := p.addTo(ctx, &e, images, todo[i], slices.Repeat([]int{todo[i]}, len(p.views)), measure); err != nil {
			return Estimate{}, err
		}
	}
	e.MACs /= float64(max(1, e.Images))
	return e, nil
}

// todo counts the images that each network has still to do.
func (r *run) todo(images []int) ([]int, error) {
	todo := make([]int, len(r.nets))
	var st store = newMemory(r.data, len(r.nets))
	if r.o.Out != "" {
		f, err := createFile(r.o.Out, r.header)
		if err != nil {
			return nil, err
		}
		defer f.close()
		st = f
	}
	for n := range todo {
		for _, i := range images {
			if st.has(n, i) != present {
				todo[n]++
			}
		}
	}
	return todo, nil
}

// probe measures a network and the reading of images.
type probe struct{ crew }

const (
	// sampledSizes is how many images' sizes are read, sampledImages how many images are.
	sampledSizes, sampledImages = 96, 8
	// leastProbe is how long every measurement takes at least.
	leastProbe = 150 * time.Millisecond
)

// addTo adds to an estimate what so many images take, each view of as many of them as
// views says, from a sample of images. It adds up MACs of all images, not their mean.
func (p *probe) addTo(ctx context.Context, e *Estimate, images []int, todo int, views []int, timed bool) error {
	shapes, err := p.sample(images)
	if err != nil || len(shapes) == 0 {
		return err // what is unreadable takes no time
	}
	seconds := 0.0
	for v, view := range p.views {
		if views[v] == 0 {
			continue
		}
		pieces := 1
		switch view.protocol {
		case MultiCrop:
			pieces = 2 * gridSide * gridSide
		case TenCrop:
			pieces = 10
		default:
			if view.flip {
				pieces = 2
			}
		}
		total := 0.0
		for _, s := range shapes {
			n, err := p.model.Net.Chain().MACs(s[v].h, s[v].w)
			if err != nil {
				return err
			}
			total += float64(n) * float64(pieces*views[v]) / float64(len(shapes))
		}
		e.MACs += total
		if !timed {
			continue
		}
		sizes := make([]size, len(shapes))
		for i, s := range shapes {
			sizes[i] = s[v]
		}
		middle, alone := middleSize(sizes)
		rate, err := p.rate(ctx, middle, todo, views[v]*pieces)
		if err != nil {
			return err
		}
		seconds += (1 - alone) * total / rate
		if alone > 0 {
			if rate, err = p.rate(ctx, middle, todo, pieces); err != nil {
				return err
			}
			seconds += alone * total / rate
		}
	}
	if timed {
		reading, err := p.reading(ctx, images)
		if err != nil {
			return err
		}
		// Reading goes on beside the network, on the same processors.
		seconds += reading * float64(todo) / float64(p.workers)
	}
	e.Time += time.Duration(seconds * float64(time.Second))
	return nil
}

// spread picks n of the images, evenly over the set.
func spread(images []int, n int) []int {
	n = min(n, len(images))
	picked := make([]int, n)
	for i := range picked {
		picked[i] = images[(2*i+1)*len(images)/(2*n)]
	}
	return picked
}

// sample returns, for some readable images, the size of each view's pieces.
func (p *probe) sample(images []int) ([][]size, error) {
	side := p.model.Net.Options().Input
	every := make([]int, len(p.views))
	for i := range every {
		every[i] = i
	}
	prep := newPreparer(p.model, p.data, p.views, p.limits)
	var shapes [][]size
	for _, i := range spread(images, sampledSizes) {
		raw, err := p.data.Read(i)
		if err != nil {
			continue
		}
		header, _, err := image.DecodeConfig(bytes.NewReader(raw))
		if err != nil || header.Width < 1 || header.Height < 1 {
			continue
		}
		if _, err := prep.check(header.Width, header.Height, image.Pt(header.Width, header.Height), every); err != nil {
			continue
		}
		s := make([]size, len(p.views))
		for v, view := range p.views {
			s[v] = size{side, side}
			if view.protocol == Dense {
				s[v].w, s[v].h = preprocess.ShortSide(header.Width, header.Height, view.scale)
			}
		}
		shapes = append(shapes, s)
	}
	return shapes, nil
}

// middleSize returns the middle one of the sizes, by area, and the share of those that
// come once: images of rare sizes find few others for their batches.
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

// rate is the multiplications a second of the network on so many pieces of a size, or as
// many as make a batch, on all ranks at once.
func (p *probe) rate(ctx context.Context, s size, images, pieces int) (float64, error) {
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
		wg.Go(func() { rates[r], errs[r] = rank.rate(ctx, s, pieces, float64(macs)) })
	}
	wg.Wait()
	total := 0.0
	for _, r := range rates {
		total += r
	}
	return total, errors.Join(errs...)
}

// rate is the multiplications a second of batches of at most so many pieces, macs each.
func (p *pass) rate(ctx context.Context, s size, pieces int, macs float64) (float64, error) {
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
		x.Data[i] = float32(i%255) - 127 // no network's time depends on what it sees
	}
	if err := p.model.Net.ForwardInto(y, x); err != nil { // transforms the weights
		return 0, err
	}
	var best time.Duration
	for start := time.Now(); best == 0 || time.Since(start) < leastProbe; {
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

// reading is the seconds that one worker takes to read and rescale an image.
func (p *probe) reading(ctx context.Context, images []int) (float64, error) {
	every := make([]int, len(p.views))
	for i := range every {
		every[i] = i
	}
	prep := newPreparer(p.model, p.data, p.views, p.limits)
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
