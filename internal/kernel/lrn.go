package kernel

import "math"

// LRN is local response normalisation across channels (Krizhevsky et al. 2012):
//
//	y_c = x_c · s_c^−β,  s_c = k + α Σ_{|j−c| ≤ n/2} x_j²
type LRN struct {
	Size           int // n, odd
	K, Alpha, Beta float32
}

type lrnTask struct {
	w            *Work
	l            LRN
	x, y, dy, dx *Act // dy and dx nil in the forward pass
}

// LRNForward computes y from x.
func (w *Work) LRNForward(l LRN, x, y *Act) { w.runLRN(lrnTask{w: w, l: l, x: x, y: y}) }

// LRNBackward computes dx from x and dy.
func (w *Work) LRNBackward(l LRN, x, dy, dx *Act) {
	w.runLRN(lrnTask{w: w, l: l, x: x, dy: dy, dx: dx})
}

func (w *Work) runLRN(t lrnTask) {
	w.growLocal(t.l.scratch(t.x.C))
	w.lrnT = t
	w.Team.Run(t.x.N*t.x.H, &w.lrnT)
}

// scratch is four rows over the channels of a pixel, with n/2 zeros at either end.
func (l LRN) scratch(c int) int { return 4 * (blocks(c)*Block + 2*(l.Size/2)) }

// Part does one row of pixels of one image. With s_c as above and the gradient
//
//	dx_c = dy_c·s_c^−β − 2αβ·x_c·Σ_{|j−c| ≤ n/2} dy_j·x_j·s_j^(−β−1).
func (t *lrnTask) Part(slot, i int) {
	n, y := i/t.x.H, i%t.x.H
	half, bs := t.l.Size/2, t.x.Blocks()
	width := bs*Block + 2*half
	buf := t.w.local[slot][:4*width]
	x, sq, pow, rest := buf[:width], buf[width:2*width], buf[2*width:3*width], buf[3*width:]
	clear(buf)
	for px := range t.x.W {
		for b := range bs {
			copy(x[half+b*Block:][:Block], t.x.Data[t.x.At(n, b, y, px):])
		}
		for c := half; c < width-half; c++ {
			sq[c] = x[c] * x[c]
		}
		for c := half; c < width-half; c++ {
			var sum float32
			for _, v := range sq[c-half : c+half+1] {
				sum += v
			}
			s := t.l.K + t.l.Alpha*sum
			pow[c] = t.l.negPow(s)
			if t.dy != nil {
				d := t.dy.Data[t.dy.At(n, (c-half)/Block, y, px)+(c-half)%Block]
				rest[c] = d * x[c] * pow[c] / s
				pow[c] *= d
			}
		}
		for b := range bs {
			if t.dy == nil {
				row := t.y.Data[t.y.At(n, b, y, px):][:Block]
				for l := range row {
					c := half + b*Block + l
					row[l] = x[c] * pow[c]
				}
				continue
			}
			row := t.dx.Data[t.dx.At(n, b, y, px):][:Block]
			for l := range row {
				c := half + b*Block + l
				var sum float32
				for _, v := range rest[c-half : c+half+1] {
					sum += v
				}
				row[l] = pow[c] - 2*t.l.Alpha*t.l.Beta*x[c]*sum
			}
		}
	}
}

// negPow is s^−β; the paper's β = 3/4 takes two square roots.
func (l LRN) negPow(s float32) float32 {
	if l.Beta == 0.75 {
		r := float32(math.Sqrt(float64(s)))
		return 1 / (r * float32(math.Sqrt(float64(r))))
	}
	return float32(math.Pow(float64(s), -float64(l.Beta)))
}
