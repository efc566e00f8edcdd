package nn

import "github.com/verydeep/vgg/internal/kernel"

// Dropout zeroes units with the given ratio while training and scales the others by
// 1/(1−ratio) (inverted dropout; §3.1 has 0.5 after fc6 and fc7); in inference it is
// the identity. The mask is a pure function of seed, iteration, image and unit.
type Dropout struct {
	base
	Ratio float32
	id    uint64
}

// NewDropout returns a dropout layer. Layers of a network with different ids have different
// masks.
func NewDropout(name string, ratio float32, id int) *Dropout {
	return &Dropout{base{name}, ratio, uint64(id)}
}

func (l *Dropout) mask(p Pass) kernel.Mask {
	m := kernel.Mask{Key: kernel.MaskKey(p.Seed, p.Iteration, l.id), Image: p.Image}
	if p.Train {
		m.Ratio = l.Ratio
	}
	return m
}

func (l *Dropout) forward(w *kernel.Work, x, y *kernel.Act, p Pass) { w.Dropout(l.mask(p), x, y) }

func (l *Dropout) backward(w *kernel.Work, _, _, dy, dx *kernel.Act, p Pass) {
	if dx != nil {
		w.Dropout(l.mask(p), dy, dx)
	}
}
