package vgg

import (
	"context"
	"fmt"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// identifyInput is identify for a caller who gives the side of the input. If the weights are
// for another side, and the framework that they are from pools the last map to that of their
// side, as torchvision does, the network does so, too.
func identifyInput(ctx context.Context, f *weights.File, o OpenOptions) (*Description, error) {
	d, err := identify(ctx, f, o)
	if err == nil || o.Input == 0 || d != nil {
		return d, err
	}
	own := o
	own.Input = 0
	d, ownErr := identify(ctx, f, own)
	if d == nil || d.Options.Input == o.Input || !d.poolsAdaptively() {
		return nil, err
	}
	if ownErr != nil {
		return nil, ownErr // what else the file doesn't tell
	}
	if adaptErr := d.adapt(o); adaptErr != nil {
		return nil, fmt.Errorf("vgg: %s: %w", f.Name(), adaptErr)
	}
	return d, nil
}

// poolsAdaptively tells whether the framework that the weights are from pools the last map to
// the size that the first fully connected layer reads.
func (d *Description) poolsAdaptively() bool {
	a, err := architecture.Parse(d.Options.Config)
	if err != nil || d.Options.Headless() || d.Localisation != nil || len(a.Head) == 0 || a.Head[0].Kind != architecture.Connected {
		return false
	}
	side := d.Options.Input >> a.Poolings()
	if d.outline != nil {
		return side > 1 && d.outline.PoolsAdaptively(side)
	}
	return strings.HasPrefix(d.Provenance["release"], "torchvision ") && side == network.DefaultInput>>a.Poolings()
}

// adapt makes the network one for inputs of the side that o gives.
func (d *Description) adapt(o OpenOptions) error {
	a, err := architecture.Parse(d.Options.Config)
	if err != nil {
		return err
	}
	side, was := d.Options.Input>>a.Poolings(), d.Options.Input
	if d.Options.Config, err = architecture.WithHead(d.Options.Config, fmt.Sprintf("ADAPT%d %s", side, a.HeadName())); err != nil {
		return err
	}
	d.Options.Input = o.Input
	if err := d.Options.Validate(); err != nil {
		return err
	}
	now := o.Input >> a.Poolings()
	d.Adapted = fmt.Sprintf("inputs of %d×%[1]d pixels: the last map, of %d×%[2]d pixels, is pooled to %d×%[3]d, as AdaptiveAvgPool2d does; the weights are of inputs of %d×%[4]d pixels", o.Input, now, side, was)
	if o.Preprocess != "" {
		s, err := givenPreprocess(o.Preprocess, o.Input)
		if err != nil {
			return err
		}
		d.Preprocess = s
		return o.show(&d.Preprocess)
	}
	d.Preprocess = rescaled(d.Preprocess, o.Input)
	return nil
}

// rescaled returns the preprocessing with crops of another side, and the scale in proportion.
func rescaled(s preprocess.Spec, side int) preprocess.Spec {
	s.Resize = max(side, (s.Resize*side+s.Crop/2)/s.Crop)
	s.Crop = side
	return s
}
