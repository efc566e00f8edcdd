package network

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/verydeep/vgg/nn"
)

// Init names a way to draw the initial weights. Biases start at zero, batch
// normalisation starts as the identity.
type Init string

const (
	// He draws from N(0, 2/fan-in) (He et al. 2015).
	He Init = "he"
	// Glorot draws uniformly with variance 2/(fan-in + fan-out) (Glorot & Bengio 2010),
	// which the paper found to make pre-initialisation unnecessary (§3.1).
	Glorot Init = "glorot"
	// Normal01 draws from N(0, 0.1²): the variance of 1e-2 that the paper writes (§3.1).
	Normal01 Init = "normal-0.1"
	// Normal001 draws from N(0, 0.01²), as the released Caffe models did.
	Normal001 Init = "normal-0.01"
)

// inits lists the ways to draw initial weights.
func inits() []Init { return []Init{He, Glorot, Normal01, Normal001} }

// Validate reports an unknown name.
func (m Init) Validate() error {
	var names []string
	for _, i := range inits() {
		if m == i {
			return nil
		}
		names = append(names, string(i))
	}
	return fmt.Errorf("vgg: initialisation %q: want one of %s", m, strings.Join(names, ", "))
}

// Init draws the weights, and sets biases to zero and batch normalisation to the
// identity. The value of a weight depends on nothing but the seed, the parameter's name
// and the weight's position in it.
func (n *Network) Init(method Init, seed uint64) error {
	if err := method.Validate(); err != nil {
		return err
	}
	for _, l := range n.chain.Layers() {
		switch l := l.(type) {
		case *nn.Conv:
			if err := initWeight(l.Weight, method, seed); err != nil {
				return err
			}
			clear(l.Bias.Value)
		case *nn.BatchNorm:
			fill(l.Gamma, 1)
			fill(l.Beta, 0)
			fill(l.RunningMean, 0)
			fill(l.RunningVar, 1)
		}
	}
	return nil
}

// fill sets the values of a parameter that has one value for each channel.
func fill(p *nn.Param, x float32) {
	for i := range p.Len() {
		p.Value[i] = x
	}
}

func initWeight(p *nn.Param, method Init, seed uint64) error {
	out := p.Shape[0]
	in := p.Len() / out // weights of one out-channel
	field := 1
	if len(p.Shape) == 4 {
		field = p.Shape[2] * p.Shape[3]
	}
	var std, bound float64
	switch method {
	case He:
		std = math.Sqrt(2 / float64(in))
	case Glorot:
		bound = math.Sqrt(6 / float64(in+out*field))
	case Normal01:
		std = 0.1
	case Normal001:
		std = 0.01
	}
	h := fnv.New64a()
	h.Write([]byte(p.Name))
	name := h.Sum64()
	// Channels are drawn and packed a few at a time: fc6 is too large to be held twice.
	const rows = 16
	workers := runtime.GOMAXPROCS(0)
	var group errgroup.Group
	for worker := range workers {
		group.Go(func() error {
			values := make([]float32, min(rows, out)*in)
			for k0 := worker * rows; k0 < out; k0 += workers * rows {
				n := min(rows, out-k0)
				for k := range n {
					draw(values[k*in:(k+1)*in], rand.New(rand.NewPCG(seed^name, uint64(k0+k))), std, bound)
				}
				if err := p.SetRows(k0, values[:n*in]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// draw fills v from the uniform distribution on ±bound or, where bound is 0, the
// normal one with standard deviation std.
func draw(v []float32, rng *rand.Rand, std, bound float64) {
	for i := range v {
		if bound > 0 {
			v[i] = float32(bound * (2*rng.Float64() - 1))
		} else {
			v[i] = float32(std * rng.NormFloat64())
		}
	}
}
