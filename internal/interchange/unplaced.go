package interchange

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/weights"
)

// Tensors whose names are those of no scheme (conv1, bn1; block1.0, block1.1; 0.0, 0.2) give
// convolutions, batch normalisations and fully connected layers, each in an order. Which of
// them a normalisation follows is the caller's to say; what the names and the order in the
// file tell of it must not contradict that.

// looseNorm is a batch normalisation that isn't placed yet.
type looseNorm struct {
	fileLayer
	at int // its place among the layers of the file
}

// digits matches a number in a name.
var digits = regexp.MustCompile(`\d+`)

// naturalKey returns a text whose alphabetical order is that of name, with the numbers in it
// by value.
func naturalKey(name string) string {
	return digits.ReplaceAllStringFunc(name, func(n string) string { return fmt.Sprintf("%020s", n) })
}

// unnamed tells whether no convolution's name tells its position.
func unnamed(order []*layerTensors) bool {
	found := false
	for _, g := range order {
		if _, _, _, ok := g.convolution(); ok && g.part != classifier {
			if g.part != elsewhere {
				return false
			}
			found = true
		}
	}
	return found
}

// looseNorms tells whether convolutions are named by their blocks, and normalisations beside
// them by no scheme.
func looseNorms(order []*layerTensors) bool {
	blocks := slices.ContainsFunc(order, func(g *layerTensors) bool {
		_, _, _, ok := g.convolution()
		return ok && g.part == features && g.block > 0
	})
	return blocks && slices.ContainsFunc(order, func(g *layerTensors) bool { return g.isNorm() && g.part == elsewhere })
}

