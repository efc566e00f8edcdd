package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// drawConv draws a convolution and an input: channels around the edges of blocks and
// panels, every border up to R−1, and no more than about 200,000 products.
func drawConv(t *rapid.T) convCase {
	channels := rapid.OneOf(rapid.SampledFrom([]int{1, 3, 8, 9, 15, 16, 17, 31, 32, 33, 48}), rapid.IntRange(1, 50))
	g := Conv{C: channels.Draw(t, "C"), K: channels.Draw(t, "K"), R: rapid.SampledFrom([]int{1, 2, 3, 5, 7}).Draw(t, "R")}
	g.Pad = rapid.IntRange(0, g.R-1).Draw(t, "Pad")
	return drawSizes(t, g, 200_000, 9, 4)
}

// drawSizes draws the input: at most tall rows more than the least, and no more than
// about the given numbers of products and images.
func drawSizes(t *rapid.T, g Conv, products, tall, images int) convCase {
	budget := max(1, products/(g.C*g.K*g.R*g.R))
	first := max(1, g.R-2*g.Pad) // the least input that has an output
	c := convCase{g: g}
	c.w = rapid.IntRange(first, first+min(30, budget-1)).Draw(t, "W")
	_, ow := g.Out(first, c.w)
	budget = max(1, budget/ow)
	c.h = rapid.IntRange(first, first+min(tall, budget-1)).Draw(t, "H")
	oh, _ := g.Out(c.h, c.w)
	c.n = rapid.IntRange(1, max(1, min(images, budget/oh))).Draw(t, "N")
	return c
}

// convValues are the operands of a convolution, forward and backward, in planar form.
type convValues struct{ x, w, bias, dy []float32 }

func drawValues(t *rapid.T, c convCase, values func(*rand.Rand, int) []float32) convValues {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	oh, ow := c.g.Out(c.h, c.w)
	return convValues{
		x:    values(rng, c.n*c.g.C*c.h*c.w),
		w:    values(rng, c.g.K*c.g.C*c.g.R*c.g.R),
		bias: values(rng, c.g.K),
		dy:   values(rng, c.n*c.g.K*oh*ow),
	}
}

// run returns y, dx and dw in planar form.
func (v convValues) run(c convCase, threads int) (y, dx, dw []float32) {
	g := c.g
	oh, ow := g.Out(c.h, c.w)
	wk := NewWork(NewTeam(threads))
	weights, bias := make([]float32, g.WeightLen()), make([]float32, g.BiasLen())
	g.pack(weights, v.w)
	copy(bias, v.bias)
	x := newAct(v.x, c.n, g.C, c.h, c.w, g.Pad)
	yAct := newAct(nil, c.n, g.K, oh, ow, 1)
	wk.ConvForward(g, x, weights, bias, false, yAct)
	dy := newAct(v.dy, c.n, g.K, oh, ow, g.GradPad(c.h, c.w))
	dxAct := newAct(nil, c.n, g.C, c.h, c.w, 2)
	wk.ConvBackwardData(g, dy, weights, dxAct)
	packedDw := make([]float32, g.WeightLen())
	wk.ConvBackwardWeights(g, x, dy, packedDw)
	dw = make([]float32, len(v.w))
	g.unpack(dw, packedDw)
	return planar(yAct), planar(dxAct), dw
}

// beyond returns an error where |got − want| exceeds 4·√terms·ε·Σ|a·b|, as checkBound.
func beyond(what string, got []float32, want, abs []float64, terms int) error {
	for i := range want {
		bound := 4*math.Sqrt(float64(terms))*0x1p-24*abs[i] + 1e-30
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= bound) {
			return fmt.Errorf("%s: element %d is %g, want %g within %g", what, i, got[i], want[i], bound)
		}
	}
	return nil
}

func dot(a, b []float32) float64 {
	var sum float64
	for i, v := range a {
		sum += float64(v) * float64(b[i])
	}
	return sum
}

