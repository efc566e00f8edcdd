package nn

import "github.com/verydeep/vgg/internal/kernel"

// layout plans the memory of a training on up to n images: the activations that the
// backward pass needs, and the gradients between layers.
//
// The large maps of the first layers would take most of the memory, and there a few images
// are work enough for all threads. So the chain is cut into sections, which run on one
// group of images after another, forward and later backward: between the layers of a
// section, only a group's gradients exist. Activations that are cheap to compute again (the
// first layer's, an eighteenth of the second's work) are not kept either, but recomputed
// for every group (Chen et al. 2016). As gradients are summed in image order, groups change
// no bit of a result.
type layout struct {
	chain    *Chain
	n        int
	hooked   bool // nothing is fused, and all images go through a layer at a time
	first    int  // the first learnt layer, an index of fused
	fused    []fusedLayer
	shapes   []Shape // of the input and of every fused layer's output
	layers   []Shape // of the input and of every layer's output
	acts     []border
	grads    []border
	kept     []bool // whether an activation is kept for all images, or exists for a group only
	sections []section
}

// fusedLayer is a layer of training, perhaps with the max-pooling after it.
type fusedLayer struct {
	layer Layer
	conv  *Conv // the layer, if it is a convolution
	// pool says that the max-pooling after the convolution is part of it. The activation
	// before the pooling is never stored, only where the maxima came from.
	pool bool
	// masked says that the gradient of the output has passed the rectification already: the
	// next layer zeroes it.
	masked bool
}

// section is a range of fused layers that run on a group of images at a time.
type section struct {
	from, to  int // fused layers from … to−1
	kept      int // fused layers from here on need not run again in the backward pass
	groupSize int // most images at a time
	grouped   bool
	frozen    bool // no layer is learnt
}

// imageGroup is images from … to−1 of a section.
type imageGroup struct {
	section  *section
	from, to int
}

// groupCount is the number of groups that n images are cut into.
func (s *section) groupCount(n int) int { return (n + s.groupSize - 1) / s.groupSize }

// imageGroup is group i of those that n images are cut into, as evenly as possible.
func (s *section) imageGroup(i, n int) imageGroup {
	return imageGroup{s, i * n / s.groupCount(n), (i + 1) * n / s.groupCount(n)}
}

const (
	// groupPixels is the least number of pixels of the maps of a section that runs by groups:
	// smaller maps take little memory, and their layers' weights much.
	groupPixels = 48 * 48
	// groupTiles is the least number of tiles of 4×4 pixels that a group has for each thread,
	// so that handing out work costs little.
	groupTiles = 512
	// recomputeShare bounds the cost of computing a layer again: one in so many of the
	// chain's multiplications.
	recomputeShare = 50
)

// layoutOf plans a training; shapes are those of the input and of every layer's output.
func (c *Chain) layoutOf(shapes []Shape, n int, hooked bool) *layout {
	l := &layout{chain: c, n: n, hooked: hooked, first: -1, layers: shapes, shapes: shapes[:1:1]}
	firstLayer := c.firstLearnt()
	for i := 0; i < len(c.layers); i++ {
		k := fusedLayer{layer: c.layers[i]}
		k.conv, _ = k.layer.(*Conv)
		if i == firstLayer {
			l.first = len(l.fused)
		}
		if i+1 < len(c.layers) && i >= firstLayer && k.conv != nil && !hooked {
			if _, ok := c.layers[i+1].(*MaxPool); ok {
				k.pool = true
				i++
			}
		}
		l.fused = append(l.fused, k)
		l.shapes = append(l.shapes, shapes[i+1])
	}
	l.mask()
	l.borders()
	l.cut()
	return l
}

// mask finds the layers whose rectification the next layer applies to the gradient.
func (l *layout) mask() {
	for j := l.first; j+1 < len(l.fused) && !l.hooked; j++ {
		k, next := &l.fused[j], l.fused[j+1]
		if k.conv == nil || !k.conv.ReLU || k.pool || next.conv == nil {
			continue
		}
		_, k.masked = next.conv.winograd(l.n, l.shapes[j+1], l.chain.Threads(), true)
	}
}

// borders sets the border of each activation and of its gradient.
func (l *layout) borders() {
	l.acts, l.grads = make([]border, len(l.shapes)), make([]border, len(l.shapes))
	for i, k := range l.fused {
		l.acts[i] = k.layer.border(l.n, l.shapes[i], l.chain.Threads(), i >= l.first)
		if !k.pool {
			l.grads[i+1] = k.layer.gradBorder(l.shapes[i], l.chain.Threads())
		}
	}
}

