package accel

import (
	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/nn"
)

// frozen reports whether a batch normalisation uses its running statistics in training too.
func frozen(l *nn.BatchNorm) bool { return l.Gamma.Frozen && l.Beta.Frozen }

// ofBatch reports whether the statistics are those of the batch.
func (g *graph) ofBatch(l *nn.BatchNorm) bool { return g.train != nil && !frozen(l) }

// batchNorm returns the normalised activation, and what its gradient needs: 1/√(σ²+ε) of each
// channel and, where the statistics are the batch's, the normalised x.
func (g *graph) batchNorm(l *nn.BatchNorm, x hlo.Value) (y hlo.Value, kept []hlo.Value) {
	c := x.Dims[3]
	mean, variance := g.params[l.RunningMean], g.params[l.RunningVar]
	if g.ofBatch(l) {
		s := g.measure(x)
		mean, variance = s.mean, s.variance
		g.train.stats[l] = s
	}
	rdev := g.Unary("rsqrt", g.Add(variance, g.Const(l.Eps, c)))
	normal := g.Mul(g.Sub(x, g.Channels(mean, x)), g.Channels(rdev, x))
	y = g.Add(g.Mul(normal, g.Channels(g.params[l.Gamma], x)), g.Channels(g.params[l.Beta], x))
	if l.ReLU {
		y = g.Rectify(y)
	}
	return y, []hlo.Value{rdev, normal}
}

// measure returns the statistics of each channel.
func (g *graph) measure(x hlo.Value) statistics {
	c := x.Dims[3]
	count := float32(x.Len() / c)
	mean := g.Scale(g.Reduce("add", x, 0, 1, 2), 1/count)
	d := g.Sub(x, g.Channels(mean, x))
	squares := g.Reduce("add", g.Mul(d, d), 0, 1, 2)
	return statistics{mean, g.Scale(squares, 1/count), g.Scale(squares, 1/max(1, count-1))}
}

// batchNormGradient returns dx, and the gradients of γ and β, which are without a name where
// the running statistics are used. dy has passed the rectification.
func (g *graph) batchNormGradient(l *nn.BatchNorm, t tape, dy hlo.Value) (dx, dGamma, dBeta hlo.Value) {
	rdev, normal := t.kept[0], t.kept[1]
	scale := g.Mul(g.params[l.Gamma], rdev)
	if !g.ofBatch(l) {
		return g.Mul(dy, g.Channels(scale, dy)), dGamma, dBeta
	}
	count := float32(dy.Len() / dy.Dims[3])
	dBeta = g.Reduce("add", dy, 0, 1, 2)
	dGamma = g.Reduce("add", g.Mul(dy, normal), 0, 1, 2)
	rest := g.Sub(dy, g.Channels(g.Scale(dBeta, 1/count), dy))
	rest = g.Sub(rest, g.Mul(normal, g.Channels(g.Scale(dGamma, 1/count), dy)))
	return g.Mul(rest, g.Channels(scale, dy)), dGamma, dBeta
}
