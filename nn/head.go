package nn

import (
	"fmt"
	"math"

	"github.com/verydeep/vgg/internal/kernel"
)

// The layers of this file stand between and around fully connected layers. They take a
// millionth of a network's time, so they are plain Go. Each part of the work computes its
// own outputs in a fixed order, so threads change no bit.

// taskFunc is a task for [kernel.Team.Run].
type taskFunc func(i int)

// Part implements [kernel.Task].
func (f taskFunc) Part(_, i int) { f(i) }

// eachBlock calls f for each channel block of each image of x.
func eachBlock(w *kernel.Work, x *kernel.Act, f func(n, b int)) {
	w.Team.Run(x.N*x.Blocks(), taskFunc(func(i int) { f(i/x.Blocks(), i%x.Blocks()) }))
}

// pixel returns the channels of block b at a pixel.
func pixel(a *kernel.Act, n, b, y, x int) []float32 { return a.Data[a.At(n, b, y, x):][:kernel.Block] }

// GlobalPool is the mean or the maximum of each channel over the map: x is (N,C,H,W), y is
// (N,C,1,1). The gradient of a maximum goes to the first of equal ones in row order.
type GlobalPool struct {
	base
	Max bool
}

// NewGlobalPool returns a global maximum pooling, or a global average pooling.
func NewGlobalPool(name string, max bool) *GlobalPool { return &GlobalPool{base{name}, max} }

// Out implements [Layer].
func (l *GlobalPool) Out(in Shape) (Shape, error) {
	if in.H < 1 || in.W < 1 {
		return Shape{}, fmt.Errorf("nn: %s: input of %d×%d pixels, want at least 1×1", l.name, in.H, in.W)
	}
	return Shape{in.C, 1, 1}, nil
}

func (l *GlobalPool) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) {
	eachBlock(w, x, func(n, b int) {
		out := pixel(y, n, b, 0, 0)
		if l.Max {
			copy(out, pixel(x, n, b, 0, 0))
		}
		var sum [kernel.Block]float64
		for r := range x.H {
			for c := range x.W {
				for k, v := range pixel(x, n, b, r, c) {
					sum[k] += float64(v)
					if l.Max && !(v <= out[k]) { // NaN stays
						out[k] = v
					}
				}
			}
		}
		if !l.Max {
			for k := range out {
				out[k] = float32(sum[k] / float64(x.H*x.W))
			}
		}
	})
}

func (l *GlobalPool) backward(w *kernel.Work, x, y, dy, dx *kernel.Act, _ Pass) {
	if dx == nil {
		return
	}
	share := 1 / float32(x.H*x.W)
	eachBlock(w, x, func(n, b int) {
		top, d := pixel(y, n, b, 0, 0), pixel(dy, n, b, 0, 0)
		var given [kernel.Block]bool
		for r := range x.H {
			for c := range x.W {
				in, out := pixel(x, n, b, r, c), pixel(dx, n, b, r, c)
				for k := range out {
					switch {
					case !l.Max:
						out[k] = d[k] * share
					case !given[k] && in[k] == top[k]:
						out[k], given[k] = d[k], true
					default:
						out[k] = 0
					}
				}
			}
		}
	})
}

// AdaptivePool is the mean of each channel over the cells of a grid of Side×Side cells, which
// may overlap or repeat: x is (N,C,H,W), y is (N,C,Side,Side). Cell i has the rows ⌊i·H/Side⌋
// to ⌈(i+1)·H/Side⌉ − 1, and columns likewise, as PyTorch's AdaptiveAvgPool2d.
type AdaptivePool struct {
	base
	Side int
}

// NewAdaptivePool returns an adaptive average pooling to maps of side × side pixels.
func NewAdaptivePool(name string, side int) *AdaptivePool { return &AdaptivePool{base{name}, side} }

// Out implements [Layer].
func (l *AdaptivePool) Out(in Shape) (Shape, error) {
	if in.H < 1 || in.W < 1 {
		return Shape{}, fmt.Errorf("nn: %s: input of %d×%d pixels, want at least 1×1", l.name, in.H, in.W)
	}
	return Shape{in.C, l.Side, l.Side}, nil
}

