package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// poolReference pools planar values and carries dy back to the first maximum.
func poolReference(n, h, w int, x, dy []float32) (y, dx []float32) {
	oh, ow := h/2, w/2
	y, dx = make([]float32, n*oh*ow), make([]float32, n*h*w)
	for i := range y {
		p, oy, ox := i/(oh*ow), i/ow%oh, i%ow
		best := (p*h+2*oy)*w + 2*ox
		for _, q := range []int{best + 1, best + w, best + w + 1} {
			if x[q] > x[best] {
				best = q
			}
		}
		y[i] = x[best]
		dx[best] = dy[i]
	}
	return y, dx
}

func TestMaxPool(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, s := range [][4]int{{1, 1, 2, 2}, {2, 3, 4, 6}, {1, 16, 5, 7}, {2, 20, 3, 2}, {1, 40, 2, 11}, {3, 17, 9, 3}} {
			n, c, h, w := s[0], s[1], s[2], s[3]
			t.Run(fmt.Sprint(s), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(31, uint64(c)))
				xs, dys := integers(rng, n*c*h*w), randoms(rng, n*c*(h/2)*(w/2))
				wantY, wantDx := poolReference(n*c, h, w, xs, dys)
				for _, threads := range []int{1, 3} {
					wk := NewWork(NewTeam(threads))
					x, y := newAct(xs, n, c, h, w, 1), newAct(nil, n, c, h/2, w/2, 2)
					dy, dx := newAct(dys, n, c, h/2, w/2, 1), newAct(nil, n, c, h, w, 0)
					wk.MaxPool(x, y)
					wk.MaxPoolGrad(x, y, dy, dx)
					checkBits(t, "y", planar(y), wantY)
					checkBits(t, "dx", planar(dx), wantDx)
					checkPadding(t, y)
					checkPadding(t, dx)
				}
			})
		}
	})
}
