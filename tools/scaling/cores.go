package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/verydeep/vgg/internal/kernel"
)

// The processor of the model is a Zen 4 whose cores share third-level caches by eights. A
// core's peak is half of that measured with two; memory is what a core can draw, up to that
// of 12 channels of DDR5-4800.
const (
	complexCores = 8
	corePeak     = 229e9 / 2 / 2 // multiplications a second
	coreBytes    = 25e9          // a second
	allBytes     = 400e9
	firstShare   = 0.81 // of the peak, that conv1_1 reaches
	denseShare   = 0.9  // of the peak, that products of fully connected layers reach

	// barrier is the seconds that handing out parts and waiting for the last takes: the
	// costFork of the model of the kernels, measured with two threads, for each doubling.
	barrier = 3e5 / corePeak

	transformCost = 5.5 // multiplications a float, costTransform of internal/kernel
)

func zen(cores int) kernel.Processor {
	return kernel.Processor{L2: 1 << 20, L3: complexes(cores) * 32 << 20, Rows: 14, Depth: 16}
}

// complexes is the number of third-level caches.
func complexes(cores int) int { return (cores + complexCores - 1) / complexCores }

func bandwidth(cores int) float64 { return min(coreBytes*float64(cores), allBytes) }

func wait(cores int) float64 { return barrier * max(1, math.Log2(float64(cores))) }

// convolution is one of D's on images of a side.
type convolution struct {
	name string
	g    kernel.Conv
	side int
	pool bool // a pooling follows
}

func convolutionsOfD() []convolution {
	var all []convolution
	in, side := 3, 224
	for block, layers := range []int{2, 2, 3, 3, 3} {
		out := min(64<<block, 512)
		for i := range layers {
			all = append(all, convolution{fmt.Sprintf("conv%d_%d", block+1, i+1), kernel.Conv{C: in, K: out, R: 3, Pad: 1}, side, i == layers-1})
			in = out
		}
		side /= 2
	}
	return all
}

// connectedOfD are the weights of D's fully connected layers.
var connectedOfD = []float64{25088 * 4096, 4096 * 4096, 4096 * 1000}

// share is the part of all threads' time in which n equal parts keep them busy.
func share(n, cores int) float64 {
	rounds := (n + cores - 1) / cores
	return float64(n) / float64(rounds*cores)
}

// activations is the bytes of a layer's input and output, which is pooled on the way.
func (c convolution) activations(images int) float64 {
	out := c.g.K
	if c.pool {
		out /= 4
	}
	return 4 * float64(images*c.side*c.side) * float64(c.g.C+out)
}

// forward is the seconds of a layer's forward pass: the slowest thread's by the model of the
// kernels, but no less than memory takes.
func (c convolution) forward(images, cores int, purpose kernel.Purpose) float64 {
	p, ok := zen(cores).Plan(c.g, images, c.side, c.side, cores, purpose)
	if !ok {
		work := float64(c.g.Multiplications(images, c.side, c.side)) / (firstShare * corePeak * float64(cores))
		return max(work, c.activations(images)/bandwidth(cores)) + wait(cores)
	}
	// The transformed weights come into every third-level cache, or where panels are split over
	// threads, to each core its own.
	copies := complexes(cores)
	if p.Order.String() == "shared" {
		copies = 1
	}
	bytes := 4*float64(copies*p.FilterLen(c.g)) + c.activations(images)
	work := zen(cores).Cost(p, c.g, images, c.side, c.side, cores) / corePeak
	return max(work, bytes/bandwidth(cores)) + wait(cores)
}

// split is the seconds of a forward pass whose blocks of tiles are shared by all threads, and
// whose products are split over positions as well as panels: an order that the kernels don't
// have. M is written by one core and read by another, and a third wait comes between.
func (c convolution) split(images, cores int) float64 {
	p, ok := zen(cores).Plan(c.g, images, c.side, c.side, cores, kernel.Inference)
	if !ok {
		return c.forward(images, cores, kernel.Inference)
	}
	const reachShared = 10 // multiplications a float that another core wrote
	positions := (p.M + 2) * (p.M + 2)
	products := float64(p.Multiplications(c.g, images, c.side, c.side))
	v := products / float64(c.g.K) // floats
	m := products / float64(c.g.C)
	panels := c.g.K / 32
	work := (products/peakOfTiles + v*float64(panels)*0.3) / share(panels*positions, cores)
	work += v * transformCost / share(c.g.C/16, cores)
	work += m * (transformCost + reachShared) / share(c.g.K/16, cores)
	work += v * reachShared * max(1, float64(min(cores, panels*positions))/float64(positions))
	seconds := work / (corePeak * float64(cores))
	bytes := 4*float64(p.FilterLen(c.g)) + c.activations(images)
	return max(seconds, bytes/bandwidth(cores)) + 3*wait(cores)
}

// peakOfTiles is the share of the peak that products of few tiles reach.
const peakOfTiles = 0.85

