package kernel

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// convLayers are the shapes of configuration D at 224×224.
var convLayers = []convCase{
	{Conv{3, 64, 3, 1}, 1, 224, 224},
	{Conv{64, 64, 3, 1}, 1, 224, 224},
	{Conv{64, 128, 3, 1}, 1, 112, 112},
	{Conv{128, 256, 3, 1}, 1, 56, 56},
	{Conv{256, 512, 3, 1}, 1, 28, 28},
	{Conv{512, 512, 3, 1}, 1, 28, 28},
	{Conv{512, 512, 3, 1}, 1, 14, 14},
	{Conv{512, 512, 3, 1}, 8, 14, 14},
	{Conv{512, 4096, 7, 0}, 1, 7, 7},
	{Conv{512, 4096, 7, 0}, 8, 7, 7},
	{Conv{128, 128, 3, 1}, 32, 4, 4},
}

func BenchmarkConv(b *testing.B) {
	for _, c := range convLayers {
		g := c.g
		rng := rand.New(rand.NewPCG(1, 1))
		oh, ow := g.Out(c.h, c.w)
		wk := NewWork(NewTeam(runtime.GOMAXPROCS(0)))
		x := newAct(randoms(rng, c.n*g.C*c.h*c.w), c.n, g.C, c.h, c.w, g.Pad)
		dy := newAct(randoms(rng, c.n*g.K*oh*ow), c.n, g.K, oh, ow, g.GradPad(c.h, c.w))
		y, dx := newAct(nil, c.n, g.K, oh, ow, 1), newAct(nil, c.n, g.C, c.h, c.w, 0)
		weights, dw := make([]float32, g.WeightLen()), make([]float32, g.WeightLen())
		for i := range weights {
			weights[i] = float32(i%7) - 3
		}
		bias := make([]float32, g.BiasLen())
		flops := 2 * float64(c.n*oh*ow) * float64(g.K*g.C*g.R*g.R)
		run := func(name string, f func()) {
			b.Run(fmt.Sprintf("%s/%v", name, c), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
				b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
		run("forward", func() { wk.ConvForward(g, x, weights, bias, true, y) })
		run("dx", func() { wk.ConvBackwardData(g, dy, weights, dx) })
		run("dw", func() { wk.ConvBackwardWeights(g, x, dy, dw) })
	}
}
