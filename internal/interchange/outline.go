// Package interchange reads and writes a network's parameters in other people's files:
// it recognises the network in a file's tensors or layers, finds each parameter's values,
// and names and orders them as other tools expect.
package interchange

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// Outline is the network that a file of weights holds, layer by layer, in any format and
// under any names.
type Outline struct {
	// Complete tells whether the outline has every layer of the network. Names of tensors
	// give only those that have tensors.
	Complete bool
	// Left describes what DropHead left out beside the head.
	Left []string
	// Normalize is the normalisation of pixels that the file's first layers are; nil if there
	// is none.
	Normalize *Normalize
	// BGR tells that the first convolution takes BGR, since layers before it exchange the
	// channels of RGB pixels.
	BGR bool
	// Steps is what the file's layers before the first convolution do to pixels; nil if
	// there are none.
	Steps *Steps
	// EndsEarly tells that the layers are the beginning of a configuration's. The outline
	// then ends with the last convolution, and names don't tell whether a pooling follows.
	EndsEarly bool
	// Inferred says what the file doesn't tell, and from what it was inferred.
	Inferred []string
	// Assumed is what was inferred by convention alone, though it may well be otherwise.
	Assumed string

	scheme Scheme // of the tensors' names
	keras  bool   // a format of Keras's
	layers []fileLayer
	lrn    nn.LRNForm
	bnEps  float32
	input  int    // side of the input, where the file gives it
	oblong string // the input, where it isn't square
	doubt  string // what the names leave room for that isn't known
	blind  string // a batch normalisation before or after its rectification, which names don't tell
	// unplaced: the names tell no positions, and loose are normalisations without one. ordered:
	// the file has the layers in the model's order. dropped: the head was.
	unplaced, ordered, dropped bool
	empty                      bool  // the head exists in shape only
	removed                    []int // units of the fully connected layers that DropHead removed
	removedHead                bool  // whether it removed a head
	loose                      []looseNorm
	broken                     error // why the head isn't followed
	ending                     architecture.Ending
	ended                      bool // whether the file's layers tell the ending
	given                      bool // whether the configuration was given
	own                        bool // tensors alone, of none of the configurations of the paper as far as names tell
	// functions are activations among a module's attributes that are in its head.
	functions []architecture.Layer
	modules   bool            // the names are of a module's tensors
	adaptive  bool            // the pooling of mapSide is PyTorch's adaptive average pooling
	mapSide   int             // of the last map, which a pooling in the file leaves as it is; 0 if none does
	unused    []string        // tensors that belong to no layer
	sides     []*layerTensors // convolutions beside the chain
}

// fileLayer is a layer in the file, with its normalisation and its rectification.
type fileLayer struct {
	architecture.Layer
	name string // as the file has it
	in   int    // in-channels of a convolution, fan-in of a fully connected layer
	relu bool
	// affine: the normalisation has only a scale and a shift, those of its statistics.
	affine bool
	// fromHead: a convolution that its name puts into the head.
	fromHead bool
	// between: the layer is a batch normalisation between layers of the features.
	between bool
	// first and last are the numbers in the names of the layer and of its batch normalisation,
	// if it is numbered among all modules of the features. unit: the number counts the layer
	// with its rectification.
	numbered, unit bool
	first, last    int
	at             int // place among the layers of a file without known names
	// tensors are the layer's tensors by role: weight, bias, scale, shift, mean, variance.
	tensors map[string]weights.Entry
	// columns and channelsLast are the order of the weight's values; see Location.
	columns, channelsLast bool
}

// inHead tells whether the layer is one of the head.
func (l fileLayer) inHead() bool { return l.Kind >= architecture.Connected && !l.between }

// hasTensors tells whether the layer has tensors of its own.
func (l fileLayer) hasTensors() bool { return l.hasWeight() || l.Kind == architecture.BatchNorm }

// hasWeight tells whether the layer is a convolution or a fully connected layer.
func (l fileLayer) hasWeight() bool {
	return l.Kind == architecture.Convolution || l.Kind == architecture.Connected
}

// Read recognises the network in a file, from its layers if it describes them, else from
// the names of its tensors. What names don't tell of the layers between those with tensors,
// [Outline.Question] asks for and [Outline.Within] adds. known tells that it will. Errors name
// the layer or the tensor, not the file.
func Read(f *weights.File, known bool) (*Outline, error) {
	o, err := read(f, known)
	if of, ok := f.Metadata()[weights.MetaComputed]; ok && err == nil {
		o.infer("weights", "computed as torch.nn.utils does, "+of)
	}
	return o, err
}

func read(f *weights.File, known bool) (*Outline, error) {
	if len(f.Layers()) > 0 {
		if order, ok := f.Metadata()[weights.MetaLayerOrder]; ok {
			return readModules(f, order, known)
		}
		return readLayers(f)
	}
	return readNames(f)
}

