package interchange

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/architecture"
)

// Names of tensors put a convolution of a classifier (classifier.1 of shape (K,C,3,3)) among the
// fully connected layers, which some tools write with 4 axes, too.

// filterSide returns the side of the filters that a layer of the head has if it is a convolution;
// 0 if its weight can't be one's.
func (l fileLayer) filterSide() int {
	w, ok := l.tensors["weight"]
	s := weightShape(w.Shape, l.columns)
	if !ok || l.Kind != architecture.Connected || len(s) != 4 {
		return 0
	}
	side := s[2]
	if l.columns {
		side = s[0]
	}
	if side%2 == 0 || side > architecture.MaxFilterSide {
		return 0
	}
	return side
}

// asConvolution returns the layer of the head as a convolution with filters of that side.
func (l fileLayer) asConvolution(side int) fileLayer {
	l.Layer = architecture.Layer{Kind: architecture.Convolution, Side: side, Channels: l.Channels}
	l.in /= side * side
	l.fromHead = true
	return l
}

// takeConvolutions makes convolutions of the first layers of the head, where a configuration has
// so many more than the features, and the layers may be some.
func (o *Outline) takeConvolutions(a architecture.Architecture) {
	missing := a.Count(architecture.Convolution) - o.Count(architecture.Convolution)
	at := slices.IndexFunc(o.layers, fileLayer.inHead)
	if o.Complete || missing < 1 || at < 0 || at+missing > len(o.layers) {
		return
	}
	taken := slices.Clone(o.layers[at : at+missing])
	for i, l := range taken {
		side := l.filterSide()
		if side == 0 {
			return
		}
		taken[i] = l.asConvolution(side)
	}
	copy(o.layers[at:], taken)
}

// convolutionAdvice says how to open a file if its first layer with 4 axes in the head is a
// convolution; "" if it can't be one.
func (o *Outline) convolutionAdvice(head []fileLayer) string {
	first := slices.IndexFunc(head, fileLayer.isConnected)
	if first != 0 {
		return ""
	}
	l := head[0]
	side, rest := l.filterSide(), head[1:]
	switch {
	case side == 0 || side > 5: // larger ones are a map's side, as that of fc6
		return ""
	case !slices.ContainsFunc(rest, fileLayer.isConnected) && side == 1:
		return fmt.Sprintf("; if %s is a convolution, --head 'GAP FC' is the network too, unless a rectification stands between it and the pooling", l.name)
	case !slices.ContainsFunc(rest, fileLayer.isConnected):
		return fmt.Sprintf("; if %s is a convolution of %d×%[2]d, no row has this network, which ends without a fully connected layer: --headless opens the convolutions before it", l.name, side)
	case rest[0].Kind != architecture.Connected:
		return ""
	}
	conv := l.asConvolution(side)
	features := o.layers[:slices.IndexFunc(o.layers, fileLayer.inHead)]
	row := (&Outline{layers: append(slices.Clone(features), conv)}).row()
	pool := ""
	if rest[0].in == conv.Channels {
		pool = "GAP "
	}
	return fmt.Sprintf("; or --config '%s %s%s', if %s is a convolution that keeps the size of its map and is rectified", row, pool, likelyHead(rest, conv.Channels), l.name)
}
