package accel

import (
	"github.com/verydeep/vgg/accel/hlo"
)

// lossKind is the way from scores to losses.
type lossKind int

const (
	softmaxLoss lossKind = iota // of one class an image; labels are i32, (N)
	labelsLoss                  // of several labels an image; targets are (N,K)
	hostLoss                    // computed on the CPU; derivatives by the scores are (N,K)
)

// softmax returns the multinomial logistic loss of each image, (N), and its derivatives by the
// scores, (N,K), as [nn.CrossEntropy] does.
func (g *graph) softmax(scores, labels hlo.Value, smoothing float32) (losses, d hlo.Value) {
	k := scores.Dims[1]
	z := g.Sub(scores, g.Broadcast(g.Reduce("maximum", scores, 1), scores.Dims, 0))
	e := g.Unary("exponential", z)
	total := g.Reduce("add", e, 1)
	hot := g.Convert(g.Compare("EQ", g.Iota(hlo.I32, 1, scores.Dims...), g.Broadcast(labels, scores.Dims, 0)), hlo.F32)
	target := hot
	if smoothing > 0 {
		target = g.Add(g.Scale(hot, 1-smoothing), g.Const(smoothing/float32(k), scores.Dims...))
	}
	losses = g.Sub(g.Unary("log", total), g.Reduce("add", g.Mul(target, z), 1))
	return losses, g.Sub(g.Div(e, g.Broadcast(total, scores.Dims, 0)), target)
}

// labels returns the logistic loss of each image over its labels, and its derivatives, as
// [nn.LabelsCrossEntropy] does.
func (g *graph) labels(scores, targets hlo.Value) (losses, d hlo.Value) {
	soft := g.Unary("log_plus_one", g.Unary("exponential", g.Unary("negate", g.Unary("abs", scores))))
	each := g.Sub(g.Add(g.Rectify(scores), soft), g.Mul(targets, scores))
	return g.Reduce("add", each, 1), g.Sub(g.Unary("logistic", scores), targets)
}
