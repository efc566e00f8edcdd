// Package nn holds the layers of a VGG network, each with a forward and a backward
// pass written out by hand, and the chain that runs them.
//
// A network is a chain: there is no automatic differentiation, and a layer's backward
// stands beside its forward. Shapes are given as (N,C,H,W): batch, channels, height,
// width; gradients are dx, dw, db, dy.
package nn

import (
	"fmt"
	"sync/atomic"

	"github.com/verydeep/vgg/internal/kernel"
)

// Shape is the size of one image's activation: channels, height, width.
type Shape struct {
	C, H, W int
}

func (s Shape) String() string { return fmt.Sprintf("%d×%d×%d", s.C, s.H, s.W) }

// Pass says what a forward or backward pass is for.
type Pass struct {
	Train     bool   // training: dropout drops, batch normalisation uses the batch's statistics
	Seed      uint64 // of the dropout masks
	Iteration int    // the masks are drawn anew each iteration
	Image     int    // index, in the iteration's global batch, of the first image
	Batch     int    // images of the global batch, which the loss is averaged over; 0: those of this pass

	// More says that another part of the same batch follows: gradients are complete after
	// the last one.
	More bool
	// HoldStatistics leaves batch normalisation's running statistics as they are:
	// [Training.AddStatistics] tells those of the pass, [Chain.MoveStatistics] moves the
	// running ones later.
	HoldStatistics bool

	update *update // of the fully connected layers, within the backward pass
	clock  *clock  // of a profile
}

// Layer is one link of the chain. Its methods run on blocked activations and are
// called by a [Chain]; parameters are read only in a forward pass that does not train,
// so that any number of goroutines may run one.
type Layer interface {
	// Name is the layer's name in the paper's terms: conv1_1, pool1, fc6.
	Name() string
	// Out is the shape of the output for an input of shape in, or an error where the
	// input is too small or has the wrong number of channels.
	Out(in Shape) (Shape, error)
	// Params lists the layer's parameters; nil for most layers.
	Params() []*Param

	// border is what of zeros forward, and in training backward, reads round x of n
	// images; in training it must not depend on n.
	border(n int, in Shape, threads int, train bool) border
	// gradBorder is what of zeros backward reads round dy.
	gradBorder(in Shape, threads int) border
	// scratch is the working memory of a pass over n images.
	scratch(n int, in Shape, threads int, train, data bool) kernel.Scratch
	forward(w *kernel.Work, x, y *kernel.Act, p Pass)
	// backward adds to the parameters' gradients and computes dx, unless it is nil.
	// It may overwrite dy.
	backward(w *kernel.Work, x, y, dy, dx *kernel.Act, p Pass)
}

// border is the zeros round every plane of an activation: rows above and columns left,
// rows below and columns right.
type border struct{ pad, end int }

func even(pad int) border { return border{pad, pad} }

// Param is a named parameter. Its value lies in memory as the kernels read it; Get
// and Set speak the canonical order of Shape.
type Param struct {
	Name  string
	Shape []int
	Value []float32 // packed, see internal/kernel; nil until the chain is made or Set is called
	Grad  []float32 // packed likewise; nil unless training
	// Running marks statistics that the forward pass of training updates: they are
	// saved with the weights but not learnt.
	Running bool
	// Frozen says that the parameter is not learnt: it gets no gradient, no momentum and
	// no update. It is set before [Chain.NewTraining] and [NewSGD]. Batch normalisation
	// whose scale and shift are both frozen uses its running statistics in training too,
	// and leaves them as they are.
	Frozen bool
	// RateFactor multiplies the learning rate of the parameter's updates; 0: 1.
	RateFactor float32

	format  kernel.Half         // of 16 bits in which the value is stored; 0: float32
	half    *kernel.HalfWeights // instead of Value, where there is a format
	packed  int                 // length of Value
	version atomic.Uint64       // counts changes of Value
	// accum, where it is not nil, holds the gradient in the Winograd domain, of domain
	// floats, from which every step computes Grad.
	accum  []float32
	domain int
	fresh  bool // accum is to be taken for zero
	// rows from out-channel k0 on, as many as the canonical side holds
	pack, unpack func(dst, src []float32, k0 int)
	packHalf     func(dst *kernel.HalfWeights, src []float32, k0 int)
	// the weights of one in-unit, one of each out-channel; nil of vectors
	packInput     func(dst, src []float32, i int)
	packHalfInput func(dst *kernel.HalfWeights, src []float32, i int)
	// their inverses
	unpackInput     func(dst, src []float32, i int)
	unpackHalfInput func(dst []float32, src *kernel.HalfWeights, i int)
	unpackHalf      func(dst []float32, src *kernel.HalfWeights, k0 int)
}

// alloc makes the value, zero, unless it is there.
func (p *Param) alloc() {
	switch {
	case p.format != 0 && p.half == nil:
		p.half = kernel.NewHalfWeights(p.format, p.packed)
	case p.format == 0 && p.Value == nil:
		p.Value = kernel.Alloc(p.packed)
	}
}

// Learnt tells whether the parameter gets a gradient and updates.
func (p *Param) Learnt() bool { return !p.Running && !p.Frozen }

// Len is the number of values, without the padding of the packed form.
func (p *Param) Len() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Set packs src, in the order of p.Shape, into the parameter's value.
func (p *Param) Set(src []float32) error {
	if len(src) != p.Len() {
		return fmt.Errorf("nn: %s: %d values, want %d (shape %v)", p.Name, len(src), p.Len(), p.Shape)
	}
	p.write(src, 0)
	return nil
}

