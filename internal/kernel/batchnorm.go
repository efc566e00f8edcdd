package kernel

import "math"

// Norm holds the per-channel values of a batch normalisation, padded to whole blocks.
type Norm struct {
	Eps         float32
	Gamma, Beta []float32
	Mean, Var   []float32 // of the batch in training, running in inference
}

type normTask struct {
	nm            Norm
	relu          bool
	x, y, dy, dx  *Act // dy nil in the forward pass
	dGamma, dBeta []float32
	stats         bool // compute Mean and Var of the batch first
}

// NormForward computes y = γ·(x−μ)/√(σ²+ε) + β over N, H and W of each channel, then
// max(0, ·) if relu. With stats, μ and σ² (biased) are those of x and stored in nm.
func (w *Work) NormForward(nm Norm, x, y *Act, relu, stats bool) {
	w.normT = normTask{nm: nm, relu: relu, x: x, y: y, stats: stats}
	w.Team.Run(x.Blocks(), &w.normT)
}

// NormBackward computes dx, unless it is nil, and adds to dGamma and dBeta; nm holds the batch's
// statistics from the forward pass. With relu, dy is first zeroed where y is not
// positive.
func (w *Work) NormBackward(nm Norm, x, y, dy, dx *Act, dGamma, dBeta []float32, relu bool) {
	w.normT = normTask{nm: nm, relu: relu, x: x, y: y, dy: dy, dx: dx, dGamma: dGamma, dBeta: dBeta}
	w.Team.Run(x.Blocks(), &w.normT)
}

func (t *normTask) Part(_, b int) {
	if t.dy != nil {
		t.backward(b)
		return
	}
	nm, at := t.nm, b*Block
	if t.stats {
		t.measure(b)
	}
	var scale, shift [Block]float32
	for l := range Block {
		scale[l] = nm.Gamma[at+l] / float32(math.Sqrt(float64(nm.Var[at+l])+float64(nm.Eps)))
		shift[l] = nm.Beta[at+l] - nm.Mean[at+l]*scale[l]
	}
	for n := range t.x.N {
		for y := range t.x.H {
			src := t.x.Data[t.x.At(n, b, y, 0):][:t.x.W*Block]
			dst := t.y.Data[t.y.At(n, b, y, 0):][:t.x.W*Block]
			for i, v := range src {
				v = v*scale[i%Block] + shift[i%Block]
				if t.relu && v < 0 {
					v = 0
				}
				dst[i] = v
			}
		}
	}
}

// measure computes the batch's mean and biased variance in float64, in two passes.
func (t *normTask) measure(b int) {
	var mean, variance [Block]float64
	count := float64(t.x.N * t.x.H * t.x.W)
	t.eachRow(b, func(src []float32) {
		for i, v := range src {
			mean[i%Block] += float64(v)
		}
	})
	for l := range mean {
		mean[l] /= count
	}
	t.eachRow(b, func(src []float32) {
		for i, v := range src {
			d := float64(v) - mean[i%Block]
			variance[i%Block] += d * d
		}
	})
	for l := range mean {
		t.nm.Mean[b*Block+l] = float32(mean[l])
		t.nm.Var[b*Block+l] = float32(variance[l] / count)
	}
}

func (t *normTask) eachRow(b int, f func(src []float32)) {
	for n := range t.x.N {
		for y := range t.x.H {
			f(t.x.Data[t.x.At(n, b, y, 0):][:t.x.W*Block])
		}
	}
}

// backward: with x̂ = (x−μ)/√(σ²+ε) and means over the batch,
//
//	dβ = Σ dy, dγ = Σ dy·x̂, dx = γ/√(σ²+ε) · (dy − mean(dy) − x̂·mean(dy·x̂)).
func (t *normTask) backward(b int) {
	nm, at := t.nm, b*Block
	var inv [Block]float32
	for l := range Block {
		inv[l] = 1 / float32(math.Sqrt(float64(nm.Var[at+l])+float64(nm.Eps)))
	}
	var sum, dot [Block]float64
	for n := range t.x.N {
		for y := range t.x.H {
			x := t.x.Data[t.x.At(n, b, y, 0):][:t.x.W*Block]
			dy := t.dy.Data[t.dy.At(n, b, y, 0):][:len(x)]
			out := t.y.Data[t.y.At(n, b, y, 0):][:len(x)]
			for i, v := range x {
				if t.relu && !(out[i] > 0) {
					dy[i] = 0
				}
				l := i % Block
				sum[l] += float64(dy[i])
				dot[l] += float64(dy[i] * (v - nm.Mean[at+l]) * inv[l])
			}
		}
	}
	count := float64(t.x.N * t.x.H * t.x.W)
	var scale, meanDy, meanDot [Block]float32
	for l := range Block {
		t.dBeta[at+l] += float32(sum[l])
		t.dGamma[at+l] += float32(dot[l])
		scale[l] = nm.Gamma[at+l] * inv[l]
		meanDy[l], meanDot[l] = float32(sum[l]/count), float32(dot[l]/count)
	}
	if t.dx == nil {
		return
	}
	for n := range t.x.N {
		for y := range t.x.H {
			x := t.x.Data[t.x.At(n, b, y, 0):][:t.x.W*Block]
			dy := t.dy.Data[t.dy.At(n, b, y, 0):][:len(x)]
			dx := t.dx.Data[t.dx.At(n, b, y, 0):][:len(x)]
			for i, v := range x {
				l := i % Block
				dx[i] = scale[l] * (dy[i] - meanDy[l] - (v-nm.Mean[at+l])*inv[l]*meanDot[l])
			}
		}
	}
}
