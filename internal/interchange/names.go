package interchange

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/weights"
)

// Scheme is a way to name tensors. Its text is what `vgg inspect` prints.
type Scheme string

const (
	Native      Scheme = "native"           // conv1_1.weight, as Model.Save writes them
	Torchvision Scheme = "torchvision"      // features.0.weight, classifier.6.bias
	Timm        Scheme = "timm"             // features.0.weight, pre_logits.fc1.weight, head.fc.weight
	Keras       Scheme = "Keras"            // block1_conv1/kernel, fc1/kernel, predictions/bias
	Paper       Scheme = "conv1_1"          // conv1_1/weight, conv1_1_W, fc6.weight
	subclassed  Scheme = "subclassed Keras" // block1/conv2d_1/kernel: attributes of a model
	OpenMMLab   Scheme = "OpenMMLab"        // features.0.conv.weight, features.0.bn.weight
	// kerasNumbered names layers by their kinds and numbers: conv2d_1/kernel.
	kerasNumbered Scheme = "Keras, numbered"
)

// roles are the words for a layer's tensors.
var roles = map[string]string{
	"weight": "weight", "weights": "weight", "kernel": "weight", "filters": "weight", "W": "weight",
	"bias": "bias", "biases": "bias", "b": "bias",
	"gamma": "scale", "scale": "scale", "beta": "shift", "shift": "shift",
	"moving_mean": "mean", "running_mean": "mean", "mean": "mean",
	"moving_variance": "variance", "running_var": "variance", "variance": "variance",
}

// columnWords are the words for weights with axes (in…,out) and channels last.
var columnWords = map[string]bool{"kernel": true, "filters": true, "W": true}

// part is a part of the network.
type part int

const (
	features part = iota
	classifier
	elsewhere // no scheme knows the name
)

// position is a layer's position in the network, as its name tells.
type position struct {
	part  part
	block int // 0 where the name has none
	index int
	norm  bool // batch normalisation that is named after its convolution
	after bool // batch normalisation after the rectification, or after the pooling before the block
	unit  bool // the index counts a convolution with its normalisation and rectification as one
}

// patterns hold the names that schemes give to layers.
var patterns = []struct {
	scheme   Scheme
	name     *regexp.Regexp
	position func(n []int) position
}{
	{Torchvision, regexp.MustCompile(`^(?:.*[./])?features[./](\d{1,4})$`), func(n []int) position { return position{part: features, index: n[0]} }},
	{Torchvision, regexp.MustCompile(`^(\d{1,4})$`), func(n []int) position { return position{part: features, index: n[0]} }},
	{Torchvision, regexp.MustCompile(`^(?:.*[./])?slice\d{1,2}[./](\d{1,4})$`), func(n []int) position { return position{part: features, index: n[0]} }},
	{Torchvision, regexp.MustCompile(`^0[./]0[./](\d{1,4})$`), func(n []int) position { return position{part: features, index: n[0]} }}, // fastai's body and head
	{Torchvision, regexp.MustCompile(`^1[./](\d{1,4})$`), func(n []int) position { return position{part: classifier, index: n[0]} }},
	{OpenMMLab, regexp.MustCompile(`^(?:.*[./])?features[./](\d{1,4})[./]conv$`), func(n []int) position { return position{part: features, index: n[0], unit: true} }},
	{OpenMMLab, regexp.MustCompile(`^(?:.*[./])?features[./](\d{1,4})[./]bn$`), func(n []int) position { return position{part: features, index: n[0], norm: true, unit: true} }},
	{Torchvision, regexp.MustCompile(`^(?:.*[./])?classifier[./](\d{1,4})$`), func(n []int) position { return position{part: classifier, index: n[0]} }},
	{Torchvision, regexp.MustCompile(`^(?:.*[./])?classifier$`), func([]int) position { return position{part: classifier} }},
	{Timm, regexp.MustCompile(`^(?:.*[./])?pre_logits[./]fc(\d{1,4})$`), func(n []int) position { return position{part: classifier, index: n[0]} }},
	{Timm, regexp.MustCompile(`^(?:.*[./])?head[./]fc$`), func([]int) position { return position{part: classifier, index: lastIndex} }},
	{Keras, regexp.MustCompile(`^(?:.*[./])?block(\d{1,4})_conv(\d{1,4})$`), func(n []int) position { return position{block: n[0], index: n[1]} }},
	{Keras, regexp.MustCompile(`^(?:.*[./])?block(\d{1,4})_conv(\d{1,4})_bn$`), func(n []int) position { return position{block: n[0], index: n[1], norm: true} }},
	{subclassed, regexp.MustCompile(`^(?:.*/)?block_?(\d{1,4})/conv2d(?:_(\d{1,4}))?$`), func(n []int) position { return position{block: n[0], index: append(n, 0)[1]} }},
	{Keras, regexp.MustCompile(`^(?:.*[./])?predictions$`), func([]int) position { return position{part: classifier, index: lastIndex} }},
	{Paper, regexp.MustCompile(`^(?:.*[./])?conv(\d{1,4})_(\d{1,4})$`), func(n []int) position { return position{block: n[0], index: n[1]} }},
	{Paper, regexp.MustCompile(`^(?:.*[./])?(?:conv(\d{1,4})_(\d{1,4})[./_]bn|bn(\d{1,4})_(\d{1,4}))$`), func(n []int) position { return position{block: n[0], index: n[1], norm: true} }},
	{Paper, regexp.MustCompile(`^(?:.*[./])?post(\d{1,4})_(\d{1,4})$`), func(n []int) position { return position{block: n[0], index: n[1], norm: true, after: true} }},
	{Paper, regexp.MustCompile(`^(?:.*[./])?fc_?(\d{1,4})[._]bn$`), func(n []int) position { return position{part: classifier, index: ownIndex(n, 1), norm: true} }},
	{Keras, regexp.MustCompile(`^(?:.*[./])?` + ownHead + `fc(\d{1,3})$`), func(n []int) position { return position{part: classifier, index: ownIndex(n, 0)} }},
	{Keras, regexp.MustCompile(`^(?:.*[./])?` + ownHead + `fc(\d{1,3})\.bn$`), func(n []int) position { return position{part: classifier, index: ownIndex(n, 1), norm: true} }},
	{Keras, regexp.MustCompile(`^(?:.*[./])?` + ownHead + `norm(\d{1,3})(?:_(\d{1,3}))?$`), func(n []int) position { return position{part: classifier, index: ownIndex(n, 2), norm: true} }},
	{Paper, regexp.MustCompile(`^(?:.*[./])?norm(\d{1,4})(?:_(\d{1,3}))?$`), func(n []int) position { return position{part: classifier, index: ownIndex(n, 2), norm: true} }},
	{Paper, regexp.MustCompile(`^(?:.*[./])?fc_?(\d{1,4})(?:[_-][A-Za-z].*)?$`), func(n []int) position { return position{part: classifier, index: ownIndex(n, 0)} }},
}

