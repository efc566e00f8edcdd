package interchange

import (
	"fmt"
	"slices"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
)

// inferAll notes what the options of the network have that the file doesn't tell.
func (o *Outline) inferAll(opts network.Options, g Given) {
	a, err := architecture.Parse(opts.Config)
	if err != nil {
		return
	}
	if !o.Complete {
		o.inferFeatures(opts)
		o.assume(a, opts.Headless(), g)
	}
	if opts.Headless() {
		return
	}
	if !o.Complete && g.Head == "" {
		o.infer("head", fmt.Sprintf("%q, of the names of its tensors", a.HeadName()))
	}
	if !o.ended && g.Head == "" {
		o.infer("ending", "the scores of the last layer go through a soft-max, by convention; if classes are labels of their own, say so (--head '… SIGMOID')")
	}
	if o.input == 0 && g.Input == 0 {
		from := fmt.Sprintf("%d pixels, the paper's", opts.Input)
		if opts.Input != network.DefaultInput {
			from = fmt.Sprintf("%d pixels, the only one that fits the first fully connected layer", opts.Input)
		}
		o.infer("input side", from)
	}
}

// isGlobal tells whether a layer pools the whole map, of any size.
func isGlobal(l architecture.Layer) bool {
	return l.Kind == architecture.GlobalAverage || l.Kind == architecture.GlobalMax || l.Kind == architecture.GlobalMaxAverage
}

// assume notes what tensors alone don't tell though it changes the numbers, and what says it: the
// functions between the layers, the ending, and what a fully connected layer behind a global
// pooling doesn't tell by its fan-in, as one behind a flattened map does. A row that was given
// tells all of them.
func (o *Outline) assume(a architecture.Architecture, headless bool, g Given) {
	var of []string
	if !o.given {
		which := "layer but the last"
		if headless || g.Head != "" {
			which = "convolution"
		}
		of = append(of, fmt.Sprintf("a ReLU behind every %s, and max-poolings (if it has others, save the whole model, not its weights alone)", which))
	}
	if pooled := !headless && slices.ContainsFunc(a.Head, isGlobal); pooled {
		if last := len(a.Features) - 1; !o.given && last > 0 && a.Features[last].Kind == architecture.Pooling {
			var tokens []string
			for _, l := range a.Features[:last] {
				tokens = append(tokens, l.String())
			}
			of = append(of, fmt.Sprintf("one of them behind the last convolution (if there is none: --config '%s %s')", strings.Join(tokens, " "), a.HeadName()))
		}
		if o.input == 0 && g.Input == 0 {
			of = append(of, fmt.Sprintf("images of %d pixels (else --input)", network.DefaultInput))
		}
	}
	if !headless && !o.given && g.Head == "" && !o.ended {
		of = append(of, fmt.Sprintf("a soft-max at the end (for labels that exclude no other: --head '%s SIGMOID')", a.HeadName()))
	}
	if len(of) > 0 {
		o.Assumed = "taken for granted, since tensors alone don't tell it: " + strings.Join(of, "; ")
	}
}

// inferFeatures notes what names of tensors don't tell of the features.
func (o *Outline) inferFeatures(opts network.Options) {
	switch {
	case o.given:
		o.infer("poolings", "of the given configuration")
	case o.EndsEarly:
		o.infer("poolings", "of the names; a pooling may follow the last convolution")
	case o.scheme == Torchvision || o.scheme == Timm || o.scheme == OpenMMLab:
		o.infer("poolings", "where the numbers of features leave room for one, and after the last convolution")
	default:
		o.infer("poolings", "between the blocks of the names, and after the last")
	}
	o.infer("activations", "every convolution is rectified, as in all of the paper's networks")
	if o.bnEps != 0 {
		whose := "PyTorch's"
		if o.bnEps == kerasBNEps {
			whose = "Keras's"
		}
		o.infer("epsilon of BN", fmt.Sprintf("%g, %s default", o.bnEps, whose))
	}
}
