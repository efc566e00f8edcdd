package nn

import "errors"

// ErrNoGrid is the error of asking where in the input the places of an activation lie that a
// pooling over the whole map has none of.
var ErrNoGrid = errors.New("nn: the layer has no map: a pooling before it is over the whole image")

// Grid tells where in the input the places of the last activation lie: the centre of the
// place at row i and column j is (first + j·step, first + i·step) in pixels, where a pixel's
// own centre is at half a pixel. It is [ErrNoGrid] after a global or adaptive pooling.
func (c *Chain) Grid() (first, step float64, err error) {
	first, step = 0.5, 1
	for _, l := range c.layers {
		switch l := l.(type) {
		case *Conv:
			first += (float64(l.g.R-1)/2 - float64(l.g.Pad)) * step
		case *MaxPool, *AveragePool:
			first += step / 2
			step *= 2
		case *GlobalPool, *GlobalMaxAverage, *AdaptivePool, *Flatten:
			return 0, 0, ErrNoGrid
		}
	}
	return first, step, nil
}