// ownIndex returns the index of a layer of a head by the number of the fully connected
// layer in its name, then by its kind, then by the normalisation's number.
func ownIndex(n []int, kind int) int {
	index := n[0]*2000 + kind
	if len(n) > 1 {
		index += n[1]
	}
	return index - 100_000_000 // below lastIndex
}

// lastIndex is the index of layers whose name says that they are the last.
const lastIndex = 10_000

// layerTensors holds the tensors of one layer.
type layerTensors struct {
	position
	name    string
	tensors map[string]weights.Entry
	columns bool
}

// norm tells whether the layer is a batch normalisation.
func (g *layerTensors) isNorm() bool {
	_, ok := g.tensors["mean"]
	return ok || g.position.norm
}

// nestedNumber matches the names of layers in a Sequential of Sequentials.
var nestedNumber = regexp.MustCompile(`^\d{1,4}(?:[./]\d{1,4})*$`)

// nested tells whether the layers are in a Sequential of Sequentials, whose numbers tell
// nothing of the features and the head: 0.0, 0.2, 1.0. fastai's have one more level.
func nested(f *weights.File) bool {
	return slices.ContainsFunc(f.Tensors(), func(e weights.Entry) bool {
		layer, _ := splitName(e.Name)
		return nestedNumber.MatchString(layer) && strings.HasPrefix(layer, "0") && strings.Count(layer, ".") == 1
	})
}

