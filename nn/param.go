package nn

import (
	"fmt"
	"sync/atomic"

	"github.com/verydeep/vgg/internal/kernel"
)

// Param is a named parameter. Its value is in the packed order that the
// kernels read; Get and Set take the canonical order of Shape.
type Param struct {
	Name  string
	Shape []int
	Value []float32 // packed, see internal/kernel; nil until the chain is made or Set is called
	Grad  []float32 // packed likewise; nil unless training
	// Running marks statistics that the forward pass of training updates: they are
	// saved with the weights but not learnt.
	Running bool
	// Frozen excludes the parameter from learning: it gets no gradient, no momentum and
	// no update. It is set before [Chain.NewTraining] and [NewSGD]. Batch normalisation
	// whose scale and shift are both frozen uses its running statistics in training too,
	// and leaves them as they are.
	Frozen bool
	// RateFactor multiplies the learning rate of the parameter's updates; 0 stands for 1.
	RateFactor float32

	order   packedOrder
	packed  int                 // length of Value
	format  kernel.Half         // 16-bit format in which the value is stored; 0: float32
	half    *kernel.HalfWeights // instead of Value, where there is a format
	inFile  bool                // the value stays in source
	source  kernel.Source       // instead of Value, where it is inFile
	version atomic.Uint64       // counts changes of Value

	// accum, where it is not nil, holds the gradient in the Winograd domain, of domain
	// floats, from which every step computes Grad.
	accum  []float32
	domain int
	fresh  bool // accum counts as zero, whatever it holds
}

// packedOrder is the order of the values of a parameter in memory. Rows are
// counted along the first dimension of its shape, the out-channels.
type packedOrder interface {
	// PackRows writes src to the rows from k0 on, as many as src holds.
	PackRows(packed, src []float32, k0 int)
	// UnpackRows reads the rows from k0 on, as many as dst holds.
	UnpackRows(dst, packed []float32, k0 int)
}

// weightOrder is the packed order of weights, which may be stored in 16 bits, and which
// are also read and written by in-unit. In-units are the second and further dimensions of
// the shape in order; src and dst have a value of each out-channel.
type weightOrder interface {
	packedOrder
	PackHalfRows(packed *kernel.HalfWeights, src []float32, k0 int)
	UnpackHalfRows(dst []float32, packed *kernel.HalfWeights, k0 int)
	packUnit(packed, src []float32, unit int)
	unpackUnit(dst, packed []float32, unit int)
	packHalfUnit(packed *kernel.HalfWeights, src []float32, unit int)
	unpackHalfUnit(dst []float32, packed *kernel.HalfWeights, unit int)
}

// convOrder is the order of a convolution's weights.
type convOrder struct{ kernel.Conv }

// tap returns the in-channel, row and column of an in-unit.
func (o convOrder) tap(unit int) (c, r, s int) {
	return unit / (o.R * o.R), unit / o.R % o.R, unit % o.R
}

func (o convOrder) packUnit(packed, src []float32, unit int) {
	c, r, s := o.tap(unit)
	o.PackInput(packed, src, c, r, s)
}

func (o convOrder) unpackUnit(dst, packed []float32, unit int) {
	c, r, s := o.tap(unit)
	o.UnpackInput(dst, packed, c, r, s)
}

func (o convOrder) packHalfUnit(packed *kernel.HalfWeights, src []float32, unit int) {
	c, r, s := o.tap(unit)
	o.PackHalfInput(packed, src, c, r, s)
}

func (o convOrder) unpackHalfUnit(dst []float32, packed *kernel.HalfWeights, unit int) {
	c, r, s := o.tap(unit)
	o.UnpackHalfInput(dst, packed, c, r, s)
}

// vectorOrder is the order of one value a channel, of so many channels.
type vectorOrder int

func (vectorOrder) PackRows(packed, src []float32, k0 int) { copy(packed[k0:], src) }

func (n vectorOrder) UnpackRows(dst, packed []float32, k0 int) {
	copy(dst, packed[k0:min(int(n), k0+len(dst))])
}

// weight returns a parameter of the weights of a convolution, without memory.
func weight(name string, g kernel.Conv) *Param {
	return &Param{Name: name, Shape: []int{g.K, g.C, g.R, g.R}, order: convOrder{g}, packed: g.WeightLen()}
}

// vector returns a parameter of one value a channel, padded to whole panels.
func vector(name string, n int) *Param {
	v := make([]float32, kernel.Conv{K: n}.BiasLen())
	return &Param{Name: name, Shape: []int{n}, Value: v, order: vectorOrder(n), packed: len(v)}
}