// newFileLayer makes a layer from its weight, whose shape tells its kind: 4 axes are a
// convolution, or a fully connected layer if head; 2 axes are a fully connected layer.
func newFileLayer(name string, w weights.Entry, head, columns, channelsLast bool) (fileLayer, error) {
	l := fileLayer{name: name, tensors: map[string]weights.Entry{"weight": w}, columns: columns, channelsLast: channelsLast}
	switch w.DType {
	case "I8", "U8", "I16", "I32":
		return l, fmt.Errorf("%s: dtype %s: a quantised weight, which isn't read: save the model in float32, as it is before it is quantised (in Keras, before model.quantize)", w.Name, w.DType)
	}
	s := weightShape(w.Shape, columns)
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
		height, width := s[2], s[3]
		l.Channels, l.in = s[0], s[1]
		if columns {
			height, width, l.in, l.Channels = s[0], s[1], s[2], s[3]
		}
		if height != width {
			return l, wrong("square filters")
		}
		l.Kind, l.Side = architecture.Convolution, height
		if head {
			l.Kind, l.Side = architecture.Connected, 0
			l.in *= height * width
		} else if height%2 == 0 || height > architecture.MaxFilterSide {
			return l, wrong(fmt.Sprintf("filters of an odd side up to %d", architecture.MaxFilterSide))
		}
	case 2:
		l.Kind, l.Channels, l.in = architecture.Connected, s[0], s[1]
		if columns {
			l.in, l.Channels = s[0], s[1]
		}
	case 1:
		return l, wrong("4 axes of a convolution or 2 of a fully connected layer, since this library has no layer with a vector alone (PReLU, LayerNorm, GroupNorm)")
	default:
		return l, wrong("4 axes of a convolution or 2 of a fully connected layer")
	}
	return l, nil
}

// Count returns the number of layers of a kind.
func (o *Outline) Count(k architecture.Kind) int {
	n := 0
	for _, l := range o.layers {
		if l.Kind == k {
			n++
		}
	}
	return n
}

// Within inserts the poolings and normalisations of a configuration between the layers
// that have tensors.
func (o *Outline) Within(a architecture.Architecture) error {
	o.own = !o.Complete && !o.modules && o.question() != ""
	if o.unplaced {
		if err := o.place(a); err != nil {
			return err
		}
	}
	o.takeConvolutions(a)
	var convs, norms, head []fileLayer
	for _, l := range o.layers {
		switch {
		case l.Kind == architecture.Convolution:
			convs = append(convs, l)
		case l.between:
			norms = append(norms, l)
		case l.inHead():
			head = append(head, l)
		}
	}
	if want := a.Count(architecture.Convolution); len(convs) != want {
		return o.countError(a)
	}
	if err := o.checkFunctions(a); err != nil {
		return err
	}
	if n, want := o.Count(architecture.Connected), connectedOf(a.Head); n > 0 && n != want {
		return fmt.Errorf("%d fully connected layers, want the %d of configuration %q (--config '%s' has the file's, if they are rectified)", n, want, a.Name, o.likelyRow(""))
	}
	var layers []fileLayer
	for _, s := range a.Features {
		if s.Kind == architecture.BatchNorm {
			if len(norms) == 0 {
				return fmt.Errorf("no batch normalisation after a rectification, want that of configuration %q", a.Name)
			}
			layers, norms = append(layers, norms[0]), norms[1:]
			continue
		}
		if s.Kind != architecture.Convolution {
			layers = append(layers, fileLayer{Layer: s})
			continue
		}
		c := convs[0]
		convs = convs[1:]
		if o.blind != "" && c.BatchNorm && !s.BatchNorm { // the configuration tells where it stands
			norms = append(norms, c.splitNorm())
		}
		if c.BatchNorm != s.BatchNorm {
			return fmt.Errorf("%s: batch normalisation %v, want %v in configuration %q", c.name, c.BatchNorm, s.BatchNorm, a.Name)
		}
		if c.Side != s.Side {
			return fmt.Errorf("%s: filters of side %d, want %d in configuration %q", c.name, c.Side, s.Side, a.Name)
		}
		layers = append(layers, c)
	}
	if len(norms) > 0 {
		return fmt.Errorf("%s: batch normalisation after a rectification, want none in configuration %q", norms[0].name, a.Name)
	}
	sameKind := func(a, b fileLayer) bool { return a.Kind == b.Kind }
	if o.Complete && !slices.EqualFunc(layers, o.layers[:len(o.layers)-len(head)], sameKind) {
		return fmt.Errorf("the file's layers are %q, want configuration %q", o.row(), a.Name)
	}
	o.layers, o.given = append(layers, head...), true
	return o.checkRoom(a.Name)
}

