package interchange

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
)

// AmbiguousError is the error of weights that fit several networks, which give other
// numbers. Whoever knows the network says which it is.
type AmbiguousError struct {
	Reason string // what fits, and which flags say it
}

func (e *AmbiguousError) Error() string { return e.Reason }

// Given is what the caller knows of the network. It must not contradict the file.
type Given struct {
	Head  string // in the language of rows; "" if it isn't known
	Input int    // side of the input in pixels; 0 if it isn't known
}

// connectedOf returns the number of fully connected layers.
func connectedOf(layers []architecture.Layer) int {
	n := 0
	for _, l := range layers {
		if l.Kind == architecture.Connected {
			n++
		}
	}
	return n
}

// split returns the features, the layers of the head, and the channels that the head reads.
func (o *Outline) split() (features []architecture.Layer, head []fileLayer, channels int, err error) {
	channels = 3
	for i, l := range o.layers {
		switch {
		case l.inHead():
			head = append(head, l)
		case len(head) > 0:
			return nil, nil, 0, fmt.Errorf("%s: after %s, which begins the head", l.name, o.layers[i-1].Layer)
		default:
			if l.Kind == architecture.Convolution {
				channels = l.Channels
			}
			features = append(features, l.Layer)
		}
	}
	return features, head, channels, nil
}

// Options infers the network's options. It is an [*AmbiguousError] where several networks
// fit the file, and g doesn't say which it is.
func (o *Outline) Options(g Given) (network.Options, error) {
	opts, err := o.options(g)
	if err == nil {
		o.inferAll(opts, g)
	}
	return opts, err
}

func (o *Outline) options(g Given) (network.Options, error) {
	opts := network.Options{Width: 1, Dropout: 0.5, LRN: o.lrn, BNEps: o.bnEps}
	if opts.LRN == "" {
		opts.LRN = nn.Krizhevsky
	}
	if opts.BNEps == network.DefaultBNEps {
		opts.BNEps = 0
	}
	if err := o.checkStart(); err != nil {
		return opts, err
	}
	features, head, channels, err := o.split()
	if err != nil {
		return opts, err
	}
	a := architecture.Architecture{Features: features, Head: architecture.PaperHead()}
	mapSide := firstOf(g.Input, o.input, network.DefaultInput) >> a.Poolings()
	head = slices.DeleteFunc(head, func(l fileLayer) bool { // which leaves the map as it is
		return l.Kind == architecture.Adaptive && l.Side == mapSide
	})
	first := slices.IndexFunc(head, func(l fileLayer) bool { return l.Kind == architecture.Connected })
	if first < 0 { // without a classifier
		opts.Config, opts.Width = a.Fit()
		if _, err := architecture.Parse(opts.Config); err != nil {
			return opts, err
		}
		opts.Input = max(firstOf(g.Input, o.input, network.DefaultInput), 1<<a.Poolings())
		return opts, nil
	}
	var b architecture.Architecture
	if o.Complete {
		b, opts.Dropout, err = o.ownHead(head, g.Head)
	} else {
		b, err = o.guessedHead(head, channels, a.Poolings(), g)
	}
	if err != nil {
		return opts, err
	}
	a.Head, a.Ending = b.Head, b.Ending
	if opts.Classes, opts.FC, err = units(&a, head); err != nil {
		return opts, err
	}
	opts.Config, opts.Width = a.Fit()
	if _, err := architecture.Parse(opts.Config); err != nil {
		return opts, err
	}
	if err := o.poolingInput(a, firstOf(g.Input, o.input)); err != nil {
		return opts, err
	}
	opts.Input, err = o.inputSide(a, head[first], channels, g.Input)
	return opts, err
}

// firstOf returns the first value that isn't 0.
func firstOf(values ...int) int {
	for _, v := range values {
		if v != 0 {
			return v
		}
	}
	return 0
}

