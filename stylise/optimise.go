package stylise

import (
	"context"
	"math"
)

// historyLen is the number of earlier steps that L-BFGS knows.
const historyLen = 20

// Bounds of L-BFGS.
const (
	firstStep    = 1.0   // the largest change of a pixel in the first step, grey levels
	leastProduct = 1e-10 // of a step and the change of the gradient, for the step to be kept, as a share of their lengths
	worse        = 4     // a loss so many times the least one is that of a step that went wrong
)

// step is an iteration: it changes the picture and returns the loss that it had before.
type step func(ctx context.Context) (Loss, error)

// adam returns the iteration of Adam. After a step to features that are not finite, it begins
// again at the best picture, with half the rate.
func (r *run) adam() step {
	const b1, b2, eps = 0.9, 0.999, 1e-14 // derivatives by a grey level are small
	mean, square := make([]float32, len(r.pixels)), make([]float32, len(r.pixels))
	c1, c2, rate := 1.0, 1.0, r.o.Rate
	return func(ctx context.Context) (Loss, error) {
		loss, err := r.evaluate(ctx)
		if r.failed(err) {
			clear(mean)
			clear(square)
			c1, c2, rate = 1, 1, rate/2
			loss, err = r.back(ctx)
		}
		if err != nil {
			return loss, err
		}
		c1, c2 = c1*b1, c2*b2
		for i, g := range r.gradient {
			g := float64(g)
			m, v := b1*float64(mean[i])+(1-b1)*g, b2*float64(square[i])+(1-b2)*g*g
			mean[i], square[i] = float32(m), float32(v)
			r.pixels[i] -= float32(rate * (m / (1 - c1)) / (math.Sqrt(v/(1-c2)) + eps))
		}
		return loss, nil
	}
}

// lbfgs returns the iteration of L-BFGS with steps of length 1. The first one, of which
// nothing is known, goes along the gradient. After a step that made the loss much worse, or
// features not finite, it begins again at the best picture.
func (r *run) lbfgs() step {
	b := &bfgs{run: r}
	return b.step
}

// bfgs is the memory of L-BFGS.
type bfgs struct {
	run       *run
	steps     [][]float32 // s, oldest first
	changes   [][]float32 // y, of the gradient
	products  []float64   // s·y
	gradient  []float32   // before the last step; nil before the first one
	last      []float32   // the last step
	first     float64     // the largest change of a pixel in a step along the gradient
	direction []float32
}

func (b *bfgs) step(ctx context.Context) (Loss, error) {
	r := b.run
	loss, err := r.evaluate(ctx)
	failed := r.failed(err)
	if err != nil && !failed {
		return loss, err
	}
	switch {
	case b.direction == nil:
		n := len(r.pixels)
		b.direction, b.last, b.first = make([]float32, n), make([]float32, n), firstStep
	case failed || loss.Total > worse*r.bestLoss.Total:
		b.steps, b.changes, b.products, b.gradient = nil, nil, nil, nil
		b.first /= 2
		if loss, err = r.back(ctx); err != nil {
			return loss, err
		}
	}
	if b.gradient != nil {
		b.remember()
	} else {
		b.gradient = make([]float32, len(r.gradient))
	}
	b.direct()
	copy(b.gradient, r.gradient)
	copy(b.last, b.direction)
	for i, d := range b.direction {
		r.pixels[i] += d
	}
	return loss, nil
}

// remember keeps the last step, and what it changed of the gradient.
func (b *bfgs) remember() {
	var s, y []float32
	if len(b.steps) == historyLen { // the oldest goes
		s, y = b.steps[0], b.changes[0]
		b.steps, b.changes, b.products = b.steps[1:], b.changes[1:], b.products[1:]
	} else {
		s, y = make([]float32, len(b.last)), make([]float32, len(b.last))
	}
	copy(s, b.last)
	for i, g := range b.run.gradient {
		y[i] = g - b.gradient[i]
	}
	product := dot(s, y)
	if product > leastProduct*math.Sqrt(dot(s, s)*dot(y, y)) {
		b.steps, b.changes, b.products = append(b.steps, s), append(b.changes, y), append(b.products, product)
	}
}

// direct computes the next step from the gradient (Nocedal & Wright 2006, algorithm 7.4).
func (b *bfgs) direct() {
	d := b.direction
	for i, g := range b.run.gradient {
		d[i] = -g
	}
	n := len(b.steps)
	if n == 0 {
		most := 0.0
		for _, v := range d {
			most = math.Max(most, math.Abs(float64(v)))
		}
		if most > 0 {
			scale(d, b.first/most)
		}
		return
	}
	alpha := make([]float64, n)
	for i := n - 1; i >= 0; i-- {
		alpha[i] = dot(b.steps[i], d) / b.products[i]
		addScaled(d, -alpha[i], b.changes[i])
	}
	scale(d, b.products[n-1]/dot(b.changes[n-1], b.changes[n-1]))
	for i := range n {
		addScaled(d, alpha[i]-dot(b.changes[i], d)/b.products[i], b.steps[i])
	}
}

func dot(a, b []float32) float64 {
	var s0, s1 float64
	b = b[:len(a)]
	i := 0
	for ; i+1 < len(a); i += 2 {
		s0 += float64(a[i]) * float64(b[i])
		s1 += float64(a[i+1]) * float64(b[i+1])
	}
	if i < len(a) {
		s0 += float64(a[i]) * float64(b[i])
	}
	return s0 + s1
}

func scale(a []float32, by float64) {
	for i := range a {
		a[i] = float32(float64(a[i]) * by)
	}
}

func addScaled(a []float32, by float64, b []float32) {
	b = b[:len(a)]
	for i, v := range b {
		a[i] += float32(by * float64(v))
	}
}
