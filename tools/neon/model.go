package main

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// machines are those that the model is computed for.
var machines = []struct {
	name, processor string
	pipes           int // of the real core
	cores           int
	clock           float64 // cycles a second
	memory          float64 // bytes a second
}{
	{"Apple M1, 4 performance cores", "apple-m1", 4, 4, 3.2e9, 60e9},
	{"Graviton 3, 4 cores", "neoverse-v1", 4, 4, 2.6e9, 60e9},
	{"Raspberry Pi 5 (by the model of Neoverse N1)", "neoverse-n1", 2, 4, 2.4e9, 12e9},
}

// model prints how long configuration D takes at batch 1 by arithmetic alone: the products at
// the tile's rate, the transforms at theirs, and the fully connected weights from memory.
func model(tools llvm) error {
	k, err := assemble(tools, assembly)
	if err != nil {
		return err
	}
	fmt.Println("| machine | products | transforms | conv1_1 | fully connected | D, batch 1 |\n|---|--:|--:|--:|--:|--:|")
	for _, m := range machines {
		rate := func(function string) (float64, error) {
			body, err := k.loop(function)
			if err != nil {
				return 0, err
			}
			t, err := simulate(tools, m.processor, body)
			n := t.cycles
			// LLVM's model of an M1 has three pipes: what the pipes limit is scaled.
			for _, p := range processors {
				if p.name == m.processor && p.pipes < m.pipes {
					n *= float64(p.pipes) / float64(m.pipes)
				}
			}
			return n, err
		}
		tile, err := rate("gemm3x32NEON") // 3 rows × 4 channels × 32 columns a turn
		if err != nil {
			return err
		}
		rgb, err := rate("rgbgemm3x32NEON") // 3 × 3 × 32
		if err != nil {
			return err
		}
		var products, transforms, first float64 // cycles
		for _, l := range configurationD {
			g := kernel.Conv{C: l.in, K: l.out, R: 3, Pad: 1}
			plan, ok := g.PlanWinograd(1, l.side, l.side, m.cores, kernel.Inference)
			if !ok {
				first += float64(g.Multiplications(1, l.side, l.side)) / (3 * 3 * 32) * rgb
				continue
			}
			products += float64(plan.Multiplications(g, 1, l.side, l.side)) / (3 * 4 * 32) * tile
			in, err := rate(fmt.Sprintf("winoInput%dNEON", plan.M))
			if err != nil {
				return err
			}
			out, err := rate(fmt.Sprintf("winoOutput%dNEON", plan.M))
			if err != nil {
				return err
			}
			tiles := float64((l.side + plan.M - 1) / plan.M)
			const quarters = 4.0 / kernel.Block // turns of a transform for each channel
			transforms += tiles * tiles * quarters * (float64(l.in)*in + float64(l.out)*out)
		}
		ms := func(cycles float64) float64 { return 1000 * cycles / m.clock / float64(m.cores) }
		const fc = 4 * (25088*4096 + 4096*4096 + 4096*1000)
		memory := 1000 * fc / m.memory
		fmt.Printf("| %s | %.0f ms | %.0f ms | %.1f ms | %.1f ms | %.0f ms |\n", m.name, ms(products), ms(transforms), ms(first), memory,
			ms(products+transforms+first)+memory)
	}
	return nil
}

// configurationD are its convolutions on images of 224 pixels.
var configurationD = []struct{ in, out, side int }{
	{3, 64, 224}, {64, 64, 224}, {64, 128, 112}, {128, 128, 112}, {128, 256, 56}, {256, 256, 56}, {256, 256, 56},
	{256, 512, 28}, {512, 512, 28}, {512, 512, 28}, {512, 512, 14}, {512, 512, 14}, {512, 512, 14},
}
