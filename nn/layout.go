package nn

import "github.com/verydeep/vgg/internal/kernel"

// layout is where a training of up to n images keeps what: activations that the backward
// pass needs, and gradients on their way from layer to layer.
//
// The large maps at the network's front would take most of the memory, and there a few
// images are work enough for all threads. So sections of the chain run on groups of
// images, one after the other, forward and later backward: between its layers, only a
// group's gradients are ever there. Activations that are cheap to compute again (the first
// layer's, an eighteenth of the second's work) are not kept either, but recomputed for
// every group (Chen et al. 2016). As gradients are summed in image order, groups change no
// bit of a result.
type layout struct {
	chain    *Chain
	n        int
	hooked   bool // one link a layer, all images at a time
	first    int  // the first learnt link
	links    []link
	shapes   []Shape // of the input and of every link's output
	layers   []Shape // of the input and of every layer's output
	acts     []border
	grads    []border
	kept     []bool // activation: of all images, else of a group
	sections []section
}

// link is a step of training: a layer, perhaps with the max-pooling after it.
type link struct {
	layer Layer
	conv  *Conv // the layer, if it is a convolution
	// pool says that the max-pooling after the convolution is part of it. What is pooled is
	// never stored, but for the places that the maxima came from.
	pool bool
	// masked says that the gradient of the output comes zero where the rectification was:
	// the layer after it sees to that.
	masked bool
}

// section is links that run on a group of images at a time.
type section struct {
	from, to int // links
	kept     int // links from here on need not run again in the backward pass
	group    int // images at a time, at most
	grouped  bool
	frozen   bool
}

// group is images of a section.
type group struct {
	section  *section
	from, to int
}

// groups is into how many groups n images are cut.
func (s *section) groups(n int) int { return (n + s.group - 1) / s.group }

// at is group i of those that n images are cut into, as even as possible.
func (s *section) at(i, n int) group {
	return group{s, i * n / s.groups(n), (i + 1) * n / s.groups(n)}
}

const (
	// groupPixels is the least size of the maps of a section that runs by groups: smaller
	// ones take little memory, and their layers' weights much.
	groupPixels = 48 * 48
	// groupTiles is how many tiles of 4×4 pixels a group has for each thread, to be worth
	// being handed out.
	groupTiles = 512
	// recomputeShare is the part of a chain's multiplications, one in so many, that a layer
	// may take to be computed again.
	recomputeShare = 50
)

// layoutOf plans a training; shapes are those of the input and of every layer's output.
func (c *Chain) layoutOf(shapes []Shape, n int, hooked bool) *layout {
	l := &layout{chain: c, n: n, hooked: hooked, first: -1, layers: shapes, shapes: shapes[:1:1]}
	firstLayer := c.firstLearnt()
	for i := 0; i < len(c.layers); i++ {
		k := link{layer: c.layers[i]}
		k.conv, _ = k.layer.(*Conv)
		if i == firstLayer {
			l.first = len(l.links)
		}
		if i+1 < len(c.layers) && i >= firstLayer && k.conv != nil && !hooked {
			if _, ok := c.layers[i+1].(*MaxPool); ok {
				k.pool = true
				i++
			}
		}
		l.links = append(l.links, k)
		l.shapes = append(l.shapes, shapes[i+1])
	}
	l.mask()
	l.borders()
	l.cut()
	return l
}

// mask finds the layers whose rectification the gradient passes within the layer after.
func (l *layout) mask() {
	for j := l.first; j+1 < len(l.links) && !l.hooked; j++ {
		k, next := &l.links[j], l.links[j+1]
		if k.conv == nil || !k.conv.ReLU || k.pool || next.conv == nil {
			continue
		}
		_, k.masked = next.conv.winograd(l.n, l.shapes[j+1], l.chain.Threads(), true)
	}
}

// borders are those of each activation and of its gradient.
func (l *layout) borders() {
	l.acts, l.grads = make([]border, len(l.shapes)), make([]border, len(l.shapes))
	for i, k := range l.links {
		l.acts[i] = k.layer.border(l.n, l.shapes[i], l.chain.Threads(), i >= l.first)
		if !k.pool {
			l.grads[i+1] = k.layer.gradBorder(l.shapes[i], l.chain.Threads())
		}
	}
}

