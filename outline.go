package vgg

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// outline is the network that a file of weights holds, layer by layer, in whatever
// format and under whatever names.
type outline struct {
	scheme string // of the names: torchvision, timm, Keras, …
	links  []link
	lrn    nn.LRNForm
	bnEps  float32
	// Where the file says them: side of the input, dropout ratio, and what its first
	// layer does to pixels.
	input   int
	dropout float32
	rescale *preprocess.Spec
	// complete: the links are all layers, poolings and normalisations too, not only
	// those that have tensors.
	complete bool
	unused   []string // tensors that belong to no layer
}

// link is one layer of an outline, with the normalisation and the rectification that
// belong to it.
type link struct {
	layerSpec
	name string // as the file has it
	in   int    // in-channels of a convolution, fan-in of a fully connected layer
	relu bool
	// The tensors by role: weight, bias, scale, shift, mean, variance.
	tensors map[string]weights.Entry
	// How the weight lies; see supply.
	columns, channelsLast bool
}

// weightLink makes a link of a weight, whose shape says what it is: of four axes a
// convolution, or a fully connected layer if head, of two a fully connected layer.
func weightLink(name string, w weights.Entry, head, columns, channelsLast bool) (link, error) {
	l := link{name: name, tensors: map[string]weights.Entry{"weight": w}, columns: columns, channelsLast: channelsLast}
	s := w.Shape
	wrong := func(want string) error {
		return fmt.Errorf("%s: shape %v, want %s", w.Name, s, want)
	}
	for _, d := range s {
		if d < 1 || d > math.MaxInt32 {
			return l, wrong("lengths of at least 1")
		}
	}
	switch len(s) {
	case 4:
		h, wd := s[2], s[3]
		l.channels, l.in = s[0], s[1]
		if columns {
			h, wd, l.in, l.channels = s[0], s[1], s[2], s[3]
		}
		if h != wd {
			return l, wrong("square filters")
		}
		l.kind, l.r = convolution, h
		if head {
			l.kind, l.r = connected, 0
			l.in *= h * wd
		} else if h%2 == 0 || h > maxSide {
			return l, wrong(fmt.Sprintf("filters of an odd side up to %d", maxSide))
		}
	case 2:
		l.kind, l.channels, l.in = connected, s[0], s[1]
		if columns {
			l.in, l.channels = s[0], s[1]
		}
	default:
		return l, wrong("4 axes of a convolution or 2 of a fully connected layer")
	}
	return l, nil
}

// count is the number of links of a kind.
func (ol *outline) count(k layerKind) int {
	n := 0
	for _, l := range ol.links {
		if l.kind == k {
			n++
		}
	}
	return n
}

// within puts the poolings and normalisations of a configuration round the layers that
// have tensors.
func (ol *outline) within(a architecture) error {
	var convs, heads []link
	for _, l := range ol.links {
		switch l.kind {
		case convolution:
			convs = append(convs, l)
		case connected:
			heads = append(heads, l)
		}
	}
	want := 0
	for _, l := range a.layers {
		if l.kind == convolution {
			want++
		}
	}
	if len(convs) != want {
		return fmt.Errorf("%d convolutions, want the %d of configuration %q", len(convs), want, a.name)
	}
	if len(heads) > 0 && len(heads) != len(a.head) {
		return fmt.Errorf("%d fully connected layers, want the %d of configuration %q", len(heads), len(a.head), a.name)
	}
	var links []link
	for _, s := range a.layers {
		if s.kind != convolution {
			links = append(links, link{layerSpec: s})
			continue
		}
		c := convs[0]
		convs = convs[1:]
		if c.bn != s.bn {
			return fmt.Errorf("%s: batch normalisation %v, want %v in configuration %q", c.name, c.bn, s.bn, a.name)
		}
		if c.r != s.r {
			return fmt.Errorf("%s: filters of side %d, want %d in configuration %q", c.name, c.r, s.r, a.name)
		}
		links = append(links, c)
	}
	if ol.complete && !sameKinds(links, ol.links[:len(ol.links)-len(heads)]) {
		return fmt.Errorf("the file's layers are %q, want configuration %q", ol.row(), a.name)
	}
	ol.links = append(links, heads...)
	return nil
}

