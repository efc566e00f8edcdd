package kernel

import "sync"

// Source reads weights in canonical order, those of the out-channels from k0 on, as many as
// dst holds. Any number of goroutines may call it at once.
type Source func(k0 int, dst []float32) error

// SourceForward is [Work.ConvForward] of a fully connected layer whose weights stay in their
// source. Each thread reads a panel, packs it in scratch and multiplies by it, so that no
// weight is written to memory; the result has the bits of ConvForward's packed algorithm.
// [Work.Failed] has the error of reading.
func (w *Work) SourceForward(g Conv, x *Act, source Source, bias []float32, relu bool, y *Act) {
	flags := addBias
	if relu {
		flags |= applyRelu
	}
	w.packedForward(g, x, packedTask{source: source, bias: bias, flags: flags}, y)
}

// rowLen is the number of weights of an out-channel in canonical order.
func (g Conv) rowLen() int { return g.C * g.R * g.R }

// sourceLocal is the scratch of a thread, in floats: a panel of weights as they are read,
// and packed.
func (g Conv) sourceLocal() int { return Panel * (g.rowLen() + g.depth()) }

func (t *packedTask) sourceLocal() int {
	if t.source == nil {
		return 0
	}
	return t.g.sourceLocal()
}

// fromSource reads and packs panel p and multiplies rows by it. It reports whether the
// weights could be read.
func (t *packedTask) fromSource(rows, nb, p int, c, bias []float32) bool {
	lanes := min(Panel, t.g.K-p*Panel)
	canonical := c[2*t.rows*Block:][:lanes*t.g.rowLen()]
	packed := c[2*t.rows*Block+Panel*t.g.rowLen():][:Panel*t.g.depth()]
	if err := t.source(p*Panel, canonical); err != nil {
		t.w.failed.set(err)
		return false
	}
	if lanes < Panel || t.g.C%Block != 0 {
		clear(packed)
	}
	t.g.PackRows(packed, canonical, 0)
	t.isa.product(rows, nb, t.offs, t.a, packed, c, rows*Block, bias, t.flags)
	return true
}

// SourceScratch is the scratch of [Work.SourceForward] on n images of h × w.
func (g Conv) SourceScratch(n, h, w int) Scratch {
	oh, ow := g.Out(h, w)
	rows := g.packedChunk(n * oh * ow)
	return Scratch{Shared: g.depth() * rows, Local: packedLocal(rows, false) + g.sourceLocal()}
}

// failure is the first error of parts that run side by side.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// Failed returns the first error of reading weights since the last call. The outputs of a
// pass that failed have no meaning.
func (w *Work) Failed() error {
	w.failed.mu.Lock()
	defer w.failed.mu.Unlock()
	err := w.failed.err
	w.failed.err = nil
	return err
}
