package network

import (
	"fmt"
	"math"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/nn"
)

// headBuilder builds the layers of a head. Layers are named by the fully connected layer
// that they follow: relu6, tanh6 and drop6 follow fc6.
type headBuilder struct {
	o        Options
	number   int // of the next fully connected layer
	channels int
	side     int // of the map; 1 for a vector
	layers   []nn.Layer
	names    map[string]bool
	follows  bool // a fully connected layer was the last one
}

// head builds the head on features of that many channels.
func (o Options) head(a architecture.Architecture, channels int) ([]nn.Layer, error) {
	b := &headBuilder{o: o, number: a.Poolings() + 1, channels: channels, side: o.Input >> a.Poolings(), names: map[string]bool{}}
	if a.Features[len(a.Features)-1].Kind != architecture.Pooling {
		b.number++ // fc6 follows block 5
	}
	for i, l := range a.Head {
		if err := b.add(a, i, l); err != nil {
			return nil, err
		}
	}
	if a.Binary() {
		b.append(nn.NewBinary(b.name("binary")))
	}
	return b.layers, nil
}

func (b *headBuilder) append(l nn.Layer) { b.layers = append(b.layers, l) }

// name returns a name that no other layer has: stem and the number of the fully connected
// layer before, or of the last block of the features.
func (b *headBuilder) name(stem string) string {
	name := fmt.Sprintf("%s%d", stem, b.number-1)
	for n := 2; b.names[name]; n++ {
		name = fmt.Sprintf("%s%d_%d", stem, b.number-1, n)
	}
	b.names[name] = true
	return name
}

// add appends layer i of the head.
func (b *headBuilder) add(a architecture.Architecture, i int, l architecture.Layer) error {
	follows := b.follows
	b.follows = false
	switch l.Kind {
	case architecture.Connected:
		b.connected(a, i, l)
	case architecture.GlobalAverage:
		b.append(nn.NewGlobalPool(b.name("gap"), false))
		b.side = 1
	case architecture.GlobalMax:
		b.append(nn.NewGlobalPool(b.name("gmp"), true))
		b.side = 1
	case architecture.GlobalMaxAverage:
		b.append(nn.NewGlobalMaxAverage(b.name("gmap")))
		b.channels, b.side = 2*b.channels, 1
	case architecture.Adaptive:
		b.append(nn.NewAdaptivePool(b.name("adapt"), l.Side))
		b.side = l.Side
	case architecture.Flatten:
		b.append(nn.NewFlatten(b.name("flatten"), b.side))
		b.channels, b.side = b.channels*b.side*b.side, 1
	case architecture.Euclidean:
		b.append(nn.NewEuclidean(b.name("l2_"), b.side))
	case architecture.BatchNorm:
		if follows {
			b.append(b.o.batchNorm(b.layers[len(b.layers)-1].Name()+".bn", b.channels, false))
			return nil
		}
		b.append(b.o.batchNorm(b.name("norm"), b.channels, false))
	case architecture.Dropout:
		ratio := l.Value
		if ratio == 0 {
			ratio = b.o.Dropout
		}
		// Numbers from 1000 on are not those of dropouts that belong to fully connected layers.
		b.append(nn.NewDropout(b.name("drop"), ratio, 1000+i))
	case architecture.Activation:
		return b.activation(l)
	}
	return nil
}

// connected appends a fully connected layer with what it includes.
func (b *headBuilder) connected(a architecture.Architecture, i int, l architecture.Layer) {
	name, plain := fmt.Sprintf("fc%d", b.number), i != a.LastConnected() && !l.Bare
	k := max(1, b.o.units(a, i)) // a network that ends before the last layer has 0 classes
	b.append(nn.NewFC(name, b.channels, b.side, k, plain && !l.BatchNorm))
	b.channels, b.side = k, 1
	b.number++
	b.follows = !plain
	if l.BatchNorm {
		b.append(b.o.batchNorm(name+".bn", k, true))
	}
	if plain {
		b.append(nn.NewDropout(b.name("drop"), b.o.Dropout, b.number-1))
	}
}

// activation appends an activation. The rectification becomes part of a fully connected
// layer or a normalisation before it.
func (b *headBuilder) activation(l architecture.Layer) error {
	if l.Function == architecture.ReLU {
		if n := len(b.layers); n > 0 {
			switch last := b.layers[n-1].(type) {
			case *nn.Conv:
				last.ReLU = true
				return nil
			case *nn.BatchNorm:
				last.ReLU = true
				return nil
			}
		}
		b.append(nn.NewReLU(b.name("relu")))
		return nil
	}
	act, err := nn.NewActivation(b.name(strings.ToLower(string(l.Function))), nn.Function(l.Function), l.Value)
	if err != nil {
		return fmt.Errorf("vgg: %w", err)
	}
	b.append(act)
	return nil
}

// Head returns the network's head in the language of rows, "" if it is headless.
func (o Options) Head() string {
	a, err := architecture.Parse(o.Config)
	if err != nil || o.Headless() {
		return ""
	}
	return a.HeadName()
}

// Posterior is the way from a network's scores of the classes to their posteriors.
type Posterior string

const (
	// BySoftmax is the soft-max over the classes. Two classes that one unit tells apart
	// have 0 and that unit as scores, of which the soft-max is 1 − σ and σ.
	BySoftmax Posterior = "soft-max"
	// ByLabel is the logistic function of each score: each class is a label of its own, and
	// the posteriors do not sum to 1.
	ByLabel Posterior = "sigmoid of each label"
	// NoPosterior leaves the scores as they are.
	NoPosterior Posterior = "scores"
)

// Posterior tells how the network's posteriors follow from its scores. A headless network
// has none.
func (o Options) Posterior() Posterior {
	a, err := architecture.Parse(o.Config)
	switch {
	case err != nil, o.Headless(), a.Ending == architecture.Scores:
		return NoPosterior
	case a.Ending == architecture.Sigmoids && !a.Binary():
		return ByLabel
	}
	return BySoftmax
}

// Of writes the posteriors of scores, one of each class, to dst, which may be scores. It
// panics if their lengths differ.
func (p Posterior) Of(dst, scores []float32) {
	switch {
	case p == BySoftmax:
		metrics.Softmax(dst, scores)
	case len(dst) != len(scores):
		panic("network: posteriors: lengths of dst and scores differ")
	case p == ByLabel:
		for i, s := range scores {
			dst[i] = float32(1 / (1 + math.Exp(-float64(s))))
		}
	default:
		copy(dst, scores)
	}
}
