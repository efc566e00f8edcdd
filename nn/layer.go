// Package nn holds the layers of a VGG network, each with a forward and a backward
// pass written out by hand, and the chain that runs them.
//
// A network is a chain: there is no automatic differentiation, and a layer's backward
// stands beside its forward. Shapes are given as (N,C,H,W): batch, channels, height,
// width; gradients are dx, dw, db, dy.
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

// base is embedded by layers without parameters, border or scratch memory.
type base struct{ name string }

func (b base) Name() string                                         { return b.name }
func (base) Params() []*Param                                       { return nil }
func (base) border(int, Shape, int, bool) border                    { return border{} }
func (base) gradBorder(Shape, int) border                           { return border{} }
func (base) scratch(int, Shape, int, bool, bool) (s kernel.Scratch) { return s }
func (base) Out(in Shape) (Shape, error)                            { return in, nil }
