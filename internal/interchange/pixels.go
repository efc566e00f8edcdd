package interchange

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/architecture"
)

// preprocess takes what the file's first layers do to pixels: value c of the network's input
// is scale[c]·x + shift[c] of channel order[c].
func (r *layerReader) preprocess(name string, a attributes) error {
	scale, shift, order := a["scale"], a["shift"], a["order"]
	if len(r.o.layers) > 0 || len(scale) != 3 || len(shift) != 3 || len(order) != 3 {
		return fmt.Errorf("want it of 3 channels, before the first convolution")
	}
	switch {
	case slices.Equal(order, []float64{2, 1, 0}):
		r.o.BGR = true
	case !slices.Equal(order, []float64{0, 1, 2}):
		return fmt.Errorf("takes the channels in the order %v, want all of them as they are, or backwards", order)
	}
	n := &Normalize{Source: name, Bytes: a.all("bytes", 1) && a["bytes"] != nil}
	same := true
	for i := range 3 {
		if !(scale[i] > 0) {
			return fmt.Errorf("multiplies channel %v by %v, want a number above 0", order[i], scale[i])
		}
		c := int(order[i]) // of the picture
		n.Mean[c], n.Std[c] = float32(-shift[i]/scale[i]), float32(1/scale[i])
		same = same && scale[i] == 1 && shift[i] == 0
	}
	if !same || n.Bytes {
		r.o.Normalize = n
	}
	return nil
}

// twoClasses takes the scores 0 and x of two classes: a sigmoid of x is the soft-max of
// these.
func (r *layerReader) twoClasses() error {
	n := len(r.o.layers)
	if n == 0 || r.o.layers[n-1].Kind != architecture.Connected || r.o.layers[n-1].Channels != 1 {
		return fmt.Errorf("want it after a fully connected layer of one unit")
	}
	r.o.ending = architecture.Sigmoids
	return nil
}
