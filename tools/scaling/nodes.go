package main

import (
	"fmt"
	"math/bits"
	"strings"
)

// node is a machine.
type node struct {
	name   string
	cores  int
	flops  float64 // of the register tile at its peak, a second
	memory float64 // bytes a second
}

// nodes are two cores as measured (docs/performance.md), and servers of more of the same, whose
// memory is that of 8 and 12 channels of DDR5.
var nodes = []node{
	{"2 cores, 229 GFLOP/s, 37 GB/s", 2, 229e9, 37e9},
	{"16 cores, 1.8 TFLOP/s, 150 GB/s", 16, 8 * 229e9, 150e9},
	{"64 cores, 7.3 TFLOP/s, 400 GB/s", 64, 32 * 229e9, 400e9},
}

func nodeOf(cores int) (node, error) {
	for _, n := range nodes {
		if n.cores == cores {
			return n, nil
		}
	}
	return node{}, fmt.Errorf("a node of %d cores: want 2, 16 or 64", cores)
}

// link is a node's connection, the same both ways at a time.
type link struct {
	bytes   float64 // a second
	latency float64 // seconds of a message
}

const (
	latency = 20e-6 // of a message over Ethernet, seconds

	batch = 256 // images of a step, the paper's

	// peakShare is the share of the peak that a training step of D reaches. At batch 8 it took
	// 1.16 s by F(4×4,3×3), whose arithmetic is 0.82 s; by F(6×6,3×3), whose arithmetic is
	// 0.68 s, it takes 7 % less (docs/performance.md).
	peakShare = 0.68 / (0.93 * 1.16)

	// storedBytes is what memory moves for a parameter in a step with an exchange: the weight
	// for the forward pass and for dx, its gradient written (8, as a line is read before), and
	// gradient, weight and momentum for the update.
	storedBytes = 4 + 4 + 8 + 20
)

// exchanges are the ways to exchange gradients.
var exchanges = []string{"float32", "bf16", "factors"}

// step is a step on ranks of one group each, with a rank on a node.
type step struct {
	node
	link
	ranks    int
	exchange string
	layers   []layer
}

func newStep(n node, l link, ranks int, exchange string) (*step, error) {
	layers, err := layersOfD()
	return &step{n, l, ranks, exchange, layers}, err
}

// images of a rank. A fraction stands for ranks whose numbers differ.
func (s *step) images() float64 { return batch / float64(s.ranks) }

func (s *step) seconds(multiplications float64) float64 {
	return 2 * multiplications / (peakShare * s.flops)
}

// factored reports whether a layer's gradient travels as its factors: where that is less than
// half of what summing it moves (train.Factored).
func (s *step) factored(l layer) bool {
	return s.exchange == "factors" && l.connected && s.ranks > 1 && s.factorBytes(l) < s.gradientBytes(l)/2
}

// factorBytes is what a rank receives of the other ranks' activations and gradients.
func (s *step) factorBytes(l layer) float64 {
	return 4 * float64(l.in+l.out) * (batch - s.images())
}

// gradientBytes is what a rank receives while a gradient is summed: its slice of the others'
// gradients, then the others' slices of the sum.
func (s *step) gradientBytes(l layer) float64 {
	size := 4.0
	if s.exchange == "bf16" {
		size = 2
	}
	return 2 * size * float64(l.parameters) * float64(s.ranks-1) / float64(s.ranks)
}

// backward is the seconds of a layer's backward pass, until its gradient or its factors can go.
func (s *step) backward(l layer) float64 {
	m := l.data + l.weights
	if s.factored(l) {
		m = l.data
	}
	return s.seconds(m * s.images())
}

// addSeconds is what a core takes to add a float of a group's sum in the first-level cache.
const addSeconds = 2.5e-9 / 16

// product is the seconds in which every rank forms the whole batch's gradient from the factors,
// and adds the groups.
func (s *step) product(l layer) float64 {
	if !s.factored(l) {
		return 0
	}
	additions := float64(s.ranks-1) * float64(l.parameters)
	return s.seconds(l.weights*batch) + additions*addSeconds/float64(s.cores)
}

// transfer is the seconds of a layer's exchange, from when all ranks have begun it. Before each
// the ranks compare what they do (comm/mpi).
func (s *step) transfer(l layer) float64 {
	if s.ranks == 1 {
		return 0
	}
	messages := bits.Len(uint(s.ranks - 1)) // comparing
	if s.factored(l) {
		return float64(messages+s.ranks-1)*s.latency + s.factorBytes(l)/s.bytes
	}
	return float64(messages+2*(s.ranks-1))*s.latency + s.gradientBytes(l)/s.bytes
}

// update is the seconds of what a step moves through memory for the parameters.
func (s *step) update() float64 {
	n := 0
	for _, l := range s.layers {
		n += l.parameters
	}
	return storedBytes * float64(n) / s.memory
}

func (s *step) forward() float64 {
	m := 0.0
	for _, l := range s.layers {
		m += l.forward
	}
	return s.seconds(m * s.images())
}

// times is a step's times in seconds.
type times struct {
	total   float64
	compute float64 // of a rank that waits for nobody
	traffic float64 // sum of all transfers
	waited  float64 // transfers that nothing hides
}

// model computes a step: the forward pass; the backward pass from the last layer, with every
// layer's exchange behind those of the layers after it; gradients from factors, when all have
// come; the update.
func (s *step) model() times {
	now := s.forward()
	var t times
	sent := now
	for i := len(s.layers) - 1; i >= 0; i-- {
		l := s.layers[i]
		now += s.backward(l)
		sent = max(sent, now) + s.transfer(l)
		t.traffic += s.transfer(l)
		t.compute += s.product(l)
	}
	t.compute += now + s.update()
	t.waited = max(0, sent-now)
	// While the last gradients travel, those of factors are formed: they came first.
	if formed := t.compute - s.update() - now; formed > 0 {
		t.waited = max(0, t.waited-formed)
	}
	t.total = t.compute + t.waited
	return t
}

var gigabits = []float64{1, 10, 25, 100}

var rankCounts = []int{1, 2, 4, 8, 16, 32, 64}

// nodeTables prints, for every node, how many times faster so many nodes are.
func nodeTables() (string, error) {
	var b strings.Builder
	for _, n := range nodes {
		one, err := newStep(n, link{}, 1, "float32")
		if err != nil {
			return "", err
		}
		alone := one.model().total
		fmt.Fprintf(&b, "%s; one node takes %.2f s a step:\n\n", n.name, alone)
		b.WriteString("| Gbit/s | exchange |")
		for _, p := range rankCounts[1:] {
			fmt.Fprintf(&b, " %d nodes |", p)
		}
		b.WriteString("\n|--:|---|" + strings.Repeat("--:|", len(rankCounts)-1) + "\n")
		for _, g := range gigabits {
			for _, exchange := range exchanges {
				fmt.Fprintf(&b, "| %g | %s |", g, exchange)
				for _, p := range rankCounts[1:] {
					s := *one
					s.link, s.ranks, s.exchange = link{g * 1e9 / 8, latency}, p, exchange
					fmt.Fprintf(&b, " %.1f |", alone/s.model().total)
				}
				b.WriteString("\n")
			}
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}
