package vgg

import (
	"fmt"
	"math"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// Options say which network to build. [DefaultOptions] gives the paper's.
type Options struct {
	// Config is a name of [Configs], perhaps with -BN or -LRN behind it, or a row of
	// layers in the language of that table: "32bn 32 M 64bn 64 M 128bn 128 M FC256 FC" is
	// a network with batch normalisation in some layers, three poolings and two fully
	// connected layers. docs/weights.md describes the language.
	Config string `json:"config" yaml:"config"`
	// Classes is the number of outputs of the last fully connected layer: 1000 in the
	// paper. A network of 0 classes is headless: it ends with the last layer before the
	// fully connected ones, whose activation [Network.Forward] returns.
	Classes int `json:"classes" yaml:"classes"`
	// Width multiplies the channels of every convolution; 1 in the paper.
	Width float64 `json:"width" yaml:"width"`
	// FC is the number of units of fc6 and fc7, or of those fully connected layers of a
	// row that say none: 4096 in the paper.
	FC int `json:"fc" yaml:"fc"`
	// Input is the side in pixels of the square crop that fc6 is built for: 224 in the
	// paper. The network takes any larger image too.
	Input int `json:"input" yaml:"input"`
	// Dropout is the ratio of units of fc6 and fc7 dropped in training: 0.5 in the paper.
	Dropout float32 `json:"dropout" yaml:"dropout"`
	// LRN says what α multiplies in local response normalisation.
	LRN nn.LRNForm `json:"lrn,omitempty" yaml:"lrn,omitempty"`
	// BNEps is ε of batch normalisation, which weights bring with them; 0: 1e-5,
	// PyTorch's. Keras has 1e-3.
	BNEps float32 `json:"bn_eps,omitempty" yaml:"bn_eps,omitempty"`
}

// DefaultOptions returns the paper's values for a configuration (§2.1, §3.1).
func DefaultOptions(config string) Options {
	return Options{Config: config, Classes: 1000, Width: 1, FC: 4096, Input: 224, Dropout: 0.5, LRN: nn.Krizhevsky}
}

// maxUnits is the most outputs of a fully connected layer: far more than anyone needs,
// and few enough that no size computed from it overflows.
const maxUnits = 1 << 20

// maxInput is the greatest side of the crop.
const maxInput = 1 << 14

// Headless tells whether the network has no fully connected layers.
func (o Options) Headless() bool { return o.Classes == 0 }

// MinInput is the least side of the input that leaves a pixel after the last pooling:
// 32 for the configurations of the paper.
func (o Options) MinInput() (int, error) {
	a, err := parseConfig(o.Config)
	return 1 << a.poolings(), err
}

// Validate reports the first value that no network can be built with.
func (o Options) Validate() error {
	a, err := parseConfig(o.Config)
	if err != nil {
		return err
	}
	switch least := 1 << a.poolings(); {
	case o.Classes < 0 || o.Classes > maxUnits:
		return fmt.Errorf("vgg: %d classes, want 1 to %d, or 0 for the features alone", o.Classes, maxUnits)
	case !(o.Width > 0) || o.Width > 64:
		return fmt.Errorf("vgg: width %v, want above 0 and at most 64", o.Width)
	case o.FC < 0 || o.FC > maxUnits || o.FC == 0 && o.unitsNeeded(a):
		return fmt.Errorf("vgg: %d units of fc6 and fc7, want 1 to %d", o.FC, maxUnits)
	case o.Input < least || o.Input > maxInput:
		return fmt.Errorf("vgg: input side %d, want %d to %d", o.Input, least, maxInput)
	case !(o.Dropout >= 0 && o.Dropout < 1):
		return fmt.Errorf("vgg: dropout ratio %v, want at least 0 and below 1", o.Dropout)
	case o.LRN != "" && o.LRN != nn.Krizhevsky && o.LRN != nn.Caffe:
		return fmt.Errorf("vgg: LRN form %q, want %q or %q", o.LRN, nn.Krizhevsky, nn.Caffe)
	case !(o.BNEps >= 0 && o.BNEps <= 1):
		return fmt.Errorf("vgg: epsilon of batch normalisation %v, want above 0 and at most 1", o.BNEps)
	}
	return o.checkSums(a)
}

// unitsNeeded tells whether a fully connected layer has its units from the options.
func (o Options) unitsNeeded(a architecture) bool {
	for _, l := range a.head[:len(a.head)-1] {
		if l.channels == 0 && !o.Headless() {
			return true
		}
	}
	return false
}

// checkSums refuses what is so large that a size computed from it could overflow.
func (o Options) checkSums(a architecture) error {
	const maxParams, maxActivation = 1 << 54, 1 << 44
	params, activation := 0.0, 0.0
	c, side := 3, o.Input
	for _, l := range a.layers {
		switch l.kind {
		case convolution:
			k := o.channels(l.channels)
			params += float64(c) * float64(k) * float64(l.r*l.r)
			activation += 2 * float64(k) * float64(side) * float64(side)
			c = k
		case pooling:
			side /= 2
		}
	}
	for i := range a.head {
		if o.Headless() {
			break
		}
		units := o.units(a, i)
		params += float64(c) * float64(side) * float64(side) * float64(units)
		c, side = units, 1
	}
	if params > maxParams || activation > maxActivation {
		return fmt.Errorf("vgg: configuration %q of width %v on %d×%d pixels: %.1g parameters and %.1g activations, more than can be counted", o.Config, o.Width, o.Input, o.Input, params, activation)
	}
	return nil
}

// channels applies the width to a number of the table.
func (o Options) channels(n int) int {
	return max(1, int(math.Round(float64(n)*o.Width)))
}

// units is how many outputs fully connected layer i has.
func (o Options) units(a architecture, i int) int {
	switch {
	case i == len(a.head)-1:
		return o.Classes
	case a.head[i].channels > 0:
		return a.head[i].channels
	}
	return o.FC
}

// layers builds the network's layers.
func (o Options) layers() (architecture, []nn.Layer, error) {
	if err := o.Validate(); err != nil {
		return architecture{}, nil, err
	}
	a, err := parseConfig(o.Config)
	if err != nil {
		return a, nil, err
	}
	var layers []nn.Layer
	norm := func(name string, k int) {
		bn := nn.NewBatchNorm(name+".bn", k, true)
		if o.BNEps > 0 {
			bn.Eps = o.BNEps
		}
		layers = append(layers, bn)
	}
	c, side, block, i := 3, o.Input, 1, 1
	for _, s := range a.layers {
		switch s.kind {
		case convolution:
			name := fmt.Sprintf("conv%d_%d", block, i)
			k := o.channels(s.channels)
			layers = append(layers, nn.NewConv(name, c, k, s.r, s.r/2, !s.bn))
			if s.bn {
				norm(name, k)
			}
			c = k
			i++
		case normalisation:
			l, err := o.lrn(fmt.Sprintf("lrn%d", block), s.lrn)
			if err != nil {
				return a, nil, err
			}
			layers = append(layers, l)
		case pooling:
			layers = append(layers, nn.NewMaxPool(fmt.Sprintf("pool%d", block)))
			side /= 2
			block, i = block+1, 1
		}
	}
	if o.Headless() {
		return a, layers, nil
	}
	number := block // the first fully connected layer follows the last block: fc6
	if a.layers[len(a.layers)-1].kind != pooling {
		number++
	}
	for i, s := range a.head {
		name, last := fmt.Sprintf("fc%d", number+i), i == len(a.head)-1
		k := o.units(a, i)
		layers = append(layers, nn.NewFC(name, c, side, k, !last && !s.bn))
		if s.bn {
			norm(name, k)
		}
		if !last {
			layers = append(layers, nn.NewDropout(fmt.Sprintf("drop%d", number+i), o.Dropout, number+i))
		}
		c, side = k, 1
	}
	return a, layers, nil
}

// lrn builds a local response normalisation.
func (o Options) lrn(name string, v lrnValues) (nn.Layer, error) {
	lrn := nn.PaperLRN()
	if v != (lrnValues{}) {
		lrn.Size, lrn.K, lrn.Alpha, lrn.Beta = v.size, v.k, v.alpha, v.beta
	}
	if o.LRN != "" {
		lrn.Form = o.LRN
	}
	return nn.NewLRN(name, lrn)
}

// Network is a VGG network: its options and its layers. Any number of goroutines may
// call Forward at once.
type Network struct {
	opts  Options
	least int // side of the smallest image that leaves a pixel after the last pooling
	chain *nn.Chain
}

// New builds a network whose parameters are zero; [Network.Init] draws them,
// [Network.Load] reads them.
func New(o Options) (*Network, error) { return NewStored(o, nn.F32) }

// NewStored is [New] with the weights of fc6, fc7 and fc8 in memory as fc says:
// [nn.F16] and [nn.BF16] halve the network's memory and what a single image waits for,
// at the price of rounding the weights. A network so stored can't be trained.
func NewStored(o Options, fc nn.Storage) (*Network, error) {
	a, layers, err := o.layers()
	if err != nil {
		return nil, err
	}
	o.Config = a.name
	chain := nn.Plan(3, layers...)
	if err := chain.StoreFC(fc); err != nil {
		return nil, err
	}
	chain.Alloc()
	return &Network{o, 1 << a.poolings(), chain}, nil
}

// Options returns what the network was built with; Config has its canonical name.
func (n *Network) Options() Options { return n.opts }

// Chain returns the network's layers as a chain, which package train trains.
func (n *Network) Chain() *nn.Chain { return n.chain }

// Params lists the parameters, first layer to last: conv1_1.weight, conv1_1.bias, ….
func (n *Network) Params() []*nn.Param { return n.chain.Params() }

// SetThreads sets how many threads share the work of one pass; results do not depend
// on it. The default is runtime.GOMAXPROCS, which heeds a container's CPU quota.
func (n *Network) SetThreads(threads int) { n.chain.SetThreads(threads) }

// Share returns the same network, parameters included, with a number of threads of its
// own: what runs one network several times at once takes its memory once.
func (n *Network) Share(threads int) *Network {
	return &Network{n.opts, n.least, n.chain.Share(threads)}
}

// Forward computes the class score map of x, preprocessed images of shape (N,3,H,W):
// (N,K,OH,OW), K classes, before the soft-max. For H = W = Options.Input the map is
// 1×1; for a larger image of any aspect the fully connected layers run as convolutions
// (§3.2). A smaller image is an error.
//
// A headless network gives the activation of its last layer, (N,C,OH,OW), of any image
// that leaves a pixel of it.
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

func (n *Network) checkSize(x *tensor.Tensor) error {
	if len(x.Shape) != 4 || x.Shape[1] != 3 {
		return fmt.Errorf("vgg: input of shape %v, want [N 3 H W]", x.Shape)
	}
	least := n.opts.Input
	if n.opts.Headless() {
		least = n.least
	}
	if h, w := x.Shape[2], x.Shape[3]; h < least || w < least {
		return fmt.Errorf("vgg: image of %d×%d pixels, want at least %d×%d", w, h, least, least)
	}
	return nil
}

// Until returns the network that ends with one of n's layers (conv5_3, pool5, fc6, …):
// Forward gives that layer's activation, (N,C,OH,OW), after its batch normalisation and,
// if rectified, its rectification. It shares n's parameters and has no classes; up to the
// last pooling it takes any image that leaves a pixel, from fc6 on those of n.
func (n *Network) Until(layer string, rectified bool) (*Network, error) {
	chain, err := n.chain.Until(layer, rectified)
	if err != nil {
		return nil, fmt.Errorf("vgg: %w", err)
	}
	least := 1
	for _, l := range chain.Layers() {
		if _, ok := l.(*nn.MaxPool); ok {
			least *= 2
		}
	}
	if n.connected(layer) {
		least = n.opts.Input
	}
	o := n.opts
	o.Classes = 0
	return &Network{o, least, chain}, nil
}

// connected tells whether a layer is fully connected, or follows one that is.
func (n *Network) connected(layer string) bool {
	fc := false
	for _, l := range n.chain.Layers() {
		if conv, ok := l.(*nn.Conv); ok && len(conv.Weight.Shape) == 2 {
			fc = true
		}
		if l.Name() == layer {
			break
		}
	}
	return fc
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
