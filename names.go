package vgg

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/weights"
)

// The naming schemes.
const (
	namesNative       = "native"      // conv1_1.weight, as Model.Save writes them
	schemeTorchvision = "torchvision" // features.0.weight, classifier.6.bias
	schemeTimm        = "timm"        // features.0.weight, pre_logits.fc1.weight, head.fc.weight
	schemeKeras       = "Keras"       // block1_conv1/kernel, fc1/kernel, predictions/bias
	schemePaper       = "conv1_1"     // conv1_1/weight, conv1_1_W, fc6.weight
)

// roles are the words for a layer's tensors.
var roles = map[string]string{
	"weight": "weight", "weights": "weight", "kernel": "weight", "filters": "weight", "W": "weight",
	"bias": "bias", "biases": "bias", "b": "bias",
	"gamma": "scale", "scale": "scale", "beta": "shift", "shift": "shift",
	"moving_mean": "mean", "running_mean": "mean", "mean": "mean",
	"moving_variance": "variance", "running_var": "variance", "variance": "variance",
}

// columnWords are those for weights that lie (in…,out), with channels last.
var columnWords = map[string]bool{"kernel": true, "filters": true, "W": true}

// stage is a part of the network.
type stage int

const (
	features stage = iota
	classifier
	elsewhere // no scheme knows the name
)

// place is a layer's place in the network, as its name tells.
type place struct {
	stage stage
	block int // 0 where the name has none
	index int
	bn    bool // batch normalisation named after its convolution
}

// patterns are how schemes name layers.
var patterns = []struct {
	scheme string
	name   *regexp.Regexp
	place  func(n []int) place
}{
	{schemeTorchvision, regexp.MustCompile(`^(?:.*[./])?features[./](\d{1,4})$`), func(n []int) place { return place{stage: features, index: n[0]} }},
	{schemeTorchvision, regexp.MustCompile(`^(?:.*[./])?classifier[./](\d{1,4})$`), func(n []int) place { return place{stage: classifier, index: n[0]} }},
	{schemeTorchvision, regexp.MustCompile(`^(?:.*[./])?classifier$`), func([]int) place { return place{stage: classifier} }},
	{schemeTimm, regexp.MustCompile(`^(?:.*[./])?pre_logits[./]fc(\d{1,4})$`), func(n []int) place { return place{stage: classifier, index: n[0]} }},
	{schemeTimm, regexp.MustCompile(`^(?:.*[./])?head[./]fc$`), func([]int) place { return place{stage: classifier, index: lastIndex} }},
	{schemeKeras, regexp.MustCompile(`^(?:.*[./])?block(\d{1,4})_conv(\d{1,4})$`), func(n []int) place { return place{block: n[0], index: n[1]} }},
	{schemeKeras, regexp.MustCompile(`^(?:.*[./])?block(\d{1,4})_conv(\d{1,4})_bn$`), func(n []int) place { return place{block: n[0], index: n[1], bn: true} }},
	{schemeKeras, regexp.MustCompile(`^(?:.*[./])?predictions$`), func([]int) place { return place{stage: classifier, index: lastIndex} }},
	{schemePaper, regexp.MustCompile(`^(?:.*[./])?conv(\d{1,4})_(\d{1,4})$`), func(n []int) place { return place{block: n[0], index: n[1]} }},
	{schemePaper, regexp.MustCompile(`^(?:.*[./])?(?:conv(\d{1,4})_(\d{1,4})[./_]bn|bn(\d{1,4})_(\d{1,4}))$`), func(n []int) place { return place{block: n[0], index: n[1], bn: true} }},
	{schemePaper, regexp.MustCompile(`^(?:.*[./])?fc_?(\d{1,4})(?:[_-][A-Za-z].*)?$`), func(n []int) place { return place{stage: classifier, index: n[0]} }},
}

// lastIndex is that of layers named for being the last.
const lastIndex = 10_000

// group is the tensors of one layer.
type group struct {
	place
	name    string
	tensors map[string]weights.Entry
	columns bool
}

// norm tells whether the layer is a batch normalisation.
func (g *group) norm() bool {
	_, ok := g.tensors["mean"]
	return ok || g.bn
}

// outlineOfNames recognises the layers of a file by the names of its tensors. If the
// configuration is known, the names need not tell what lies between them.
func outlineOfNames(f *weights.File, known bool) (*outline, error) {
	ol := &outline{}
	groups := map[string]*group{}
	var order []*group
	schemes := map[string]int{}
	for _, e := range f.Tensors() {
		layer, word := splitName(e.Name)
		role, known := roles[word]
		if word == "num_batches_tracked" {
			continue
		}
		if !known {
			ol.unused = append(ol.unused, e.Name)
			continue
		}
		g := groups[layer]
		if g == nil {
			p, scheme := placeOf(layer)
			schemes[scheme]++
			g = &group{place: p, name: layer, tensors: map[string]weights.Entry{}}
			groups[layer] = g
			order = append(order, g)
		}
		if other, ok := g.tensors[role]; ok {
			return nil, fmt.Errorf("%s: a second %s of the layer beside %s", e.Name, role, other.Name)
		}
		g.tensors[role] = e
		g.columns = g.columns || columnWords[word]
	}
	ol.scheme = commonest(schemes)
	slices.SortStableFunc(order, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.block, b.block), cmp.Compare(a.index, b.index), compareBool(a.bn, b.bn))
	})
	return ol, ol.fromGroups(order, known)
}

