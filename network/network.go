// Package network builds the VGG networks: a chain of layers from a configuration, with
// its sizes, its initial weights and its memory. It reads and writes no files.
package network

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/tensor"
)

// Options chooses the network to build. [DefaultOptions] returns the paper's values.
// Start from them: a zero Width, FC or Input is an error.
type Options struct {
	// Config is a name of [architecture.Names], perhaps with -BN or -LRN behind it, or a
	// row of layers: "32bn 32 M 64bn 64 M 128bn 128 M FC256 FC" is a network with batch
	// normalisation in some layers, three poolings and two fully connected layers.
	// docs/weights.md describes the language.
	Config string `json:"config" yaml:"config"`
	// Classes is the number of outputs of the last fully connected layer: 1000 in the
	// paper. A network whose row ends with FC1 SIGMOID has 2 classes of one output. A network of 0 classes is headless: it ends with the last layer before the
	// fully connected ones, and [Network.Forward] returns that layer's activation.
	Classes int `json:"classes" yaml:"classes"`
	// Width multiplies the channels of every convolution; 1 in the paper.
	Width float64 `json:"width" yaml:"width"`
	// FC is the number of units of fc6 and fc7, or of those fully connected layers of a
	// row that have no number: 4096 in the paper.
	FC int `json:"fc" yaml:"fc"`
	// Input is the side in pixels of the square crop that fc6 is built for: 224 in the
	// paper. The network takes any larger image too.
	Input int `json:"input" yaml:"input"`
	// Dropout is the ratio of units of fc6 and fc7 dropped in training: 0.5 in the paper.
	Dropout float32 `json:"dropout" yaml:"dropout"`
	// LRN chooses what α multiplies in local response normalisation.
	LRN nn.LRNForm `json:"lrn,omitempty" yaml:"lrn,omitempty"`
	// BNEps is ε of batch normalisation, which comes with the weights. 0 stands for 1e-5,
	// PyTorch's value. Keras uses 1e-3.
	BNEps float32 `json:"bn_eps,omitempty" yaml:"bn_eps,omitempty"`
	// Until names the layer that the network ends with, such as conv5_3 or fc7; empty for
	// the whole network. A network that ends early is headless. See [Network.Until].
	Until string `json:"until,omitempty" yaml:"until,omitempty"`
	// Unrectified leaves out the rectification of the layer Until.
	Unrectified bool `json:"unrectified,omitempty" yaml:"unrectified,omitempty"`
	// FCStorage is the format of the fully connected layers' weights in memory. [nn.F16]
	// and [nn.BF16] halve the network's memory and the time that a single image waits for
	// it, and round the weights. Such a network can't be trained. Empty: [nn.F32]. It is a
	// property of the process, not of the weights: no file records it.
	FCStorage nn.Storage `json:"-" yaml:"-"`
}

// DefaultOptions returns the paper's values for a configuration (§2.1, §3.1).
func DefaultOptions(config string) Options {
	return Options{Config: config, Classes: 1000, Width: 1, FC: 4096, Input: DefaultInput, Dropout: 0.5, LRN: nn.Krizhevsky}
}

const (
	// DefaultInput is the side of the paper's crop in pixels.
	DefaultInput = 224
	// MaxInput is the greatest side of a crop in pixels.
	MaxInput = 1 << 14
	// DefaultBNEps is PyTorch's ε of batch normalisation.
	DefaultBNEps = 1e-5
)

// Headless tells whether the network has no classifier: no fully connected layers, or an
// end before the last of them.
func (o Options) Headless() bool { return o.Classes == 0 || o.Until != "" }

// WithoutHead returns the options of the same network without its fully connected layers.
func (o Options) WithoutHead() Options {
	if a, err := architecture.Parse(o.Config); err == nil && o.hasHead(a) {
		o.Until, o.Unrectified = "", false
	}
	o.Classes = 0
	return o
}

// Validate reports the first value that no network can be built with.
func (o Options) Validate() error {
	a, err := architecture.Parse(o.Config)
	if err != nil {
		return err
	}
	if err := o.validate(a); err != nil {
		return err
	}
	if o.Until != "" {
		_, _, err = o.plan()
	}
	return err
}