// cut divides the links into sections.
func (l *layout) cut() {
	l.kept = make([]bool, len(l.shapes))
	total := 0
	for i, k := range l.links {
		total += k.multiplications(l.shapes[i])
	}
	add := func(s section) {
		l.kept[s.from] = s.from > 0 || !s.grouped
		s.kept = s.from
		for i := s.from + 1; i < s.to; i++ {
			l.kept[i] = !s.frozen && recomputeShare*l.links[i-1].multiplications(l.shapes[i-1]) > total
			if !l.kept[i] {
				s.kept = i
			}
		}
		l.sections = append(l.sections, s)
	}
	if l.first > 0 {
		add(section{from: 0, to: l.first, group: l.groupOf(l.shapes[0]), grouped: true, frozen: true})
	}
	for i := l.first; i < len(l.links); {
		s := section{from: i, to: i + 1, group: l.n}
		if !l.hooked && l.links[i].apart(l.shapes[i]) {
			s.group, s.grouped = l.groupOf(l.shapes[i]), true
			for s.to < len(l.links) && !l.links[s.to-1].pools() && l.links[s.to].apart(l.shapes[s.to]) {
				s.to++
			}
		}
		add(s)
		i = s.to
	}
	l.kept[len(l.links)] = true
}

// groupOf is the images of a group whose maps have this shape.
func (l *layout) groupOf(s Shape) int {
	tiles := ((s.H + 3) / 4) * ((s.W + 3) / 4)
	return min(l.n, max(1, (groupTiles*l.chain.Threads()+tiles-1)/tiles))
}

// apart tells whether images may go through the link in groups, and whether that pays.
func (k link) apart(in Shape) bool {
	if norm, ok := k.layer.(*BatchNorm); ok && !norm.frozen() {
		return false // its statistics are those of all images
	}
	return in.H*in.W >= groupPixels && !(k.conv != nil && k.conv.connected())
}

// pools tells whether a max-pooling ends the link.
func (k link) pools() bool {
	_, ok := k.layer.(*MaxPool)
	return ok || k.pool
}

// multiplications is how many the link takes for an image.
func (k link) multiplications(in Shape) int {
	if k.conv == nil {
		return 0
	}
	oh, ow := k.conv.g.Out(in.H, in.W)
	return k.conv.Weight.Len() * oh * ow
}

func (l *layout) sectionOf(link int) *section {
	i := 0
	for l.sections[i].to <= link {
		i++
	}
	return &l.sections[i]
}

// buffers is the memory of a layout.
type buffers struct {
	acts   [][]float32 // of kept activations, else nil
	hits   [][]uint16
	group  [][]float32 // activations of a group: the i-th of a section that isn't kept
	whole  [2][]float32
	grads  [2][]float32 // gradients within a section
	unpool []float32
	holds  group // whose activations group has
}

// lens is the floats of the buffers, and the masks of hits.
type lens struct {
	acts, hits, group []int
	whole, grads      [2]int
	unpool            int
}

// place is the buffer of an activation that isn't kept, within group: they follow one
// another, but in a frozen section, where only the last one is ever needed, two take turns.
func (l *layout) place(s *section, i int) int {
	if s.frozen {
		return i % 2
	}
	at := 0
	for j := s.from; j < i; j++ {
		if !l.kept[j] {
			at++
		}
	}
	return at
}

// turn is which of the two buffers the gradient of activation i is in, and whether they
// are those of all images.
func (l *layout) turn(i int) (turn int, whole bool) {
	for j := range l.sections {
		s := &l.sections[j]
		if i == s.to {
			return j % 2, true
		}
		if i == s.from {
			return (j + 1) % 2, true
		}
		if i < s.to {
			break
		}
	}
	return i % 2, false
}

func (l *layout) lens() lens {
	v := lens{acts: make([]int, len(l.shapes)), hits: make([]int, len(l.links)), group: make([]int, len(l.links)+2)}
	size := func(n int, s Shape, b border) int { return kernel.BorderedLen(n, s.C, s.H, s.W, b.pad, b.end) }
	for i, sh := range l.shapes {
		s := &l.sections[len(l.sections)-1]
		if i < len(l.links) {
			s = l.sectionOf(i)
		}
		if l.kept[i] {
			v.acts[i] = size(l.n, sh, l.acts[i])
		} else {
			at := l.place(s, i)
			v.group[at] = max(v.group[at], size(s.group, sh, l.acts[i]))
		}
		if i > l.first || i == 0 && l.hooked {
			turn, whole := l.turn(i)
			if whole {
				v.whole[turn] = max(v.whole[turn], size(l.n, sh, l.grads[i]))
			} else {
				v.grads[turn] = max(v.grads[turn], size(s.group, sh, l.grads[i]))
			}
		}
		if i == len(l.links) || !l.links[i].pool {
			continue
		}
		next := l.shapes[i+1]
		v.hits[i] = kernel.HitsLen(l.n, next.C, next.H, next.W)
		b := l.links[i].layer.gradBorder(sh, l.chain.Threads())
		out, _ := l.links[i].layer.Out(sh)
		v.unpool = max(v.unpool, size(s.group, out, b))
	}
	return v
}

