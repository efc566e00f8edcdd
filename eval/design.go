package eval

import (
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// design is what evaluation needs to know of a network before it has the weights.
type design struct {
	input      int      // side of the crop, pixels
	classes    []string // by index of the outputs; empty without a classifier
	preprocess preprocess.Spec
	chain      *nn.Chain         // tells shapes and sizes; it may have no weights
	boxes      *vgg.Localisation // set for a localisation network
	posterior  network.Posterior
	thresholds []float32 // of labels; nil: ½ each
	// stages are the parts of chain that run one after another; nil: all of it at once.
	stages []*nn.Chain
}

// designOf describes a network in memory.
func designOf(m *vgg.Model) design {
	d := design{input: m.Net.Options().Input, preprocess: m.Preprocess, chain: m.Net.Chain(), boxes: m.Localisation, posterior: m.Net.Options().Posterior(), thresholds: m.Thresholds}
	if !m.Net.Options().Headless() {
		d.classes = m.Classes
	}
	return d
}

// design describes the network: from its Description where it is set, else by opening it.
func (n Net) design() (design, error) {
	if n.Open == nil {
		return design{}, fmt.Errorf("eval: network %q without Open, the function that returns it", n.Weights)
	}
	if n.Description == nil {
		m, err := n.Open()
		if err != nil {
			return design{}, err
		}
		if m == nil || m.Net == nil {
			return design{}, fmt.Errorf("eval: %w", vgg.ErrNoNetwork)
		}
		return designOf(m), nil
	}
	chain, err := network.Plan(n.Description.Options)
	if err != nil {
		return design{}, err
	}
	if err := chain.StoreFC(n.storage()); err != nil {
		return design{}, err
	}
	return design{n.Description.Options.Input, n.Description.Classes, n.Description.Preprocess, chain, n.Description.Localisation, n.Description.Options.Posterior(), n.Description.Thresholds, nil}, nil
}

// storage returns the format of the fully connected weights in memory.
func (n Net) storage() nn.Storage {
	if n.FCWeights == "" {
		return nn.F32
	}
	return n.FCWeights
}

// id identifies the network, shown images by a setting, in a result file.
func (n Net) id(d design, s Setting) NetID {
	return NetID{n.Weights, n.SHA256, n.storage(), n.Device, d.preprocess, s}
}

// check returns an error if the network gives no classes, [vgg.ErrHeadless] or a
// [*vgg.LocaliserError], if its posteriors don't fit the images' labels, or if it can't be
// shown images by a setting.
func (d design) check(s Setting, data *dataset.Dataset) error {
	if d.boxes != nil {
		return fmt.Errorf("eval: %w", &vgg.LocaliserError{Regression: d.boxes.Regression, Classes: len(d.classes)})
	}
	if len(d.classes) == 0 {
		return fmt.Errorf("eval: %w", vgg.ErrHeadless)
	}
	switch labels := d.posterior == network.ByLabel; {
	case d.posterior == network.NoPosterior:
		return fmt.Errorf("eval: %w", vgg.ErrScores)
	case labels && !data.MultiLabel:
		return fmt.Errorf("eval: each class of the network is a label of its own (FC SIGMOID at the end of its head), but each image of %s has one class: want images with lists of labels, or the class as an image's only label (--multi-label)", data.Name)
	case !labels && data.MultiLabel:
		return fmt.Errorf("eval: the network takes each image for one of its classes, but an image of %s has any number of labels: want a network that ends with FC SIGMOID, as vgg train makes one of such images", data.Name)
	}
	if err := s.Validate(d.input); err != nil {
		return err
	}
	return s.CheckFit(d.preprocess.Fit, d.input)
}

// classesFor returns the network's class names as the set spells them: ImageNet's classes
// by their synsets where the set's folders are named so.
func (d design) classesFor(data *dataset.Dataset) []string { return classesFor(d.classes, data) }

// passBytes returns the memory, in bytes, of a pass over n images of h×w pixels: input,
// activations, scratch and output.
func (d design) passBytes(n, h, w int) (int64, error) {
	stages := d.stages
	if stages == nil {
		stages = []*nn.Chain{d.chain}
	}
	total := 3 * h * w * n
	for _, c := range stages {
		floats, out, err := stageFloats(c, n, h, w)
		if err != nil {
			return 0, err
		}
		h, w = out.H, out.W
		total += floats
	}
	return 4 * int64(total), nil
}

// passFloats returns the numbers of a pass of a chain over n images of h×w pixels: input,
// activations, scratch and output.
func passFloats(c *nn.Chain, n, h, w int) (int, error) {
	floats, _, err := stageFloats(c, n, h, w)
	return floats + n*3*h*w, err
}

// stageFloats is passFloats without the input, and the shape of an output.
func stageFloats(c *nn.Chain, n, h, w int) (int, nn.Shape, error) {
	floats, err := c.WorkspaceFloats(n, h, w)
	if err != nil {
		return 0, nn.Shape{}, err
	}
	shapes, err := c.Shapes(h, w)
	if err != nil {
		return 0, nn.Shape{}, err
	}
	out := shapes[len(shapes)-1]
	return floats + n*out.C*out.H*out.W, out, nil
}

// fixedBytes returns the memory, in bytes, of the process with the network before it sees
// an image: the weights, and their transformed copies for images of any size or for crops
// alone.
func (d design) fixedBytes(anySize bool) int64 {
	filters := d.chain.FilterFloats()
	if !anySize {
		all, err := d.chain.InferenceFloats(1, d.input, d.input)
		work, workErr := d.chain.WorkspaceFloats(1, d.input, d.input)
		if err == nil && workErr == nil {
			filters = min(filters, all-work)
		}
	}
	return processBytes + d.chain.ParamBytes() + 4*int64(filters)
}

// ofWeights adds the name of the weights to an error.
func ofWeights(err error, name string) error { return fmt.Errorf("%w (of %s)", err, name) }