func (o Options) validate(a architecture.Architecture) error {
	switch least := 1 << a.Poolings(); {
	case o.Classes < 0 || o.Classes > architecture.MaxUnits:
		return fmt.Errorf("vgg: %d classes, want 1 to %d, or 0 for the features alone", o.Classes, architecture.MaxUnits)
	case !(o.Width > 0) || o.Width > architecture.MaxWidth:
		return fmt.Errorf("vgg: width %v, want above 0 and at most %d", o.Width, architecture.MaxWidth)
	case o.FC < 0 || o.FC > architecture.MaxUnits || o.FC == 0 && o.unitsNeeded(a):
		return fmt.Errorf("vgg: %d units of fc6 and fc7, want 1 to %d", o.FC, architecture.MaxUnits)
	case o.Input < least || o.Input > MaxInput:
		return fmt.Errorf("vgg: input side %d, want %d to %d", o.Input, least, MaxInput)
	case !(o.Dropout >= 0 && o.Dropout < 1):
		return fmt.Errorf("vgg: dropout ratio %v, want at least 0 and below 1", o.Dropout)
	case o.LRN != "" && o.LRN != nn.Krizhevsky && o.LRN != nn.Caffe:
		return fmt.Errorf("vgg: LRN form %q, want %q or %q", o.LRN, nn.Krizhevsky, nn.Caffe)
	case !(o.BNEps >= 0 && o.BNEps <= 1):
		return fmt.Errorf("vgg: epsilon of batch normalisation %v, want above 0 and at most 1", o.BNEps)
	case a.Binary() && o.Until == "" && o.Classes != 0 && o.Classes != 2:
		return fmt.Errorf("vgg: %d classes, want the 2 that one unit with a sigmoid (FC1 SIGMOID) tells apart", o.Classes)
	}
	return o.checkSums(a)
}

// hasHead tells whether the network has fully connected layers.
func (o Options) hasHead(a architecture.Architecture) bool {
	if o.Until == "" {
		return o.Classes > 0
	}
	return !slices.Contains(featureNames(a), o.Until)
}

// unitsNeeded tells whether a fully connected layer has its units from the options.
func (o Options) unitsNeeded(a architecture.Architecture) bool {
	return o.hasHead(a) && slices.ContainsFunc(a.Head[:a.LastConnected()], func(l architecture.Layer) bool {
		return l.Kind == architecture.Connected && l.Channels == 0
	})
}

// checkSums refuses networks so large that a size computed from them could overflow.
func (o Options) checkSums(a architecture.Architecture) error {
	const maxParams, maxActivation = 1 << 54, 1 << 44
	params, activation := 0.0, 0.0
	c, side := 3, o.Input
	for _, l := range a.Features {
		switch l.Kind {
		case architecture.Convolution:
			k := architecture.Widen(l.Channels, o.Width)
			params += float64(c) * float64(k) * float64(l.Side*l.Side)
			activation += 2 * float64(k) * float64(side) * float64(side)
			c = k
		case architecture.Pooling:
			side /= 2
		}
	}
	if o.hasHead(a) {
		for i, l := range a.Head {
			switch l.Kind {
			case architecture.Connected:
				units := o.units(a, i)
				params += float64(c) * float64(side) * float64(side) * float64(units)
				c, side = units, 1
			case architecture.GlobalAverage, architecture.GlobalMax:
				side = 1
			case architecture.Adaptive:
				side = l.Side
			case architecture.GlobalMaxAverage:
				c, side = 2*c, 1
			}
		}
	}
	if params > maxParams || activation > maxActivation {
		return fmt.Errorf("vgg: configuration %q of width %v on %d×%d pixels: %.1g parameters and %.1g activations, more than can be counted", o.Config, o.Width, o.Input, o.Input, params, activation)
	}
	return nil
}

// units returns the number of outputs of layer i of the head, a fully connected one.
func (o Options) units(a architecture.Architecture, i int) int {
	switch {
	case a.Head[i].Channels > 0:
		return a.Head[i].Channels
	case i == a.LastConnected():
		return o.Classes
	}
	return o.FC
}

// featureNames returns the names of the layers before the head: conv1_1, conv1_2, pool1, ….
func featureNames(a architecture.Architecture) []string {
	names := make([]string, len(a.Features))
	block, i := 1, 1
	for at, l := range a.Features {
		switch l.Kind {
		case architecture.Convolution:
			names[at] = fmt.Sprintf("conv%d_%d", block, i)
			i++
		case architecture.Normalisation:
			names[at] = fmt.Sprintf("lrn%d", block)
		case architecture.BatchNorm: // of what is before it, not of a convolution's scores
			names[at] = fmt.Sprintf("post%d_%d", block, i-1)
		case architecture.Pooling:
			names[at] = fmt.Sprintf("pool%d", block)
			block, i = block+1, 1
		}
	}
	return names
}

