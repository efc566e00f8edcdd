package nn

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/verydeep/vgg/internal/kernel"
)

// Conv is a convolution with stride 1 and, if ReLU, the rectification after it (§2.1):
//
//	x is (N,C,H,W); w is (K,C,R,R); b is (K); y is (N,K,H+2P−R+1,W+2P−R+1)
//
// A fully connected layer is a convolution whose R is the side of its input and whose
// P is 0; on a larger input it gives a class score map (§3.2).
type Conv struct {
	name         string
	g            kernel.Conv
	ReLU         bool
	Weight, Bias *Param
	passing      bool // inference transforms the weights in every pass, in scratch: see [InFile]

	trains  kernel.Purpose                 // how training computes the layer
	mu      sync.Mutex                     // held while filters are computed
	filters [3]atomic.Pointer[transformed] // by tile size: F(2×2), F(4×4), F(6×6)
	folded  atomic.Pointer[folded]         // the layer and the batch normalisation after it
}

// NewConv returns a convolution of c in-channels and k out-channels with r × r filters
// and a border of pad zeros. All parameters are zero; the weight gets its memory when the
// layer becomes part of a chain.
func NewConv(name string, c, k, r, pad int, relu bool) *Conv {
	g := kernel.Conv{C: c, K: k, R: r, Pad: pad}
	return &Conv{name: name, g: g, ReLU: relu, trains: kernel.Training, Weight: weight(name+".weight", g), Bias: vector(name+".bias", k)}
}

// NewFC returns a fully connected layer over inputs of c channels and side × side
// pixels. Its weight has the shape (k, c·side·side), in-units in (C,H,W) order.
func NewFC(name string, c, side, k int, relu bool) *Conv {
	l := NewConv(name, c, k, side, 0, relu)
	l.Weight.Shape = []int{k, c * side * side}
	return l
}

// Name implements [Layer].
func (l *Conv) Name() string { return l.name }

// Params implements [Layer].
func (l *Conv) Params() []*Param { return []*Param{l.Weight, l.Bias} }

// Out implements [Layer].
func (l *Conv) Out(in Shape) (Shape, error) {
	if in.C != l.g.C {
		return Shape{}, fmt.Errorf("nn: %s: input of %d channels, want %d", l.name, in.C, l.g.C)
	}
	oh, ow := l.g.Out(in.H, in.W)
	if oh < 1 || ow < 1 {
		return Shape{}, fmt.Errorf("nn: %s: input of %d×%d pixels, want at least %d×%d", l.name, in.H, in.W, l.g.R-2*l.g.Pad, l.g.R-2*l.g.Pad)
	}
	return Shape{l.g.K, oh, ow}, nil
}

// winograd returns the plan of a pass over n images; ok is false where Winograd's algorithm
// doesn't pay.
func (l *Conv) winograd(n int, in Shape, threads int, train bool) (kernel.Winograd, bool) {
	if !l.Weight.held() {
		return kernel.Winograd{}, false
	}
	purpose := kernel.Inference
	if train {
		purpose = l.trains
	}
	return l.g.PlanWinograd(n, in.H, in.W, threads, purpose)
}

func (l *Conv) border(n int, in Shape, threads int, train bool) border {
	if p, ok := l.winograd(n, in, threads, train); ok {
		return border{l.g.Pad, p.End(l.g, in.H, in.W)}
	}
	return even(l.g.Pad)
}

func (l *Conv) gradBorder(in Shape, threads int) border {
	if p, ok := l.winograd(1, in, threads, true); ok {
		return border{l.g.Pad, p.End(l.g, in.H, in.W)}
	}
	return even(l.g.GradPad(in.H, in.W))
}

func (l *Conv) scratch(n int, in Shape, threads int, train, data bool) kernel.Scratch {
	if p, ok := l.winograd(n, in, threads, train); ok {
		if train {
			return p.TrainingScratch(l.g, n, in.H, in.W, threads, data)
		}
		s := p.Scratch(l.g, n, in.H, in.W)
		if l.passing {
			s.Filters = p.FilterLen(l.g)
		}
		return s
	}
	switch {
	case l.Weight.inFile:
		return l.g.SourceScratch(n, in.H, in.W)
	case l.Weight.format != 0:
		return l.g.HalfScratch(n, in.H, in.W, threads)
	}
	s := l.g.ForwardScratch(n, in.H, in.W, threads)
	if train {
		s = s.Max(l.g.BackwardScratch(n, in.H, in.W, threads, data)).Max(kernel.Scratch{Local: kernel.Block})
		if l.connected() {
			s = s.Max(kernel.UpdateScratch(n))
		}
	}
	return s
}

