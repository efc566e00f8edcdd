package interchange

import (
	"fmt"
	"strings"

	"github.com/verydeep/vgg/architecture"
)

// checkStart reports a chain whose first convolution takes no image: a part of a network
// without its beginning, or one for pictures of other channels.
func (o *Outline) checkStart() error {
	if len(o.layers) == 0 || o.layers[0].Kind != architecture.Convolution || o.layers[0].in == 3 {
		return nil
	}
	first := o.layers[0]
	name := first.tensors["weight"].Name
	if name == "" {
		name = first.name
	}
	switch first.in {
	case 1, 2, 4:
		return fmt.Errorf("%s: it takes %s, want the 3 of RGB images", name, channels(first.in))
	}
	text := fmt.Sprintf("%s: it takes %s: a part of a network without its beginning", name, channels(first.in))
	if at := o.startOf(); at != "" {
		text += ", " + at
	}
	return fmt.Errorf("%s: want the layers from the first on, which takes the 3 channels of an image, as the whole features have it", text)
}

// startOf says from which layer of a configuration on the chain is, rather at the paper's
// width than at another; "" if it is in none.
func (o *Outline) startOf() string {
	if at := o.startAt(func(width float64) bool { return width == 1 }); at != "" {
		return at
	}
	return o.startAt(func(width float64) bool { return width <= architecture.MaxWidth })
}

func (o *Outline) startAt(wanted func(width float64) bool) string {
	for _, name := range architecture.Names() {
		a, err := architecture.Parse(name)
		if err != nil {
			continue
		}
		for start, l := range a.Features {
			if l.Kind != architecture.Convolution || start == 0 {
				continue
			}
			width := float64(o.layers[0].Channels) / float64(l.Channels)
			if !wanted(width) || !o.follows(a.Features, start, width) {
				continue
			}
			var before []string
			for _, m := range a.Features[:start] {
				before = append(before, m.String())
			}
			return fmt.Sprintf("that of %s after %q", name, strings.Join(before, " "))
		}
	}
	return ""
}

// follows tells whether the chain's convolutions and poolings are those of features from
// start on.
func (o *Outline) follows(features []architecture.Layer, start int, width float64) bool {
	in := 3
	for _, m := range features[:start] {
		if m.Kind == architecture.Convolution {
			in = architecture.Widen(m.Channels, width)
		}
	}
	if o.layers[0].in != in {
		return false
	}
	for i, l := range o.layers {
		if l.inHead() {
			return start+i == len(features)
		}
		if i == len(o.layers)-1 && l.Kind == architecture.Pooling { // which names don't tell at the end
			return true
		}
		if start+i == len(features) {
			return false
		}
		if m := features[start+i]; m.Kind != l.Kind || l.Kind == architecture.Convolution && (m.Side != l.Side || architecture.Widen(m.Channels, width) != l.Channels) {
			return false
		}
	}
	return true
}

func channels(n int) string {
	if n == 1 {
		return "1 channel"
	}
	return fmt.Sprintf("%d channels", n)
}