// plan returns the network's layers as a chain without memory for the weights.
func (o Options) plan() (architecture.Architecture, *nn.Chain, error) {
	a, err := architecture.Parse(o.Config)
	if err != nil {
		return a, nil, err
	}
	if err := o.validate(a); err != nil {
		return a, nil, err
	}
	layers, channels, err := o.features(a)
	if err != nil {
		return a, nil, err
	}
	if o.hasHead(a) {
		head, err := o.head(a, channels)
		if err != nil {
			return a, nil, err
		}
		layers = append(layers, head...)
	}
	chain := nn.Plan(3, layers...)
	if o.Until != "" {
		if chain, err = chain.Until(o.Until, !o.Unrectified); err != nil {
			return a, nil, fmt.Errorf("vgg: %w", err)
		}
	}
	return a, chain, nil
}

// features builds the layers before the head, and returns the channels of their output.
func (o Options) features(a architecture.Architecture) ([]nn.Layer, int, error) {
	var layers []nn.Layer
	channels := 3
	for i, name := range featureNames(a) {
		switch l := a.Features[i]; l.Kind {
		case architecture.Convolution:
			k := architecture.Widen(l.Channels, o.Width)
			layers = append(layers, nn.NewConv(name, channels, k, l.Side, l.Side/2, !l.BatchNorm))
			if l.BatchNorm {
				layers = append(layers, o.batchNorm(name+".bn", k, true))
			}
			channels = k
		case architecture.Normalisation:
			lrn, err := o.lrn(name, l.LRN)
			if err != nil {
				return nil, 0, err
			}
			layers = append(layers, lrn)
		case architecture.BatchNorm:
			layers = append(layers, o.batchNorm(name, channels, false))
		case architecture.Pooling:
			layers = append(layers, nn.NewMaxPool(name))
		}
	}
	return layers, channels, nil
}

// batchNorm builds the batch normalisation of k channels, with its rectification if relu.
func (o Options) batchNorm(name string, k int, relu bool) nn.Layer {
	bn := nn.NewBatchNorm(name, k, relu)
	if o.BNEps > 0 {
		bn.Eps = o.BNEps
	}
	return bn
}

// lrn builds a local response normalisation.
func (o Options) lrn(name string, v architecture.LRN) (nn.Layer, error) {
	lrn := nn.PaperLRN()
	if v != (architecture.LRN{}) {
		lrn.Size, lrn.K, lrn.Alpha, lrn.Beta = v.Size, v.K, v.Alpha, v.Beta
	}
	if o.LRN != "" {
		lrn.Form = o.LRN
	}
	return nn.NewLRN(name, lrn)
}

// Plan returns the layers of the network that o describes, as a chain without memory for
// the weights. It tells shapes and what passes would take, and can't run.
func Plan(o Options) (*nn.Chain, error) {
	_, chain, err := o.plan()
	return chain, err
}

// Network is a VGG network: its options and its layers. Any number of goroutines may
// call Forward at once.
type Network struct {
	opts  Options
	least int // side of the smallest image that the network takes
	chain *nn.Chain
}

// New builds a network whose parameters are zero. [Network.Init] draws them; package vgg
// opens networks with trained ones.
func New(o Options) (*Network, error) {
	a, chain, err := o.plan()
	if err != nil {
		return nil, err
	}
	o.Config = a.Name
	if err := chain.StoreFC(o.storage()); err != nil {
		return nil, err
	}
	if err := resources.Fits("a network of "+o.Config, chain.ParamBytes()); err != nil {
		return nil, fmt.Errorf("vgg: %w", err)
	}
	chain.Alloc()
	return &Network{o, leastSide(chain, o.Input), chain}, nil
}

// storage returns the format of the fully connected weights in memory.
func (o Options) storage() nn.Storage {
	if o.FCStorage == "" {
		return nn.F32
	}
	return o.FCStorage
}

// leastSide returns the side of the smallest image that a chain takes: the input's if it
// has a fully connected layer on a map, else one that leaves a pixel after the last pooling.
func leastSide(chain *nn.Chain, input int) int {
	least := 1
	for _, l := range chain.Layers() {
		switch l := l.(type) {
		case *nn.GlobalPool, *nn.GlobalMaxAverage, *nn.AdaptivePool:
			return least
		case *nn.MaxPool:
			least *= 2
		case *nn.Conv:
			if len(l.Weight.Shape) == 2 {
				return input
			}
		}
	}
	return least
}

// Options returns the options that the network was built with. Config is its canonical
// name.
func (n *Network) Options() Options { return n.opts }

// Chain returns the network's layers as a chain, which package train trains.
func (n *Network) Chain() *nn.Chain { return n.chain }

// Params lists the parameters, first layer to last: conv1_1.weight, conv1_1.bias, ….
func (n *Network) Params() []*nn.Param { return n.chain.Params() }