// filterLen is the length, in floats, of the transformed weights that inference on n images
// keeps, or of their gradient that training keeps.
func (l *Conv) filterLen(n int, in Shape, threads int, train bool) int {
	if p, ok := l.winograd(n, in, threads, train); ok && (train || !l.passing) {
		return p.FilterLen(l.g)
	}
	return 0
}

func (l *Conv) forward(w *kernel.Work, x, y *kernel.Act, p Pass) {
	plan, ok := l.winograd(x.N, Shape{x.C, x.H, x.W}, w.Team.Threads(), p.Train)
	switch {
	case l.Weight.inFile:
		w.SourceForward(l.g, x, l.Weight.from, l.Bias.Value, l.ReLU, y)
	case l.Weight.half != nil:
		w.HalfForward(l.g, x, l.Weight.half, l.Bias.Value, l.ReLU, y)
	case !ok:
		w.ConvForward(l.g, x, l.Weight.Value, l.Bias.Value, l.ReLU, y)
	case p.Train:
		w.WinogradTraining(plan, l.g, x, l.Weight.Value, l.Bias.Value, l.ReLU, y, nil)
	default:
		w.WinogradForward(plan, l.g, x, l.filter(w, plan), l.Bias.Value, l.ReLU, false, y)
	}
}

// fusesPool reports whether inference on n images can compute the layer and the max-pooling
// after it in one pass.
func (l *Conv) fusesPool(n int, in Shape, threads int) bool {
	_, ok := l.winograd(n, in, threads, false)
	return ok && in.H >= 2 && in.W >= 2
}

// forwardPool computes the layer in inference and the 2×2 max-pooling after it.
func (l *Conv) forwardPool(w *kernel.Work, x, y *kernel.Act) {
	plan, _ := l.winograd(x.N, Shape{x.C, x.H, x.W}, w.Team.Threads(), false)
	w.WinogradForward(plan, l.g, x, l.filter(w, plan), l.Bias.Value, l.ReLU, true, y)
}

// transformed is the weights as F(m×m,3×3) multiplies them, computed from a version of the
// parameter.
type transformed struct {
	version uint64
	u       []float32
}

