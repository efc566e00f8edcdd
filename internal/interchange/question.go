package interchange

import (
	"fmt"
	"slices"
	"strings"

	"github.com/verydeep/vgg/architecture"
)

// Names and shapes of tensors tell no layer without tensors: poolings, activations and dropouts,
// nor the strides and the padding of a convolution. Where the places that the names leave for
// such layers are exactly those of one of the paper's configurations, the file is taken for that;
// everything else is asked for.

// Question asks for the network where names don't tell it, with the row that it may be; nil
// if they do. head is what the caller knows of the head.
func (o *Outline) Question(head string) error {
	if o.Complete || o.given {
		return nil
	}
	if err := o.checkStart(); err != nil { // no row opens it
		return err
	}
	if err := o.blindNorm(head); err != nil {
		return err
	}
	why := o.question()
	if why == "" {
		return nil
	}
	row := o.likelyRow(head)
	other := ""
	if o.unplaced {
		if list, blind := o.likelyPlaces(true); blind {
			other = fmt.Sprintf(", or --config '%s' with batch normalisation behind the rectification", (&Outline{layers: list}).likelyRow(head))
		}
	}
	last := ""
	if o.unplaced && strings.Contains(row, " BN RELU") {
		last = ", with RELU BN in place of BN RELU where it is so"
	}
	return &AmbiguousError{fmt.Sprintf("%s: say the network (--config '%s'%s, if every convolution keeps the size of its map and is rectified, M is a max-pooling of 2×2 pixels, no other layer counts in inference, and the head is this one%s%s)", why, row, other, last, sideAdvice(row))}
}

// question says what names of tensors leave open, "" if that is nothing.
func (o *Outline) question() string {
	switch {
	case o.unplaced:
		return "names of tensors don't tell where the poolings are and what else stands between the layers"
	case o.doubt != "":
		return o.doubt
	case o.EndsEarly || o.isPaper():
		return ""
	}
	return "names of tensors tell no layer without tensors, and " + o.likelyPoolings() + ", as in none of the paper's configurations"
}

// sideAdvice says how to give the side of the input to a network that takes any.
func sideAdvice(row string) string {
	if !strings.Contains(row, "GAP") && !strings.Contains(row, "GMP") && !strings.Contains(row, "GMAP") {
		return ""
	}
	return "; with --input and the side of its images"
}

// likelyPoolings says where names leave room for poolings.
func (o *Outline) likelyPoolings() string {
	for i, l := range o.layers {
		if i > 0 && l.Kind == architecture.Convolution && l.numbered && o.layers[i-1].Kind == architecture.Pooling {
			return fmt.Sprintf("the number of %s leaves room for a pooling, a dropout or another layer beside a rectification", l.name)
		}
	}
	if o.Count(architecture.Pooling) < 2 {
		return "these leave room for no pooling between convolutions"
	}
	return "these have their groups of convolutions"
}

// isPaper tells whether the features are those of one of the paper's configurations, with the
// channels of any network.
func (o *Outline) isPaper() bool {
	var features []architecture.Layer
	for _, l := range o.layers {
		if l.inHead() {
			break
		}
		features = append(features, l.Layer)
	}
	return slices.ContainsFunc(paperFeatures(), func(a architecture.Architecture) bool {
		return slices.EqualFunc(features, a.Features, func(l, m architecture.Layer) bool {
			return l.Kind == m.Kind && l.Side == m.Side && l.BatchNorm == m.BatchNorm
		})
	})
}

// paperFeatures returns the paper's configurations, each with batch normalisation and without.
func paperFeatures() []architecture.Architecture {
	var all []architecture.Architecture
	for _, name := range architecture.Names() {
		for _, suffix := range []string{"", "-BN"} {
			if a, err := architecture.Parse(name + suffix); err == nil {
				all = append(all, a)
			}
		}
	}
	return all
}

// paperName returns the configuration of the paper whose convolutions the layers have at some
// width, "" if there is none.
func paperName(layers []fileLayer) string {
	var convs []architecture.Layer
	for _, l := range layers {
		switch {
		case l.between:
			return ""
		case l.Kind == architecture.Convolution:
			convs = append(convs, l.Layer)
		}
	}
	for _, a := range paperFeatures() {
		b := architecture.Architecture{Head: architecture.PaperHead()}
		rest := convs
		for _, m := range a.Features {
			if m.Kind == architecture.Convolution && len(rest) > 0 {
				m, rest = rest[0], rest[1:]
			}
			b.Features = append(b.Features, m)
		}
		if config, _ := b.Fit(); len(rest) == 0 && len(convs) == a.Count(architecture.Convolution) && config == a.Name {
			return a.Name
		}
	}
	return ""
}