// alloc makes the value, zero, unless it is there.
func (p *Param) alloc() {
	switch {
	case p.inFile:
	case p.format != 0 && p.half == nil:
		p.half = kernel.NewHalfWeights(p.format, p.packed)
	case p.format == 0 && p.Value == nil:
		p.Value = kernel.Alloc(p.packed)
	}
}

// Learnt reports whether the parameter gets a gradient and updates.
func (p *Param) Learnt() bool { return !p.Running && !p.Frozen }

// Len is the number of values, without the padding of the packed order.
func (p *Param) Len() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Changed records that Value was written to directly: what is derived from it will be
// computed anew.
func (p *Param) Changed() { p.version.Add(1) }

// Set packs src, in the order of p.Shape, into the parameter's value. It is an error if
// their lengths differ.
func (p *Param) Set(src []float32) error {
	if err := p.checkLen(src); err != nil {
		return err
	}
	return p.write(src, 0)
}

// Get unpacks the value into dst, in the order of p.Shape. It is an error if their
// lengths differ.
func (p *Param) Get(dst []float32) error {
	if err := p.checkLen(dst); err != nil {
		return err
	}
	return p.read(dst, 0)
}

// SetRows packs src into the value from out-channel k0 (the first dimension of Shape)
// on, so that what is too large to be held twice can be set piece by piece. Several
// goroutines may set distinct rows at once. It is an error if src is not whole rows of
// the parameter.
func (p *Param) SetRows(k0 int, src []float32) error {
	if err := p.checkRows(k0, src); err != nil {
		return err
	}
	return p.write(src, k0)
}

// GetRows unpacks the value from out-channel k0 on into dst; see [Param.SetRows].
func (p *Param) GetRows(k0 int, dst []float32) error {
	if err := p.checkRows(k0, dst); err != nil {
		return err
	}
	return p.read(dst, k0)
}

// SetInputs packs src into the value from in-unit i0 on. The in-units of a weight are its
// second and further dimensions in order; src holds, for every in-unit, a value of each
// out-channel, as weights of shape (in,out) lie in a file. Several goroutines may set
// distinct in-units at once. It is an error if src is not whole in-units of the
// parameter, or if the parameter has none.
func (p *Param) SetInputs(i0 int, src []float32) error {
	order, err := p.checkInputs(i0, src)
	if err != nil {
		return err
	}
	p.alloc()
	k := p.Shape[0]
	for i := i0; len(src) > 0; i++ {
		if p.half != nil {
			order.packHalfUnit(p.half, src[:k], i)
		} else {
			order.packUnit(p.Value, src[:k], i)
		}
		src = src[k:]
	}
	p.Changed()
	return nil
}

// GetInputs unpacks the value from in-unit i0 on into dst; see [Param.SetInputs].
func (p *Param) GetInputs(i0 int, dst []float32) error {
	order, err := p.checkInputs(i0, dst)
	if err != nil {
		return err
	}
	k := p.Shape[0]
	for i := i0; len(dst) > 0; i++ {
		if p.half != nil {
			order.unpackHalfUnit(dst[:k], p.half, i)
		} else {
			order.unpackUnit(dst[:k], p.Value, i)
		}
		dst = dst[k:]
	}
	return nil
}

// Unpack brings a buffer in the packed order of p, such as a gradient or a momentum, into
// the order of p.Shape. It is an error if dst is not as long as p, or packed not as long as
// its packed value.
func (p *Param) Unpack(dst, packed []float32) error {
	if err := p.checkLen(dst); err != nil {
		return err
	}
	return p.UnpackRows(0, dst, packed)
}

// UnpackRows is [Param.Unpack] of the rows from out-channel k0 (the first dimension of
// Shape) on, as many as dst holds. It is an error if dst is not whole rows of the parameter,
// or if packed is not as long as its packed value.
func (p *Param) UnpackRows(k0 int, dst, packed []float32) error {
	if err := p.checkPacked(k0, dst, packed); err != nil {
		return err
	}
	p.order.UnpackRows(dst, packed, k0)
	return nil
}

// PackRows is the inverse of [Param.UnpackRows].
func (p *Param) PackRows(k0 int, packed, src []float32) error {
	if err := p.checkPacked(k0, src, packed); err != nil {
		return err
	}
	p.order.PackRows(packed, src, k0)
	return nil
}

// InFile reports whether the value stays where it is read from: see [InFile].
func (p *Param) InFile() bool { return p.inFile }

