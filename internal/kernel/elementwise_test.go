package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestRelu(t *testing.T) {
	const n, c, h, w = 2, 20, 3, 5
	rng := rand.New(rand.NewPCG(33, 34))
	xs, dys := integers(rng, n*c*h*w), randoms(rng, n*c*h*w)
	wantY, wantDx := make([]float32, len(xs)), make([]float32, len(xs))
	for i, v := range xs {
		if v > 0 {
			wantY[i], wantDx[i] = v, dys[i]
		}
	}
	wk := NewWork(NewTeam(3))
	x, dy := newAct(xs, n, c, h, w, 1), newAct(dys, n, c, h, w, 0)
	y, dx := newAct(nil, n, c, h, w, 0), newAct(nil, n, c, h, w, 2)
	wk.Relu(x, y)
	wk.ReluGrad(x, dy, dx)
	checkBits(t, "y", planar(y), wantY)
	checkBits(t, "dx", planar(dx), wantDx)
	checkPadding(t, y)
	checkPadding(t, dx)
}

// TestDropout: kept units are scaled and the others zero, as Keep says in (C,H,W) order,
// and a batch cut in two has the same masks.
func TestDropout(t *testing.T) {
	const n, c, h, w = 3, 20, 2, 3
	const units = c * h * w
	xs := filled(n*units, 3)
	for _, ratio := range []float32{0, 0.25, 0.5, 0.9} {
		m := Mask{Key: MaskKey(1, 2, 3), Image: 5, Ratio: ratio}
		want := make([]float32, len(xs))
		for i := range want {
			if m.keep(i/units, i%units) {
				want[i] = 3 * (1 / (1 - ratio))
			}
		}
		wk := NewWork(NewTeam(2))
		y := newAct(nil, n, c, h, w, 1)
		wk.Dropout(m, newAct(xs, n, c, h, w, 0), y)
		checkBits(t, "y", planar(y), want)
		checkPadding(t, y)

		m.Image++
		rest := newAct(nil, n-1, c, h, w, 0)
		wk.Dropout(m, newAct(xs[units:], n-1, c, h, w, 0), rest)
		checkBits(t, "y without the first image", planar(rest), want[units:])
	}
}

// TestMaskShare: the share of dropped units is the ratio within six standard
// deviations, and other iterations, layers, seeds and images have other masks.
func TestMaskShare(t *testing.T) {
	const units = 100_000
	for _, ratio := range []float32{0, 0.1, 0.5, 0.9} {
		m := Mask{Key: MaskKey(7, 0, 6), Ratio: ratio}
		dropped := 0
		for u := range units {
			if !m.keep(0, u) {
				dropped++
			}
		}
		p := float64(ratio)
		if d := math.Abs(float64(dropped) - p*units); d > 6*math.Sqrt(p*(1-p)*units) {
			t.Errorf("%d of %d units dropped at ratio %g", dropped, units, ratio)
		}
	}
	base := Mask{Key: MaskKey(7, 0, 6), Ratio: 0.5}
	for name, m := range map[string]Mask{
		"seed":      {Key: MaskKey(8, 0, 6), Ratio: 0.5},
		"iteration": {Key: MaskKey(7, 1, 6), Ratio: 0.5},
		"layer":     {Key: MaskKey(7, 0, 7), Ratio: 0.5},
		"image":     {Key: base.Key, Image: 1, Ratio: 0.5},
	} {
		agree := 0
		for u := range units {
			if m.keep(0, u) == base.keep(0, u) {
				agree++
			}
		}
		if d := math.Abs(float64(agree) - units/2); d > 6*math.Sqrt(units)/2 {
			t.Errorf("masks of another %s agree in %d of %d units, want about half", name, agree, units)
		}
	}
}

// TestSGDParts: a step over more weights than one part has.
func TestSGDParts(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, n := range []int{0, Block, sgdLen, sgdLen + Block, 2*sgdLen + 5*Block} {
			rng := rand.New(rand.NewPCG(35, uint64(n)))
			w, v, g := integers(rng, n), integers(rng, n), integers(rng, n)
			wantW, wantV := make([]float32, n), make([]float32, n)
			for i := range w {
				wantV[i] = 0.5*v[i] + g[i] + 0.25*w[i]
				wantW[i] = w[i] - 0.125*wantV[i]
			}
			NewWork(NewTeam(3)).SGD(w, v, g, 0.125, 0.5, 0.25)
			checkBits(t, "v", v, wantV)
			checkBits(t, "w", w, wantW)
		}
	})
}