// paperPoolings returns the layers with the poolings of the paper's configuration that has these
// convolutions, if there is one.
func paperPoolings(layers []fileLayer) []fileLayer {
	var convs, list []fileLayer
	for _, l := range layers {
		if l.Kind == architecture.Convolution {
			l.BatchNorm = false
			convs = append(convs, l)
		}
	}
	a, err := architecture.Parse(paperName(convs))
	if err != nil {
		return layers
	}
	for _, l := range layers {
		if l.Kind == architecture.Pooling {
			continue
		}
		if l.Kind == architecture.Convolution {
			for len(a.Features) > 0 && a.Features[0].Kind != architecture.Convolution {
				list = append(list, fileLayer{Layer: a.Features[0]})
				a.Features = a.Features[1:]
			}
			a.Features = a.Features[1:]
		}
		list = append(list, l)
	}
	for _, m := range a.Features {
		list = append(list, fileLayer{Layer: m})
	}
	return list
}

// likelyRow returns the row that the network may be: the paper's configuration with these
// convolutions, or else the poolings that the names leave room for. head is that of the row,
// if it is known.
func (o *Outline) likelyRow(head string) string {
	layers, connected, channels := o.layers, []fileLayer(nil), 3
	if o.unplaced {
		layers, _ = o.likelyPlaces(false)
	}
	if i := slices.IndexFunc(layers, fileLayer.inHead); i >= 0 {
		layers, connected = layers[:i], layers[i:]
	}
	for _, l := range layers {
		if l.Kind == architecture.Convolution {
			channels = l.Channels
		}
	}
	name := paperName(layers)
	features := name
	if name == "" {
		features = (&Outline{layers: paperPoolings(layers)}).row()
	}
	switch {
	case head != "":
		return features + " " + head
	case connectedOf(layersOf(connected)) == 0:
		return features
	case name != "" && len(connected) == 3 && connectedOf(layersOf(connected)) == 3 && connected[0].Channels == connected[1].Channels && connected[0].in != channels:
		return name
	}
	head = likelyHead(connected, channels)
	if connected[0].Kind == architecture.Connected && connected[0].in == channels {
		head = "GAP " + head
	}
	return features + " " + head
}

// blindNorm reports that names of tensors don't tell whether batch normalisation stands before
// the rectification or after it; nil if there is no such question.
func (o *Outline) blindNorm(head string) error {
	if o.blind == "" {
		return nil
	}
	after := &Outline{}
	for _, l := range o.layers {
		norm := l.BatchNorm && l.Kind == architecture.Convolution
		if norm {
			l.BatchNorm = false
		}
		after.layers = append(after.layers, l)
		if norm {
			after.layers = append(after.layers, fileLayer{Layer: architecture.Layer{Kind: architecture.BatchNorm}, between: true})
		}
	}
	return &AmbiguousError{fmt.Sprintf("%s: names don't tell whether batch normalisation stands before the rectification (--config '%s') or after it (--config '%s')%s", o.blind, o.likelyRow(head), after.likelyRow(head), sideAdvice(after.likelyRow(head)))}
}

// checkRoom reports a configuration that has more layers between two of the file's than the
// numbers of their names leave room for. A list of modules, all of which have tensors, tells
// nothing of the others.
func (o *Outline) checkRoom(config string) error {
	var previous *fileLayer
	need, lists := 0, true
	var err error
	for i := range o.layers {
		l := &o.layers[i]
		if l.inHead() || l.fromHead {
			break
		}
		if !l.hasTensors() {
			need++
			continue
		}
		if !l.numbered {
			return nil
		}
		if previous != nil {
			room := l.first - previous.last - 1
			lists = lists && room == 0 && !l.unit
			if room < need && err == nil {
				err = fmt.Errorf("%s: its number leaves room for %s behind %s, want %s of configuration %q there, with the rectification", l.name, modules(room), previous.name, modules(need), config)
			}
		}
		previous, need = l, 1
		if l.between || l.unit {
			need = 0
		}
	}
	if lists {
		return nil
	}
	return err
}

// numbersOf returns the numbers in a layer's name, without those of its kind.
func numbersOf(name string) string {
	name = strings.NewReplacer("conv2d", "conv", "Conv2d", "conv", "2d", "", "1d", "").Replace(name)
	numbers := strings.FieldsFunc(name, func(r rune) bool { return r < '0' || '9' < r })
	return strings.Join(numbers, ".")
}
