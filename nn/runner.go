package nn

import (
	"context"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

// Runner runs the forward passes of chains somewhere else than on the CPU, such as on a GPU.
// Any number of goroutines call it at once.
type Runner interface {
	// Forward computes the output y, (N,K,OH,OW), of a chain that doesn't train for x,
	// (N,C,H,W). The shapes fit the chain. It ends early with ctx's cause when ctx is done.
	Forward(ctx context.Context, c *Chain, y, x *tensor.Tensor) error
}

// SetRunner makes r run the forward passes of inference, of this chain and of those that are
// made of it from now on ([Chain.Until], [Chain.Split], [Chain.Share]). nil stands for the
// CPU. Probes, profiles and training stay on the CPU. No pass may be under way.
func (c *Chain) SetRunner(r Runner) { c.runner = r }

// Runner returns what runs the chain's forward passes; nil for the CPU.
func (c *Chain) Runner() Runner { return c.runner }

// derived returns a chain of some of c's layers or of layers made of them, which runs where c
// does.
func (c *Chain) derived(in int, layers []Layer) *Chain {
	d := newChain(in, layers, c.team.Load())
	d.runner = c.runner
	return d
}

// Channels is the number of channels of the chain's input.
func (c *Chain) Channels() int { return c.in }

// Geometry returns the numbers of in- and out-channels, the side of the filters and the width
// of the border of zeros.
func (l *Conv) Geometry() (in, out, side, pad int) { return l.g.C, l.g.K, l.g.R, l.g.Pad }

// WholeMap reports whether the norm is that of the whole map, and not that of each pixel.
func (l *Euclidean) WholeMap() bool { return l.side > 1 }

// MaskKey is the key of the layer's masks in an iteration of training with a seed. Unit u of
// image i, counted from 0 within the iteration's batch, is kept if
//
//	float32(mix(mix(key + i·0x9e3779b97f4a7c15) + u·0xd1b54a32d192ed03) >> 40) ≥ Ratio·2²⁴
//
// in arithmetic of 64 bits without sign. Units are counted in (C,H,W) order, and mix is the
// finaliser of SplitMix64 (Steele et al. 2014).
func (l *Dropout) MaskKey(seed uint64, iteration int) uint64 {
	return kernel.MaskKey(seed, iteration, l.id)
}

// Version changes with every change of the value: what is derived from it is then to be
// computed anew.
func (p *Param) Version() uint64 { return p.version.Load() }

// PackInputs writes src to a buffer in the packed order of p, such as a momentum, from in-unit
// i0 on; see [Param.SetInputs]. It is an error if src is not whole in-units, or packed not as
// long as the packed value.
func (p *Param) PackInputs(i0 int, packed, src []float32) error {
	order, err := p.checkInputs(i0, src)
	if err == nil {
		err = p.checkPacked(0, nil, packed)
	}
	if err != nil {
		return err
	}
	k := p.Shape[0]
	for i := i0; len(src) > 0; i++ {
		order.packUnit(packed, src[:k], i)
		src = src[k:]
	}
	return nil
}

// UnpackInputs is the inverse of [Param.PackInputs].
func (p *Param) UnpackInputs(i0 int, dst, packed []float32) error {
	order, err := p.checkInputs(i0, dst)
	if err == nil {
		err = p.checkPacked(0, nil, packed)
	}
	if err != nil {
		return err
	}
	k := p.Shape[0]
	for i := i0; len(dst) > 0; i++ {
		order.unpackUnit(dst[:k], packed, i)
		dst = dst[k:]
	}
	return nil
}