// units checks the units of a's fully connected layers against the file's. It writes those
// of the file into a's head where it has none, unless they are the same for all. It returns the classes and the options' units.
func units(a *architecture.Architecture, head []fileLayer) (classes, fc int, err error) {
	var sizes []int
	for _, l := range head {
		if l.Kind == architecture.Connected {
			sizes = append(sizes, l.Channels)
		}
	}
	last, n := a.LastConnected(), 0
	var own []int // layers whose units the options give
	for i, l := range a.Head {
		if l.Kind != architecture.Connected {
			continue
		}
		switch {
		case l.Channels > 0 && l.Channels != sizes[n]:
			return 0, 0, fmt.Errorf("%d units of fully connected layer %d, want the %d of the head %q", sizes[n], n+1, l.Channels, a.HeadName())
		case i != last && l.Channels == 0:
			own = append(own, sizes[n])
			if fc == 0 {
				fc = sizes[n]
			}
		}
		n++
	}
	if slices.ContainsFunc(own, func(k int) bool { return k != fc }) {
		fc = 0
		for i, l := range a.Head {
			if l.Kind == architecture.Connected && i != last && l.Channels == 0 {
				a.Head[i].Channels, own = own[0], own[1:]
			}
		}
	}
	classes = sizes[n-1]
	if three := architecture.PaperHead(); len(a.Head) == 3 && len(sizes) == 3 && sizes[0] == sizes[1] {
		three[0].Channels, three[1].Channels = sizes[0], sizes[0]
		if slices.Equal(a.Head, three) { // the paper's head, whose units the options give
			a.Head, fc = architecture.PaperHead(), sizes[0]
		}
	}
	switch {
	case a.Binary():
		classes = 2
	case classes == 1 && (a.Ending == architecture.Softmax || a.Ending == architecture.LogSoftmax):
		return 0, 0, &AmbiguousError{fmt.Sprintf("one output, of which a soft-max tells nothing: say what it is (--head '%s', of which the output tells the second of two classes, or SCORES at the end in place of SIGMOID)", oneUnit(*a))}
	}
	return classes, fc, nil
}

// oneUnit returns the head of a with one sigmoid unit at its end.
func oneUnit(a architecture.Architecture) string {
	a.Head = slices.Clone(a.Head)
	a.Head[a.LastConnected()].Channels = 1
	a.Ending = architecture.Sigmoids
	return a.HeadName()
}

// text returns the layers of the head as tokens. Dropouts of the ratio are the options'.
func text(head []fileLayer, ratio float32, one bool) string {
	var tokens []string
	last := len(head) - 1
	for last >= 0 && head[last].Kind != architecture.Connected {
		last--
	}
	follow := func(i int) bool {
		return i+1 < len(head) && (head[i+1].Kind == architecture.BatchNorm || head[i+1].Kind == architecture.Activation)
	}
	for i, l := range head {
		s := l.Layer
		switch {
		case i == last && one && s.Channels == 1:
			tokens = append(tokens, "FC1")
		case i == last:
			tokens = append(tokens, "FC")
		case s.Kind == architecture.Dropout && s.Value == ratio:
			tokens = append(tokens, "DROP")
		default:
			tokens = append(tokens, s.String())
			if s.Kind == architecture.Connected && !follow(i) {
				tokens = append(tokens, string(architecture.Linear))
			}
		}
	}
	return strings.Join(tokens, " ")
}

// ownHead returns the head that the file's layers tell, and its dropout ratio. Where the
// file has no dropout, rectified layers are taken to have the usual one in training. A
// given head that is the same in inference tells what training does.
func (o *Outline) ownHead(head []fileLayer, given string) (architecture.Architecture, float32, error) {
	ratio := float32(0)
	for i, l := range head {
		if l.Kind == architecture.Dropout && (ratio == 0 || i > 0 && head[i-1].Function == architecture.ReLU) {
			ratio = l.Value
		}
	}
	if err := o.tellEnding(head, given); err != nil {
		return architecture.Architecture{}, 0, err
	}
	ending := o.ending
	if given != "" && !o.ended { // the caller knows what follows the scores
		if g, err := architecture.ParseHead(given); err == nil {
			ending = g.Ending
		}
	}
	a, err := architecture.ParseHead(text(head, ratio, ending == architecture.Sigmoids) + " " + ending.String())
	if err != nil {
		return a, 0, err
	}
	if ratio == 0 {
		ratio = 0.5
		a = withDropout(a)
	}
	if given == "" {
		return a, ratio, nil
	}
	g, err := architecture.ParseHead(given)
	if err != nil {
		return g, 0, err
	}
	if !sameInference(a, g) {
		return g, 0, fmt.Errorf("the file's layers are the head %q, want %q", a.HeadName(), g.HeadName())
	}
	return g, ratio, nil
}