// KeepIn tells where the value of a parameter that stays in its file is read: source reads
// the rows from out-channel k0 (the first dimension of Shape) on, in the order of Shape, as
// many as dst holds, and any number of goroutines may call it at once. It is an error if
// the parameter is held in memory.
func (p *Param) KeepIn(source func(k0 int, dst []float32) error) error {
	if !p.inFile {
		return fmt.Errorf("nn: %s: held in memory, want a parameter of a network of storage %q", p.Name, InFile)
	}
	p.source = source
	p.Changed()
	return nil
}

// held reports whether Value has the value, in 32 bits.
func (p *Param) held() bool { return p.format == 0 && !p.inFile }

// from returns the source of a value that stays in its file.
func (p *Param) from(k0 int, dst []float32) error {
	if p.source == nil {
		return fmt.Errorf("nn: %s: stays in its file, but no file was given (Param.KeepIn)", p.Name)
	}
	return p.source(k0, dst)
}

// write packs src from out-channel k0 on. Only weights are stored in 16 bits.
func (p *Param) write(src []float32, k0 int) error {
	if p.inFile {
		return p.readOnly()
	}
	p.alloc()
	if p.half != nil {
		p.order.(weightOrder).PackHalfRows(p.half, src, k0)
	} else {
		p.order.PackRows(p.Value, src, k0)
	}
	p.Changed()
	return nil
}

func (p *Param) readOnly() error {
	return fmt.Errorf("nn: %s: stays in its file: its rows can be read, and nothing be set or learnt; storage %q holds it in memory", p.Name, F32)
}

// read unpacks the value from out-channel k0 on.
func (p *Param) read(dst []float32, k0 int) error {
	switch {
	case p.inFile:
		return p.from(k0, dst)
	case p.half != nil:
		p.order.(weightOrder).UnpackHalfRows(dst, p.half, k0)
	default:
		p.order.UnpackRows(dst, p.Value, k0)
	}
	return nil
}

// checkLen is an error unless v has a value for each of the parameter's.
func (p *Param) checkLen(v []float32) error {
	if len(v) != p.Len() {
		return fmt.Errorf("nn: %s: %d values, want %d (shape %v)", p.Name, len(v), p.Len(), p.Shape)
	}
	return nil
}

// checkRows is an error unless v has whole rows of the parameter from k0 on.
func (p *Param) checkRows(k0 int, v []float32) error {
	if row := p.Len() / p.Shape[0]; k0 < 0 || len(v)%row != 0 || k0+len(v)/row > p.Shape[0] {
		return fmt.Errorf("nn: %s: %d values from row %d on, want rows of %d within shape %v", p.Name, len(v), k0, row, p.Shape)
	}
	return nil
}

// checkPacked is checkRows, and an error unless packed is as long as the packed value.
func (p *Param) checkPacked(k0 int, rows, packed []float32) error {
	if len(packed) != p.packed {
		return fmt.Errorf("nn: %s: %d values in packed order, want %d (shape %v)", p.Name, len(packed), p.packed, p.Shape)
	}
	return p.checkRows(k0, rows)
}

// checkInputs is an error unless the parameter is a weight and v has whole in-units of it
// from i0 on.
func (p *Param) checkInputs(i0 int, v []float32) (weightOrder, error) {
	order, ok := p.order.(weightOrder)
	if p.inFile {
		return nil, p.readOnly()
	}
	k := p.Shape[0]
	if in := p.Len() / k; !ok || i0 < 0 || len(v)%k != 0 || i0+len(v)/k > in {
		return nil, fmt.Errorf("nn: %s: %d values from in-unit %d on, want %d of each within shape %v", p.Name, len(v), i0, k, p.Shape)
	}
	return order, nil
}

// connected reports whether the parameter is the weight of a fully connected layer.
func (p *Param) connected() bool { return len(p.Shape) == 2 }

// used reports whether a fused step uses the gradient up within the backward pass.
func (p *Param) used() bool { return p.connected() || p.domain > 0 }

// learnable is an error where the value cannot be learnt.
func (p *Param) learnable() error {
	if p.inFile {
		return p.readOnly()
	}
	if p.format != 0 {
		return fmt.Errorf("nn: %s: stored in 16 bits: it can be read and set, not learnt", p.Name)
	}
	return nil
}

// narrow stores the value in 16 bits and drops the 32.
func (p *Param) narrow(format kernel.Half, team *kernel.Team) {
	if !p.held() {
		return // rounding twice would lose more than the second format does
	}
	p.format = format
	if p.Value != nil {
		p.half = kernel.Narrow(team, format, p.Value)
		p.Value = nil
	}
}

func (p *Param) zeroGrad() {
	clear(p.Grad)
	p.fresh = true
}