// filter returns the transformed weights, and computes them if the weights have changed.
// All passes share them.
func (l *Conv) filter(w *kernel.Work, p kernel.Winograd) []float32 {
	if l.passing {
		u := w.FiltersOf(p, l.g)
		w.WinogradFilter(p, l.g, l.Weight.Value, u)
		return u
	}
	kept := &l.filters[p.M/2-1]
	if t := kept.Load(); t != nil && t.version == l.Weight.version.Load() {
		return t.u
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	version := l.Weight.version.Load()
	t := kept.Load()
	if t != nil && t.version == version {
		return t.u
	}
	u := kernel.Alloc(p.FilterLen(l.g))
	w.WinogradFilter(p, l.g, l.Weight.Value, u)
	kept.Store(&transformed{version, u})
	return u
}

func (l *Conv) backward(w *kernel.Work, x, y, dy, dx *kernel.Act, p Pass) {
	if p.fixed {
		if l.ReLU {
			w.BiasGrad(y, dy, true, nil)
		}
		l.dataGradient(w, x, dy, dx, nil, p)
		return
	}
	l.gradients(w, x, y, dy, dx, nil, p)
	l.finish(w, x.N, Shape{x.C, x.H, x.W}, p)
}

// gradients is the backward pass without [Conv.finish]. y is nil where dy has passed the
// rectification already. If mask isn't nil, it is the output of the layer before, and dx
// passes the rectification of that layer.
func (l *Conv) gradients(w *kernel.Work, x, y, dy, dx, mask *kernel.Act, p Pass) {
	_, ok := l.winograd(x.N, Shape{x.C, x.H, x.W}, w.Team.Threads(), true)
	rectify := l.ReLU && y != nil
	db := l.Bias.Grad
	if l.Bias.Frozen {
		db = nil
	}
	switch sums := ok && !l.Weight.Frozen; {
	case rectify && sums:
		w.BiasGrad(y, dy, true, nil)
	case rectify || !sums && db != nil:
		w.BiasGrad(y, dy, rectify, db)
	}
	p.clock.lap(l.name, dataColumn)
	switch {
	case p.update != nil && l.connected() && !l.Weight.Frozen:
		w.FCUpdate(l.g, x, dy, p.update.of(l.Weight), dx)
		l.Weight.Changed()
		p.clock.lap(l.name, updateColumn)
	case ok && l.Weight.accum == nil:
		// The weight gradient reuses the buffer that held the transformed weights, so dx is
		// computed first.
		l.dataGradient(w, x, dy, dx, mask, p)
		l.weightGradient(w, x, dy, db, p)
	default: // dx is computed last, as the layer before reads it next
		l.weightGradient(w, x, dy, db, p)
		l.dataGradient(w, x, dy, dx, mask, p)
	}
}

func (l *Conv) dataGradient(w *kernel.Work, x, dy, dx, mask *kernel.Act, p Pass) {
	plan, ok := l.winograd(x.N, Shape{x.C, x.H, x.W}, w.Team.Threads(), true)
	switch {
	case dx == nil:
		return
	case ok:
		w.WinogradBackwardData(plan, l.g, dy, l.Weight.Value, mask, dx)
	default:
		w.ConvBackwardData(l.g, dy, l.Weight.Value, dx)
	}
	p.clock.lap(l.name, dataColumn)
}

// weightGradient adds to the gradient of the weights and, by Winograd's algorithm, to db,
// the gradient of the bias, unless db is nil.
func (l *Conv) weightGradient(w *kernel.Work, x, dy *kernel.Act, db []float32, p Pass) {
	plan, ok := l.winograd(x.N, Shape{x.C, x.H, x.W}, w.Team.Threads(), true)
	switch {
	case l.Weight.Frozen:
		return
	case ok:
		du := l.Weight.accum
		if du == nil { // [Conv.finish] uses it up before the next layer's weights are transformed
			du, l.Weight.fresh = w.FiltersOf(plan, l.g), true
		}
		w.WinogradBackwardWeights(plan, l.g, x, dy, l.Weight.fresh, du, db)
		l.Weight.fresh = false
	case p.Factors[l.Weight] != nil:
		p.Factors[l.Weight].add(w, x, dy, p.Image)
	default:
		w.ConvBackwardWeights(l.g, x, dy, l.Weight.Grad)
	}
	p.clock.lap(l.name, weightsColumn)
}

// finish is called when the gradient of all images is computed, which went through the
// layer n at a time. It transforms the gradient of the weights back from the Winograd
// domain, or updates the weights by it.
func (l *Conv) finish(w *kernel.Work, n int, in Shape, p Pass) {
	plan, ok := l.winograd(n, in, w.Team.Threads(), true)
	if !ok || l.Weight.Frozen {
		return
	}
	du := l.Weight.accum
	if du == nil {
		du = w.FiltersOf(plan, l.g)
	}
	switch {
	case p.update != nil:
		w.WinogradUpdate(plan, l.g, du, p.update.of(l.Weight))
		l.Weight.Changed()
	case !p.More: // otherwise the sum goes on in the Winograd domain
		w.WinogradFold(plan, l.g, du, l.Weight.Grad)
	}
	p.clock.lap(l.name, updateColumn)
}

// forwardHits computes the layer in training and the 2×2 max-pooling after it. Without
// Winograd's algorithm, it stores the activation before the pooling in whole.
func (l *Conv) forwardHits(w *kernel.Work, x, y *kernel.Act, hits *kernel.Hits, whole *kernel.Act) {
	if plan, ok := l.winograd(x.N, Shape{x.C, x.H, x.W}, w.Team.Threads(), true); ok {
		w.WinogradTraining(plan, l.g, x, l.Weight.Value, l.Bias.Value, l.ReLU, y, hits)
		return
	}
	w.ConvForward(l.g, x, l.Weight.Value, l.Bias.Value, l.ReLU, whole)
	w.MaxPoolHits(whole, y, l.ReLU, hits)
}

// prepareTraining drops what an earlier training accumulated. apart says whether a gradient
// in the Winograd domain needs memory of its own; one that a single pass computes doesn't.
func (l *Conv) prepareTraining(n int, in Shape, threads int, apart bool) {
	length := l.filterLen(n, in, threads, true)
	l.Weight.domain, l.Weight.accum, l.Weight.fresh = 0, nil, true
	if length > 0 && !l.Weight.Frozen {
		l.Weight.domain = length
		if apart {
			l.Weight.accum = kernel.Alloc(length)
		}
	}
}
