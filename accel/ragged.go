package accel

import (
	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/nn"
)

// sideStep is what sides of images are rounded up to a multiple of, where a network is run over
// images of all sizes: otherwise each size would be a program of its own, and compiling takes
// longer than running. Five poolings divide by it.
const sideStep = 32

// extents are the height and width of an image within a map that is larger, ui32. What is right of
// and below it must not be seen by a convolution.
type extents struct{ h, w hlo.Value }

// roundUp returns the sides that images of h × w are run with by a chain, whose output is
// oh × ow. Those of crops, which have one pixel of output, stay: they are few, and many images
// have them.
func roundUp(c *nn.Chain, h, w, oh, ow int) (int, int) {
	if oh*ow == 1 || !eachPixelOfSome(c.Layers()) {
		return h, w
	}
	up := func(n int) int { return (n + sideStep - 1) / sideStep * sideStep }
	return up(h), up(w)
}

// eachPixelOfSome reports whether all outputs are of parts of the input, whatever lies beyond
// them.
func eachPixelOfSome(layers []nn.Layer) bool {
	for _, l := range layers {
		switch l := l.(type) {
		case *nn.Conv, *nn.MaxPool, *nn.AveragePool, *nn.ReLU, *nn.LRN, *nn.BatchNorm, *nn.Dropout, *nn.Activation, *nn.Binary:
		case *nn.Euclidean:
			if l.WholeMap() {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// inside puts zeros in the place of all that isn't the image, as the border of a convolution has.
func (g *graph) inside(x hlo.Value) hlo.Value {
	within := func(along int, n hlo.Value) hlo.Value {
		d := []int{x.Dims[along]}
		return g.Broadcast(g.Compare("LT", g.Iota(hlo.U32, 0, d...), g.Broadcast(n, d)), x.Dims, along)
	}
	return g.Select(g.Binary("and", within(1, g.extents.h), within(2, g.extents.w)), x, g.Const(0, x.Dims...))
}

// before makes the input of a layer ready, if the image is smaller than the map: the first layer's
// has zeros beyond it already.
func (g *graph) before(l nn.Layer, x hlo.Value, first bool) hlo.Value {
	if conv, ok := l.(*nn.Conv); ok && g.extents != nil && !first {
		if _, _, _, pad := conv.Geometry(); pad > 0 {
			return g.inside(x)
		}
	}
	return x
}

// after follows the image's size through a layer.
func (g *graph) after(l nn.Layer) {
	if g.extents == nil {
		return
	}
	e := g.extents
	switch l := l.(type) {
	case *nn.Conv:
		if _, _, side, pad := l.Geometry(); side != 2*pad+1 {
			shrink := g.Int(hlo.U32, uint64(side-1-2*pad))
			e = &extents{g.Sub(e.h, shrink), g.Sub(e.w, shrink)}
		}
	case *nn.MaxPool, *nn.AveragePool:
		one := g.Int(hlo.U32, 1)
		e = &extents{g.Binary("shift_right_logical", e.h, one), g.Binary("shift_right_logical", e.w, one)}
	}
	g.extents = e
}

// corner copies maps of h × w values between ones with rows of another length, to their upper left.
func corner(dst []float32, dstH, dstW int, src []float32, srcH, srcW, maps, h, w int) {
	for m := range maps {
		for i := range h {
			copy(dst[(m*dstH+i)*dstW:][:w], src[(m*srcH+i)*srcW:])
		}
	}
}