// tellEnding settles the ending of a file whose layers don't tell it: the given head's, or a
// soft-max of the outputs of a last fully connected layer.
func (o *Outline) tellEnding(head []fileLayer, given string) error {
	if o.ended || !o.keras {
		return nil
	}
	if given != "" {
		g, err := architecture.ParseHead(given)
		o.ending = g.Ending
		return err
	}
	last := head[len(head)-1]
	if last.Kind == architecture.Activation {
		return &AmbiguousError{fmt.Sprintf("the last layer is %s, which doesn't tell what the outputs are: say it (--head '%s SCORES', if they are scores, SOFTMAX in place of SCORES, if a soft-max follows)", last.Layer, text(head, 0.5, false))}
	}
	o.infer("ending", "a soft-max by convention: no activation at the end, and no loss function in the file that tells it")
	return nil
}

// withDropout makes FC256 of FC256 RELU where no dropout or activation follows.
func withDropout(a architecture.Architecture) architecture.Architecture {
	var tokens []string
	for i, l := range a.Head {
		tokens = append(tokens, l.String())
		after := architecture.Layer{}
		if i+1 < len(a.Head) {
			after = a.Head[i+1]
		}
		fc := i > 0 && a.Head[i-1].Bare || i > 1 && a.Head[i-1].Kind == architecture.BatchNorm && a.Head[i-2].Bare
		switch {
		case fc && l.Function == architecture.ReLU && after.Kind != architecture.Activation && after.Kind != architecture.BatchNorm:
			tokens = append(tokens, "DROP")
		case l.Bare && after.Kind != architecture.Activation && after.Kind != architecture.BatchNorm:
			tokens = append(tokens, string(architecture.Linear))
		}
	}
	tokens = append(tokens, a.Ending.String())
	if b, err := architecture.ParseHead(strings.Join(tokens, " ")); err == nil {
		return b
	}
	return a
}

// inference returns the layers of a head that count in inference, with nothing implied.
func inference(a architecture.Architecture) []architecture.Layer {
	var list []architecture.Layer
	last := a.LastConnected()
	for i, l := range a.Head {
		plain := l.Kind == architecture.Connected && !l.Bare && i != last
		norm := l.BatchNorm
		l.Bare, l.BatchNorm = false, false
		if l.Kind != architecture.Dropout {
			list = append(list, l)
		}
		if norm {
			list = append(list, architecture.Layer{Kind: architecture.BatchNorm})
		}
		if plain {
			list = append(list, architecture.Layer{Kind: architecture.Activation, Function: architecture.ReLU})
		}
	}
	return list
}

// sameInference tells whether two heads compute the same. A layer without a number of units
// is the same as one of any.
func sameInference(a, b architecture.Architecture) bool {
	ending := func(e architecture.Ending) architecture.Ending {
		if e == architecture.LogSoftmax {
			return architecture.Softmax
		}
		return e
	}
	return ending(a.Ending) == ending(b.Ending) && slices.EqualFunc(inference(a), inference(b), func(x, y architecture.Layer) bool {
		if x.Channels == 0 || y.Channels == 0 {
			x.Channels, y.Channels = 0, 0
		}
		return x == y
	})
}