// cut divides the fused layers into sections.
func (l *layout) cut() {
	l.kept = make([]bool, len(l.shapes))
	total := 0
	for i, k := range l.fused {
		total += k.multiplications(l.shapes[i])
	}
	add := func(s section) {
		l.kept[s.from] = s.from > 0 || !s.grouped
		s.kept = s.from
		for i := s.from + 1; i < s.to; i++ {
			l.kept[i] = !s.frozen && recomputeShare*l.fused[i-1].multiplications(l.shapes[i-1]) > total
			if !l.kept[i] {
				s.kept = i
			}
		}
		l.sections = append(l.sections, s)
	}
	if l.first > 0 {
		add(section{from: 0, to: l.first, groupSize: l.groupSizeOf(l.shapes[0]), grouped: true, frozen: true})
	}
	for i := l.first; i < len(l.fused); {
		s := section{from: i, to: i + 1, groupSize: l.n}
		if !l.hooked && l.fused[i].apart(l.shapes[i]) {
			s.groupSize, s.grouped = l.groupSizeOf(l.shapes[i]), true
			for s.to < len(l.fused) && !l.fused[s.to-1].pools() && l.fused[s.to].apart(l.shapes[s.to]) {
				s.to++
			}
		}
		add(s)
		i = s.to
	}
	l.kept[len(l.fused)] = true
}

// groupSizeOf is the most images of a group whose maps have this shape.
func (l *layout) groupSizeOf(s Shape) int {
	tiles := ((s.H + 3) / 4) * ((s.W + 3) / 4)
	return min(l.n, max(1, (groupTiles*l.chain.Threads()+tiles-1)/tiles))
}

// apart reports whether images may go through the layer in groups, and whether that pays.
func (k fusedLayer) apart(in Shape) bool {
	if norm, ok := k.layer.(*BatchNorm); ok && !norm.frozen() {
		return false // its statistics are those of all images
	}
	return in.H*in.W >= groupPixels && !(k.conv != nil && k.conv.connected())
}

// pools reports whether the layer is, or ends with, a max-pooling.
func (k fusedLayer) pools() bool {
	_, ok := k.layer.(*MaxPool)
	return ok || k.pool
}

// multiplications counts those of the layer for one image.
func (k fusedLayer) multiplications(in Shape) int {
	if k.conv == nil {
		return 0
	}
	oh, ow := k.conv.g.Out(in.H, in.W)
	return k.conv.Weight.Len() * oh * ow
}

// sectionOf returns the section of fused layer j.
func (l *layout) sectionOf(j int) *section {
	i := 0
	for l.sections[i].to <= j {
		i++
	}
	return &l.sections[i]
}

// buffers is the memory of a layout.
type buffers struct {
	acts        [][]float32 // of kept activations, else nil
	hits        [][]uint16
	groupActs   [][]float32 // activations of a group that are not kept
	whole       [2][]float32
	grads       [2][]float32 // gradients within a section
	unpool      []float32
	groupActsOf imageGroup // whose activations groupActs holds
}

// lens is the lengths of the buffers, in floats, and in masks for hits.
type lens struct {
	acts, hits, groupActs []int
	whole, grads          [2]int
	unpool                int
}