// rank puts fully connected layers of unknown names behind those of known ones, but
// before one that is named for being the last.
func (p place) rank() int {
	switch {
	case p.stage == features:
		return 0
	case p.stage == classifier && p.index == lastIndex:
		return 3
	case p.stage == classifier:
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

// splitName parts a tensor's name into the layer's and the word for its role.
func splitName(name string) (layer, word string) {
	if at := strings.LastIndexAny(name, "./"); at >= 0 {
		return name[:at], name[at+1:]
	}
	if at := strings.LastIndex(name, "_"); at >= 0 && len(name)-at == 2 { // conv1_1_W
		return name[:at], name[at+1:]
	}
	return name, ""
}

// placeOf tells a layer's place by its name, and the scheme that names it so.
func placeOf(layer string) (place, string) {
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
		return p.place(numbers), p.scheme
	}
	return place{stage: elsewhere}, ""
}

func commonest(count map[string]int) string {
	best := ""
	for _, s := range []string{schemeTimm, schemeTorchvision, schemeKeras, schemePaper} {
		switch {
		case count[s] == 0:
		case s == schemeTimm: // its features are named as torchvision's
			return s
		case count[s] > count[best]:
			best = s
		}
	}
	return best
}

// fromGroups makes links of the layers, with the poolings that the names tell of.
func (ol *outline) fromGroups(order []*group, known bool) error {
	previous := place{}
	told := false // whether a convolution's name told its place
	for _, g := range order {
		if g.norm() {
			if err := ol.normalise(g, previous); err != nil {
				return err
			}
			previous.index = g.index
			continue
		}
		w, ok := g.tensors["weight"]
		if !ok || g.stage == elsewhere && len(w.Shape) != 2 && len(w.Shape) != 4 {
			for _, e := range g.tensors {
				ol.unused = append(ol.unused, e.Name)
			}
			continue
		}
		l, err := weightLink(g.name, w, g.stage == classifier, g.columns, g.columns)
		if err != nil {
			return err
		}
		if b, ok := g.tensors["bias"]; ok {
			l.tensors["bias"] = b
		}
		l.relu = true
		if l.kind == convolution {
			if g.stage == features {
				if err := ol.gap(g, previous); err != nil && !known {
					return err
				}
				told = true
			}
			previous = g.place
		}
		ol.links = append(ol.links, l)
	}
	slices.SortStableFunc(ol.links, func(a, b link) int { return compareBool(a.kind == connected, b.kind == connected) })
	// The features end with a pooling.
	if at := slices.IndexFunc(ol.links, func(l link) bool { return l.kind == connected }); told {
		if at < 0 {
			at = len(ol.links)
		}
		ol.links = slices.Insert(ol.links, at, link{layerSpec: layerSpec{kind: pooling}})
	}
	return nil
}

// gap puts what the names say of it between the convolution before and that of g: a
// pooling between blocks, or where torchvision's numbers have room for one.
func (ol *outline) gap(g *group, previous place) error {
	if len(ol.links) == 0 {
		return nil
	}
	pool := link{layerSpec: layerSpec{kind: pooling}}
	if g.block > 0 {
		if g.block != previous.block {
			ol.links = append(ol.links, pool)
		}
		return nil
	}
	// Behind the convolution or its normalisation stands the rectification.
	switch g.index - previous.index {
	case 2:
	case 3:
		ol.links = append(ol.links, pool)
	default:
		return fmt.Errorf("%s: the layer before it with tensors is number %d: want room for a rectification, and perhaps a pooling, between them", g.tensors["weight"].Name, previous.index)
	}
	return nil
}

// normalise gives the convolution before it the batch normalisation g.
func (ol *outline) normalise(g *group, previous place) error {
	misplaced := func() error {
		return fmt.Errorf("%s: batch normalisation that follows no convolution at once", g.name)
	}
	if len(ol.links) == 0 {
		return misplaced()
	}
	l := &ol.links[len(ol.links)-1]
	if l.bn || g.stage != features || g.block == 0 && g.index != previous.index+1 || g.block > 0 && (g.block != previous.block || g.index != previous.index) {
		return misplaced()
	}
	l.bn = true
	for role, e := range g.tensors {
		switch role { // PyTorch has weight and bias here, too
		case "weight":
			role = "scale"
		case "bias":
			role = "shift"
		}
		l.tensors[role] = e
	}
	ol.bnEps = defaultBNEps
	if g.columns || ol.scheme == schemeKeras {
		ol.bnEps = kerasBNEps
	}
	return nil
}

// kerasBNEps is ε of Keras's batch normalisation, unless a model says another.
const kerasBNEps = 1e-3