// readNames recognises the layers of a file by the names of its tensors.
func readNames(f *weights.File) (*Outline, error) {
	o := &Outline{keras: channelsLastFormat(f.Format())}
	chain := kerasPositions(f)
	nested := nested(f)
	groups := map[string]*layerTensors{}
	var order []*layerTensors
	schemes := map[Scheme]int{}
	for _, e := range f.Tensors() {
		layer, word := splitName(e.Name)
		role, ok := roles[word]
		if word == "num_batches_tracked" {
			continue
		}
		if !ok {
			o.unused = append(o.unused, e.Name)
			continue
		}
		g := groups[layer]
		if g == nil {
			p, scheme := positionOf(layer)
			if of, ok := chain[layer]; ok && scheme == "" {
				p, scheme = of, kerasNumbered
			}
			if nested && nestedNumber.MatchString(layer) {
				p, scheme = position{part: elsewhere}, ""
			}
			schemes[scheme]++
			g = &layerTensors{position: p, name: layer, tensors: map[string]weights.Entry{}}
			groups[layer] = g
			order = append(order, g)
		}
		if other, ok := g.tensors[role]; ok {
			return nil, fmt.Errorf("%s: a second %s of the layer beside %s", e.Name, role, other.Name)
		}
		g.tensors[role] = e
		g.columns = g.columns || columnWords[word]
	}
	o.scheme = commonest(schemes)
	o.doubt = kerasDoubt(f)
	inFile := slices.Clone(order)
	slices.SortStableFunc(order, func(a, b *layerTensors) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.block, b.block), cmp.Compare(a.index, b.index), compareBool(a.position.norm, b.position.norm), compareBool(a.after, b.after))
	})
	if err := oneNetwork(order); err != nil {
		return nil, err
	}
	named := looseNorms(order) // which leaves the convolutions in their order
	unknown := named || unnamed(order)
	if unknown && !named {
		order = inFile
	}
	unordered := f.Format() == weights.Safetensors || o.keras && f.Metadata()[weights.MetaLayerNames] == ""
	if f.Format() == weights.Safetensors && unknown && !named { // which its library sorts by name
		slices.SortStableFunc(order, func(a, b *layerTensors) int { return strings.Compare(naturalKey(a.name), naturalKey(b.name)) })
	}
	if unordered && (o.keras || unknown) && !named {
		var err error
		if order, err = o.followShapes(order); err != nil {
			return nil, err
		}
	}
	if unknown {
		return o, o.addUnplaced(order, inFile, !unordered)
	}
	if err := o.addLayers(order); err != nil {
		return nil, err
	}
	if o.scheme == subclassed && !o.EndsEarly {
		o.blockOnly()
	}
	return o, nil
}

