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

// images is the number of real images, at least 1.
func (g *graph) images() hlo.Value { return g.Max(g.Reduce("add", g.train.real, 0), g.Const(1)) }

// masked is x with zeros in the place of images that only fill the batch.
func (g *graph) masked(x hlo.Value) hlo.Value { return g.Mul(x, g.Broadcast(g.train.real, x.Dims, 0)) }

// sum is the sum of each channel.
func (g *graph) sum(x hlo.Value) hlo.Value { return g.Reduce("add", x, 0, 1, 2) }

// over divides the value of each channel by a scalar.
func (g *graph) over(v, by hlo.Value) hlo.Value { return g.Div(v, g.Broadcast(by, v.Dims)) }

// measure returns the statistics of each channel over the real images.
func (g *graph) measure(x hlo.Value) statistics {
	count := g.Scale(g.images(), float32(x.Dims[1]*x.Dims[2]))
	mean := g.over(g.sum(g.masked(x)), count)
	d := g.masked(g.Sub(x, g.Channels(mean, x)))
	squares := g.sum(g.Mul(d, d))
	less := g.Max(g.Sub(count, g.Const(1)), g.Const(1))
	return statistics{mean, g.over(squares, count), g.over(squares, less)}
}

// batchNormGradient returns dx, and the gradients of γ and β, which have no name where the
// running statistics are used. dy has passed the rectification.
func (g *graph) batchNormGradient(l *nn.BatchNorm, t tape, dy hlo.Value) (dx, dGamma, dBeta hlo.Value) {
	rdev, normal := t.kept[0], t.kept[1]
	scale := g.Mul(g.params[l.Gamma], rdev)
	if !g.ofBatch(l) {
		return g.Mul(dy, g.Channels(scale, dy)), dGamma, dBeta
	}
	count := g.Scale(g.images(), float32(dy.Dims[1]*dy.Dims[2]))
	dBeta, dGamma = g.sum(dy), g.sum(g.Mul(dy, normal))
	rest := g.Sub(dy, g.Channels(g.over(dBeta, count), dy))
	rest = g.Sub(rest, g.Mul(normal, g.Channels(g.over(dGamma, count), dy)))
	return g.masked(g.Mul(rest, g.Channels(scale, dy))), dGamma, dBeta
}
