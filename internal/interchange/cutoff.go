package interchange

import (
	"slices"

	"github.com/verydeep/vgg/architecture"
)

// cutOff tells whether the layers, which have no head, are the first of a configuration's
// but not all of its convolutions.
func (o *Outline) cutOff() bool {
	if len(o.layers) == 0 || o.layers[0].Kind != architecture.Convolution || o.Count(architecture.Connected) > 0 {
		return false
	}
	for _, name := range architecture.Names() {
		a, err := architecture.Parse(name)
		if err == nil && o.isStart(a) && o.Count(architecture.Convolution) == a.Count(architecture.Convolution) {
			return false
		}
	}
	return slices.ContainsFunc(architecture.Names(), func(name string) bool {
		a, err := architecture.Parse(name)
		return err == nil && o.isStart(a)
	})
}

// isStart tells whether the layers are the first ones of a, at some width, with or without
// batch normalisation.
func (o *Outline) isStart(a architecture.Architecture) bool {
	if len(o.layers) > len(a.Features) {
		return false
	}
	width := float64(o.layers[0].Channels) / float64(a.Features[0].Channels)
	for i, l := range o.layers {
		m := a.Features[i]
		if l.Kind != m.Kind || l.Kind == architecture.Convolution && (l.Side != m.Side || l.Channels != architecture.Widen(m.Channels, width)) {
			return false
		}
	}
	return true
}
