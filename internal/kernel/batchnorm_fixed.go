package kernel

import "math"

type normFixedTask struct {
	nm        Norm
	relu      bool
	y, dy, dx *Act
}

// NormBackwardFixed computes dx of a batch normalisation by statistics that are not
// those of x: dx = γ/√(σ²+ε) · dy. With relu, dy is first zeroed where y is not positive.
func (w *Work) NormBackwardFixed(nm Norm, y, dy, dx *Act, relu bool) {
	w.Team.Run(dy.N*dy.Blocks(), &normFixedTask{nm, relu, y, dy, dx})
}

func (t *normFixedTask) Part(_, i int) {
	n, b := i/t.dy.Blocks(), i%t.dy.Blocks()
	var scale [Block]float32
	for l := range Block {
		at := b*Block + l
		scale[l] = t.nm.Gamma[at] / float32(math.Sqrt(float64(t.nm.Var[at])+float64(t.nm.Eps)))
	}
	for y := range t.dy.H {
		dy := t.dy.Data[t.dy.At(n, b, y, 0):][:t.dy.W*Block]
		out := t.y.Data[t.y.At(n, b, y, 0):][:len(dy)]
		dx := t.dx.Data[t.dx.At(n, b, y, 0):][:len(dy)]
		for j, v := range dy {
			if t.relu && !(out[j] > 0) {
				v = 0
			}
			dx[j] = scale[j%Block] * v
		}
	}
}
