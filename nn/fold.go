package nn

import (
	"github.com/verydeep/vgg/internal/kernel"
)

// folded is a convolution that also computes the batch normalisation after it. With the
// normalisation written as y = a·x + s, its weights are a·w and its bias is a·b + s,
// out-channel by out-channel.
type folded struct {
	version      uint64    // of the convolution's weights
	scale, shift []float32 // a, and a·b + s
	conv         *Conv
}

// fold returns the convolution that computes l and then norm in inference. It makes a new
// one only when their values have changed.
func (l *Conv) fold(norm *BatchNorm) *Conv {
	if f := l.folded.Load(); f != nil && l.isCurrent(f, norm) {
		return f.conv
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.folded.Load(); f != nil && l.isCurrent(f, norm) {
		return f.conv
	}
	f := &folded{version: l.Weight.version.Load()}
	nm := norm.norm(false)
	for k := range l.g.K {
		a, s := l.affine(nm, k)
		f.scale, f.shift = append(f.scale, a), append(f.shift, s)
	}
	f.conv = NewConv(l.name, l.g.C, l.g.K, l.g.R, l.g.Pad, norm.ReLU)
	f.conv.Weight.alloc()
	w := f.conv.Weight.Value
	copy(w, l.Weight.Value)
	l.g.ScaleOut(w, f.scale)
	copy(f.conv.Bias.Value, f.shift)
	f.conv.passing = l.passing
	l.folded.Store(f)
	return f.conv
}

// affine returns the normalisation of out-channel k as a factor and a summand for the
// convolution without its bias.
func (l *Conv) affine(nm kernel.Norm, k int) (scale, shift float32) {
	a, s := nm.Affine(k)
	return a, a*l.Bias.Value[k] + s
}

// isCurrent reports whether f was made from the values that l and norm have now.
func (l *Conv) isCurrent(f *folded, norm *BatchNorm) bool {
	if f.version != l.Weight.version.Load() {
		return false
	}
	nm := norm.norm(false)
	for k, scale := range f.scale {
		if a, s := l.affine(nm, k); a != scale || s != f.shift[k] {
			return false
		}
	}
	return true
}

// foldsInto reports whether inference can fold the next layer, a batch normalisation, into
// l's weights.
func (l *Conv) foldsInto(next Layer) (*BatchNorm, bool) {
	norm, ok := next.(*BatchNorm)
	return norm, ok && !l.ReLU && l.Weight.held()
}

// folds reports whether inference folds the layer after layer i into it.
func (c *Chain) folds(i int) bool {
	conv, ok := c.layers[i].(*Conv)
	if !ok || i+1 == len(c.layers) {
		return false
	}
	_, ok = conv.foldsInto(c.layers[i+1])
	return ok
}
