package transfer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/blas/gonum"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/progress"
)

// Loss is the loss of a linear SVM for a margin below 1.
type Loss string

const (
	// L2Hinge is max(0, 1 − y f(x))², LIBLINEAR's solver 1.
	L2Hinge Loss = "l2"
	// L1Hinge is max(0, 1 − y f(x)), LIBLINEAR's solver 3.
	L1Hinge Loss = "l1"
)

// SVMOptions are the options of linear SVMs. [DefaultSVM] returns usable values, from which the
// caller goes on: Loss, C, Tolerance and MaxIterations must not be zero.
type SVMOptions struct {
	Loss Loss
	C    float64 // weight of the loss against ‖w‖²/2
	// Bias is a constant that is appended to every descriptor, so that f(x) = w·x + w₀·Bias
	// and w₀ is regularised as w is; 0: no bias.
	Bias float64
	// Balance multiplies C so that rare classes count as much as frequent ones: by n/(K·n_k)
	// for the positive images of a class if an image has one class of K, and by n/2n₊ and
	// n/2n₋ for positive and negative images if it may have several.
	Balance bool
	// Tolerance is the largest violation of the optimality conditions that is accepted.
	Tolerance     float64
	MaxIterations int // most passes over the images of a class
	Seed          uint64
	Workers       int // 0: runtime.GOMAXPROCS

	// OnClass is told the classes that are done.
	OnClass progress.Func
}

// DefaultSVM returns the values of scikit-learn's LinearSVC.
func DefaultSVM() SVMOptions {
	return SVMOptions{Loss: L2Hinge, C: 1, Bias: 1, Tolerance: 1e-4, MaxIterations: 1000}
}

func (o SVMOptions) validate() error {
	switch {
	case o.Loss != L2Hinge && o.Loss != L1Hinge:
		return fmt.Errorf("transfer: SVM: loss %q, want %s or %s", o.Loss, L2Hinge, L1Hinge)
	case !(o.C > 0) || math.IsInf(o.C, 0):
		return fmt.Errorf("transfer: SVM: C %v, want above 0", o.C)
	case !(o.Bias >= 0) || math.IsInf(o.Bias, 0):
		return fmt.Errorf("transfer: SVM: bias %v, want at least 0", o.Bias)
	case !(o.Tolerance > 0):
		return fmt.Errorf("transfer: SVM: tolerance %v, want above 0", o.Tolerance)
	case o.MaxIterations < 1:
		return fmt.Errorf("transfer: SVM: %d iterations, want at least 1", o.MaxIterations)
	case o.Workers < 0:
		return fmt.Errorf("transfer: SVM: %d workers, want at least 0", o.Workers)
	}
	return nil
}

// problem is the training data of linear SVMs.
type problem struct {
	X       []float32 // rows of Dim numbers
	Dim     int
	Rows    []int // rows of X to train on
	Classes int
	// Target returns 1 if a row shows a class, -1 if it doesn't, and 0 if the row is to be left
	// out for the class.
	Target func(row, class int) int8
	Multi  bool // a row may show several classes, or none
}

func (p problem) row(i int) []float32 { return p.X[p.Rows[i]*p.Dim : (p.Rows[i]+1)*p.Dim] }

// linear is the SVMs of K classes, each of one class against the rest.
type linear struct {
	w          []float32 // (K,D)
	b          []float32 // (K): w₀·Bias
	iterations []int     // of each class
	converged  bool      // all classes have
}

// cacheBytes is about how many bytes of weight vectors fit into the cache of a core.
const cacheBytes = 512 << 10

// visitsUnwatched is the number of images between two looks at the context.
const visitsUnwatched = 1 << 10

// maxBlock is the most classes in a block: the bits of a word.
const maxBlock = 64