// Cell returns the first row of cell i of a side of n pixels, and the one after the last.
func (l *AdaptivePool) Cell(i, n int) (from, to int) {
	return i * n / l.Side, ((i+1)*n + l.Side - 1) / l.Side
}

// eachPair calls f for each pixel of the map in each cell, with the cell's share of it.
func (l *AdaptivePool) eachPair(h, w int, f func(i, j, r, c int, share float64)) {
	for i := range l.Side {
		r0, r1 := l.Cell(i, h)
		for j := range l.Side {
			c0, c1 := l.Cell(j, w)
			share := 1 / float64((r1-r0)*(c1-c0))
			for r := r0; r < r1; r++ {
				for c := c0; c < c1; c++ {
					f(i, j, r, c, share)
				}
			}
		}
	}
}

func (l *AdaptivePool) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) {
	eachBlock(w, x, func(n, b int) {
		sums := make([][kernel.Block]float64, l.Side*l.Side)
		l.eachPair(x.H, x.W, func(i, j, r, c int, share float64) {
			for k, v := range pixel(x, n, b, r, c) {
				sums[i*l.Side+j][k] += share * float64(v)
			}
		})
		for at := range sums {
			for k, out := 0, pixel(y, n, b, at/l.Side, at%l.Side); k < kernel.Block; k++ {
				out[k] = float32(sums[at][k])
			}
		}
	})
}

func (l *AdaptivePool) backward(w *kernel.Work, x, _, dy, dx *kernel.Act, _ Pass) {
	if dx == nil {
		return
	}
	eachBlock(w, x, func(n, b int) {
		sums := make([][kernel.Block]float64, x.H*x.W)
		l.eachPair(x.H, x.W, func(i, j, r, c int, share float64) {
			for k, v := range pixel(dy, n, b, i, j) {
				sums[r*x.W+c][k] += share * float64(v)
			}
		})
		for at := range sums {
			for k, out := 0, pixel(dx, n, b, at/x.W, at%x.W); k < kernel.Block; k++ {
				out[k] = float32(sums[at][k])
			}
		}
	})
}

// Flatten makes a vector of the map: x is (N,C,S,S), y is (N,C·S·S,1,1), units in (C,H,W)
// order. A network needs it only where each unit is then normalised by itself, and such a
// network takes no larger image.
type Flatten struct {
	base
	side int
}

// NewFlatten returns the layer for maps of side × side pixels.
func NewFlatten(name string, side int) *Flatten { return &Flatten{base{name}, side} }

// Out implements [Layer].
func (l *Flatten) Out(in Shape) (Shape, error) {
	if in.H != l.side || in.W != l.side {
		return Shape{}, fmt.Errorf("nn: %s: map of %d×%d pixels, want %d×%d: the layers after it have no meaning on other maps", l.name, in.H, in.W, l.side, l.side)
	}
	return Shape{in.C * in.H * in.W, 1, 1}, nil
}

func (l *Flatten) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) {
	eachBlock(w, y, func(n, b int) {
		for k, out := 0, pixel(y, n, b, 0, 0); k < kernel.Block; k++ {
			if u := b*kernel.Block + k; u < y.C {
				c, at := u/(x.H*x.W), u%(x.H*x.W)
				out[k] = pixel(x, n, c/kernel.Block, at/x.W, at%x.W)[c%kernel.Block]
			} else {
				out[k] = 0
			}
		}
	})
}

func (l *Flatten) backward(w *kernel.Work, x, _, dy, dx *kernel.Act, _ Pass) {
	if dx == nil {
		return
	}
	eachBlock(w, x, func(n, b int) {
		for r := range x.H {
			for col := range x.W {
				for k, out := 0, pixel(dx, n, b, r, col); k < kernel.Block; k++ {
					if c := b*kernel.Block + k; c < x.C {
						u := (c*x.H+r)*x.W + col
						out[k] = pixel(dy, n, u/kernel.Block, 0, 0)[u%kernel.Block]
					} else {
						out[k] = 0
					}
				}
			}
		}
	})
}