// weights is the seconds of the gradient of the weights. Blocks of tiles are transformed by
// channel blocks and multiplied by positions and panels, so that two waits end each.
func (c convolution) weights(images, cores int) float64 {
	p, ok := zen(cores).Plan(c.g, images, c.side, c.side, cores, kernel.Training)
	if !ok {
		return float64(c.g.Multiplications(images, c.side, c.side))/(firstShare*corePeak*float64(cores)) + wait(cores)
	}
	const positions = 36
	tiles := float64(images) * math.Pow(math.Ceil(float64(c.side)/4), 2)
	channels := float64(c.g.C + c.g.K)
	transforms := positions * tiles * channels * transformCost / share(int(channels)/16, cores)
	products := float64(p.Multiplications(c.g, images, c.side, c.side)) / share(c.g.K/32*positions, cores)
	blocks := math.Ceil(4 * positions * tiles * channels / float64(2*(1<<20)*cores))
	return (transforms+products)/(corePeak*float64(cores)) + 2*blocks*wait(cores)
}

// data is the seconds of the gradient of the input: the forward pass of the turned filters.
func (c convolution) data(images, cores int) float64 {
	if c.g.C == 3 {
		return 0
	}
	turned := convolution{c.name, kernel.Conv{C: c.g.K, K: c.g.C, R: 3, Pad: 1}, c.side, false}
	return turned.forward(images, cores, kernel.Training)
}

// connected is the seconds of the fully connected layers, of so many passes of products and
// bytes a weight.
func connected(images, cores int, passes, bytes float64) float64 {
	s := 0.0
	for _, w := range connectedOfD {
		work := passes * float64(images) * w / (denseShare * corePeak * float64(cores))
		s += max(work, bytes*w/bandwidth(cores)) + passes*wait(cores)
	}
	return s
}

// inference and training are the seconds of a forward pass and of a step.
func inference(images, cores int) float64 {
	s := connected(images, cores, 1, 4)
	for _, c := range convolutionsOfD() {
		s += c.forward(images, cores, kernel.Inference)
	}
	return s
}

func training(images, cores int) float64 {
	s := connected(images, cores, 3, 20)
	for _, c := range convolutionsOfD() {
		s += c.forward(images, cores, kernel.Training) + c.data(images, cores) + c.weights(images, cores)
	}
	return s
}

var coreCounts = []int{1, 2, 4, 8, 16, 32, 64}

// coreTables prints D's times by cores, and what one image's layers take.
func coreTables() (string, error) {
	var b strings.Builder
	header := func(first string) {
		b.WriteString("| " + first + " |")
		for _, c := range coreCounts {
			fmt.Fprintf(&b, " %d |", c)
		}
		b.WriteString("\n|---|" + strings.Repeat("--:|", len(coreCounts)) + "\n")
	}
	row := func(name string, seconds func(cores int) float64) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, c := range coreCounts {
			fmt.Fprintf(&b, " %.3g |", 1000*seconds(c))
		}
		b.WriteString("\n")
	}
	header("D at 224, ms by cores")
	for _, images := range []int{1, 8, 32} {
		row(fmt.Sprintf("forward, batch %d", images), func(cores int) float64 { return inference(images, cores) })
	}
	for _, images := range []int{8, 32, 256} {
		row(fmt.Sprintf("training step, batch %d", images), func(cores int) float64 { return training(images, cores) })
	}
	b.WriteString("\n")
	header("One image's layers, ms by cores")
	all := convolutionsOfD()
	for from := 0; from < len(all); {
		to := from + 1
		for to < len(all) && all[to].side == all[from].side {
			to++
		}
		row(all[from].name+" … "+all[to-1].name, func(cores int) float64 {
			s := 0.0
			for _, c := range all[from:to] {
				s += c.forward(1, cores, kernel.Inference)
			}
			return s
		})
		if from > 0 && all[from].side <= 56 {
			row("the same, positions split too", func(cores int) float64 {
				s := 0.0
				for _, c := range all[from:to] {
					s += min(c.forward(1, cores, kernel.Inference), c.split(1, cores))
				}
				return s
			})
		}
		from = to
	}
	row("fc6 … fc8", func(cores int) float64 { return connected(1, cores, 1, 4) })
	b.WriteString("\n| One image's layer | tiles | plan for 4 cores | for 16 | for 64 |\n|---|--:|---|---|---|\n")
	for _, c := range all {
		if c.g.C == 3 || c.g.C != c.g.K {
			continue
		}
		fmt.Fprintf(&b, "| %s |", c.name)
		for i, cores := range []int{4, 16, 64} {
			p, _ := zen(cores).Plan(c.g, 1, c.side, c.side, cores, kernel.Inference)
			side := (c.side + p.M - 1) / p.M
			if i == 0 {
				fmt.Fprintf(&b, " %d |", side*side)
			}
			fmt.Fprintf(&b, " %s |", p.Name(c.g, 1, c.side, c.side))
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}
