package eval

import (
	"context"
	"fmt"
	"image"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/resources"
)

// Extraction takes images through a network densely, as [Dense] evaluation does, or their
// central crops, and
// reduces the activations of the network's last layer over space, to their mean or their
// maximum (appendix B).
type Extraction struct {
	// Model's network ends with the layer wanted; see [network.Network.Until].
	Model *vgg.Model
	// Layers lists layers of the network whose rectified activations are wanted, one behind the
	// other in this order; empty: the last layer. The network should end with the last of them.
	Layers []string
	Data   *dataset.Dataset
	// Scales lists the smallest sides Q, in pixels, that an image is rescaled to.
	Scales []int
	Flip   bool // average with the activations of the mirror image
	Max    bool // take the maximum over space instead of the mean
	Crop   bool // show the central crop, as [Centre] does, instead of the whole image
	// Region, where set, returns the part of an image, in pixels of the image as it is stored,
	// that takes the image's place. An empty one is the whole image.
	Region func(image int) image.Rectangle

	resources.Resources // as in [Options]
}

// Validate returns an error if the extraction can't be run.
func (x Extraction) Validate() error {
	if err := x.Resources.Validate("eval"); err != nil {
		return err
	}
	if x.Data.Len() == 0 {
		return fmt.Errorf("eval: %s: no images, want at least one", x.Data.Name)
	}
	d := designOf(x.Model)
	if err := x.setting().Validate(d.input); err != nil {
		return err
	}
	_, err := x.crew()
	return err
}

func (x Extraction) setting() Setting {
	if x.Crop {
		return Setting{Centre, x.Scales, x.Flip}
	}
	return Setting{Dense, x.Scales, x.Flip}
}

// Run takes the images of the given indices through the network. It calls done for each
// image with the reduced activations at every scale, one number for each of the layers'
// channels, or with the error that makes the image unreadable. One goroutine at a time
// calls done, in the order in which images are ready. Run stops at an error of the
// network, of done or of ctx. The numbers don't depend on the order of the images, nor on
// the Resources.
func (x Extraction) Run(ctx context.Context, images []int, done func(image int, scales [][]float32, err error) error) error {
	if err := x.Validate(); err != nil {
		return err
	}
	c, err := x.crew()
	if err != nil {
		return err
	}
	c.done = done
	return c.run(ctx, images, everyView(len(c.views)))
}

// crew returns the ranks that do the work.
func (x Extraction) crew() (*crew, error) {
	c := &crew{ranks: x.Ranks, pass: pass{
		model: x.Model, data: x.Data, views: x.setting().Views(), batch: x.Batch, workers: x.AllWorkers(),
		reduce: spatialMean, region: x.Region, layers: x.Layers,
	}}
	if x.Max {
		c.reduce = spatialMax
	}
	if err := c.plan(); err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	var err error
	c.limits, err = newLimits(c.design(), true, x.Resources)
	return c, err
}

// OverSpace reduces a map (K,OH,OW) over space to dst (K), as [Extraction] does: to its mean,
// or its maximum.
func OverSpace(dst, values []float32, most bool) {
	if most {
		spatialMax(dst, values)
	} else {
		spatialMean(dst, values)
	}
}

// spatialMax takes the maximum of a map over space: dst is (K), scores (K,OH,OW).
func spatialMax(dst, scores []float32) {
	n := len(scores) / len(dst)
	for k := range dst {
		most := scores[k*n]
		for _, s := range scores[k*n+1 : (k+1)*n] {
			most = max(most, s)
		}
		dst[k] = most
	}
}
