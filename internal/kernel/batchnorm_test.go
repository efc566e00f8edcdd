package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// padded returns x with zeros up to whole blocks.
func padded(x []float32) []float32 {
	p := make([]float32, blocks(len(x))*Block)
	copy(p, x)
	return p
}

type normCase struct {
	n, c, h, w  int
	relu, stats bool
}

func TestNorm(t *testing.T) {
	for _, s := range [][4]int{{1, 1, 1, 2}, {2, 3, 4, 5}, {4, 16, 2, 2}, {3, 20, 3, 3}, {2, 33, 5, 1}} {
		for _, relu := range []bool{false, true} {
			for _, stats := range []bool{false, true} {
				c := normCase{s[0], s[1], s[2], s[3], relu, stats}
				t.Run(fmt.Sprintf("%v_relu%v_stats%v", s, relu, stats), func(t *testing.T) { testNorm(t, c) })
			}
		}
	}
}

func testNorm(t *testing.T, c normCase) {
	const eps = 1e-5
	rng := rand.New(rand.NewPCG(29, uint64(c.c)))
	pixels := c.h * c.w
	xs, dys := randoms(rng, c.n*c.c*pixels), randoms(rng, c.n*c.c*pixels)
	for i := range xs { // channels of different mean and spread
		ch := float32(i/pixels%c.c) + 1
		xs[i] = xs[i]*ch + ch/2
	}
	gamma, beta := randoms(rng, c.c), randoms(rng, c.c)
	running, spread := randoms(rng, c.c), randoms(rng, c.c)
	for i := range spread {
		spread[i] = 0.5 + spread[i]*spread[i]
	}
	nm := Norm{Eps: eps, Gamma: padded(gamma), Beta: padded(beta), Mean: padded(running), Var: padded(spread)}
	wk := NewWork(NewTeam(2))
	x, y := newAct(xs, c.n, c.c, c.h, c.w, 1), newAct(nil, c.n, c.c, c.h, c.w, 0)
	wk.NormForward(nm, x, y, c.relu, c.stats)

	count := float64(c.n * pixels)
	mean, variance, channel := measureChannels(c, xs)
	for ch := range c.c {
		if !c.stats {
			mean[ch], variance[ch] = float64(running[ch]), float64(spread[ch])
		}
		if d := math.Abs(float64(nm.Mean[ch]) - mean[ch]); d > 0x1p-23*math.Abs(mean[ch]) {
			t.Errorf("mean of channel %d is %g, want %g", ch, nm.Mean[ch], mean[ch])
		}
		if d := math.Abs(float64(nm.Var[ch]) - variance[ch]); d > 0x1p-23*variance[ch] {
			t.Errorf("variance of channel %d is %g, want %g", ch, nm.Var[ch], variance[ch])
		}
	}
	want, abs := make([]float64, len(xs)), make([]float64, len(xs))
	hat, absHat := make([]float64, len(xs)), make([]float64, len(xs))
	for i, v := range xs {
		ch := channel(i)
		inv := 1 / math.Sqrt(variance[ch]+eps)
		hat[i] = (float64(v) - mean[ch]) * inv
		absHat[i] = (math.Abs(float64(v)) + math.Abs(mean[ch])) * inv
		want[i] = float64(gamma[ch])*hat[i] + float64(beta[ch])
		abs[i] = math.Abs(float64(gamma[ch]))*absHat[i] + math.Abs(float64(beta[ch]))
		if c.relu {
			want[i] = max(0, want[i])
		}
	}
	got := planar(y)
	checkBound(t, "y", got, want, abs, 4)
	checkPadding(t, y)

	// backward, through the ReLU of the y that forward computed
	sum, dots := make([]float64, c.c), make([]float64, c.c)
	absSum, absDot := make([]float64, c.c), make([]float64, c.c)
	through := make([]float64, len(xs))
	for i, d := range dys {
		if !c.relu || got[i] > 0 {
			through[i] = float64(d)
		}
		ch := channel(i)
		sum[ch] += through[i]
		dots[ch] += through[i] * hat[i]
		absSum[ch] += math.Abs(through[i])
		absDot[ch] += math.Abs(through[i]) * absHat[i]
	}
	wantDx, absDx := make([]float64, len(xs)), make([]float64, len(xs))
	for i := range xs {
		ch := channel(i)
		scale := float64(gamma[ch]) / math.Sqrt(variance[ch]+eps)
		wantDx[i] = scale * (through[i] - sum[ch]/count - hat[i]*dots[ch]/count)
		absDx[i] = math.Abs(scale) * (math.Abs(through[i]) + absSum[ch]/count + absHat[i]*absDot[ch]/count)
	}
	beforeGamma, beforeBeta := randoms(rng, c.c), randoms(rng, c.c)
	dGamma, dBeta := padded(beforeGamma), padded(beforeBeta)
	for ch := range c.c { // they are added to
		dots[ch] += float64(beforeGamma[ch])
		absDot[ch] += math.Abs(float64(beforeGamma[ch]))
		sum[ch] += float64(beforeBeta[ch])
		absSum[ch] += math.Abs(float64(beforeBeta[ch]))
	}
	dy, dx := newAct(dys, c.n, c.c, c.h, c.w, 1), newAct(nil, c.n, c.c, c.h, c.w, 0)
	wk.NormBackward(nm, x, y, dy, dx, dGamma, dBeta, c.relu)
	checkBound(t, "dx", planar(dx), wantDx, absDx, 9)
	checkBound(t, "dgamma", dGamma[:c.c], dots, absDot, 4)
	checkBound(t, "dbeta", dBeta[:c.c], sum, absSum, 2)
	checkPadding(t, dx)
}

// measureChannels returns the mean and the biased variance of each channel of planar
// values, and the channel of an index.
func measureChannels(c normCase, x []float32) (mean, variance []float64, channel func(i int) int) {
	mean, variance = make([]float64, c.c), make([]float64, c.c)
	channel = func(i int) int { return i / (c.h * c.w) % c.c }
	count := float64(c.n * c.h * c.w)
	for i, v := range x {
		mean[channel(i)] += float64(v) / count
	}
	for i, v := range x {
		d := float64(v) - mean[channel(i)]
		variance[channel(i)] += d * d / count
	}
	return mean, variance, channel
}
