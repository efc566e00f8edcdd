package eval

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/network"
)

const (
	// processBytes is what the process takes besides networks and images.
	processBytes = 48 << 20
	// imageBytes is, by default, what images and activations may take.
	imageBytes = 2 << 30
	// leastImageBytes is the least that is worth beginning with.
	leastImageBytes = 32 << 20
)

// limits is how a bound of memory is spent, in bytes.
type limits struct {
	total  int64 // the bound
	fixed  int64 // process and weights
	pass   int64 // one pass of a batch: activations, scratch, input, output
	decode int64 // images being decoded and rescaled
	queue  int64 // rescaled images that wait for others of their size
}

// fixedBytes is what the process takes with the network before it sees an image: the
// weights, and their transformed copies for images of any size or for crops alone.
func fixedBytes(net *network.Network, anySize bool) int64 {
	c, side := net.Chain(), net.Options().Input
	filters := c.FilterFloats()
	if !anySize {
		all, err := c.InferenceFloats(1, side, side)
		work, workErr := c.WorkspaceFloats(1, side, side)
		if err == nil && workErr == nil {
			filters = min(filters, all-work)
		}
	}
	return processBytes + c.ParamBytes() + 4*int64(filters)
}

// anySize tells whether any of the views shows images of their own sizes.
func anySize(views []view) bool {
	return slices.ContainsFunc(views, func(v view) bool { return v.protocol == Dense })
}

// newLimits divides a bound, or the default one where memory is 0, for images of any size
// or for crops alone.
func newLimits(net *network.Network, anySize bool, memory int64) (limits, error) {
	fixed := fixedBytes(net, anySize)
	if memory == 0 {
		memory = fixed + imageBytes
	}
	images := memory - fixed
	if images < leastImageBytes {
		return limits{}, fmt.Errorf("eval: memory of %s, want at least %s, of which the network takes %s", mebibytes(memory), mebibytes(fixed+leastImageBytes), mebibytes(fixed))
	}
	l := limits{total: memory, fixed: fixed, pass: images * 45 / 100, decode: images * 25 / 100, queue: images * 15 / 100}
	side := net.Options().Input
	if need, err := l.passBytes(net, 1, side, side); err != nil {
		return limits{}, err
	} else if need > l.pass {
		return limits{}, fmt.Errorf("eval: memory of %s, want at least %s for one crop of %d×%d", mebibytes(memory), mebibytes(fixed+need*100/45), side, side)
	}
	return l, nil
}

// passBytes is what a pass over n images of h×w takes.
func (l limits) passBytes(net *network.Network, n, h, w int) (int64, error) {
	floats, err := net.Chain().WorkspaceFloats(n, h, w)
	if err != nil {
		return 0, err
	}
	shape, err := net.OutputShape(n, h, w)
	if err != nil {
		return 0, err
	}
	output := n
	for _, d := range shape[1:] {
		output *= d
	}
	return 4 * int64(floats+3*n*h*w+output), nil
}

// DefaultMemory is the bound, in bytes, that evaluation of a network keeps to unless
// another is given, of crops alone a smaller one.
func DefaultMemory(net *network.Network) int64 { return fixedBytes(net, true) + imageBytes }

// mebibytes formats bytes for errors.
func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }
