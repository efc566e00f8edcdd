package kernel

import "math"

// scaleShiftTwin computes y = max(lo, scale·x + shift) over n pixels; a NaN stays one.
func scaleShiftTwin(n int, x, y, scale, shift []float32, lo float32) {
	for i, v := range x[:n*Block] {
		v = v*scale[i%Block] + shift[i%Block]
		if v < lo {
			v = lo
		}
		y[i] = v
	}
}

// normSumsTwin adds Σ (x−ref) and Σ (x−ref)² over n pixels to sum and sq. In float64 a
// reference anywhere near the values loses nothing.
func normSumsTwin(n int, x, ref []float32, sum, sq []float64) {
	var s, q [Block]float64
	for i, v := range x[:n*Block] {
		d := float64(v) - float64(ref[i%Block])
		s[i%Block] += d
		q[i%Block] += d * d
	}
	for l := range Block {
		sum[l] += s[l]
		sq[l] += q[l]
	}
}

// normDotsTwin adds Σ dy and Σ dy·(x−ref) over n pixels to sum and dot.
func normDotsTwin(n int, x, ref, dy []float32, sum, dot []float64) {
	var s, d [Block]float64
	for i, v := range x[:n*Block] {
		s[i%Block] += float64(dy[i])
		d[i%Block] += float64(dy[i]) * (float64(v) - float64(ref[i%Block]))
	}
	for l := range Block {
		sum[l] += s[l]
		dot[l] += d[l]
	}
}

// normGradTwin computes dx = a·dy + b·(x−ref) + c over n pixels.
func normGradTwin(n int, x, dy, dx, ref, a, b, c []float32) {
	for i, v := range x[:n*Block] {
		l := i % Block
		dx[i] = a[l]*dy[i] + (b[l]*(v-ref[l]) + c[l])
	}
}

// squaresTwin writes the squares of n pixels to sq, pixels stride apart.
func squaresTwin(n int, x, sq []float32, stride int) {
	for i, v := range x[:n*Block] {
		sq[i/Block*stride+i%Block] = v * v
	}
}

// lrnTwin computes y = x·s^−β with s = k + α·Σ_{j<size} sq[j] over n pixels; sq begins
// at the first of the size channels around a pixel's first one.
func lrnTwin(l LRN, n int, x, sq []float32, stride int, y []float32) {
	for i, v := range x[:n*Block] {
		y[i] = v * l.negPow(l.scale(sq[i/Block*stride+i%Block:]))
	}
}

// lrnGradTwin computes the parts of the gradient: dx = dy·s^−β, and rest =
// dy·x·s^(−β−1), which [lrnSpreadTwin] distributes.
func lrnGradTwin(l LRN, n int, x, dy, sq, rest []float32, stride int, dx []float32) {
	for i, v := range x[:n*Block] {
		at := i/Block*stride + i%Block
		s := l.scale(sq[at:])
		dx[i] = dy[i] * l.negPow(s)
		rest[at] = dx[i] * v / s
	}
}

// lrnSpreadTwin subtracts c·x·Σ_{j<size} rest[j] from dx over n pixels.
func lrnSpreadTwin(size, n int, x, rest []float32, stride int, dx []float32, c float32) {
	for i, v := range x[:n*Block] {
		var sum float32
		for _, r := range rest[i/Block*stride+i%Block:][:size] {
			sum += r
		}
		dx[i] -= c * (v * sum)
	}
}

// scale is s of the channels whose squares begin at sq.
func (l LRN) scale(sq []float32) float32 {
	var sum float32
	for _, v := range sq[:l.Size] {
		sum += v
	}
	return l.K + l.Alpha*sum
}

// negPow is s^−β; the paper's β = 3/4 takes two square roots.
func (l LRN) negPow(s float32) float32 {
	if l.Beta == 0.75 {
		r := float32(math.Sqrt(float64(s)))
		return 1 / (r * float32(math.Sqrt(float64(r))))
	}
	return float32(math.Pow(float64(s), -float64(l.Beta)))
}

func (s *ISA) scaleShiftRow(n int, x, y, scale, shift []float32, lo float32) {
	if s.asm.scaleShift == nil {
		scaleShiftTwin(n, x, y, scale, shift, lo)
		return
	}
	s.asm.scaleShift(n, &x[0], &y[0], &scale[0], &shift[0], lo)
}

func (s *ISA) normSumsRow(n int, x, ref []float32, sum, sq []float64) {
	if s.asm.normSums == nil {
		normSumsTwin(n, x, ref, sum, sq)
		return
	}
	s.asm.normSums(n, &x[0], &ref[0], &sum[0], &sq[0])
}

func (s *ISA) normDotsRow(n int, x, ref, dy []float32, sum, dot []float64) {
	if s.asm.normDots == nil {
		normDotsTwin(n, x, ref, dy, sum, dot)
		return
	}
	s.asm.normDots(n, &x[0], &ref[0], &dy[0], &sum[0], &dot[0])
}

func (s *ISA) normGradRow(n int, x, dy, dx, ref, a, b, c []float32) {
	if s.asm.normGrad == nil {
		normGradTwin(n, x, dy, dx, ref, a, b, c)
		return
	}
	s.asm.normGrad(n, &x[0], &dy[0], &dx[0], &ref[0], &a[0], &b[0], &c[0])
}

func (s *ISA) squaresRow(n int, x, sq []float32, stride int) {
	if s.asm.squares == nil {
		squaresTwin(n, x, sq, stride)
		return
	}
	s.asm.squares(n, &x[0], &sq[0], stride)
}

func (s *ISA) lrnRow(l LRN, n int, x, sq []float32, stride int, y []float32) {
	if s.asm.lrn == nil || l.Beta != 0.75 {
		lrnTwin(l, n, x, sq, stride, y)
		return
	}
	s.asm.lrn(n, l.Size, &x[0], &sq[0], stride, &y[0], l.K, l.Alpha)
}

func (s *ISA) lrnGradRow(l LRN, n int, x, dy, sq, rest []float32, stride int, dx []float32) {
	if s.asm.lrnGrad == nil || l.Beta != 0.75 {
		lrnGradTwin(l, n, x, dy, sq, rest, stride, dx)
		return
	}
	s.asm.lrnGrad(n, l.Size, &x[0], &dy[0], &sq[0], &rest[0], stride, &dx[0], l.K, l.Alpha)
}

func (s *ISA) lrnSpreadRow(size, n int, x, rest []float32, stride int, dx []float32, c float32) {
	if s.asm.lrnSpread == nil {
		lrnSpreadTwin(size, n, x, rest, stride, dx, c)
		return
	}
	s.asm.lrnSpread(n, size, &x[0], &rest[0], stride, &dx[0], c)
}
