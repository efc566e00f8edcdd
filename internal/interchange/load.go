package interchange

import (
	"context"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/weights"
)

// Location tells where a parameter's values are in a file, and in which order.
type Location struct {
	// Tensor is the tensor's name; "" where the file has none, and the parameter stays as
	// it was built.
	Tensor string
	// columns: the tensor's axes are (in…,out), as TensorFlow and MATLAB have them;
	// otherwise (out,in…).
	columns bool
	// fill, unless 0, is the value of every element, where the file has no tensor.
	fill float32
	// channelsLast: the in-units are in (H,W,C) order rather than (C,H,W), for channels C
	// on side × side pixels.
	channelsLast   bool
	channels, side int
}

// inUnit returns the index, in (C,H,W) order, of the file's in-unit j.
func (l Location) inUnit(j int) int {
	if !l.channelsLast {
		return j
	}
	return j%l.channels*l.side*l.side + j/l.channels
}

// pieceFloats is about how many values each processor moves from a file to the packed
// parameters at a time: few enough to stay in its cache.
const pieceFloats = 1 << 20

// panel is the number of out-channels that are side by side in packed weights. Pieces of
// whole panels are packed faster.
const panel = 32

// piece is a part of a parameter that is read at once: n out-channels, or n in-units of
// columns, from start on.
type piece struct {
	param    *nn.Param
	from     Location
	start, n int
}

// unit returns the number of values of one out-channel, or of one in-unit of columns.
func (p piece) unit() int {
	if p.from.columns && len(p.param.Shape) > 1 {
		return p.param.Shape[0]
	}
	return p.param.Len() / p.param.Shape[0]
}

// values returns the number of values in the piece.
func (p piece) values() int { return p.n * p.unit() }

// pieces divides the parameters that the file has.
func pieces(params []*nn.Param, from []Location) []piece {
	var list []piece
	for i, p := range params {
		s := from[i]
		if s.Tensor == "" || p.InFile() {
			continue
		}
		total, step := p.Shape[0], max(1, pieceFloats/(p.Len()/p.Shape[0]))
		if s.columns && len(p.Shape) > 1 {
			total, step = p.Len()/p.Shape[0], max(1, pieceFloats/p.Shape[0])
		} else if step > panel {
			step = step / panel * panel
		} else {
			step = panel
		}
		for k := 0; k < total; k += step {
			list = append(list, piece{p, s, k, min(step, total-k)})
		}
	}
	return list
}

// Load fills the parameters from the tensors of f, whose shapes were checked. It stops
// with ctx's cause when ctx ends, and reports the values that are read.
func Load(ctx context.Context, f *weights.File, params []*nn.Param, from []Location, report progress.Func) error {
	for i, p := range params {
		if v := from[i].fill; v != 0 {
			if err := p.Set(slices.Repeat([]float32{v}, p.Len())); err != nil {
				return err
			}
		}
	}
	if err := keepIn(f, params, from); err != nil {
		return err
	}
	list := pieces(params, from)
	total := int64(0)
	for _, p := range list {
		total += int64(p.values())
	}
	l := loader{f: f, pieces: list, counter: progress.NewCounter(report, total)}
	workers := min(runtime.GOMAXPROCS(0), len(list))
	var err error
	if inPlace(f, list) {
		err = l.loadSideBySide(ctx, workers)
	} else {
		err = l.loadInOrder(ctx, workers)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// inPlace reports whether pieces can be read in any order.
func inPlace(f *weights.File, list []piece) bool {
	return !slices.ContainsFunc(list, func(p piece) bool { return !f.InPlace(p.from.Tensor) })
}

// loader moves pieces from a file into packed parameters.
type loader struct {
	f       *weights.File
	pieces  []piece
	counter *progress.Counter
}

// loadSideBySide reads and packs pieces on all workers at once.
func (l loader) loadSideBySide(ctx context.Context, workers int) error {
	group, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		group.Go(func() error {
			var b loadBuffers
			for i := w; i < len(l.pieces); i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := b.read(l.f, l.pieces[i]); err != nil {
					return err
				}
				if err := b.pack(l.pieces[i]); err != nil {
					return err
				}
				l.counter.Add(l.pieces[i].values())
			}
			return nil
		})
	}
	return group.Wait()
}

// loadInOrder reads one piece after another, as compressed data wants it, while others
// are packed.
func (l loader) loadInOrder(ctx context.Context, workers int) error {
	type filled struct {
		piece
		*loadBuffers
	}
	group, ctx := errgroup.WithContext(ctx)
	free, ready := make(chan *loadBuffers, workers+1), make(chan filled)
	for range workers + 1 {
		free <- &loadBuffers{}
	}
	group.Go(func() error {
		defer close(ready)
		for _, p := range l.pieces {
			var b *loadBuffers
			select {
			case b = <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := b.read(l.f, p); err != nil {
				return err
			}
			select {
			case ready <- filled{p, b}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			for b := range ready {
				if err := b.pack(b.piece); err != nil {
					return err
				}
				l.counter.Add(b.piece.values())
				free <- b.loadBuffers
			}
			return nil
		})
	}
	return group.Wait()
}

// loadBuffers holds one piece.
type loadBuffers struct{ values, ordered []float32 }

func (b *loadBuffers) read(f *weights.File, p piece) error {
	n := p.values()
	if cap(b.values) < n {
		b.values = make([]float32, n)
	}
	b.values = b.values[:n]
	return f.ReadRange(p.from.Tensor, p.start*p.unit(), b.values)
}

func (b *loadBuffers) pack(p piece) error {
	switch {
	case len(p.param.Shape) == 1 && p.from.channelsLast:
		for j := range p.n {
			if err := p.param.SetRows(p.from.inUnit(p.start+j), b.values[j:j+1]); err != nil {
				return err
			}
		}
		return nil
	case len(p.param.Shape) == 1 || !p.from.columns && !p.from.channelsLast:
		return p.param.SetRows(p.start, b.values)
	case p.from.columns && !p.from.channelsLast:
		return p.param.SetInputs(p.start, b.values)
	case p.from.columns:
		k := p.param.Shape[0]
		for j := range p.n {
			if err := p.param.SetInputs(p.from.inUnit(p.start+j), b.values[j*k:(j+1)*k]); err != nil {
				return err
			}
		}
		return nil
	}
	if cap(b.ordered) < len(b.values) {
		b.ordered = make([]float32, len(b.values))
	}
	b.ordered = b.ordered[:len(b.values)]
	in := len(b.values) / p.n
	for j := range in {
		to := p.from.inUnit(j)
		for i := 0; i < len(b.values); i += in {
			b.ordered[i+to] = b.values[i+j]
		}
	}
	return p.param.SetRows(p.start, b.ordered)
}