// Euclidean divides the units of an image by their Euclidean norm, or by 1e-12 if that is
// larger: x and y are (N,C,S,S). Where S is 1, a larger map is divided pixel by pixel.
type Euclidean struct {
	base
	side int
}

// leastNorm is the least divisor, PyTorch's.
const leastNorm = 1e-12

// NewEuclidean returns the layer for maps of side × side pixels.
func NewEuclidean(name string, side int) *Euclidean { return &Euclidean{base{name}, side} }

// Out implements [Layer].
func (l *Euclidean) Out(in Shape) (Shape, error) {
	if l.side > 1 && (in.H != l.side || in.W != l.side) {
		return Shape{}, fmt.Errorf("nn: %s: map of %d×%d pixels, want %d×%d: the norm has no meaning on other maps", l.name, in.H, in.W, l.side, l.side)
	}
	return in, nil
}

// vectors calls f for each vector that is divided: the pixels r0 … r1−1 by c0 … c1−1 of an
// image.
func (l *Euclidean) vectors(w *kernel.Work, x *kernel.Act, f func(n, r0, r1, c0, c1 int)) {
	if l.side > 1 {
		w.Team.Run(x.N, taskFunc(func(n int) { f(n, 0, x.H, 0, x.W) }))
		return
	}
	w.Team.Run(x.N*x.H, taskFunc(func(i int) {
		for c := range x.W {
			f(i/x.H, i%x.H, i%x.H+1, c, c+1)
		}
	}))
}

// eachPixel calls f for the channels of each block of each pixel of a vector.
func eachPixel(x *kernel.Act, r0, r1, c0, c1 int, f func(b, r, c int)) {
	for b := range x.Blocks() {
		for r := r0; r < r1; r++ {
			for c := c0; c < c1; c++ {
				f(b, r, c)
			}
		}
	}
}

// norm returns what a vector is divided by.
func norm(x *kernel.Act, n, r0, r1, c0, c1 int) float64 {
	sum := 0.0
	eachPixel(x, r0, r1, c0, c1, func(b, r, c int) {
		for _, v := range pixel(x, n, b, r, c) {
			sum += float64(v) * float64(v)
		}
	})
	return math.Max(math.Sqrt(sum), leastNorm)
}

func (l *Euclidean) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) {
	l.vectors(w, x, func(n, r0, r1, c0, c1 int) {
		length := norm(x, n, r0, r1, c0, c1)
		eachPixel(x, r0, r1, c0, c1, func(b, r, c int) {
			out := pixel(y, n, b, r, c)
			for k, v := range pixel(x, n, b, r, c) {
				out[k] = float32(float64(v) / length)
			}
		})
	})
}

// backward computes dx = (dy − y·Σ y·dy) / ‖x‖.
func (l *Euclidean) backward(w *kernel.Work, x, y, dy, dx *kernel.Act, _ Pass) {
	if dx == nil {
		return
	}
	l.vectors(w, x, func(n, r0, r1, c0, c1 int) {
		length, dot := norm(x, n, r0, r1, c0, c1), 0.0
		eachPixel(x, r0, r1, c0, c1, func(b, r, c int) {
			d := pixel(dy, n, b, r, c)
			for k, v := range pixel(y, n, b, r, c) {
				dot += float64(v) * float64(d[k])
			}
		})
		if length == leastNorm {
			dot = 0 // the divisor is a constant
		}
		eachPixel(x, r0, r1, c0, c1, func(b, r, c int) {
			v, d, out := pixel(y, n, b, r, c), pixel(dy, n, b, r, c), pixel(dx, n, b, r, c)
			for k := range out {
				out[k] = float32((float64(d[k]) - float64(v[k])*dot) / length)
			}
		})
	})
}

// Function names an activation function.
type Function string