// addUnplaced appends layers of which not all names tell the position, in their order. ordered
// tells that in the file layers of all kinds follow each other as in the model.
func (o *Outline) addUnplaced(order, inFile []*layerTensors, ordered bool) error {
	o.unplaced, o.ordered = true, ordered
	var connected []fileLayer
	for _, g := range order {
		at := slices.Index(inFile, g)
		w, ok := g.tensors["weight"]
		switch {
		case g.isNorm():
			l := fileLayer{Layer: architecture.Layer{Kind: architecture.BatchNorm}, name: g.name, tensors: map[string]weights.Entry{}, columns: g.columns}
			o.addNorm(g, &l)
			o.loose = append(o.loose, looseNorm{l, at})
			continue
		case !ok || len(w.Shape) != 2 && len(w.Shape) != 4:
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
		l.relu, l.at = true, at
		if l.Kind == architecture.Connected {
			connected = append(connected, l)
		} else {
			o.layers = append(o.layers, l)
		}
	}
	if ordered || o.keras { // the order of the file, not of parts of names
		slices.SortStableFunc(o.loose, func(a, b looseNorm) int { return cmp.Compare(a.at, b.at) })
	}
	slices.SortStableFunc(connected, func(a, b fileLayer) int { // predictions, where that is a name
		last := func(l fileLayer) bool { return strings.HasSuffix(l.name, "predictions") }
		return compareBool(last(a), last(b))
	})
	o.layers = append(o.layers, connected...)
	slices.Sort(o.unused)
	if ordered || o.keras {
		return nil
	}
	for i, l := range connected {
		for _, m := range connected[:i] {
			if l.in == m.in && l.Channels == m.Channels && stem(l.name) != stem(m.name) {
				return fmt.Errorf("%s and %s have the same shape, and nothing tells which is first: save the tensors with torch.save, which keeps the model's order", m.name, l.name)
			}
		}
	}
	slices.SortStableFunc(o.loose, func(a, b looseNorm) int {
		return cmp.Or(cmp.Compare(o.nearest(a.name), o.nearest(b.name)), strings.Compare(naturalKey(a.name), naturalKey(b.name)))
	})
	return nil
}

// nearest returns the index of the layer whose name is most like that of a normalisation: the
// last before it of those that share its beginning, or the first.
func (o *Outline) nearest(norm string) int {
	best, longest := 0, 0
	for i, l := range o.layers {
		shared := sharedStart(l.name, norm)
		if shared > longest || shared == longest && naturalKey(l.name) <= naturalKey(norm) {
			best, longest = i, shared
		}
	}
	return best
}

// sharedStart returns the length of the beginning that two names share. Numbers count whole:
// fc.1 and fc.10 share "fc.".
func sharedStart(a, b string) int {
	digit := func(s string, i int) bool { return 0 <= i && i < len(s) && '0' <= s[i] && s[i] <= '9' }
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	if digit(a, n) || digit(b, n) {
		for digit(a, n-1) {
			n--
		}
	}
	return n
}

// interleaved tells whether the order in the file is that of the layers with their
// normalisations, not one of kinds.
func (o *Outline) interleaved() bool {
	if !o.ordered || len(o.loose) == 0 {
		return false
	}
	last := 0
	for _, l := range o.layers {
		last = max(last, l.at)
	}
	return o.loose[0].at < last && slices.ContainsFunc(o.layers, func(l fileLayer) bool { return l.at > o.loose[0].at && l.Kind == architecture.Convolution })
}

// likelyPlaces returns the layers with normalisations and poolings where names and order
// suggest them. after puts normalisations behind the rectification where nothing tells. blind
// tells that there are such.
func (o *Outline) likelyPlaces(after bool) (list []fileLayer, blind bool) {
	owners := o.likelyOwners()
	convs := o.Count(architecture.Convolution)
	pool := fileLayer{Layer: architecture.Layer{Kind: architecture.Pooling}}
	for i, l := range o.layers {
		if i > 0 && (i == convs || l.Kind == architecture.Convolution && o.poolsBetween(o.layers[i-1], l)) {
			list = append(list, pool)
		}
		list = append(list, l)
		for n, norm := range o.loose {
			if owners[n] != i {
				continue
			}
			told := roomBetween(l.name, norm.name) || atOnce(l.name, norm.name)
			own := &list[len(list)-1]
			if own.Kind == architecture.Convolution && !own.BatchNorm {
				blind = blind || !told
				if told && atOnce(l.name, norm.name) || !told && !after {
					own.BatchNorm = true
					continue
				}
			}
			norm.between = l.Kind == architecture.Convolution
			list = append(list, norm.fileLayer)
		}
	}
	if convs == len(o.layers) {
		list = append(list, pool)
	}
	return list, blind
}

// likelyOwners returns, for each normalisation that isn't placed, the index of the layer that
// it may follow, −1 if there is none.
func (o *Outline) likelyOwners() []int {
	owners := make([]int, len(o.loose))
	next := 0
	for n, norm := range o.loose {
		owners[n] = -1
		fits := func(i int) bool {
			e, ok := norm.tensors["mean"]
			return !ok || len(e.Shape) == 1 && e.Shape[0] == o.layers[i].Channels
		}
		for i := range o.layers {
			switch l := o.layers[i]; {
			case o.interleaved():
				if l.at < norm.at {
					owners[n] = i
				}
			case i >= next && fits(i) && owners[n] < 0:
				owners[n], next = i, i+1
			}
		}
	}
	return owners
}

// poolsBetween tells whether names suggest a pooling between two convolutions: other groups, or
// numbers that leave room for more than a normalisation and a rectification.
func (o *Outline) poolsBetween(a, b fileLayer) bool {
	of, i := lastNumber(a.name)
	same, j := lastNumber(b.name)
	if p, _ := positionOf(a.name); p.block > 0 {
		q, _ := positionOf(b.name)
		return p.block != q.block
	}
	if of != same {
		return true
	}
	if !strings.ContainsAny(a.name, "./") { // which have no group
		return a.Channels != b.Channels
	}
	usual := 2
	if slices.ContainsFunc(o.loose, func(n looseNorm) bool { return atOnce(a.name, n.name) }) {
		usual++
	}
	return i >= 0 && j > i+usual
}

// place puts the normalisations where configuration a has them.
func (o *Outline) place(a architecture.Architecture) error {
	layers, loose := o.layers, o.loose
	fail := func(format string, args ...any) error { return fmt.Errorf(format, args...) }
	var list []fileLayer
	var owner *fileLayer // the layer with a weight before
	inHead := false
	next := func(after bool) (fileLayer, error) {
		if len(loose) == 0 {
			return fileLayer{}, fail("%d batch normalisations, want more of configuration %q", len(o.loose), a.Name)
		}
		n := loose[0]
		loose = loose[1:]
		if owner == nil {
			return n.fileLayer, nil
		}
		i := slices.IndexFunc(o.layers, func(l fileLayer) bool { return l.name == owner.name })
		follows := n.at > owner.at && (i+1 == len(o.layers) || n.at < o.layers[i+1].at)
		sameNumber := func(l fileLayer) bool { return numbersOf(l.name) == numbersOf(n.name) }
		switch {
		case o.interleaved() && !follows:
			return n.fileLayer, fail("%s: the file has it elsewhere than behind %s, where configuration %q has batch normalisation", n.name, owner.name, a.Name)
		case !o.interleaved() && !o.keras && !counted(o.loose) && !inHead && slices.ContainsFunc(o.layers, sameNumber) && !sameNumber(*owner):
			return n.fileLayer, fail("%s: its name has another number than that of %s, behind which configuration %q has batch normalisation", n.name, owner.name, a.Name)
		case !after && roomBetween(owner.name, n.name):
			return n.fileLayer, fail("%s: its number leaves room for a layer between %s and it, want none in configuration %q", n.name, owner.name, a.Name)
		case after && owner.Kind == architecture.Convolution && atOnce(owner.name, n.name):
			return n.fileLayer, fail("%s: its number is that behind %s, want room for a rectification between them in configuration %q", n.name, owner.name, a.Name)
		}
		return n.fileLayer, nil
	}
	take := func(kind architecture.Kind) bool {
		if len(layers) == 0 || layers[0].Kind != kind {
			return false
		}
		list = append(list, layers[0])
		owner, layers = &list[len(list)-1], layers[1:]
		return true
	}
	for _, s := range a.Features {
		switch s.Kind {
		case architecture.Convolution:
			if !take(s.Kind) {
				return o.countError(a)
			}
			if !s.BatchNorm {
				continue
			}
			n, err := next(false)
			if err != nil {
				return err
			}
			c := &list[len(list)-1]
			c.BatchNorm = true
			for role, e := range n.tensors {
				c.tensors[role] = e
			}
		case architecture.BatchNorm:
			n, err := next(true)
			if err != nil {
				return err
			}
			n.between = true
			list = append(list, n)
		}
	}
	if len(layers) > 0 && layers[0].Kind == architecture.Convolution {
		return o.countError(a)
	}
	if inHead = true; len(layers) > 0 {
		for _, s := range inference(a) {
			switch s.Kind {
			case architecture.Connected:
				take(s.Kind)
			case architecture.BatchNorm:
				n, err := next(true)
				if err != nil {
					return err
				}
				list = append(list, n)
			}
		}
	}
	if len(loose) > 0 && o.dropped {
		o.Left = append(o.Left, fmt.Sprintf("%s and what follows: batch normalisation of the head", loose[0].name))
		loose = nil
	}
	if len(loose) > 0 {
		return fail("%s: batch normalisation, want none more in configuration %q", loose[0].name, a.Name)
	}
	o.layers, o.loose = append(list, layers...), nil
	return nil
}

// counted tells whether normalisations are numbered one after another, whatever they follow.
func counted(loose []looseNorm) bool {
	last := -1
	for _, l := range loose {
		if stem(l.name) != stem(loose[0].name) { // those of the head
			continue
		}
		n, err := strconv.Atoi(numbersOf(l.name))
		if err != nil || last >= 0 && n != last+1 {
			return false
		}
		last = n
	}
	return true
}

// countError reports another number of convolutions than a configuration has.
func (o *Outline) countError(a architecture.Architecture) error {
	return fmt.Errorf("%d convolutions, want the %d of configuration %q", o.Count(architecture.Convolution), a.Count(architecture.Convolution), a.Name)
}

// atOnce tells whether the numbers of two layers' names follow each other.
func atOnce(a, b string) bool {
	of, i := lastNumber(a)
	same, j := lastNumber(b)
	return of == same && i >= 0 && j == i+1
}