// write packs src from out-channel k0 on.
func (p *Param) write(src []float32, k0 int) {
	p.alloc()
	if p.half != nil {
		p.packHalf(p.half, src, k0)
	} else {
		p.pack(p.Value, src, k0)
	}
	p.Changed()
}

// Changed says that Value was written to directly: what is derived from it is computed
// anew.
func (p *Param) Changed() { p.version.Add(1) }

// SetRows packs src into the value from out-channel k0 (the first dimension of Shape)
// on: what is too large to be held twice is set piece by piece. Distinct rows may be
// set by several goroutines at once.
func (p *Param) SetRows(k0 int, src []float32) error {
	if row := p.Len() / p.Shape[0]; k0 < 0 || len(src)%row != 0 || k0+len(src)/row > p.Shape[0] {
		return fmt.Errorf("nn: %s: %d values from row %d on, want rows of %d within shape %v", p.Name, len(src), k0, row, p.Shape)
	}
	p.write(src, k0)
	return nil
}

// SetInputs packs src into the value from in-unit i0 on, where the in-units of a weight
// are its second and further dimensions in order: src holds, for every in-unit, a value
// of each out-channel, as weights of shape (in,out) lie in a file. Distinct in-units may
// be set by several goroutines at once.
func (p *Param) SetInputs(i0 int, src []float32) error {
	k := p.Shape[0]
	if in := p.Len() / k; p.packInput == nil || i0 < 0 || len(src)%k != 0 || i0+len(src)/k > in {
		return fmt.Errorf("nn: %s: %d values from in-unit %d on, want %d of each within shape %v", p.Name, len(src), i0, k, p.Shape)
	}
	p.alloc()
	for i := i0; len(src) > 0; i++ {
		if p.half != nil {
			p.packHalfInput(p.half, src[:k], i)
		} else {
			p.packInput(p.Value, src[:k], i)
		}
		src = src[k:]
	}
	p.Changed()
	return nil
}

// GetInputs unpacks the value from in-unit i0 on into dst; see [Param.SetInputs].
func (p *Param) GetInputs(i0 int, dst []float32) error {
	k := p.Shape[0]
	if in := p.Len() / k; p.unpackInput == nil || i0 < 0 || len(dst)%k != 0 || i0+len(dst)/k > in {
		return fmt.Errorf("nn: %s: room for %d values from in-unit %d on, want %d of each within shape %v", p.Name, len(dst), i0, k, p.Shape)
	}
	for i := i0; len(dst) > 0; i++ {
		if p.half != nil {
			p.unpackHalfInput(dst[:k], p.half, i)
		} else {
			p.unpackInput(dst[:k], p.Value, i)
		}
		dst = dst[k:]
	}
	return nil
}

// GetRows unpacks the value from out-channel k0 on into dst; see [Param.SetRows].
func (p *Param) GetRows(k0 int, dst []float32) error {
	if row := p.Len() / p.Shape[0]; k0 < 0 || len(dst)%row != 0 || k0+len(dst)/row > p.Shape[0] {
		return fmt.Errorf("nn: %s: room for %d values from row %d on, want rows of %d within shape %v", p.Name, len(dst), k0, row, p.Shape)
	}
	p.read(dst, k0)
	return nil
}

// Get unpacks the value into dst, in the order of p.Shape.
func (p *Param) Get(dst []float32) error {
	if len(dst) != p.Len() {
		return fmt.Errorf("nn: %s: room for %d values, want %d (shape %v)", p.Name, len(dst), p.Len(), p.Shape)
	}
	p.read(dst, 0)
	return nil
}

// read unpacks the value from out-channel k0 on.
func (p *Param) read(dst []float32, k0 int) {
	if p.half != nil {
		p.unpackHalf(dst, p.half, k0)
		return
	}
	p.unpack(dst, p.Value, k0)
}

// Unpack brings any buffer in the packed order of p (a gradient, a momentum) into the
// order of p.Shape.
func (p *Param) Unpack(dst, packed []float32) error {
	if len(dst) != p.Len() {
		return fmt.Errorf("nn: %s: room for %d values, want %d (shape %v)", p.Name, len(dst), p.Len(), p.Shape)
	}
	p.unpack(dst, packed, 0)
	return nil
}

// Pack is the inverse of [Param.Unpack].
func (p *Param) Pack(packed, src []float32) error {
	if len(src) != p.Len() || len(packed) != p.packed {
		return fmt.Errorf("nn: %s: %d values into %d, want %d into %d", p.Name, len(src), len(packed), p.Len(), p.packed)
	}
	p.pack(packed, src, 0)
	return nil
}

// vector returns a parameter of one value a channel, padded to whole panels.
func vector(name string, n int) *Param {
	c := func(dst, src []float32, k0 int) { copy(dst[k0:], src) }
	u := func(dst, src []float32, k0 int) { copy(dst, src[k0:min(n, k0+len(dst))]) }
	v := make([]float32, kernel.Conv{K: n}.BiasLen())
	return &Param{Name: name, Shape: []int{n}, Value: v, packed: len(v), pack: c, unpack: u}
}

// base is embedded by layers without parameters, border or scratch memory.
type base struct{ name string }

func (b base) Name() string                                         { return b.name }
func (base) Params() []*Param                                       { return nil }
func (base) border(int, Shape, int, bool) border                    { return border{} }
func (base) gradBorder(Shape, int) border                           { return border{} }
func (base) scratch(int, Shape, int, bool, bool) (s kernel.Scratch) { return s }
func (base) Out(in Shape) (Shape, error)                            { return in, nil }