const (
	LeakyReLU Function = "LEAKY"   // x, or slope·x below 0
	ELU       Function = "ELU"     // x, or eˣ − 1 below 0 (Clevert et al. 2016)
	GELU      Function = "GELU"    // x·Φ(x) (Hendrycks & Gimpel 2016), not approximated
	SiLU      Function = "SILU"    // x·σ(x)
	Tanh      Function = "TANH"    // hyperbolic tangent
	Sigmoid   Function = "SIGMOID" // σ(x) = 1/(1+e⁻ˣ)
)

// Activation applies a function to every unit: x and y are (N,C,H,W). The rectification is
// [ReLU].
type Activation struct {
	base
	Function Function
	Slope    float32 // of LeakyReLU
}

// NewActivation returns an activation. It is an error if f is no function.
func NewActivation(name string, f Function, slope float32) (*Activation, error) {
	switch f {
	case LeakyReLU, ELU, GELU, SiLU, Tanh, Sigmoid:
		return &Activation{base{name}, f, slope}, nil
	}
	return nil, fmt.Errorf("nn: %s: activation %q, want LEAKY, ELU, GELU, SILU, TANH or SIGMOID", name, f)
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// at returns the function's value and its derivative.
func (l *Activation) at(x float64) (y, slope float64) {
	switch l.Function {
	case LeakyReLU:
		if x > 0 {
			return x, 1
		}
		return float64(l.Slope) * x, float64(l.Slope)
	case ELU:
		if x > 0 {
			return x, 1
		}
		return math.Expm1(x), math.Exp(x)
	case GELU:
		phi := (1 + math.Erf(x/math.Sqrt2)) / 2
		return x * phi, phi + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	case SiLU:
		s := sigmoid(x)
		return x * s, s * (1 + x*(1-s))
	case Tanh:
		t := math.Tanh(x)
		return t, 1 - t*t
	}
	s := sigmoid(x)
	return s, s * (1 - s)
}

func (l *Activation) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) { l.run(w, x, nil, y) }

func (l *Activation) backward(w *kernel.Work, x, _, dy, dx *kernel.Act, _ Pass) {
	if dx != nil {
		l.run(w, x, dy, dx)
	}
}

// run writes the values to out, or dy times the derivatives if dy isn't nil. Channels past
// C stay zero.
func (l *Activation) run(w *kernel.Work, x, dy, out *kernel.Act) {
	eachBlock(w, x, func(n, b int) {
		cs := min(kernel.Block, x.C-b*kernel.Block)
		for r := range x.H {
			for c := range x.W {
				to := pixel(out, n, b, r, c)
				clear(to[cs:])
				for k, v := range pixel(x, n, b, r, c)[:cs] {
					value, slope := l.at(float64(v))
					if dy != nil {
						value = slope * float64(pixel(dy, n, b, r, c)[k])
					}
					to[k] = float32(value)
				}
			}
		}
	})
}

// Binary makes the scores of two classes of one unit: x is (N,1,H,W), y is (N,2,H,W), of
// which the first score is 0 and the second is x. Their soft-max is 1 − σ(x) and σ(x).
type Binary struct{ base }

// NewBinary returns the layer.
func NewBinary(name string) *Binary { return &Binary{base{name}} }

// Out implements [Layer].
func (l *Binary) Out(in Shape) (Shape, error) {
	if in.C != 1 {
		return Shape{}, fmt.Errorf("nn: %s: input of %d channels, want 1", l.name, in.C)
	}
	return Shape{2, in.H, in.W}, nil
}

func (l *Binary) forward(w *kernel.Work, x, y *kernel.Act, _ Pass) { moveUnit(w, x, y, 0, 1) }

func (l *Binary) backward(w *kernel.Work, _, _, dy, dx *kernel.Act, _ Pass) {
	if dx != nil {
		moveUnit(w, dy, dx, 1, 0)
	}
}

// moveUnit writes channel i of x to channel j of y, and zeros to the others.
func moveUnit(w *kernel.Work, x, y *kernel.Act, i, j int) {
	eachBlock(w, x, func(n, b int) {
		for r := range x.H {
			for c := range x.W {
				from, to := pixel(x, n, b, r, c), pixel(y, n, b, r, c)
				clear(to)
				to[j] = from[i]
			}
		}
	})
}