// property checks what f draws, on every instruction set.
func property(t *testing.T, f func(t *rapid.T)) {
	eachISA(t, func(t *testing.T) { rapid.Check(t, f) })
}

func TestPropertyConvolution(t *testing.T) {
	property(t, func(t *rapid.T) {
		c := drawConv(t)
		g := c.g
		v := drawValues(t, c, randoms)
		oh, ow := g.Out(c.h, c.w)
		y, dx, dw := v.run(c, rapid.IntRange(1, 4).Draw(t, "threads"))

		wantY, absY := convolve(g, c.n, c.h, c.w, v.x, v.w, v.bias)
		for i := range absY {
			absY[i] += math.Abs(float64(v.bias[i/(oh*ow)%g.K]))
		}
		wantDx, absDx := make([]float64, len(dx)), make([]float64, len(dx))
		wantDw, absDw := make([]float64, len(dw)), make([]float64, len(dw))
		eachTerm(g, c.n, c.h, c.w, func(ix, iw, iy int) {
			p, q := float64(v.dy[iy])*float64(v.w[iw]), float64(v.dy[iy])*float64(v.x[ix])
			wantDx[ix] += p
			absDx[ix] += math.Abs(p)
			wantDw[iw] += q
			absDw[iw] += math.Abs(q)
		})
		for _, err := range []error{
			beyond("y", y, wantY, absY, g.C*g.R*g.R+1),
			beyond("dx", dx, wantDx, absDx, g.K*g.R*g.R),
			beyond("dw", dw, wantDw, absDw, c.n*oh*ow),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestPropertyAdjoint: on whole numbers, whose sums are exact, forward and backward are
// adjoint without any rounding: <conv(x), dy> = <x, dx> = <w, dw>.
func TestPropertyAdjoint(t *testing.T) {
	property(t, func(t *rapid.T) {
		c := drawConv(t)
		v := drawValues(t, c, integers)
		clear(v.bias)
		y, dx, dw := v.run(c, 2)
		if p, q, r := dot(y, v.dy), dot(v.x, dx), dot(v.w, dw); p != q || p != r {
			t.Fatalf("<conv(x), dy> = %g, <x, dx> = %g, <w, dw> = %g", p, q, r)
		}
	})
}

// TestPropertyLinear: conv(2x − x′) = 2·conv(x) − conv(x′), exactly on whole numbers, and
// the same for dx in dy and for dw in dy.
func TestPropertyLinear(t *testing.T) {
	property(t, func(t *rapid.T) {
		c := drawConv(t)
		v := drawValues(t, c, integers)
		clear(v.bias)
		o := drawValues(t, c, integers)
		o.w, o.bias = v.w, v.bias
		combine := func(a, b []float32) []float32 {
			s := make([]float32, len(a))
			for i := range s {
				s[i] = 2*a[i] - b[i]
			}
			return s
		}
		same := func(what string, got, want []float32) {
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("%s: element %d is %g, want %g", what, i, got[i], want[i])
				}
			}
		}
		y1, dx1, dw1 := v.run(c, 1)
		yx, dxx, _ := o.run(c, 1)
		_, _, dwx := convValues{v.x, v.w, v.bias, o.dy}.run(c, 1) // dw is linear in dy for one x
		y, dx, _ := convValues{combine(v.x, o.x), v.w, v.bias, combine(v.dy, o.dy)}.run(c, 1)
		_, _, dw := convValues{v.x, v.w, v.bias, combine(v.dy, o.dy)}.run(c, 1)
		same("y", y, combine(y1, yx))
		same("dx", dx, combine(dx1, dxx))
		same("dw", dw, combine(dw1, dwx))
	})
}

func TestPropertyThreads(t *testing.T) {
	property(t, func(t *rapid.T) {
		c := drawConv(t)
		v := drawValues(t, c, randoms)
		threads := rapid.IntRange(2, 8).Draw(t, "threads")
		y1, dx1, dw1 := v.run(c, 1)
		y, dx, dw := v.run(c, threads)
		for i, p := range [][2][]float32{{y, y1}, {dx, dx1}, {dw, dw1}} {
			if j := differ(p[0], p[1]); j >= 0 {
				t.Fatalf("%s: element %d is %g, with one thread %g", []string{"y", "dx", "dw"}[i], j, p[0][j], p[1][j])
			}
		}
	})
}

// TestPropertyPack: every weight has another Index, where Pack stores it; all other packed
// values are zero; Unpack undoes Pack.
func TestPropertyPack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawConv(t).g
		src := make([]float32, g.K*g.C*g.R*g.R)
		for i := range src {
			src[i] = float32(i + 1)
		}
		packed := filled(g.WeightLen(), nan)
		g.pack(packed, src)
		i := 0
		for k := range g.K {
			for c := range g.C {
				for r := range g.R {
					for s := range g.R {
						at := g.index(k, c, r, s)
						if packed[at] != src[i] {
							t.Fatalf("weight (%d,%d,%d,%d): %g at Index, want %g", k, c, r, s, packed[at], src[i])
						}
						i++
					}
				}
			}
		}
		used := 0
		for at, v := range packed {
			if v != v {
				t.Fatalf("place %d was not written", at)
			}
			if v != 0 {
				used++
			}
		}
		if used != len(src) {
			t.Fatalf("%d places are not zero, want %d", used, len(src))
		}
		got := filled(len(src), nan)
		g.unpack(got, packed)
		if j := differ(got, src); j >= 0 {
			t.Fatalf("unpacked weight %d is %g, want %g", j, got[j], src[j])
		}
	})
}