// guessedHead returns the head of a file that has only names and shapes of tensors: the
// given one, or the only one that fits.
//
// Convention: what such a file says of no network, that the scores of several classes go
// through a soft-max, is taken for granted.
func (o *Outline) guessedHead(head []fileLayer, channels, poolings int, g Given) (architecture.Architecture, error) {
	if g.Head != "" {
		a, err := architecture.ParseHead(g.Head)
		if err != nil {
			return a, err
		}
		return a, o.fits(a, head)
	}
	likely := likelyHead(head, channels)
	flat := likely
	connected := connectedOf(layersOf(head))
	usual := fmt.Sprintf("if the map is flattened and its %d fully connected layers are rectified", connected)
	switch first := slices.IndexFunc(head, fileLayer.isConnected); {
	case strings.HasPrefix(likely, "GMAP"):
		usual = fmt.Sprintf("if its %d fully connected layers are rectified, and the maxima come first, as fastai's", connected)
	case first >= 0 && head[first].in == channels && poolings > 0 && g.Input>>poolings != 1 && !o.fixedSide(1, poolings):
		usual = fmt.Sprintf("if the whole map is pooled and its %d fully connected layers are rectified, with --input and the side of its images if that isn't %d; or --head '%s' --input %d, if a map of one pixel is flattened", connected, network.DefaultInput, likely, 1<<poolings)
		likely = "GAP " + flat
	}
	if own, ok := ownNames(head, poolings); ok {
		return own, o.oneReading(head[0], channels, poolings, own.HeadName(), g)
	}
	named := strings.HasPrefix(head[0].name[strings.LastIndexByte(head[0].name, '/')+1:], ownHead)
	if len(head) != 1 && !o.paperNames(head) || len(head) == 1 && followsLayer(head[0].name) || connected == 0 || named {
		return architecture.Architecture{}, &AmbiguousError{fmt.Sprintf("names and shapes of tensors don't tell the head, its activations above all: say it (--head '%s', %s%s)", likely, usual, o.convolutionAdvice(head))}
	}
	a := architecture.Architecture{Head: architecture.PaperHead()}
	if len(head) == 1 {
		a.Head = a.Head[2:]
	}
	return a, o.oneReading(head[0], channels, poolings, flat, g)
}

// oneReading reports a first fully connected layer l that reads as many channels as there
// are: a flattened map of one pixel, or a pooled one.
func (o *Outline) oneReading(l fileLayer, channels, poolings int, likely string, g Given) error {
	if l.in == channels && poolings > 0 && !o.fixedSide(1, poolings) {
		least := 1 << poolings
		pooled := fmt.Sprintf("pools the whole map (--head 'GAP %s' or --head 'GMP %[1]s', and --input with the side of its images if that isn't %[2]d: --head 'GAP %[1]s' --input %[3]d)", likely, network.DefaultInput, least)
		switch {
		case g.Input>>poolings == 1: // it flattens
		case g.Input > 0:
			return &AmbiguousError{fmt.Sprintf("%s: fan-in %d, the channels before it: with inputs of %d pixels, want a head that pools the whole map (--head 'GAP %s' or --head 'GMP %[4]s')", l.tensors["weight"].Name, l.in, g.Input, likely)}
		default:
			return &AmbiguousError{fmt.Sprintf("%s: fan-in %d, the channels before it: that fits a head that flattens 1×1 pixels, of images of %d to %d (--input %[3]d), and one that %[5]s: say which", l.tensors["weight"].Name, l.in, least, 2*least-1, pooled)}
		}
	}
	return nil
}

// ownNames returns the head of layers that are named as this library names those of heads
// without other layers: fc6, fc6.bn, fc7, …, the first after the last block. Their
// rectification is implied.
func ownNames(head []fileLayer, poolings int) (architecture.Architecture, bool) {
	var tokens []string
	n := 0
	for i, l := range head {
		at := strings.LastIndexByte(l.name, '/')
		switch name := l.name[at+1:]; {
		case l.Kind == architecture.Connected && (i == 0 && name == fmt.Sprintf("fc%d", poolings+2)):
			n = poolings + 3
			tokens = append(tokens, l.Layer.String())
		case l.Kind == architecture.Connected && (i == 0 || n > 0) && name == fmt.Sprintf("fc%d", max(n, poolings+1)):
			n = max(n, poolings+1) + 1
			tokens = append(tokens, l.Layer.String())
		case l.Kind == architecture.BatchNorm && i > 0 && l.name == head[i-1].name+".bn" && head[i-1].Kind == architecture.Connected:
			tokens[len(tokens)-1] += "bn"
		default:
			return architecture.Architecture{}, false
		}
	}
	tokens[len(tokens)-1] = "FC"
	a, err := architecture.ParseHead(strings.Join(tokens, " "))
	return a, err == nil
}