func sameKinds(a, b []link) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].kind != b[i].kind {
			return false
		}
	}
	return true
}

// row is the outline as a row.
func (ol *outline) row() string {
	text := ""
	for i, l := range ol.links {
		s := l.layerSpec
		if s.kind == connected && i == len(ol.links)-1 {
			s.channels = 0
		}
		if i > 0 {
			text += " "
		}
		text += s.token()
	}
	return text
}

// options infers the network's options.
func (ol *outline) options() (Options, error) {
	o := Options{Width: 1, Dropout: 0.5, LRN: ol.lrn, BNEps: ol.bnEps}
	if o.LRN == "" {
		o.LRN = nn.Krizhevsky
	}
	if o.BNEps == defaultBNEps {
		o.BNEps = 0
	}
	if ol.dropout > 0 {
		o.Dropout = ol.dropout
	}
	var specs, head []layerSpec
	c, first := 3, 0
	for i, l := range ol.links {
		switch {
		case l.kind == connected:
			if len(head) == 0 {
				first = i
			}
			head = append(head, l.layerSpec)
		case len(head) > 0:
			return o, fmt.Errorf("%s: after a fully connected layer, want those last", l.name)
		default:
			specs = append(specs, l.layerSpec)
			if l.kind == convolution {
				c = l.channels
			}
		}
	}
	a := architecture{layers: specs, head: head}
	if n := len(head); n > 0 {
		o.Classes = head[n-1].channels
		if n == 3 && head[0] == head[1] && !head[0].bn && !head[2].bn {
			o.FC = head[0].channels
			a.head = paperHead()
		} else {
			a.head = append([]layerSpec(nil), head...)
			a.head[n-1].channels = 0
		}
	} else {
		a.head = paperHead()
	}
	o.Config, o.Width = a.fit()
	if _, err := parseConfig(o.Config); err != nil {
		return o, err
	}
	poolings := a.poolings()
	if o.Headless() {
		o.Input = defaultInput
		if ol.input > 0 {
			o.Input = ol.input
		}
		o.Input = max(o.Input, 1<<poolings)
		return o, nil
	}
	// fc6 tells the side of the activation that it reads, and that the input's.
	fan := ol.links[first].in
	side := int(math.Round(math.Sqrt(float64(fan / c))))
	if fan%c != 0 || side < 1 || side*side*c != fan {
		return o, fmt.Errorf("%s: fan-in %d, want the %d channels of the convolution before it times a square", ol.links[first].tensors["weight"].Name, fan, c)
	}
	o.Input = side << poolings
	if ol.input>>poolings == side {
		o.Input = ol.input
	}
	return o, nil
}

// defaultInput is the side of the crop of a network that doesn't tell: the paper's.
const defaultInput = 224

// defaultBNEps is PyTorch's ε.
const defaultBNEps = 1e-5

// fit finds the configuration of the table and the width that give these channels, or
// returns the row itself.
func (a architecture) fit() (config string, width float64) {
	if slices.Equal(a.head, paperHead()) {
		for _, c := range configurations {
			for _, suffix := range []string{"", "-BN", "-LRN"} {
				n, ok := named(c.name, suffix)
				if !ok {
					continue
				}
				if w, ok := a.width(n); ok {
					return n.name, w
				}
			}
		}
	}
	text := ""
	for i, l := range a.layers {
		if i > 0 {
			text += " "
		}
		text += l.token()
	}
	for _, l := range a.head {
		text += " " + l.token()
	}
	row, err := parseRow(text)
	if err != nil {
		return text, 1 // parseConfig will say why
	}
	return row.name, 1
}