// groupBuffer is the index in groupActs of an activation of a section that isn't kept. Each
// has a buffer; but in a frozen section, where only the last one is needed, two alternate.
func (l *layout) groupBuffer(s *section, i int) int {
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

// gradBuffer returns which of two buffers holds the gradient of activation i, and whether
// they are the buffers of all images or those of a group.
func (l *layout) gradBuffer(i int) (buffer int, whole bool) {
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
	v := lens{acts: make([]int, len(l.shapes)), hits: make([]int, len(l.fused)), groupActs: make([]int, len(l.fused)+2)}
	size := func(n int, s Shape, b border) int { return kernel.BorderedLen(n, s.C, s.H, s.W, b.pad, b.end) }
	for i, sh := range l.shapes {
		s := &l.sections[len(l.sections)-1]
		if i < len(l.fused) {
			s = l.sectionOf(i)
		}
		if l.kept[i] {
			v.acts[i] = size(l.n, sh, l.acts[i])
		} else {
			at := l.groupBuffer(s, i)
			v.groupActs[at] = max(v.groupActs[at], size(s.groupSize, sh, l.acts[i]))
		}
		if i > l.first || i == 0 && l.hooked {
			buffer, whole := l.gradBuffer(i)
			if whole {
				v.whole[buffer] = max(v.whole[buffer], size(l.n, sh, l.grads[i]))
			} else {
				v.grads[buffer] = max(v.grads[buffer], size(s.groupSize, sh, l.grads[i]))
			}
		}
		if i == len(l.fused) || !l.fused[i].pool {
			continue
		}
		next := l.shapes[i+1]
		v.hits[i] = kernel.HitsLen(l.n, next.C, next.H, next.W)
		b := l.fused[i].layer.gradBorder(sh, l.chain.Threads())
		out, _ := l.fused[i].layer.Out(sh)
		v.unpool = max(v.unpool, size(s.groupSize, out, b))
	}
	return v
}

// floats is the memory of the buffers, in floats.
func (l *layout) floats() int {
	v := l.lens()
	total := v.whole[0] + v.whole[1] + v.grads[0] + v.grads[1] + v.unpool
	for _, lens := range [][]int{v.acts, v.groupActs} {
		for _, n := range lens {
			total += n
		}
	}
	for _, n := range v.hits {
		total += n / 2
	}
	for i, k := range l.fused[:l.first] { // kept transformed, as in inference
		if k.conv != nil {
			total += k.conv.filterLen(l.sections[0].groupSize, l.shapes[i], l.chain.Threads(), false)
		}
	}
	return total
}

// buffers allocates the buffers.
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
	b := buffers{acts: all(v.acts), groupActs: all(v.groupActs), unpool: kernel.Alloc(v.unpool)}
	for i := range 2 {
		b.whole[i], b.grads[i] = kernel.Alloc(v.whole[i]), kernel.Alloc(v.grads[i])
	}
	b.hits = make([][]uint16, len(v.hits))
	for i, n := range v.hits {
		b.hits[i] = make([]uint16, n)
	}
	return b
}

// scratch is the scratch memory of the passes, for groups of any size.
func (l *layout) scratch() kernel.Scratch {
	var all kernel.Scratch
	for i, k := range l.fused {
		s, in := l.sectionOf(i), l.shapes[i]
		learnt, data := i >= l.first, i > l.first || l.hooked && l.first == 0
		images := 0 // of the group before, most often as many
		for i := range s.groupCount(l.n) {
			if g := s.imageGroup(i, l.n); g.to-g.from != images {
				images = g.to - g.from
				all = all.Max(k.layer.scratch(images, in, l.chain.Threads(), learnt, data))
			}
		}
	}
	return all
}

// gradients is the memory, in floats, of the parameters' gradients that a fused step uses
// up within the backward pass, and of the gradients that are summed in the Winograd domain
// in memory of their own.
func (l *layout) gradients() (used, apart int) {
	for i, k := range l.fused {
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

// unpooled lays out a, the gradient of what fused layer j pools, with its border.
func (l *layout) unpooled(a *kernel.Act, j int) {
	b := l.fused[j].layer.gradBorder(l.shapes[j], l.chain.Threads())
	a.Bordered(a.N, a.C, a.H, a.W, b.pad, b.end, a.Data[:cap(a.Data)])
}

// show makes acts, hits and grads show a group of images.
func (t *Training) show(g imageGroup) {
	if t.shown == g {
		return
	}
	t.shown = g
	l, s, n := t.layout, g.section, g.to-g.from
	for i := s.from; i <= s.to; i++ {
		sh := l.shapes[i]
		a := l.acts[i]
		buf := t.buffers.acts[i]
		if l.kept[i] {
			buf = buf[kernel.BorderedLen(g.from, sh.C, sh.H, sh.W, a.pad, a.end):]
		} else {
			buf = t.buffers.groupActs[l.groupBuffer(s, i)]
		}
		t.acts[i].Bordered(n, sh.C, sh.H, sh.W, a.pad, a.end, buf)
		if i > l.first || i == 0 && l.hooked {
			b := l.grads[i]
			buffer, whole := l.gradBuffer(i)
			buf := t.buffers.grads[buffer]
			if whole {
				buf = t.buffers.whole[buffer][kernel.BorderedLen(g.from, sh.C, sh.H, sh.W, b.pad, b.end):]
			}
			t.grads[i].Bordered(n, sh.C, sh.H, sh.W, b.pad, b.end, buf)
		}
		if i == s.to || !l.fused[i].pool {
			continue
		}
		next := l.shapes[i+1]
		t.hits[i].Shape(n, next.C, next.H, next.W, t.buffers.hits[i][kernel.HitsLen(g.from, next.C, next.H, next.W):])
		out, _ := l.fused[i].layer.Out(sh)
		t.wholes[i].Shape(n, out.C, out.H, out.W, 0, t.buffers.unpool)
	}
}