// splitNorm makes a layer of its own of a convolution's batch normalisation.
func (l *fileLayer) splitNorm() fileLayer {
	norm := fileLayer{Layer: architecture.Layer{Kind: architecture.BatchNorm}, name: l.name, tensors: map[string]weights.Entry{}, between: true}
	tensors := map[string]weights.Entry{}
	for role, e := range l.tensors {
		if role == "weight" || role == "bias" {
			tensors[role] = e
		} else {
			norm.tensors[role] = e
		}
	}
	l.tensors, l.BatchNorm = tensors, false
	return norm
}

// row returns the outline as a row.
func (o *Outline) row() string {
	var tokens []string
	last := len(o.layers) - 1
	for last >= 0 && o.layers[last].Kind != architecture.Connected {
		last--
	}
	for i, l := range o.layers {
		s := l.Layer
		if i == last && (s.Channels > 1 || o.ending != architecture.Sigmoids) {
			s.Channels = 0
		}
		tokens = append(tokens, s.String())
	}
	if o.ending != architecture.Softmax {
		tokens = append(tokens, o.ending.String())
	}
	return strings.Join(tokens, " ")
}

// Broken tells why the head can't be followed; nil if it can, or is dropped.
func (o *Outline) Broken() error { return o.broken }

// DropHead removes the fully connected layers, and convolutions beside the chain. These
// are then in Left.
func (o *Outline) DropHead() {
	o.dropped = true
	o.removedHead = o.broken != nil || len(o.sides) > 0
	if o.broken != nil {
		o.Left = append(o.Left, fmt.Sprintf("the head, with %d tensors: not followed: %v", len(o.unused), o.broken))
		o.broken, o.unused = nil, nil
	}
	if len(o.sides) > 0 {
		o.Left, o.sides = append(o.Left, o.sideNames()), nil
	}
	if i := slices.IndexFunc(o.layers, fileLayer.inHead); i >= 0 {
		for _, l := range o.layers[i:] {
			if l.Kind == architecture.Connected {
				o.removed, o.removedHead = append(o.removed, l.Channels), true
			}
		}
		o.layers = o.layers[:i]
	}
}

// RemovedHead tells whether DropHead removed a head that can be used, and the units of its
// fully connected layers as far as they are followed, first to last.
func (o *Outline) RemovedHead() (units []int, ok bool) {
	return o.removed, o.removedHead && !o.empty
}

// EmptyHead tells whether the classifier exists in shape only, as that of torchvision's
// vgg16_features, whose values are all NaN.
func (o *Outline) EmptyHead(f *weights.File) (bool, error) {
	if len(o.layers) == 0 {
		return false, nil
	}
	last := o.layers[len(o.layers)-1]
	e, ok := last.tensors["bias"]
	n, err := tensor.Size(e.Shape...)
	if last.Kind != architecture.Connected || !ok || err != nil || n < 1 || n > architecture.MaxUnits {
		return false, nil
	}
	b := make([]float32, n)
	if err := f.ReadInto(e.Name, b); err != nil {
		return false, err
	}
	o.empty = !slices.ContainsFunc(b, func(x float32) bool { return x == x })
	return o.empty, nil
}

// Scheme returns the scheme of the tensors' names, or "" where none names them.
func (o *Outline) Scheme() Scheme {
	if !o.Complete {
		return o.scheme
	}
	schemes := map[Scheme]int{}
	for _, l := range o.layers {
		if l.Kind == architecture.Convolution {
			_, s := positionOf(l.name)
			schemes[s]++
		}
	}
	return commonest(schemes)
}

