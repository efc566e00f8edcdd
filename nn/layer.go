// Package nn holds the layers of a VGG network, each with a forward and a backward
// pass written out by hand, and the chain that runs them.
//
// A network is a chain, without automatic differentiation: every layer has a backward pass
// beside its forward pass. Shapes are given as (N,C,H,W): batch, channels, height, width;
// gradients are dx, dw, db, dy.
package nn

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// Shape is the size of one image's activation: channels, height, width.
type Shape struct {
	C, H, W int
}

func (s Shape) String() string { return fmt.Sprintf("%d×%d×%d", s.C, s.H, s.W) }

// Pass is the purpose of a forward or backward pass, and its part of a batch.
type Pass struct {
	Train     bool   // training: dropout drops, batch normalisation uses the batch's statistics
	Seed      uint64 // seed of the dropout masks
	Iteration int    // number of the iteration; each has other masks
	Image     int    // index, in the iteration's global batch, of the first image
	Batch     int    // images of the global batch, over which the loss is averaged; 0: those of this pass

	// More says that another part of the same batch follows. Gradients are complete after
	// the last part.
	More bool
	// HoldStatistics leaves batch normalisation's running statistics as they are:
	// [Training.AddStatistics] returns those of the pass, and [Chain.MoveStatistics] moves
	// the running ones later.
	HoldStatistics bool

	// Complete, if it isn't nil, is called in the backward pass of the last part of a batch as
	// soon as the gradient of a learnt parameter is complete: those of the last layer first. It
	// must not change the gradient, which others may read from then on.
	Complete func(*Param)

	// Factors has the weights whose gradients are collected as factors, not computed. The rows of
	// a part's images begin at Image.
	Factors map[*Param]*Factors

	update *update // if not nil, the backward pass updates weights by it
	fixed  bool    // the backward pass computes dx alone, of inference's forward pass
	clock  *clock  // if not nil, it measures the pass
}

// Layer is a layer of a [Chain], which calls its methods; they work on blocked activations.
// A forward pass that does not train only reads the parameters, so any number of
// goroutines may run one at once.
type Layer interface {
	// Name is the layer's name in the paper's terms: conv1_1, pool1, fc6.
	Name() string
	// Out is the shape of the output for an input of shape in, or an error where the
	// input is too small or has the wrong number of channels.
	Out(in Shape) (Shape, error)
	// Params lists the layer's parameters; nil for most layers.
	Params() []*Param

	// border returns the zero padding that forward (and, in training, backward) reads
	// around x of n images. In training it must not depend on n.
	border(n int, in Shape, threads int, train bool) border
	// gradBorder returns the zero padding that backward reads around dy.
	gradBorder(in Shape, threads int) border
	// scratch returns the scratch memory of a pass over n images; data says whether the
	// backward pass computes dx.
	scratch(n int, in Shape, threads int, train, data bool) kernel.Scratch
	forward(w *kernel.Work, x, y *kernel.Act, p Pass)
	// backward adds to the parameters' gradients and computes dx, unless it is nil.
	// It may overwrite dy.
	backward(w *kernel.Work, x, y, dy, dx *kernel.Act, p Pass)
}

// border is the width, in pixels, of the zeros around every plane of an activation: pad
// above and left, end below and right.
type border struct{ pad, end int }

// even is a border of the same width on all sides.
func even(pad int) border { return border{pad, pad} }

// base is embedded by layers without parameters, border or scratch memory.
type base struct{ name string }

func (b base) Name() string                                         { return b.name }
func (base) Params() []*Param                                       { return nil }
func (base) border(int, Shape, int, bool) border                    { return border{} }
func (base) gradBorder(Shape, int) border                           { return border{} }
func (base) scratch(int, Shape, int, bool, bool) (s kernel.Scratch) { return s }
func (base) Out(in Shape) (Shape, error)                            { return in, nil }