// width is the multiple of n's channels that a has: the plainest number whose products,
// rounded, are all of them.
func (a architecture) width(n architecture) (float64, bool) {
	if len(a.layers) != len(n.layers) {
		return 0, false
	}
	lo, hi := 0.0, math.Inf(1)
	candidates := []float64{1}
	for i, l := range a.layers {
		m := n.layers[i]
		if l.kind != m.kind || l.r != m.r || l.bn != m.bn || l.lrn != m.lrn {
			return 0, false
		}
		if l.kind != convolution {
			continue
		}
		if l.channels > 1 {
			lo = max(lo, (float64(l.channels)-0.5)/float64(m.channels))
		}
		hi = min(hi, (float64(l.channels)+0.5)/float64(m.channels))
		candidates = append(candidates, float64(l.channels)/float64(m.channels))
	}
	if lo >= hi {
		return 0, false
	}
	for _, w := range append(candidates, (lo+hi)/2) {
		if a.hasWidth(n, w) {
			return w, true
		}
	}
	return 0, false
}

func (a architecture) hasWidth(n architecture, w float64) bool {
	for i, l := range a.layers {
		if l.kind == convolution && (Options{Width: w}).channels(n.layers[i].channels) != l.channels {
			return false
		}
	}
	return w <= 64
}

// headless drops the fully connected layers.
func (ol *outline) headless() {
	for i, l := range ol.links {
		if l.kind == connected {
			ol.links = ol.links[:i]
			return
		}
	}
}

// supplies says where each parameter of a network of options o comes from, and reports
// all tensors that don't fit.
func (ol *outline) supplies(file string, o Options) ([]supply, error) {
	_, layers, err := o.layers()
	if err != nil {
		return nil, err
	}
	var from []supply
	var errs []error
	add := func(l link, role string, p *nn.Param, optional bool) {
		e, ok := l.tensors[role]
		if !ok {
			if !optional {
				errs = append(errs, fmt.Errorf("vgg: %s: %s: no %s among the tensors, want one of shape %v for %s", file, l.name, role, p.Shape, p.Name))
			}
			from = append(from, supply{})
			return
		}
		s := supply{tensor: e.Name}
		want := p.Shape
		if role == "weight" {
			s.columns, s.channelsLast = l.columns, l.channelsLast
			s.channels, s.side, want = lie(e.Shape, p.Shape, l)
		}
		if !slices.Equal(e.Shape, want) {
			errs = append(errs, &weights.ShapeError{File: file, Tensor: e.Name, Shape: e.Shape, Want: want})
		}
		from = append(from, s)
	}
	links := ol.links
	next := func() link {
		for links[0].kind != convolution && links[0].kind != connected {
			links = links[1:]
		}
		l := links[0]
		links = links[1:]
		return l
	}
	var last link
	channels := 3
	for _, l := range layers {
		switch l := l.(type) {
		case *nn.Conv:
			last = next()
			last.in = channels
			add(last, "weight", l.Weight, false)
			add(last, "bias", l.Bias, true)
			channels = l.Bias.Len()
		case *nn.BatchNorm:
			add(last, "scale", l.Gamma, true)
			add(last, "shift", l.Beta, true)
			add(last, "mean", l.RunningMean, false)
			add(last, "variance", l.RunningVar, false)
		}
	}
	for _, name := range ol.unused {
		errs = append(errs, fmt.Errorf("vgg: %s: %s: the network has no such parameter", file, name))
	}
	return from, someErrors(file, errs)
}

// lie tells how a weight of the wanted parameter's shape lies in a tensor with the axes
// of the given shape, and which shape that should be.
func lie(shape, param []int, l link) (channels, side int, want []int) {
	k, in := param[0], 1
	for _, d := range param[1:] {
		in *= d
	}
	channels = max(1, l.in)
	side = max(1, int(math.Round(math.Sqrt(float64(in/channels)))))
	switch {
	case len(shape) == 4 && l.columns:
		want = []int{side, side, in / (side * side), k}
	case len(shape) == 4:
		want = []int{k, in / (side * side), side, side}
	case l.columns:
		want = []int{in, k}
	default:
		want = []int{k, in}
	}
	return channels, side, want
}

// someErrors joins the first few.
func someErrors(file string, errs []error) error {
	const most = 8
	if len(errs) > most {
		errs = append(errs[:most:most], fmt.Errorf("vgg: %s: and %d more", file, len(errs)-most))
	}
	return errors.Join(errs...)
}