// Locations finds each parameter of a network with these options in the file of that
// name, and reports all tensors that don't fit.
func (o *Outline) Locations(file string, opts network.Options) ([]Location, error) {
	chain, err := network.Plan(opts)
	if err != nil {
		return nil, err
	}
	m := matcher{file: file}
	layers := slices.DeleteFunc(slices.Clone(o.layers), func(l fileLayer) bool { return !l.hasTensors() })
	var current fileLayer
	channels, flat := 3, false
	for _, l := range chain.Layers() {
		switch l := l.(type) {
		case *nn.Conv:
			if len(layers) == 0 || !layers[0].hasWeight() {
				return nil, fmt.Errorf("vgg: %s: no tensors for %s, want those of configuration %q", file, l.Name(), opts.Config)
			}
			current, layers = layers[0], layers[1:]
			current.in = channels
			m.match(current, "weight", l.Weight, false)
			m.match(current, "bias", l.Bias, true)
			channels, flat = l.Bias.Len(), false
		case *nn.GlobalMaxAverage:
			channels *= 2
		case *nn.Flatten:
			flat = true
		case *nn.BatchNorm:
			own := current.BatchNorm // of the convolution, whose tensors are in current
			current.BatchNorm = false
			if !own {
				if len(layers) == 0 || layers[0].Kind != architecture.BatchNorm {
					return nil, fmt.Errorf("vgg: %s: no tensors for %s, want those of configuration %q", file, l.Name(), opts.Config)
				}
				current, layers = layers[0], layers[1:]
				current.in, current.channelsLast = channels, flat && lastOf(layers)
			}
			m.match(current, "scale", l.Gamma, true)
			m.match(current, "shift", l.Beta, true)
			m.match(current, "mean", l.RunningMean, current.affine)
			m.match(current, "variance", l.RunningVar, current.affine)
			if current.affine {
				m.locations[len(m.locations)-1].fill = 1 - l.Eps
			}
		}
	}
	for _, l := range layers {
		m.errs = append(m.errs, fmt.Errorf("vgg: %s: %s: the network has no such layer", file, l.name))
	}
	if len(o.sides) > 0 {
		m.errs = append(m.errs, fmt.Errorf("vgg: %s: %s: --headless opens the chain without them", file, o.sideNames()))
	}
	for _, name := range o.unused {
		m.errs = append(m.errs, fmt.Errorf("vgg: %s: %s: the network has no such parameter", file, name))
	}
	if len(layers)+len(o.unused) > 0 {
		return m.locations, fmt.Errorf("%w\nleave out what the network doesn't compute with by --ignore PATTERN (not a PReLU or another layer of its own), or take what is below one prefix with --prefix", joinFirst(file, m.errs))
	}
	return m.locations, joinFirst(file, m.errs)
}

// lastOf tells whether the units of a flattened map are in (H,W,C) order, as the first fully
// connected layer tells it.
func lastOf(layers []fileLayer) bool {
	i := slices.IndexFunc(layers, fileLayer.hasWeight)
	return i >= 0 && layers[i].channelsLast
}

// matcher collects the parameters' locations, and the tensors that don't fit.
type matcher struct {
	file      string
	locations []Location
	errs      []error
}

// match finds parameter p in the tensor of that role of layer l.
func (m *matcher) match(l fileLayer, role string, p *nn.Param, optional bool) {
	e, ok := l.tensors[role]
	if !ok {
		if !optional {
			m.errs = append(m.errs, fmt.Errorf("vgg: %s: %s: no %s among the tensors, want one of shape %v for %s", m.file, l.name, role, p.Shape, p.Name))
		}
		m.locations = append(m.locations, Location{})
		return
	}
	at := Location{Tensor: e.Name}
	want := p.Shape
	if role == "weight" {
		at.columns, at.channelsLast = l.columns, l.channelsLast
		at.channels, at.side, want = expectedShape(weightShape(e.Shape, l.columns), p.Shape, l)
	}
	if role != "weight" && l.Kind == architecture.BatchNorm && l.channelsLast { // of a flattened map
		at.channelsLast, at.channels = true, max(1, l.in)
		at.side = max(1, int(math.Round(math.Sqrt(float64(p.Len()/at.channels)))))
	}
	if !slices.Equal(withoutOnes(e.Shape), withoutOnes(want)) {
		m.errs = append(m.errs, &weights.ShapeError{File: m.file, Tensor: e.Name, Shape: e.Shape, Want: want})
	}
	m.locations = append(m.locations, at)
}

// withoutOnes returns a shape without its axes of length 1. These change neither the
// number of values nor their order: MATLAB has vectors of shape (1,n), NumPy keeps them so.
func withoutOnes(shape []int) []int {
	var s []int
	for _, n := range shape {
		if n != 1 {
			s = append(s, n)
		}
	}
	return s
}

// weightShape returns the shape of a weight without axes of length 1 beyond the fourth, and
// with the one that MATLAB drops where a convolution has a single out-channel, the last of
// its columns.
func weightShape(shape []int, columns bool) []int {
	s := slices.Clone(shape)
	for len(s) > 4 && s[len(s)-1] == 1 {
		s = s[:len(s)-1]
	}
	if columns && len(s) == 3 && s[0] == s[1] {
		s = append(s, 1)
	}
	return s
}

// expectedShape returns the shape of the tensor that holds a weight of the parameter's
// shape in the order of layer l, and the channels and side of the activation that it
// reads. The tensor's own shape tells its number of axes.
func expectedShape(shape, param []int, l fileLayer) (channels, side int, want []int) {
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

// joinFirst joins the first errors of a file, and counts the others.
func joinFirst(file string, errs []error) error {
	const most = 8
	if len(errs) > most {
		errs = append(errs[:most:most], fmt.Errorf("vgg: %s: and %d more", file, len(errs)-most))
	}
	return errors.Join(errs...)
}

// infer notes what was inferred, and from what.
func (o *Outline) infer(what, from string) {
	if !slices.ContainsFunc(o.Inferred, func(line string) bool { return strings.HasPrefix(line, what+":") }) {
		o.Inferred = append(o.Inferred, what+": "+from)
	}
}