// SetThreads sets how many threads share the work of one pass. Results do not depend on
// it. The default is runtime.GOMAXPROCS, which heeds a container's CPU quota.
func (n *Network) SetThreads(threads int) { n.chain.SetThreads(threads) }

// Share returns the same network, parameters included, with its own number of threads:
// several passes at once then take the network's memory once.
func (n *Network) Share(threads int) *Network {
	return &Network{n.opts, n.least, n.chain.Share(threads)}
}

// Forward computes the class score map of x, preprocessed images of shape (N,3,H,W):
// (N,K,OH,OW), K classes, before the soft-max. For H = W = Options.Input the map is
// 1×1; for a larger image of any aspect the fully connected layers run as convolutions
// (§3.2). A smaller image is an error.
//
// With a global pooling in the head the map is 1×1 for any image that leaves a pixel of the
// features: the pooling is over the whole image. A head that normalises a flattened map, or
// divides it by its norm, takes images of Options.Input pixels a side only.
//
// A headless network returns the activation of its last layer, (N,C,OH,OW), for any
// image that leaves a pixel of it.
func (n *Network) Forward(x *tensor.Tensor) (*tensor.Tensor, error) {
	if err := n.checkSize(x); err != nil {
		return nil, err
	}
	return n.chain.Forward(x)
}

// ForwardInto is [Network.Forward] into y, whose shape must be that of the result. A
// call with a shape seen before allocates no buffers.
func (n *Network) ForwardInto(y, x *tensor.Tensor) error {
	if err := n.checkSize(x); err != nil {
		return err
	}
	return n.chain.ForwardInto(y, x)
}

// ForwardContext is [Network.ForwardInto] that ends after the layer at work when ctx does. The
// error is the cause then.
func (n *Network) ForwardContext(ctx context.Context, y, x *tensor.Tensor) error {
	if err := n.checkSize(x); err != nil {
		return err
	}
	return n.chain.ForwardContext(ctx, y, x)
}

// errNoLayers is the error of using the zero value of Network.
var errNoLayers = errors.New("vgg: a network without layers")

func (n *Network) checkSize(x *tensor.Tensor) error {
	if n == nil || n.chain == nil {
		return errNoLayers
	}
	if x == nil {
		return errors.New("vgg: a nil input")
	}
	if len(x.Shape) != 4 || x.Shape[1] != 3 {
		return fmt.Errorf("vgg: input of shape %v, want [N 3 H W]", x.Shape)
	}
	if size, err := tensor.Size(x.Shape...); err != nil || size != len(x.Data) {
		return fmt.Errorf("vgg: input of shape %v with %d numbers, want as many as the shape has", x.Shape, len(x.Data))
	}
	least := n.least
	if h, w := x.Shape[2], x.Shape[3]; h < least || w < least {
		return fmt.Errorf("vgg: image of %d×%d pixels, want at least %d×%d", w, h, least, least)
	}
	return nil
}

// Until returns the network that ends with one of n's layers (conv5_3, pool5, fc6, …):
// Forward returns that layer's activation, (N,C,OH,OW), after its batch normalisation
// and, if rectified, its rectification. The network shares n's parameters and is
// headless. Up to the last pooling it takes any image that leaves a pixel, from fc6 on
// those that n takes. It can be saved and opened again.
func (n *Network) Until(layer string, rectified bool) (*Network, error) {
	if n.chain == nil {
		return nil, errNoLayers
	}
	chain, err := n.chain.Until(layer, rectified)
	if err != nil {
		return nil, fmt.Errorf("vgg: %w", err)
	}
	o := n.opts
	o.Until, o.Unrectified = layer, !rectified
	if last := n.chain.Layers(); last[len(last)-1].Name() != layer {
		o.Classes = 0 // the layer that has as many outputs is cut off
	}
	return &Network{o, leastSide(chain, o.Input), chain}, nil
}

// DescriptorLayer names the layer whose activation, rectified, describes an image: the
// penultimate one, fc7 of the paper's networks (appendix B), and the last one of a
// headless network.
func (n *Network) DescriptorLayer() string {
	if layers := n.chain.Layers(); n.opts.Headless() {
		return layers[len(layers)-1].Name()
	}
	return n.chain.Penultimate()
}

// OutputShape is the shape of the class score map for n images of h × w pixels.
func (n *Network) OutputShape(batch, h, w int) ([]int, error) {
	shapes, err := n.chain.Shapes(h, w)
	if err != nil {
		return nil, err
	}
	s := shapes[len(shapes)-1]
	return []int{batch, s.C, s.H, s.W}, nil
}
