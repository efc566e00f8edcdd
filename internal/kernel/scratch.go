package kernel

// Scratch is the memory that layer calls take from a [Work], in floats.
type Scratch struct {
	Shared, Shared2, Turned, Filters int
	Local                            int // a thread
}

// Max returns the larger of each part: the scratch of a Work that serves both.
func (s Scratch) Max(o Scratch) Scratch {
	return Scratch{max(s.Shared, o.Shared), max(s.Shared2, o.Shared2), max(s.Turned, o.Turned), max(s.Filters, o.Filters), max(s.Local, o.Local)}
}

// Floats is the total for a number of threads.
func (s Scratch) Floats(threads int) int {
	return s.Shared + s.Shared2 + s.Turned + s.Filters + threads*s.Local
}

// ForwardScratch is the scratch of [Work.ConvForward] on n images of h × w.
func (g Conv) ForwardScratch(n, h, w, threads int) Scratch {
	oh, ow := g.Out(h, w)
	switch g.algorithm(ow) {
	case patch:
		return Scratch{Local: g.depth() * min(oh, max(1, patchPixels/ow)) * ow}
	case packed:
		rows := g.packedChunk(n * oh * ow)
		s := Scratch{Shared: g.depth() * rows}
		if panels(g.K) < 4*threads {
			rows = min(rows, packedRows)
		}
		s.Local = packedLocal(rows, false)
		return s
	default:
		return Scratch{}
	}
}

// HalfScratch is the scratch of [Work.HalfForward] on n images of h × w.
func (g Conv) HalfScratch(n, h, w, threads int) Scratch {
	oh, ow := g.Out(h, w)
	rows := g.packedChunk(n * oh * ow)
	s := Scratch{Shared: g.depth() * rows}
	if panels(g.K) < 4*threads {
		rows = min(rows, packedRows)
	}
	s.Local = packedLocal(rows, true)
	return s
}

// BackwardScratch is the scratch of [Work.ConvBackwardWeights] and, if data, of
// [Work.ConvBackwardData] on n images of h × w.
func (g Conv) BackwardScratch(n, h, w, threads int, data bool) Scratch {
	oh, ow := g.Out(h, w)
	kb := blocks(g.K)
	connected := g.connected(oh, ow)
	var s Scratch
	switch {
	case g.patched():
		rows, bands := g.patchBands(oh, ow)
		s = Scratch{Shared2: n * bands * g.WeightLen()}
		if !g.rgb() {
			s.Local = g.depth() * rows * ow
		}
	case connected:
		s = Scratch{Shared: g.depth() * n, Shared2: kb * n * Block}
	}
	if !data {
		return s
	}
	if connected {
		return s.Max(Scratch{Shared: kb * n * Block, Local: kb*Block*Panel + 2*n*Block})
	}
	t := g.transposed()
	return s.Max(Scratch{Turned: t.WeightLen()}).Max(t.ForwardScratch(n, oh, ow, threads))
}

// UpdateScratch is the scratch of [Work.FCUpdate] on n images, besides that of the gradient
// alone.
func UpdateScratch(n int) Scratch { return Scratch{Local: fcUpdateLocal(n)} }

// LRNScratch is the scratch of [Work.LRNForward] and [Work.LRNBackward] on c channels and
// rows of w pixels.
func LRNScratch(l LRN, c, w int) Scratch { return Scratch{Local: l.scratch(c, w)} }

// Floats is the memory, in floats, that w holds now.
func (w *Work) Floats() int {
	n := cap(w.shared) + cap(w.shared2) + cap(w.turned) + cap(w.filters)
	for _, l := range w.local {
		n += cap(l)
	}
	return n
}

// TrainingScratch is the scratch of a training step's passes by Winograd's algorithm on n
// images of h × w; data says whether dx is computed.
func (p Winograd) TrainingScratch(g Conv, n, h, w, threads int, data bool) Scratch {
	s := p.Scratch(g, n, h, w).Max(Scratch{Filters: p.FilterLen(g), Local: foldLocal}).Max(p.gradScratch(g, n, h, w, threads))
	if data {
		t := g.transposed()
		s = s.Max(p.Scratch(t, n, h, w)).Max(Scratch{Filters: p.FilterLen(t), Local: turnLocal})
	}
	return s
}

// Reserve makes w hold the scratch memory of s at once. Growing call by call would leave
// every earlier buffer to the garbage collector.
func (w *Work) Reserve(s Scratch) {
	grow(&w.shared, s.Shared)
	grow(&w.shared2, s.Shared2)
	grow(&w.turned, s.Turned)
	grow(&w.filters, s.Filters)
	w.growLocal(s.Local)
}
