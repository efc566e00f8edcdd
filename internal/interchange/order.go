package interchange

import (
	"fmt"
	"slices"
	"strings"

	"github.com/verydeep/vgg/architecture"
)

// Weights of a subclassed Keras model lie under the names of attributes and lists, which
// needn't tell the layers' order. What is known: layers in one group (block1/conv2d,
// block1/conv2d_1) follow each other in the order of their numbers, layers that are
// numbered attributes (c1, c2) too, and each convolution takes the channels that the one
// before it gives.

// mostSteps bounds the search for orders.
const mostSteps = 50_000

// run is convolutions that follow each other at once, under the name of a group or of a lone
// layer.
type run struct {
	layers []*layerTensors
	name   string
}

// stem returns a name without its numbers.
func stem(name string) string { return digits.ReplaceAllString(name, "") }

// before tells whether run q comes before r by their numbers: they have the same names but for
// these.
func (q run) before(r run) bool {
	number := func(name string) string { // conv2d is the first of conv2d, conv2d_1, …
		if strings.HasSuffix(name, "2d") {
			name += "_0"
		}
		return name
	}
	a, b := number(q.name), number(r.name)
	return strings.TrimSuffix(stem(a), "_") == strings.TrimSuffix(stem(b), "_") && naturalKey(a) < naturalKey(b)
}

// convolution returns the channels and the side of a layer's filters.
func (g *layerTensors) convolution() (in, out, side int, ok bool) {
	s := weightShape(g.tensors["weight"].Shape, g.columns)
	if len(s) != 4 || g.isNorm() {
		return 0, 0, 0, false
	}
	if g.columns {
		return s[2], s[3], s[0], true
	}
	return s[1], s[0], s[2], true
}

// followShapes orders the convolutions of a file that has no order of its own, as one of a
// subclassed Keras model, and sets side outputs aside. Layers whose names tell their position keep it. It is an error if more than one
// order fits.
func (o *Outline) followShapes(order []*layerTensors) ([]*layerTensors, error) {
	var convs, others []*layerTensors
	unknown := 0
	for _, g := range order {
		if _, _, _, ok := g.convolution(); ok {
			convs = append(convs, g)
			if g.part == elsewhere {
				unknown++
			}
		} else {
			others = append(others, g)
		}
	}
	if unknown == 0 || unknown < len(convs) && slices.ContainsFunc(others, (*layerTensors).isNorm) {
		return order, nil
	}
	found := orders(runs(convs))
	if len(found) == 0 {
		var main []*layerTensors
		main, o.sides = withoutSides(convs)
		if len(o.sides) > 0 {
			found = orders(runs(main))
		}
	}
	switch len(found) {
	case 0: // the shapes will be reported
		o.sides = nil
		return order, nil
	case 1:
		return append(found[0], others...), nil
	}
	var readings []string
	for _, f := range found[:2] {
		readings = append(readings, names(f))
	}
	how := "save the tensors with torch.save, which keeps the model's order"
	if o.keras {
		how = "save the model as .keras"
	}
	return nil, fmt.Errorf("more than one order of the convolutions fits their shapes: %s: %s, or name the layers conv1_1, conv1_2, …", strings.Join(readings, "; or "), how)
}

// names returns the names of layers in their order.
func names(layers []*layerTensors) string {
	var all []string
	for _, g := range layers {
		all = append(all, g.name)
	}
	return strings.Join(all, " → ")
}

// withoutSides sets aside 1×1 convolutions of unknown position whose channels no other
// convolution takes.
func withoutSides(convs []*layerTensors) (main, sides []*layerTensors) {
	main = convs
	for {
		taken := map[int]bool{}
		for _, g := range main {
			in, _, _, _ := g.convolution()
			taken[in] = true
		}
		isSide := func(g *layerTensors) bool {
			_, out, side, _ := g.convolution()
			return side == 1 && g.part == elsewhere && !taken[out]
		}
		if !slices.ContainsFunc(main, isSide) {
			return main, sides
		}
		var rest []*layerTensors
		for _, g := range main {
			if isSide(g) {
				sides = append(sides, g)
			} else {
				rest = append(rest, g)
			}
		}
		main = rest
	}
}

// runs groups convolutions. Those whose names tell their position are one run.
func runs(convs []*layerTensors) []run {
	var all []run
	groups := map[string]int{}
	for _, g := range convs {
		key, last := "", g.name
		switch at := strings.LastIndexAny(g.name, "./"); {
		case g.part == features:
			key = "known positions"
		case at >= 0:
			key, last = g.name[:at], g.name[at+1:]
		}
		if key != "" {
			i, ok := groups[key]
			if !ok {
				i = len(all)
				groups[key] = i
				all = append(all, run{name: key})
			}
			all[i].layers = append(all[i].layers, g)
			continue
		}
		all = append(all, run{[]*layerTensors{g}, last})
	}
	return all
}

// orders returns orders of all runs in which each convolution takes the channels of the
// one before it, the first three: none, the only one, or two of several.
func orders(all []run) [][]*layerTensors {
	var found [][]*layerTensors
	var chain []*layerTensors
	used := make([]bool, len(all))
	steps := 0
	var next func(channels, left int)
	next = func(channels, left int) {
		if steps++; steps > mostSteps || len(found) > 1 {
			return
		}
		if left == 0 {
			found = append(found, slices.Clone(chain))
			return
		}
		for i, r := range all {
			blocked := used[i]
			for j, q := range all {
				blocked = blocked || !used[j] && q.before(r)
			}
			at, fits := channels, !blocked
			for _, g := range r.layers {
				in, out, _, _ := g.convolution()
				fits = fits && in == at
				at = out
			}
			if !fits {
				continue
			}
			used[i] = true
			chain = append(chain, r.layers...)
			next(at, left-1)
			chain = chain[:len(chain)-len(r.layers)]
			used[i] = false
		}
	}
	next(3, len(all))
	return found
}

// sideNames describes the side outputs.
func (o *Outline) sideNames() string {
	return fmt.Sprintf("%s: 1×1 convolutions beside the chain", strings.ReplaceAll(names(o.sides), " → ", ", "))
}

// blockOnly removes the poolings between blocks that are only groups in the file, unless
// the paper has such a configuration: the groups' names alone don't tell of poolings.
func (o *Outline) blockOnly() {
	var a architecture.Architecture
	for _, l := range o.layers {
		if l.Kind != architecture.Connected {
			a.Features = append(a.Features, l.Layer)
		}
	}
	a.Head = architecture.PaperHead()
	if config, _ := a.Fit(); slices.Contains(architecture.Names(), config) {
		return
	}
	o.layers = slices.DeleteFunc(o.layers, func(l fileLayer) bool { return l.Kind == architecture.Pooling })
}
