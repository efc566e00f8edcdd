package nn

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// LRNForm is the meaning of α in local response normalisation.
type LRNForm string

const (
	// Krizhevsky sums α·x² over the n channels, as Krizhevsky et al. (2012) write it.
	Krizhevsky LRNForm = "krizhevsky"
	// Caffe sums α/n·x², as Caffe and PyTorch do.
	Caffe LRNForm = "caffe"
)

// LRN is local response normalisation across channels, with x and y of shape (N,C,H,W):
//
//	y_c = x_c · (k + a·Σ_{|j−c| ≤ n/2} x_j²)^−β,  a = α or α/n by the form
type LRN struct {
	base
	l kernel.LRN
}

// LRNOptions are the values of the normalisation.
type LRNOptions struct {
	Size           int // n, odd
	K, Alpha, Beta float32
	Form           LRNForm
}

// PaperLRN returns the values of Krizhevsky et al. (2012), which the paper uses:
// n = 5, k = 2, α = 1e-4, β = 0.75.
func PaperLRN() LRNOptions {
	return LRNOptions{Size: 5, K: 2, Alpha: 1e-4, Beta: 0.75, Form: Krizhevsky}
}

// NewLRN returns a normalisation layer. It is an error if Size isn't odd or Form isn't a
// form.
func NewLRN(name string, o LRNOptions) (*LRN, error) {
	if o.Size < 1 || o.Size%2 == 0 {
		return nil, fmt.Errorf("nn: %s: LRN over %d channels, want an odd number", name, o.Size)
	}
	l := kernel.LRN{Size: o.Size, K: o.K, Alpha: o.Alpha, Beta: o.Beta}
	switch o.Form {
	case Krizhevsky:
	case Caffe:
		l.Alpha /= float32(o.Size)
	default:
		return nil, fmt.Errorf("nn: %s: LRN form %q, want %q or %q", name, o.Form, Krizhevsky, Caffe)
	}
	return &LRN{base{name}, l}, nil
}

// Options returns the values of the normalisation, in Krizhevsky's form.
func (l *LRN) Options() LRNOptions {
	return LRNOptions{Size: l.l.Size, K: l.l.K, Alpha: l.l.Alpha, Beta: l.l.Beta, Form: Krizhevsky}
}

func (l *LRN) scratch(_ int, in Shape, _ int, _, _ bool) kernel.Scratch {
	return kernel.LRNScratch(l.l, in.C, in.W)
}

func (l *LRN) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) { w.LRNForward(l.l, x, y) }

func (l *LRN) backward(w *kernel.Work, x, _, dy, dx *kernel.Act, _ Pass) {
	if dx != nil {
		w.LRNBackward(l.l, x, dy, dx)
	}
}
