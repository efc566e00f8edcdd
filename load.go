package vgg

import (
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

// supply says where a parameter's values lie in a file, and in which order.
type supply struct {
	tensor string // "": nowhere, the parameter stays as it was built
	// columns: the tensor is (in…,out), as TensorFlow and MATLAB have it; else (out,in…).
	columns bool
	// channelsLast: the in-units are in (H,W,C) order rather than (C,H,W), C channels on
	// side × side pixels.
	channelsLast bool
	channels     int
	side         int
}

// inUnit is which in-unit, in (C,H,W) order, the file has as its number j.
func (s supply) inUnit(j int) int {
	if !s.channelsLast {
		return j
	}
	return j%s.channels*s.side*s.side + j/s.channels
}

// pieceFloats is about how many values are on their way between a file and the packed
// parameters at a time, for each processor: few enough to stay in its cache.
const pieceFloats = 1 << 20

// panel is how many out-channels lie side by side in packed weights; pieces of whole
// panels are packed faster.
const panel = 32

// piece is a part of a parameter that is read at a time: n out-channels, or in-units of
// columns, from start on.
type piece struct {
	param    *nn.Param
	from     supply
	start, n int
}

// pieces cuts the parameters.
func pieces(params []*nn.Param, from []supply) []piece {
	var list []piece
	for i, p := range params {
		s := from[i]
		if s.tensor == "" {
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

// load fills the parameters from the tensors of f, whose shapes were checked.
func load(f *weights.File, params []*nn.Param, from []supply) error {
	list := pieces(params, from)
	workers := min(runtime.GOMAXPROCS(0), len(list))
	if f.Format() != weights.Safetensors {
		return loadInOrder(f, list, workers)
	}
	var group errgroup.Group
	for w := range workers {
		group.Go(func() error {
			var b loadBuffers
			for i := w; i < len(list); i += workers {
				if err := b.read(f, list[i]); err != nil {
					return err
				}
				if err := b.pack(list[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// loadInOrder reads one piece after another, as compressed data wants it, while others
// are packed.
func loadInOrder(f *weights.File, list []piece, workers int) error {
	type filled struct {
		piece
		*loadBuffers
	}
	var group errgroup.Group
	free, ready, failed := make(chan *loadBuffers, workers+1), make(chan filled), make(chan struct{}, workers)
	for range workers + 1 {
		free <- &loadBuffers{}
	}
	group.Go(func() error {
		defer close(ready)
		for _, p := range list {
			b := <-free
			if err := b.read(f, p); err != nil {
				return err
			}
			select {
			case ready <- filled{p, b}:
			case <-failed:
				return nil
			}
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			for b := range ready {
				if err := b.pack(b.piece); err != nil {
					failed <- struct{}{}
					return err
				}
				free <- b.loadBuffers
			}
			return nil
		})
	}
	return group.Wait()
}

// loadBuffers hold one piece.
type loadBuffers struct{ values, ordered []float32 }

func (b *loadBuffers) read(f *weights.File, p piece) error {
	unit := p.param.Len() / p.param.Shape[0]
	if p.from.columns && len(p.param.Shape) > 1 {
		unit = p.param.Shape[0]
	}
	if cap(b.values) < p.n*unit {
		b.values = make([]float32, p.n*unit)
	}
	b.values = b.values[:p.n*unit]
	return f.ReadRange(p.from.tensor, p.start*unit, b.values)
}

func (b *loadBuffers) pack(p piece) error {
	switch {
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