// train trains an SVM for every class by dual coordinate descent with shrinking (Hsieh et al.
// 2008). Each pass visits the images in an order drawn from the seed and the number of the
// pass. All classes share that order, so that an image is fetched once for a block of classes.
// Classes don't share arithmetic: workers and blocks don't change a bit of the result.
func (p problem) train(ctx context.Context, o SVMOptions) (*linear, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if len(p.Rows) == 0 {
		return nil, errors.New("transfer: SVM: no images to train on, want some")
	}
	workers := o.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	size := min(maxBlock, max(1, cacheBytes/(8*p.Dim)), max(1, (p.Classes+workers-1)/workers))
	l := &linear{w: make([]float32, p.Classes*p.Dim), b: make([]float32, p.Classes), iterations: make([]int, p.Classes), converged: true}
	squares := make([]float64, len(p.Rows))
	for i := range squares {
		x := p.row(i)
		for _, v := range x {
			squares[i] += float64(v) * float64(v)
		}
		if math.IsNaN(squares[i]) || math.IsInf(squares[i], 0) {
			return nil, fmt.Errorf("transfer: SVM: row %d has numbers that are not finite", p.Rows[i])
		}
	}
	var group errgroup.Group
	group.SetLimit(workers)
	var blocks []*block
	counter := progress.NewCounter(o.OnClass, int64(p.Classes))
	for start := 0; start < p.Classes; start += size {
		b := &block{p: p, o: o, l: l, start: start, n: min(size, p.Classes-start), squares: squares}
		blocks = append(blocks, b)
		group.Go(func() error {
			if err := b.run(ctx); err != nil {
				return err
			}
			counter.Add(b.n)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, b := range blocks {
		l.converged = l.converged && b.left == 0
	}
	return l, nil
}

// block is a group of classes whose SVMs are trained together.
type block struct {
	p        problem
	o        SVMOptions
	l        *linear
	start, n int
	squares  []float64

	y      []int8    // by image, then class of the block
	alpha  []float64 // likewise: the dual variables
	active []uint64  // by image: the classes for which it is not shrunk, as bits
	class  []classState
	sums   kernel.Sums
	left   uint64 // the classes that have not converged, as bits
}

// classState is the state of coordinate descent for one class.
type classState struct {
	w                []float64
	bias             float64 // w₀
	upper, diagonal  [2]float64
	most, least      float64 // projected gradient in the previous pass
	newMost, newLess float64 // projected gradient in this pass
	active           int
	images           int
}

func (b *block) run(ctx context.Context) error {
	b.prepare()
	order := make([]int32, len(b.p.Rows))
	for iteration := 0; iteration < b.o.MaxIterations && b.left != 0; iteration++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		permute(order, b.o.Seed, uint64(iteration))
		for k := range b.class {
			b.class[k].newMost, b.class[k].newLess = math.Inf(-1), math.Inf(1)
		}
		for at, i := range order {
			if at%visitsUnwatched == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if wanted := b.active[i] & b.left; wanted != 0 {
				b.visit(int(i), wanted)
			}
		}
		b.judge()
	}
	for k, c := range b.class {
		to := b.l.w[(b.start+k)*b.p.Dim:]
		for j, v := range c.w {
			to[j] = float32(v)
		}
		b.l.b[b.start+k] = float32(c.bias * b.o.Bias)
	}
	return nil
}

// prepare sets up the block, with all dual variables zero.
func (b *block) prepare() {
	n, rows := b.n, len(b.p.Rows)
	b.y, b.alpha, b.active = make([]int8, n*rows), make([]float64, n*rows), make([]uint64, rows)
	b.class = make([]classState, n)
	b.left = 1<<n - 1
	for k := range n {
		c := &b.class[k]
		c.w = make([]float64, b.p.Dim)
		var count [2]int // images without and with the class
		for i, r := range b.p.Rows {
			y := b.p.Target(r, b.start+k)
			b.y[i*n+k] = y
			if y != 0 {
				b.active[i] |= 1 << k
				count[(y+1)/2]++
			}
		}
		c.images = count[0] + count[1]
		c.active, c.most, c.least = c.images, math.Inf(1), math.Inf(-1)
		for side := range 2 {
			price := b.o.C
			switch {
			case !b.o.Balance || count[side] == 0:
			case b.p.Multi:
				price *= float64(c.images) / (2 * float64(count[side]))
			case side == 1:
				price *= float64(c.images) / (float64(b.p.Classes) * float64(count[1]))
			}
			if b.o.Loss == L1Hinge {
				c.upper[side] = price
			} else {
				c.upper[side], c.diagonal[side] = math.Inf(1), 0.5/price
			}
		}
	}
}

// visit optimises the dual variables of an image for the wanted classes.
func (b *block) visit(i int, wanted uint64) {
	x := b.p.row(i)
	square := b.squares[i] + b.o.Bias*b.o.Bias
	for ; wanted != 0; wanted &= wanted - 1 {
		k := bits.TrailingZeros64(wanted)
		c := &b.class[k]
		y, side := float64(1), 1
		if b.y[i*b.n+k] < 0 {
			y, side = -1, 0
		}
		a := &b.alpha[i*b.n+k]
		score := kernel.MixedDot(&b.sums, x, c.w) + c.bias*b.o.Bias
		gradient := y*score - 1 + *a*c.diagonal[side]
		projected := gradient
		switch {
		case *a == 0:
			if gradient > c.most {
				b.active[i] &^= 1 << k
				c.active--
				continue
			}
			projected = min(0, gradient)
		case *a == c.upper[side]:
			if gradient < c.least {
				b.active[i] &^= 1 << k
				c.active--
				continue
			}
			projected = max(0, gradient)
		}
		c.newMost, c.newLess = max(c.newMost, projected), min(c.newLess, projected)
		if math.Abs(projected) < 1e-12 {
			continue
		}
		before := *a
		curvature := square + c.diagonal[side]
		if curvature == 0 { // a row of zeros without a bias
			*a = c.upper[side]
			continue
		}
		*a = min(max(before-gradient/curvature, 0), c.upper[side])
		step := (*a - before) * y
		kernel.MixedAdd(step, x, c.w)
		c.bias += step * b.o.Bias
	}
}

// judge ends a pass. A class has converged when no optimality condition is violated by more
// than the tolerance; the shrunk images are visited once more before that is decided.
func (b *block) judge() {
	for k := range b.class {
		c := &b.class[k]
		if b.left>>k&1 == 0 {
			continue
		}
		b.l.iterations[b.start+k]++
		if c.newMost-c.newLess <= b.o.Tolerance { // −∞ if all images are shrunk
			if c.active == c.images {
				b.left &^= 1 << k
				continue
			}
			for i := range b.active {
				if b.y[i*b.n+k] != 0 {
					b.active[i] |= 1 << k
				}
			}
			c.active, c.most, c.least = c.images, math.Inf(1), math.Inf(-1)
			continue
		}
		c.most, c.least = c.newMost, c.newLess
		if c.most <= 0 {
			c.most = math.Inf(1)
		}
		if c.least >= 0 {
			c.least = math.Inf(-1)
		}
	}
}

// permute makes order a permutation of 0 … n−1 that depends on the seed and the pass.
func permute(order []int32, seed, pass uint64) {
	for i := range order {
		order[i] = int32(i)
	}
	rng := rand.NewPCG(seed, pass)
	for i := len(order) - 1; i > 0; i-- {
		j, _ := bits.Mul64(rng.Uint64(), uint64(i+1))
		order[i], order[j] = order[j], order[i]
	}
}

var blas gonum.Implementation

// score puts f(x) of every class into dst.
func (l *linear) score(dst, x []float32) {
	dim := len(x)
	for k := range dst {
		dst[k] = blas.Sdot(dim, l.w[k*dim:(k+1)*dim], 1, x, 1) + l.b[k]
	}
}

// targets returns the labels of d as problem.Target.
func (d *Descriptors) targets() func(row, class int) int8 {
	return func(r, class int) int8 {
		switch row := d.Rows[r]; {
		case slices.Contains(row.Labels, class):
			return 1
		case slices.Contains(row.Difficult, class):
			return 0
		}
		return -1
	}
}