// TestPropertyAct: ToNCHW undoes FromNCHW, which writes zeros to the border and to
// channels past C whatever the buffer held.
func TestPropertyAct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := func(name string, most int) int { return rapid.IntRange(1, most).Draw(t, name) }
		n, c, h, w := dim("N", 3), dim("C", 40), dim("H", 6), dim("W", 6)
		pad := rapid.IntRange(0, 3).Draw(t, "pad")
		x := make([]float32, n*c*h*w)
		for i := range x {
			x[i] = float32(i + 1)
		}
		buf := filled(ActLen(n, c, h, w, pad)+1, nan)
		var a Act
		a.Shape(n, c, h, w, pad, buf)
		if len(a.Data) != len(buf)-1 || n*a.imageLen() != len(a.Data) {
			t.Fatalf("%d floats of data, %d an image of %d, want %d", len(a.Data), a.imageLen(), n, len(buf)-1)
		}
		a.FromNCHW(x)
		got := filled(len(x), nan)
		a.ToNCHW(got)
		if i := differ(got, x); i >= 0 {
			t.Fatalf("element %d is %g, want %g", i, got[i], x[i])
		}
		at := a.At(n-1, (c-1)/Block, h-1, w-1) + (c-1)%Block
		if a.Data[at] != x[len(x)-1] {
			t.Fatalf("At gives %g for the last pixel of the last channel, want %g", a.Data[at], x[len(x)-1])
		}
		nonZero := 0
		for i, v := range a.Data {
			if v != v {
				t.Fatalf("float %d was not written", i)
			}
			if v != 0 {
				nonZero++
			}
		}
		if nonZero != len(x) {
			t.Fatalf("%d floats are not zero, want %d", nonZero, len(x))
		}
		// clearing the border leaves the inside, and only it
		for i := range a.Data {
			a.Data[i] = 1
		}
		a.ClearBorder()
		var sum float32
		for _, v := range a.Data {
			sum += v
		}
		inside := float32(n * a.Blocks() * Block * h * w)
		if first := a.Data[a.At(0, 0, 0, 0)]; sum != inside || first != 1 {
			t.Fatalf("after ClearBorder the sum of ones is %g, want %g; the first pixel is %g", sum, inside, first)
		}
	})
}
