package kernel

import "math"

// Norm holds the per-channel values of a batch normalisation, padded to whole blocks.
type Norm struct {
	Eps         float32
	Gamma, Beta []float32
	Mean, Var   []float32 // of the batch in training, running in inference
}

// normScratch is the scratch of a thread of a normTask. It isn't on the stack, as it would
// escape: kernels are called through function pointers.
type normScratch struct {
	sum, dot                    [Block]float64
	scale, shift, slope, unused [Block]float32
}

type normTask struct {
	isa           *ISA
	local         []normScratch // of each thread
	nm            Norm
	relu          bool
	x, y, dy, dx  *Act // dy nil in the forward pass
	dGamma, dBeta []float32
	stats         bool // compute Mean and Var of the batch first
}

// NormForward computes y = γ·(x−μ)/√(σ²+ε) + β over N, H and W of each channel, then
// max(0, ·) if relu. With stats, it computes μ and σ² (biased) from x and stores them in nm.
func (w *Work) NormForward(nm Norm, x, y *Act, relu, stats bool) {
	w.normT = normTask{isa: Current(), local: w.normScratch(), nm: nm, relu: relu, x: x, y: y, stats: stats}
	w.Team.Run(x.Blocks(), &w.normT)
}

// NormBackward computes dx, unless it is nil, and adds to dGamma and dBeta. nm holds the
// batch's statistics from the forward pass. With relu, it first zeroes dy where y is not
// positive.
func (w *Work) NormBackward(nm Norm, x, y, dy, dx *Act, dGamma, dBeta []float32, relu bool) {
	w.normT = normTask{isa: Current(), local: w.normScratch(), nm: nm, relu: relu, x: x, y: y, dy: dy, dx: dx, dGamma: dGamma, dBeta: dBeta}
	w.Team.Run(x.Blocks(), &w.normT)
}

// normScratch returns the scratch of every thread.
func (w *Work) normScratch() []normScratch {
	if w.normLocal == nil {
		w.normLocal = make([]normScratch, w.Team.Threads())
	}
	return w.normLocal
}

func (t *normTask) Part(slot, b int) {
	s := &t.local[slot]
	if t.dy != nil {
		t.backward(s, b)
		return
	}
	nm, at := t.nm, b*Block
	if t.stats {
		t.measure(s, b)
	}
	for l := range Block {
		s.scale[l], s.shift[l] = nm.Affine(at + l)
	}
	lo := float32(math.Inf(-1))
	if t.relu {
		lo = 0
	}
	for n := range t.x.N {
		for y := range t.x.H {
			t.isa.scaleShiftRow(t.x.W, t.x.Data[t.x.At(n, b, y, 0):], t.y.Data[t.y.At(n, b, y, 0):], s.scale[:], s.shift[:], lo)
		}
	}
}

// Affine returns the normalisation of channel c as a factor and a summand.
func (nm Norm) Affine(c int) (scale, shift float32) {
	scale = nm.Gamma[c] / float32(math.Sqrt(float64(nm.Var[c])+float64(nm.Eps)))
	return scale, nm.Beta[c] - nm.Mean[c]*scale
}

// measure computes the batch's mean and biased variance in float64, from the sums of
// the differences to the first pixel and of the squares of these differences.
func (t *normTask) measure(s *normScratch, b int) {
	clear(s.sum[:])
	clear(s.dot[:])
	ref := t.x.Data[t.x.At(0, b, 0, 0):][:Block]
	for n := range t.x.N {
		for y := range t.x.H {
			t.isa.normSumsRow(t.x.W, t.x.Data[t.x.At(n, b, y, 0):], ref, s.sum[:], s.dot[:])
		}
	}
	count := float64(t.x.N * t.x.H * t.x.W)
	for l := range Block {
		mean := s.sum[l] / count
		t.nm.Mean[b*Block+l] = float32(float64(ref[l]) + mean)
		t.nm.Var[b*Block+l] = float32(max(0, s.dot[l]/count-mean*mean))
	}
}

// backward: with x̂ = (x−μ)/√(σ²+ε) and means over the batch,
//
//	dβ = Σ dy, dγ = Σ dy·x̂, dx = γ/√(σ²+ε) · (dy − mean(dy) − x̂·mean(dy·x̂)).
func (t *normTask) backward(s *normScratch, b int) {
	nm, at := t.nm, b*Block
	clear(s.sum[:])
	clear(s.dot[:])
	mean := nm.Mean[at:][:Block]
	for n := range t.x.N {
		for y := range t.x.H {
			dy := t.dy.Data[t.dy.At(n, b, y, 0):]
			if t.relu {
				t.isa.reluGradRow(t.x.W, t.y.Data[t.y.At(n, b, y, 0):], dy, s.unused[:])
			}
			t.isa.normDotsRow(t.x.W, t.x.Data[t.x.At(n, b, y, 0):], mean, dy, s.sum[:], s.dot[:])
		}
	}
	count := float64(t.x.N * t.x.H * t.x.W)
	for l := range Block {
		inv := 1 / math.Sqrt(float64(nm.Var[at+l])+float64(nm.Eps))
		t.dBeta[at+l] += float32(s.sum[l])
		t.dGamma[at+l] += float32(s.dot[l] * inv)
		g := float64(nm.Gamma[at+l]) * inv
		s.scale[l] = float32(g)
		s.slope[l] = float32(-g * inv * inv * s.dot[l] / count)
		s.shift[l] = float32(-g * s.sum[l] / count)
	}
	if t.dx == nil {
		return
	}
	for n := range t.x.N {
		for y := range t.x.H {
			t.isa.normGradRow(t.x.W, t.x.Data[t.x.At(n, b, y, 0):], t.dy.Data[t.dy.At(n, b, y, 0):],
				t.dx.Data[t.dx.At(n, b, y, 0):], mean, s.scale[:], s.slope[:], s.shift[:])
		}
	}
}

// ScaleOut multiplies the packed weights of every out-channel by its scale.
func (g Conv) ScaleOut(weights, scale []float32) {
	for k0 := 0; k0 < g.K; k0 += Panel {
		lanes := scale[k0:min(k0+Panel, g.K)]
		panel := weights[k0*g.depth():][:Panel*g.depth()]
		for at := 0; at < len(panel); at += Panel {
			for j, v := range lanes {
				panel[at+j] *= v
			}
		}
	}
}
