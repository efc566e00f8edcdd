package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

var lrnCases = []LRN{
	{Size: 5, K: 2, Alpha: 1e-4, Beta: 0.75}, // Krizhevsky et al.
	{Size: 5, K: 1, Alpha: 0.5, Beta: 0.75},
	{Size: 3, K: 1, Alpha: 0.3, Beta: 0.6},
	{Size: 1, K: 0.5, Alpha: 1, Beta: 1},
	{Size: 9, K: 2, Alpha: 0.1, Beta: 0.5},
}

// normalise is the reference of [LRN] in float64, over planar values: y, dx, and the
// sum of the absolute terms of dx.
func normalise(l LRN, n, c, pixels int, x, dy []float32) (y, dx, abs []float64) {
	y, dx, abs = make([]float64, len(x)), make([]float64, len(x)), make([]float64, len(x))
	alpha, beta := float64(l.Alpha), float64(l.Beta)
	s := make([]float64, len(x))
	each := func(f func(i, j int)) { // i and every j within Size/2 channels of it
		for img := range n {
			for ch := range c {
				for p := range pixels {
					for near := max(0, ch-l.Size/2); near <= min(c-1, ch+l.Size/2); near++ {
						f((img*c+ch)*pixels+p, (img*c+near)*pixels+p)
					}
				}
			}
		}
	}
	for i := range s {
		s[i] = float64(l.K)
	}
	each(func(i, j int) { s[i] += alpha * float64(x[j]) * float64(x[j]) })
	for i := range s {
		y[i] = float64(x[i]) * math.Pow(s[i], -beta)
		dx[i] = float64(dy[i]) * math.Pow(s[i], -beta)
		abs[i] = math.Abs(dx[i])
	}
	each(func(i, j int) {
		d := 2 * alpha * beta * float64(x[i]) * float64(dy[j]) * float64(x[j]) * math.Pow(s[j], -beta-1)
		dx[i] -= d
		abs[i] += math.Abs(d)
	})
	return y, dx, abs
}

func TestLRN(t *testing.T) {
	for _, l := range lrnCases {
		for _, c := range []int{1, 3, 5, 16, 20, 33} {
			t.Run(fmt.Sprintf("size%d_k%g_a%g_b%g/%dchannels", l.Size, l.K, l.Alpha, l.Beta, c), func(t *testing.T) {
				const n, h, w = 2, 3, 4
				rng := rand.New(rand.NewPCG(27, uint64(c)))
				xs, dys := randoms(rng, n*c*h*w), randoms(rng, n*c*h*w)
				wantY, wantDx, absDx := normalise(l, n, c, h*w, xs, dys)
				absY := make([]float64, len(wantY))
				for i, v := range wantY {
					absY[i] = math.Abs(v)
				}
				for _, threads := range []int{1, 3} {
					wk := NewWork(NewTeam(threads))
					x, dy := newAct(xs, n, c, h, w, 1), newAct(dys, n, c, h, w, 0)
					y, dx := newAct(nil, n, c, h, w, 0), newAct(nil, n, c, h, w, 1)
					wk.LRNForward(l, x, y)
					wk.LRNBackward(l, x, dy, dx)
					checkBound(t, "y", planar(y), wantY, absY, l.Size+4)
					checkBound(t, "dx", planar(dx), wantDx, absDx, 2*l.Size+8)
					checkPadding(t, y)
					checkPadding(t, dx)
				}
			})
		}
	}
}
