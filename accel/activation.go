package accel

import (
	"math"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/nn"
)

// positive is where x is above 0.
func (g *graph) positive(x hlo.Value) hlo.Value { return g.Compare("GT", x, g.Const(0, x.Dims...)) }

// activation applies a function to every unit.
func (g *graph) activation(l *nn.Activation, x hlo.Value) hlo.Value {
	switch l.Function {
	case nn.LeakyReLU:
		return g.Select(g.positive(x), x, g.Scale(x, l.Slope))
	case nn.ELU:
		return g.Select(g.positive(x), x, g.Unary("exponential_minus_one", x))
	case nn.GELU:
		return g.Mul(x, g.normal(x))
	case nn.SiLU:
		return g.Mul(x, g.Unary("logistic", x))
	case nn.Tanh:
		return g.Unary("tanh", x)
	}
	return g.Unary("logistic", x)
}

// normal is the distribution function of the standard normal distribution.
func (g *graph) normal(x hlo.Value) hlo.Value {
	return g.Scale(g.Add(g.Erf(g.Scale(x, 1/math.Sqrt2)), g.Const(1, x.Dims...)), 0.5)
}

// slope is the derivative of an activation at x, where it is y.
func (g *graph) slope(l *nn.Activation, x, y hlo.Value) hlo.Value {
	one := g.Const(1, x.Dims...)
	switch l.Function {
	case nn.LeakyReLU:
		return g.Select(g.positive(x), one, g.Const(l.Slope, x.Dims...))
	case nn.ELU:
		return g.Select(g.positive(x), one, g.Unary("exponential", x))
	case nn.GELU:
		density := g.Scale(g.Unary("exponential", g.Scale(g.Mul(x, x), -0.5)), float32(1/math.Sqrt(2*math.Pi)))
		return g.Add(g.normal(x), g.Mul(x, density))
	case nn.SiLU:
		s := g.Unary("logistic", x)
		return g.Mul(s, g.Add(one, g.Mul(x, g.Sub(one, s))))
	case nn.Tanh:
		return g.Sub(one, g.Mul(y, y))
	}
	return g.Mul(y, g.Sub(one, y))
}
