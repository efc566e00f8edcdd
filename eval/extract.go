package eval

import (
	"context"
	"fmt"
	"image"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
)

// Extraction takes images through a network densely, as [Dense] evaluation does, and
// gathers what the network's last layer says of each: activations averaged, or their
// maximum taken, over space (appendix B).
type Extraction struct {
	// Model's network ends with the layer wanted; see [network.Network.Until].
	Model *vgg.Model
	Data  *dataset.Dataset
	// Scales lists the smallest sides Q, in pixels, that an image is rescaled to.
	Scales []int
	Flip   bool // average with the mirror image's
	Max    bool // the greatest activation over space in place of the mean
	// Region, where set, is the part of an image, in its pixels, that takes the image's
	// place; an empty one is all of it.
	Region func(image int) image.Rectangle

	Batch   int   // images of one size that go through the network together; 0: as many as hold 16·224² pixels
	Ranks   int   // copies of the network, without its weights, that share images and threads; 0: as many as pay
	Workers int   // images prepared at once, by all ranks together; 0: runtime.GOMAXPROCS
	Memory  int64 // bound, in bytes, of the process's memory; 0: [DefaultMemory]
}

// Validate reports what the extraction can't be run with.
func (x Extraction) Validate() error {
	switch {
	case x.Batch < 0:
		return fmt.Errorf("eval: batch: %d, want at least 0", x.Batch)
	case x.Ranks < 0:
		return fmt.Errorf("eval: ranks: %d, want at least 0", x.Ranks)
	case x.Workers < 0:
		return fmt.Errorf("eval: workers: %d, want at least 0", x.Workers)
	case x.Memory < 0:
		return fmt.Errorf("eval: memory: %d, want at least 0", x.Memory)
	case x.Data.Len() == 0:
		return fmt.Errorf("eval: %s: no images, want at least one", x.Data.Name)
	}
	if err := x.setting().validate(x.Model.Net.Options().Input); err != nil {
		return err
	}
	_, err := newLimits(x.Model.Net, true, x.Memory)
	return err
}

func (x Extraction) setting() Setting { return Setting{Dense, x.Scales, x.Flip} }

// Run takes the images of those indices through the network. For each, done is given
// what every scale says of it, a number of each of the layer's channels, or why the image
// is unreadable; it is called by one goroutine at a time, in the order in which images are
// done. Run stops at an error of the network, of done, or of ctx. The numbers depend
// neither on the order of the images nor on Batch, Ranks, Workers and Memory.
func (x Extraction) Run(ctx context.Context, images []int, done func(image int, scales [][]float32, err error) error) error {
	if err := x.Validate(); err != nil {
		return err
	}
	limits, err := newLimits(x.Model.Net, true, x.Memory)
	if err != nil {
		return err
	}
	views := x.setting().views()
	every := make([]int, len(views))
	for i := range every {
		every[i] = i
	}
	workers := (&run{o: Options{Workers: x.Workers}}).workers()
	c := &crew{ranks: x.Ranks, pass: pass{
		model: x.Model, data: x.Data, views: views, limits: limits, batch: x.Batch, workers: workers,
		reduce: spatialMean, region: x.Region, done: done,
	}}
	if x.Max {
		c.reduce = spatialMax
	}
	return c.run(ctx, images, func(int) []int { return every })
}

// spatialMax takes the greatest of a map at any place: dst is (K), scores (K,OH,OW).
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
