package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
)

// rig runs one layer alone. Every buffer starts as NaN, so that reading unwritten memory
// shows.
type rig struct {
	layer     Layer
	n         int
	in, out   Shape
	work      *kernel.Work
	x, y      *kernel.Act
	dy, dx    *kernel.Act
	trainable []*Param
}

// rigBorder is the border of y and dx, which no layer may write.
const rigBorder = 1

func newRig(l Layer, n int, in Shape, threads int) (*rig, error) {
	out, err := l.Out(in)
	if err != nil {
		return nil, err
	}
	r := &rig{layer: l, n: n, in: in, out: out, work: kernel.NewWork(kernel.NewTeam(threads))}
	b := l.border(n, in, threads, false)
	b.end = max(b.end, l.border(n, in, threads, true).end)
	r.x, r.dx = nanAct(n, in, b), nanAct(n, in, even(rigBorder))
	r.y, r.dy = nanAct(n, out, even(rigBorder)), nanAct(n, out, l.gradBorder(in, threads))
	if conv, ok := l.(*Conv); ok {
		conv.prepareTraining(n, in, threads, true)
	}
	for _, p := range l.Params() {
		p.alloc()
		if !p.Running {
			p.Grad = make([]float32, len(p.Value))
			r.trainable = append(r.trainable, p)
		}
	}
	return r, nil
}

func mustRig(t *testing.T, l Layer, n int, in Shape, threads int) *rig {
	t.Helper()
	r, err := newRig(l, n, in, threads)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func nanAct(n int, s Shape, b border) *kernel.Act {
	a := new(kernel.Act)
	a.Bordered(n, s.C, s.H, s.W, b.pad, b.end, make([]float32, kernel.BorderedLen(n, s.C, s.H, s.W, b.pad, b.end)))
	fillNaN(a)
	return a
}

func fillNaN(a *kernel.Act) {
	for i := range a.Data {
		a.Data[i] = float32(math.NaN())
	}
}

// forward returns y of shape (N,C,H,W) for x of shape (N,C,H,W).
func (r *rig) forward(x []float32, p Pass) []float32 {
	r.x.FromNCHW(x)
	r.layer.forward(r.work, r.x, r.y, p)
	return planar(r.y)
}

// backward clears the parameters' gradients and returns dx; it follows forward.
func (r *rig) backward(dy []float32, p Pass) []float32 {
	for _, p := range r.trainable {
		clear(p.Grad)
	}
	r.dy.FromNCHW(dy)
	r.layer.backward(r.work, r.x, r.y, r.dy, r.dx, p)
	return planar(r.dx)
}

// checkStray fails where the layer wrote the border of a, which it must not touch, or where
// channels past C aren't zero.
func checkStray(t *testing.T, what string, a *kernel.Act) {
	t.Helper()
	for n := range a.N {
		for b := range a.Blocks() {
			for y := -a.Pad; y < a.H+a.Pad; y++ {
				for x := -a.Pad; x < a.W+a.Pad; x++ {
					inside := y >= 0 && y < a.H && x >= 0 && x < a.W
					for l, v := range a.Data[a.At(n, b, y, x):][:kernel.Block] {
						if !inside && v == v {
							t.Fatalf("%s: the border at (%d,%d,%d) of block %d was written", what, n, y, x, b)
						}
						if c := b*kernel.Block + l; inside && c >= a.C && v != 0 {
							t.Fatalf("%s: channel %d of %d is %g at (%d,%d,%d), want 0", what, c, a.C, v, n, y, x)
						}
					}
				}
			}
		}
	}
}

func planar(a *kernel.Act) []float32 {
	x := make([]float32, a.N*a.C*a.H*a.W)
	a.ToNCHW(x)
	return x
}

// canonical returns a buffer in the packed order of p in the order of p.Shape.
func canonical(p *Param, packed []float32) []float32 {
	x := make([]float32, p.Len())
	if err := p.Unpack(x, packed); err != nil {
		panic(err)
	}
	return x
}

// packedIndices returns, for each value of p in the order of p.Shape, its index in p.Value.
func packedIndices(p *Param) []int {
	number, packed := make([]float32, p.Len()), make([]float32, p.packed)
	for i := range number {
		number[i] = float32(i + 1)
	}
	if err := p.PackRows(0, packed, number); err != nil {
		panic(err)
	}
	at := make([]int, p.Len())
	for i, v := range packed {
		if v != 0 {
			at[int(v)-1] = i
		}
	}
	return at
}

func randoms(rng *rand.Rand, n int, std float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * std)
	}
	return x
}

// randomise gives a layer's parameters random values: weights of variance 2/fan-in,
// and of batch normalisation γ about 1 and running variances above 0.
func randomise(rng *rand.Rand, l Layer) {
	for _, p := range l.Params() {
		std := 0.5
		if len(p.Shape) > 1 {
			std = math.Sqrt(2 / float64(p.Len()/p.Shape[0]))
		}
		v := randoms(rng, p.Len(), std)
		if bn, ok := l.(*BatchNorm); ok && (p == bn.Gamma || p == bn.RunningVar) {
			for i := range v {
				v[i] = float32(math.Abs(1 + 0.5*float64(v[i])))
			}
		}
		if err := p.Set(v); err != nil {
			panic(err)
		}
	}
}

// relativeError is max |a−b| / max |b| over a tensor.
func relativeError(a, b []float32) float64 {
	var diff, scale float64
	for i := range b {
		diff = math.Max(diff, math.Abs(float64(a[i])-float64(b[i]))) // NaN stays NaN
		scale = math.Max(scale, math.Abs(float64(b[i])))
	}
	if diff == 0 {
		return 0
	}
	return diff / scale
}

func sameBits(a, b []float32) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d values, want %d", len(a), len(b))
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return fmt.Errorf("value %d is %g, want %g", i, a[i], b[i])
		}
	}
	return nil
}
