package eval

import (
	"context"
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// dense runs a network over an image and gives the output of every window of the side of its
// input.
type dense struct {
	net    *network.Network
	stride int // distance of neighbouring windows, pixels
	// Of a network whose head takes the whole map, pools it or divides it by its norm: the layers
	// before the head, the head, and the side of a window on the map. front is nil of others.
	front, head *nn.Chain
	window      int
}

func newDense(net *network.Network) (*dense, error) {
	d := &dense{net: net}
	side := net.Options().Input
	if d.stride = strideOf(net.OutputShape, side); d.stride > 0 {
		return d, nil
	}
	features, err := network.Plan(net.Options().WithoutHead())
	if err != nil {
		return nil, err
	}
	front, head, between, err := net.Chain().Split(len(features.Layers()), side, side)
	if err != nil {
		return nil, err
	}
	d.front, d.head, d.window = front, head, between.H
	d.stride = strideOf(func(n, h, w int) ([]int, error) {
		shapes, err := front.Shapes(h, w)
		if err != nil {
			return nil, err
		}
		s := shapes[len(shapes)-1]
		return []int{n, s.C, s.H, s.W}, nil
	}, side)
	if d.stride == 0 {
		return nil, fmt.Errorf("eval: a class score map without a second place, from images of %d pixels on", side)
	}
	return d, nil
}

// strideOf returns the distance, in pixels, of neighbouring places of a map: 2 to the number of
// poolings. 0 if there is one place only.
func strideOf(shapeOf func(n, h, w int) ([]int, error), side int) int {
	least, err := shapeOf(1, side, side)
	if err != nil {
		return 0
	}
	for stride := 1; stride <= 1<<14; stride *= 2 {
		shape, err := shapeOf(1, side+stride, side)
		if err != nil {
			return 0
		}
		if shape[2] > least[2] {
			return stride
		}
	}
	return 0
}

// outputs returns the map of an image x, (1,3,H,W), without its sizes in pixels.
func (d *dense) outputs(ctx context.Context, x *tensor.Tensor) (OutputMap, error) {
	h, w := x.Dim(2), x.Dim(3)
	out := OutputMap{Stride: d.stride}
	if d.front == nil {
		shape, err := d.net.OutputShape(1, h, w)
		if err != nil {
			return out, err
		}
		y := tensor.New(shape...)
		if err := d.net.ForwardContext(ctx, y, x); err != nil {
			return out, err
		}
		out.OH, out.OW, out.Outputs = y.Dim(2), y.Dim(3), y.Data
		return out, nil
	}
	shapes, err := d.front.Shapes(h, w)
	if err != nil {
		return out, err
	}
	s := shapes[len(shapes)-1]
	features := tensor.New(1, s.C, s.H, s.W)
	if err := d.front.ForwardContext(ctx, features, x); err != nil {
		return out, err
	}
	out.OH, out.OW = s.H-d.window+1, s.W-d.window+1
	if err := d.windows(ctx, features, &out); err != nil {
		return out, err
	}
	if shapes, err = d.head.Shapes(s.H, s.W); err != nil {
		return out, nil // the head takes maps of windows alone
	}
	whole := tensor.New(1, shapes[len(shapes)-1].C, 1, 1)
	if err := d.head.ForwardContext(ctx, whole, features); err != nil {
		return out, err
	}
	out.Whole = whole.Data
	return out, nil
}

// bytes returns the memory of outputs for an image of h×w pixels, where floats gives that of a
// chain for n images.
func (d *dense) bytes(h, w int, floats func(c *nn.Chain, n, h, w int) (int, error)) (int64, error) {
	if d.front == nil {
		n, err := floats(d.net.Chain(), 1, h, w)
		return 4 * int64(n), err
	}
	shapes, err := d.front.Shapes(h, w)
	if err != nil {
		return 0, err
	}
	before, err := floats(d.front, 1, h, w)
	if err != nil {
		return 0, err
	}
	s := shapes[len(shapes)-1]
	places := (s.H - d.window + 1) * (s.W - d.window + 1)
	n := min(windowBatch, places)
	after, err := floats(d.head, n, d.window, d.window)
	if err != nil {
		return 0, err
	}
	if shapes, err = d.head.Shapes(d.window, d.window); err != nil {
		return 0, err
	}
	windows := n*s.C*d.window*d.window + places*shapes[len(shapes)-1].C
	return 4 * int64(before+after+windows), nil
}

// MapBytes returns the memory, in bytes, that [OutputMaps] takes in the network for an image
// rescaled to w×h pixels, beside the parameters.
func MapBytes(m *vgg.Model, w, h int) (int64, error) {
	if m == nil || m.Net == nil {
		return 0, fmt.Errorf("eval: %w", vgg.ErrNoNetwork)
	}
	d, err := newDense(m.Net)
	if err != nil {
		return 0, err
	}
	return d.bytes(h, w, (*nn.Chain).InferenceFloats)
}

// windowBatch is the most windows that go through a head at a time.
const windowBatch = 64

// windows takes each window of the map of features through the head.
func (d *dense) windows(ctx context.Context, features *tensor.Tensor, out *OutputMap) error {
	c, fh, fw, side := features.Dim(1), features.Dim(2), features.Dim(3), d.window
	places := out.OH * out.OW
	shapes, err := d.head.Shapes(side, side)
	if err != nil {
		return err
	}
	k := shapes[len(shapes)-1].C
	out.Outputs = make([]float32, k*places)
	for first := 0; first < places; first += windowBatch {
		n := min(windowBatch, places-first)
		x, y := tensor.New(n, c, side, side), tensor.New(n, k, 1, 1)
		for i := range n {
			top, left := (first+i)/out.OW, (first+i)%out.OW
			to := x.Index(i).Data
			for row := range c * side {
				channel, r := row/side, row%side
				copy(to[row*side:(row+1)*side], features.Data[(channel*fh+top+r)*fw+left:])
			}
		}
		if err := d.head.ForwardContext(ctx, y, x); err != nil {
			return err
		}
		for i := range n {
			for j := range k {
				out.Outputs[j*places+first+i] = y.Data[i*k+j]
			}
		}
	}
	return nil
}