// fixedSide tells whether the file tells an input side that leaves maps of that side.
func (o *Outline) fixedSide(side, poolings int) bool { return o.input > 0 && o.input>>poolings == side }

// layersOf returns the layers without what the file says of them.
func layersOf(head []fileLayer) []architecture.Layer {
	var layers []architecture.Layer
	for _, l := range head {
		layers = append(layers, l.Layer)
	}
	return layers
}

// likelyHead returns the usual head of those tensors.
func likelyHead(head []fileLayer, channels int) string {
	var tokens []string
	if first := slices.IndexFunc(head, fileLayer.isConnected); first >= 0 && head[first].in == 2*channels {
		tokens = append(tokens, architecture.Layer{Kind: architecture.GlobalMaxAverage}.String())
	}
	last := 0
	for i, l := range head {
		if l.Kind == architecture.Connected {
			last = i
		}
	}
	for i, l := range head {
		switch {
		case i == last && l.Channels == 1:
			tokens = append(tokens, "FC1")
		case i == last:
			tokens = append(tokens, "FC")
		default:
			tokens = append(tokens, l.Layer.String())
			norm := i+1 < len(head) && head[i+1].Kind == architecture.BatchNorm
			if norm && roomBetween(l.name, head[i+1].name) { // a rectification comes before it
				tokens = append(tokens, "RELU")
				continue
			}
			rectified := l.Kind == architecture.BatchNorm && i > 0 && roomBetween(head[i-1].name, l.name)
			if i < last && !norm && !rectified && slices.ContainsFunc(head[:i+1], func(l fileLayer) bool { return l.Kind == architecture.Connected }) {
				tokens = append(tokens, "RELU")
			}
		}
	}
	if head[last].Channels == 1 {
		tokens = append(tokens, "SIGMOID")
	}
	return strings.Join(tokens, " ")
}

// followsLayer tells whether a layer's number says that others, without tensors, come before
// it in its part of the network.
func followsLayer(name string) bool {
	n, err := strconv.Atoi(name[strings.LastIndexAny(name, "./")+1:])
	return err == nil && n > 0
}

// roomBetween tells whether the numbers of two layers' names leave room for a layer without
// tensors between them.
func roomBetween(a, b string) bool {
	of, i := lastNumber(a)
	same, j := lastNumber(b)
	return of == same && i >= 0 && j > i+1
}

// lastNumber returns the number at the end of a layer's name, −1 if there is none, and what
// stands before it.
func lastNumber(name string) (before string, n int) {
	at := strings.LastIndexAny(name, "./")
	n, err := strconv.Atoi(name[at+1:])
	if err != nil {
		n = -1
	}
	return name[:at+1], n
}

// paperNames tells whether the head is the paper's by its names: those of torchvision,
// timm, Keras and Caffe.
func (o *Outline) paperNames(head []fileLayer) bool {
	if len(head) != 3 || connectedOf(layersOf(head)) != 3 {
		return false
	}
	ends := func(suffixes ...string) bool {
		for i, l := range head {
			if at := strings.LastIndexAny(l.name, "./"); l.name != suffixes[i] && !strings.HasSuffix(l.name, "."+suffixes[i]) && l.name[at+1:] != suffixes[i] {
				return false
			}
		}
		return true
	}
	return ends("classifier.0", "classifier.3", "classifier.6") || ends("pre_logits.fc1", "pre_logits.fc2", "head.fc") ||
		ends("fc1", "fc2", "predictions") || ends("fc6", "fc7", "fc8")
}

// fits reports tensors that are not those of a given head.
func (o *Outline) fits(a architecture.Architecture, head []fileLayer) error {
	kinds := func(layers []architecture.Layer) string {
		var names []string
		for _, l := range layers {
			if l.Kind == architecture.Connected || l.Kind == architecture.BatchNorm {
				names = append(names, map[bool]string{true: "FC", false: "BN"}[l.Kind == architecture.Connected])
			}
		}
		return strings.Join(names, " ")
	}
	if have, want := kinds(layersOf(head)), kinds(inference(a)); have != want {
		return fmt.Errorf("the head's tensors are those of %s, want %s for the head %q", have, want, a.HeadName())
	}
	return nil
}