// rank orders the parts: features, fully connected layers with known names, layers with
// unknown names, and the layer whose name says that it is the last.
func (p position) rank() int {
	switch {
	case p.part == features:
		return 0
	case p.part == classifier && p.index == lastIndex:
		return 3
	case p.part == classifier:
		return 1
	}
	return 2
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// splitName splits a tensor's name into the layer's name and the word for its role.
func splitName(name string) (layer, word string) {
	if at := strings.LastIndexAny(name, "./"); at >= 0 {
		return name[:at], name[at+1:]
	}
	if at := strings.LastIndex(name, "_"); at >= 0 && len(name)-at == 2 { // conv1_1_W
		return name[:at], name[at+1:]
	}
	return name, ""
}

// positionOf returns a layer's position by its name, and the scheme of that name.
func positionOf(layer string) (position, Scheme) {
	for _, p := range patterns {
		m := p.name.FindStringSubmatch(layer)
		if m == nil {
			continue
		}
		var numbers []int
		for _, s := range m[1:] {
			if s != "" {
				n, _ := strconv.Atoi(s)
				numbers = append(numbers, n)
			}
		}
		return p.position(numbers), p.scheme
	}
	return position{part: elsewhere}, ""
}

// commonest returns the scheme that names most layers.
func commonest(count map[Scheme]int) Scheme {
	best := Scheme("")
	for _, s := range []Scheme{Timm, Torchvision, Keras, subclassed, Paper, OpenMMLab, kerasNumbered} {
		switch {
		case count[s] == 0:
		case s == Timm: // its features are named as torchvision's
			return s
		case count[s] > count[best]:
			best = s
		}
	}
	return best
}

// addLayers appends the layers, with the poolings that their names tell of.
func (o *Outline) addLayers(order []*layerTensors) error {
	previous := position{}
	named := false // whether a convolution's name tells its position
	rectified := 1 // layers without tensors that previous has behind it: its rectification
	connected := false
	for _, g := range order {
		inHead := g.part == classifier || g.part == elsewhere && len(o.layers) > 0 || connected
		if g.isNorm() && inHead {
			o.addHeadNorm(g)
			continue
		}
		// Torchvision's numbers leave room for a rectification before it.
		late := g.isNorm() && g.numbered() && len(o.layers) > 0 && (g.index > previous.index+1 || rectified == 0)
		if g.after || late {
			o.addPooling(g, previous, rectified)
			o.addHeadNorm(g)
			norm := &o.layers[len(o.layers)-1]
			norm.between, norm.numbered, norm.first, norm.last = true, g.numbered(), g.index, g.index
			previous, rectified = g.position, 0
			continue
		}
		if g.isNorm() {
			if err := o.normalise(g, previous); err != nil {
				return err
			}
			previous.index = g.index
			continue
		}
		w, ok := g.tensors["weight"]
		if !ok || g.part == elsewhere && len(w.Shape) != 2 && (len(w.Shape) != 4 || named) {
			for _, e := range g.tensors {
				o.unused = append(o.unused, e.Name)
			}
			continue
		}
		l, err := newFileLayer(g.name, w, g.part == classifier, g.columns, g.columns)
		if err != nil {
			return err
		}
		if b, ok := g.tensors["bias"]; ok {
			l.tensors["bias"] = b
		}
		l.relu = true
		connected = connected || l.Kind == architecture.Connected
		if l.Kind == architecture.Convolution {
			if g.part == features {
				o.addPooling(g, previous, rectified)
				named = true
			}
			l.numbered, l.first, l.last, l.unit = g.numbered(), g.index, g.index, g.unit
			previous, rectified = g.position, 1
		}
		o.layers = append(o.layers, l)
	}
	slices.SortStableFunc(o.layers, func(a, b fileLayer) int {
		return compareBool(a.inHead(), b.inHead())
	})
	// The features end with a pooling, unless they are cut off before that.
	if o.doubt == "" && o.cutOff() {
		o.EndsEarly, named = true, false
	}
	if at := slices.IndexFunc(o.layers, fileLayer.inHead); named {
		if at < 0 {
			at = len(o.layers)
		}
		o.layers = slices.Insert(o.layers, at, fileLayer{Layer: architecture.Layer{Kind: architecture.Pooling}})
	}
	return nil
}

// numbered tells whether the layer's name has its number among all modules of the features, also
// those without tensors.
func (p position) numbered() bool { return p.part == features && p.block == 0 }

// addPooling appends the pooling that the names of the previous layer and of g tell of:
// between blocks, or where torchvision's numbers leave room for one. rectified is the number of
// layers that stand there in any case. Room for anything else is noted as a doubt.
func (o *Outline) addPooling(g *layerTensors, previous position, rectified int) {
	if len(o.layers) == 0 {
		return
	}
	pool := fileLayer{Layer: architecture.Layer{Kind: architecture.Pooling}}
	if g.block > 0 {
		if g.block != previous.block {
			o.layers = append(o.layers, pool)
		}
		return
	}
	room := g.index - previous.index - 1
	if g.unit { // which has its rectification in it
		room++
	}
	if room > rectified {
		o.layers = append(o.layers, pool)
	}
	if room != rectified && room != rectified+1 && o.doubt == "" {
		o.doubt = fmt.Sprintf("%s: its number leaves room for %s behind the layer with tensors before it, number %d, where a rectification and perhaps a pooling are usual", g.name, modules(room), previous.index)
	}
}

// modules returns a number of modules in words.
func modules(n int) string {
	switch n {
	case 0:
		return "no module"
	case 1:
		return "one module"
	}
	return fmt.Sprintf("%d modules", n)
}

// addHeadNorm appends a batch normalisation of the head.
func (o *Outline) addHeadNorm(g *layerTensors) {
	l := fileLayer{Layer: architecture.Layer{Kind: architecture.BatchNorm}, name: g.name, tensors: map[string]weights.Entry{}, columns: g.columns}
	o.addNorm(g, &l)
	o.layers = append(o.layers, l)
}

// normalise adds batch normalisation g to the convolution before it.
func (o *Outline) normalise(g *layerTensors, previous position) error {
	misplaced := func() error {
		return fmt.Errorf("%s: batch normalisation that follows no convolution: say the configuration (--config '64 BN M … FC' has one after a rectification)", g.name)
	}
	if len(o.layers) == 0 {
		return fmt.Errorf("%s: batch normalisation before the first convolution: leave it out (--ignore '%[1]s*') and give its numbers as mean and std (--preprocess '{\"mean\": […], \"std\": […]}'), or save the whole model", g.name)
	}
	l := &o.layers[len(o.layers)-1]
	if l.BatchNorm || g.part != features || g.block == 0 && !g.unit && g.index != previous.index+1 || g.unit && g.index != previous.index || g.block > 0 && (g.block != previous.block || g.index != previous.index) {
		return misplaced()
	}
	l.BatchNorm, l.last = true, g.index
	if g.block > 0 && !strings.HasSuffix(g.name, ".bn") { // this library's own names do tell
		o.blind = g.name
	}
	o.addNorm(g, l)
	return nil
}

// addNorm adds the tensors of batch normalisation g to l.
func (o *Outline) addNorm(g *layerTensors, l *fileLayer) {
	for role, e := range g.tensors {
		switch role { // PyTorch has weight and bias here, too
		case "weight":
			role = "scale"
		case "bias":
			role = "shift"
		}
		l.tensors[role] = e
	}
	o.bnEps = network.DefaultBNEps
	if g.columns || o.keras || o.scheme == Keras {
		o.bnEps = kerasBNEps
	}
}

// kerasBNEps is ε of Keras's batch normalisation, unless a model says another.
const kerasBNEps = 1e-3
