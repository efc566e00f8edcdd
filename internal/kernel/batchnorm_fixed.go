package kernel

import "math"

// NormBackwardFixed computes dx of a batch normalisation whose statistics don't depend on
// x: dx = γ/√(σ²+ε) · dy. With relu, it first zeroes dy where y is not positive.
func (w *Work) NormBackwardFixed(nm Norm, y, dy, dx *Act, relu bool) {
	w.normFixedT = normFixedTask{normTask{isa: Current(), local: w.normScratch(), nm: nm, relu: relu, y: y, dy: dy, dx: dx}}
	w.Team.Run(dy.Blocks(), &w.normFixedT)
}

type normFixedTask struct{ normTask }

func (t *normFixedTask) Part(slot, b int) {
	s := &t.local[slot]
	for l := range Block {
		s.scale[l], _ = t.nm.Affine(b*Block + l)
	}
	clear(s.shift[:])
	for n := range t.dy.N {
		for y := range t.dy.H {
			dy := t.dy.Data[t.dy.At(n, b, y, 0):]
			if t.relu {
				t.isa.reluGradRow(t.dy.W, t.y.Data[t.y.At(n, b, y, 0):], dy, s.unused[:])
			}
			t.isa.scaleShiftRow(t.dy.W, dy, t.dx.Data[t.dx.At(n, b, y, 0):], s.scale[:], s.shift[:], float32(math.Inf(-1)))
		}
	}
}