// inputSide returns the side of the input: the given one, the file's, the paper's, or the
// only one that the first fully connected layer fits.
func (o *Outline) inputSide(a architecture.Architecture, fc fileLayer, channels, given int) (int, error) {
	name := fc.name
	if w, ok := fc.tensors["weight"]; ok {
		name = w.Name
	}
	poolings := a.Poolings()
	for _, l := range a.Head {
		if l.Kind == architecture.Connected {
			break
		}
		if l.Kind == architecture.Adaptive {
			if want := l.Side * l.Side * channels; fc.in != want {
				return 0, fmt.Errorf("%s: fan-in %d, want the %d values of %d channels pooled to %d×%[5]d pixels", name, fc.in, want, channels, l.Side)
			}
			return max(firstOf(given, o.input, network.DefaultInput), 1<<poolings), nil
		}
		if l.Kind == architecture.GlobalAverage || l.Kind == architecture.GlobalMax || l.Kind == architecture.GlobalMaxAverage {
			if l.Kind == architecture.GlobalMaxAverage {
				channels *= 2
			}
			if fc.in != channels {
				return 0, fmt.Errorf("%s: fan-in %d, want the %d channels that a global pooling leaves", name, fc.in, channels)
			}
			if o.oblong != "" && given == 0 {
				return 0, &AmbiguousError{fmt.Sprintf("the model's images have %s pixels, and images here are square: say their side (--input 224)", o.oblong)}
			}
			if o.own && firstOf(given, o.input) == 0 {
				return 0, &AmbiguousError{fmt.Sprintf("a global pooling takes images of any size, and nothing tells that of the images that the network was trained with: say it (--input %d, if it is the paper's)", network.DefaultInput)}
			}
			return max(firstOf(given, o.input, network.DefaultInput), 1<<poolings), nil
		}
	}
	side := int(math.Round(math.Sqrt(float64(fc.in / channels))))
	if fc.in == 2*channels && !o.Complete {
		return 0, &AmbiguousError{fmt.Sprintf("%s: fan-in %d, twice the channels before it, as of maxima and means of the whole map: say the head (--head 'GMAP %s', if the maxima come first, as fastai's)", name, fc.in, a.HeadName())}
	}
	if fc.in%channels != 0 || side < 1 || side*side*channels != fc.in {
		return 0, fmt.Errorf("%s: fan-in %d, want the %d channels of the convolution before it times a square: of networks for images that aren't square, the convolutions alone are read (--headless)", name, fc.in, channels)
	}
	least, most := side<<poolings, (side+1)<<poolings-1
	if given > 0 && given>>poolings != side {
		return 0, fmt.Errorf("%s: fan-in %d, %d channels of %d×%d pixels, is that of inputs of %d to %d pixels, want %d", name, fc.in, channels, side, side, least, most, given)
	}
	for _, s := range []int{given, o.input, network.DefaultInput} {
		if s > 0 && s>>poolings == side {
			return s, nil
		}
	}
	if o.Complete && o.keras && o.input > 0 {
		return 0, fmt.Errorf("%s: fan-in %d, %d channels of %d×%d pixels, is that of inputs of %d to %d pixels, but the model's have %d", name, fc.in, channels, side, side, least, most, o.input)
	}
	if least == most {
		return least, nil
	}
	pooled := ""
	if !o.Complete && !o.keras && side > 1 {
		pooled = fmt.Sprintf("; or, if the map is pooled to %d×%[1]d pixels by averages, --head 'ADAPT%[1]d %[2]s'", side, a.HeadName())
	}
	return 0, &AmbiguousError{fmt.Sprintf("%s: fan-in %d, %d channels of %d×%d pixels, fits inputs of %d to %d pixels: say which (--input %d)%s", name, fc.in, channels, side, side, least, most, least, pooled)}
}