// floats is the memory of the buffers.
func (l *layout) floats() int {
	v := l.lens()
	total := v.whole[0] + v.whole[1] + v.grads[0] + v.grads[1] + v.unpool
	for _, lens := range [][]int{v.acts, v.group} {
		for _, n := range lens {
			total += n
		}
	}
	for _, n := range v.hits {
		total += n / 2
	}
	for i, k := range l.links[:l.first] { // kept transformed, as in inference
		if k.conv != nil {
			total += k.conv.filterLen(l.sections[0].group, l.shapes[i], l.chain.Threads(), false)
		}
	}
	return total
}

// buffers takes the memory.
func (l *layout) buffers() buffers {
	v := l.lens()
	all := func(lens []int) [][]float32 {
		b := make([][]float32, len(lens))
		for i, n := range lens {
			if n > 0 {
				b[i] = kernel.Alloc(n)
			}
		}
		return b
	}
	b := buffers{acts: all(v.acts), group: all(v.group), unpool: kernel.Alloc(v.unpool)}
	for i := range 2 {
		b.whole[i], b.grads[i] = kernel.Alloc(v.whole[i]), kernel.Alloc(v.grads[i])
	}
	b.hits = make([][]uint16, len(v.hits))
	for i, n := range v.hits {
		b.hits[i] = make([]uint16, n)
	}
	return b
}

// scratch is the working memory of the passes, for any size of a group.
func (l *layout) scratch() kernel.Scratch {
	var all kernel.Scratch
	for i, k := range l.links {
		s, in := l.sectionOf(i), l.shapes[i]
		learnt, data := i >= l.first, i > l.first || l.hooked && l.first == 0
		for i := range s.groups(l.n) {
			g := s.at(i, l.n)
			all = all.Max(k.layer.scratch(g.to-g.from, in, l.chain.Threads(), learnt, data))
		}
	}
	return all
}

// gradients is the memory of the parameters' gradients that a fused step uses up within
// the backward pass, and of those that are summed in the Winograd domain apart, in memory
// of their own.
func (l *layout) gradients() (used, apart int) {
	for i, k := range l.links {
		if k.conv == nil || !k.conv.Weight.Learnt() {
			continue
		}
		domain := k.conv.filterLen(l.n, l.shapes[i], l.chain.Threads(), true)
		if k.conv.connected() || domain > 0 {
			used += k.conv.Weight.packed
		}
		if l.sectionOf(i).grouped {
			apart += domain
		}
	}
	return used, apart
}

// unpooled lays out the gradient of what link j pools, for the images that a has.
func (l *layout) unpooled(a *kernel.Act, j int) {
	b := l.links[j].layer.gradBorder(l.shapes[j], l.chain.Threads())
	a.Bordered(a.N, a.C, a.H, a.W, b.pad, b.end, a.Data[:cap(a.Data)])
}

// enter makes acts, hits and grads show a group of images.
func (t *Training) enter(g group) {
	if t.here == g {
		return
	}
	t.here = g
	l, s, n := t.layout, g.section, g.to-g.from
	for i := s.from; i <= s.to; i++ {
		sh := l.shapes[i]
		a := l.acts[i]
		buf := t.buffers.acts[i]
		if l.kept[i] {
			buf = buf[kernel.BorderedLen(g.from, sh.C, sh.H, sh.W, a.pad, a.end):]
		} else {
			buf = t.buffers.group[l.place(s, i)]
		}
		t.acts[i].Bordered(n, sh.C, sh.H, sh.W, a.pad, a.end, buf)
		if i > l.first || i == 0 && l.hooked {
			b := l.grads[i]
			turn, whole := l.turn(i)
			buf := t.buffers.grads[turn]
			if whole {
				buf = t.buffers.whole[turn][kernel.BorderedLen(g.from, sh.C, sh.H, sh.W, b.pad, b.end):]
			}
			t.grads[i].Bordered(n, sh.C, sh.H, sh.W, b.pad, b.end, buf)
		}
		if i == s.to || !l.links[i].pool {
			continue
		}
		next := l.shapes[i+1]
		t.hits[i].Shape(n, next.C, next.H, next.W, t.buffers.hits[i][kernel.HitsLen(g.from, next.C, next.H, next.W):])
		out, _ := l.links[i].layer.Out(sh)
		t.wholes[i].Shape(n, out.C, out.H, out.W, 0, t.buffers.unpool)
	}
}
