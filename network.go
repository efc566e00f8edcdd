package vgg

import (
	"fmt"
	"math"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// Options say which network to build. [DefaultOptions] gives the paper's.
type Options struct {
	// Config is a name of [Configs], perhaps with -BN or -LRN behind it.
	Config string `json:"config" yaml:"config"`
	// Classes is the number of outputs of fc8: 1000 in the paper.
	Classes int `json:"classes" yaml:"classes"`
	// Width multiplies the channels of every convolution; 1 in the paper.
	Width float64 `json:"width" yaml:"width"`
	// FC is the number of units of fc6 and fc7: 4096 in the paper.
	FC int `json:"fc" yaml:"fc"`
	// Input is the side in pixels of the square crop that fc6 is built for: 224 in the
	// paper. The network takes any larger image too.
	Input int `json:"input" yaml:"input"`
	// Dropout is the ratio of units of fc6 and fc7 dropped in training: 0.5 in the paper.
	Dropout float32 `json:"dropout" yaml:"dropout"`
	// LRN says what α multiplies in local response normalisation.
	LRN nn.LRNForm `json:"lrn,omitempty" yaml:"lrn,omitempty"`
}

// DefaultOptions returns the paper's values for a configuration (§2.1, §3.1).
func DefaultOptions(config string) Options {
	return Options{Config: config, Classes: 1000, Width: 1, FC: 4096, Input: 224, Dropout: 0.5, LRN: nn.Krizhevsky}
}

// poolings is how often every configuration halves its input.
const poolings = 5

// MinInput is the least side of the input that leaves a pixel after the last pooling.
const MinInput = 1 << poolings

// maxUnits is the most outputs of a fully connected layer: far more than anyone needs,
// and few enough that no size computed from it overflows.
const maxUnits = 1 << 20

// Validate reports the first value that no network can be built with.
func (o Options) Validate() error {
	if _, err := parseConfig(o.Config); err != nil {
		return err
	}
	switch {
	case o.Classes < 1 || o.Classes > maxUnits:
		return fmt.Errorf("vgg: %d classes, want 1 to %d", o.Classes, maxUnits)
	case !(o.Width > 0) || o.Width > 64:
		return fmt.Errorf("vgg: width %v, want above 0 and at most 64", o.Width)
	case o.FC < 1 || o.FC > maxUnits:
		return fmt.Errorf("vgg: %d units of fc6 and fc7, want 1 to %d", o.FC, maxUnits)
	case o.Input < MinInput || o.Input > 1<<14:
		return fmt.Errorf("vgg: input side %d, want %d to %d", o.Input, MinInput, 1<<14)
	case !(o.Dropout >= 0 && o.Dropout < 1):
		return fmt.Errorf("vgg: dropout ratio %v, want at least 0 and below 1", o.Dropout)
	case o.LRN != "" && o.LRN != nn.Krizhevsky && o.LRN != nn.Caffe:
		return fmt.Errorf("vgg: LRN form %q, want %q or %q", o.LRN, nn.Krizhevsky, nn.Caffe)
	}
	return nil
}

// channels applies the width to a number of the table.
func (o Options) channels(n int) int {
	return max(1, int(math.Round(float64(n)*o.Width)))
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
	c, side, block, i := 3, o.Input, 1, 1
	for _, s := range a.layers {
		switch s.kind {
		case convolution:
			name := fmt.Sprintf("conv%d_%d", block, i)
			k := o.channels(s.channels)
			layers = append(layers, nn.NewConv(name, c, k, s.r, s.r/2, !a.bn))
			if a.bn {
				layers = append(layers, nn.NewBatchNorm(name+".bn", k, true))
			}
			c = k
			i++
		case normalisation:
			lrn := nn.PaperLRN()
			if o.LRN != "" {
				lrn.Form = o.LRN
			}
			l, err := nn.NewLRN(fmt.Sprintf("lrn%d", block), lrn)
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
	layers = append(layers,
		nn.NewFC("fc6", c, side, o.FC, true),
		nn.NewDropout("drop6", o.Dropout, 6),
		nn.NewFC("fc7", o.FC, 1, o.FC, true),
		nn.NewDropout("drop7", o.Dropout, 7),
		nn.NewFC("fc8", o.FC, 1, o.Classes, false))
	return a, layers, nil
}

// Network is a VGG network: its options and its layers. Any number of goroutines may
// call Forward at once.
type Network struct {
	opts  Options
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
	return &Network{o, chain}, nil
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

// Forward computes the class score map of x, preprocessed images of shape (N,3,H,W):
// (N,K,OH,OW), K classes, before the soft-max. For H = W = Options.Input the map is
// 1×1; for a larger image of any aspect the fully connected layers run as convolutions
// (§3.2). A smaller image is an error.
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
	if h, w := x.Shape[2], x.Shape[3]; h < n.opts.Input || w < n.opts.Input {
		return fmt.Errorf("vgg: image of %d×%d pixels, want at least %d×%d", w, h, n.opts.Input, n.opts.Input)
	}
	return nil
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
