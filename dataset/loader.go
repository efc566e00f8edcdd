package dataset

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/tensor"
)

// Loader makes mini-batches of a dataset's images. Its fields are set before
// the first epoch and not changed afterwards; several goroutines may then run
// epochs of one Loader.
//
// Training (Train true) follows section 3.1 of the paper: the samples come in a
// new random order each epoch; each image is rescaled isotropically to a smallest
// side S, drawn uniformly from [SMin, SMax], or to S×S if Spec.Fit is Squash; of it a random Crop×Crop crop is
// taken, flipped horizontally with probability 0.5, and shifted in its RGB
// colours. The numbers drawn for an image are a pure function of Seed, epoch and
// the sample's index: neither Workers nor Batch nor CacheBytes changes a bit, and
// turning Flip or Shift off doesn't move the crops.
//
// Evaluation (Train false) takes the samples in their order, rescales each to
// smallest side Q and takes its central crop. Every epoch is the same.
type Loader struct {
	Data  *Dataset
	Spec  preprocess.Spec // pixel values, rescaling filter, aspect and orientation
	Batch int             // images in a mini-batch
	Crop  int             // side of the crop in pixels; 0: Spec.Crop

	Train bool
	SMin  int // training: least smallest side S; evaluation: smallest side Q, 0: Spec.Resize

	// Only used in training.
	SMax     int                                     // greatest smallest side S
	Flip     bool                                    // mirror an image with probability 0.5
	Shift    func(alpha [3]float64) (rgb [3]float32) // colour shift in grey levels, as preprocess.Stats.Shift; nil: no shift; several goroutines call it at once
	ShiftStd float64                                 // standard deviation of alpha; 0.1 in the paper
	Seed     uint64
	Views    int  // crops of each image: epoch e shows crop 1 + (e−1) mod Views of every image; 0: new crops each epoch
	DropLast bool // leave out the last images of the order that don't fill a batch

	// Parts, if above 1, is the number of loaders that divide every batch among them; this one
	// prepares part Part, 0 … Parts−1: of a batch with n places those from ⌊Part·n/Parts⌋ to
	// ⌊(Part+1)·n/Parts⌋−1. Its batches have fewer images, at the positions and with the bits of
	// the whole batch.
	Part, Parts int

	// Held is the number of earlier batches that stay valid when the next one is asked for.
	Held int

	Workers    int             // images prepared at once; 0: GOMAXPROCS
	CacheBytes int64           // most bytes of decoded images kept for the next epochs; 0: [DefaultCacheBytes]; [NoCache]: none
	MaxPixels  int             // larger images are bad; 0: preprocess.DefaultMaxPixels
	Room       *resources.Room // memory of the images that are decoded at once, by whomever; nil: resources.MachineRoom()

	decoded cache
}

// Values of Loader.CacheBytes.
const (
	DefaultCacheBytes = 512 << 20
	NoCache           = -1
)

// Batch is one mini-batch of N images. It belongs to the Loader, with all its
// slices, and is valid until the next batch is asked for, or the one Held after it.
type Batch struct {
	X         *tensor.Tensor // (N,3,Crop,Crop), as Spec says
	Labels    []int          // class of each image, length N
	LabelSets [][]int        // with Data.MultiLabel all labels of each image, length N; else nil
	Indices   []int          // index of each image in Data.Samples, length N
	Positions []int          // place of each image in the epoch's order, ascending, length N
	Views     []View         // part of each image that X shows, length N
	Bad       []BadImage     // images left out, by which N is smaller; N may be 0
	Wait      time.Duration  // time that the consumer waited for this batch
}

// Batches returns the number of batches in an epoch.
func (l *Loader) Batches() int {
	if l.Train && l.DropLast {
		return l.Data.Len() / l.Batch
	}
	return (l.Data.Len() + l.Batch - 1) / l.Batch
}

// Validate reports the first field with which no epoch can be run. Epoch calls
// it, too.
func (l *Loader) Validate() error {
	err := l.validate()
	if err == nil {
		return nil
	}
	if l.Data == nil {
		return fmt.Errorf("dataset: loader: %w", err)
	}
	return fmt.Errorf("dataset: %s: loader: %w", l.Data.Name, err)
}

func (l *Loader) validate() error {
	switch {
	case l.Data == nil:
		return errors.New("field Data is nil, want a dataset")
	case l.Data.Len() == 0:
		return errors.New("field Data has no samples, want one or more")
	case l.Batch < 1:
		return fmt.Errorf("field Batch %d, want 1 or more", l.Batch)
	case l.crop() < 1:
		return fmt.Errorf("field Crop %d, want 1 or more", l.crop())
	case l.Parts < 0 || l.Part < 0 || l.Part >= max(1, l.Parts):
		return fmt.Errorf("field Part %d of %d, want 0 to one less than Parts", l.Part, l.Parts)
	case l.Held < 0:
		return fmt.Errorf("field Held %d, want 0 or more", l.Held)
	case l.Workers < 0:
		return fmt.Errorf("field Workers %d, want 0 or more", l.Workers)
	case l.CacheBytes < 0 && l.CacheBytes != NoCache:
		return fmt.Errorf("field CacheBytes %d, want 0 or more, or NoCache", l.CacheBytes)
	case l.MaxPixels < 0:
		return fmt.Errorf("field MaxPixels %d, want 0 or more", l.MaxPixels)
	}
	if err := l.Spec.Validate(); err != nil {
		return fmt.Errorf("field Spec: %w", err)
	}
	if _, err := tensor.Size(l.slotImages(), 3, l.crop(), l.crop()); err != nil {
		return fmt.Errorf("field Batch %d, Crop %d: %w", l.Batch, l.crop(), err)
	}
	if !l.Train {
		if q := l.testScale(); q < l.crop() {
			return fmt.Errorf("smallest side %d (SMin, or Spec.Resize), want at least Crop, %d", q, l.crop())
		}
		return nil
	}
	switch {
	case l.SMin < l.crop():
		return fmt.Errorf("field SMin %d, want at least Crop, %d", l.SMin, l.crop())
	case l.SMax < l.SMin:
		return fmt.Errorf("field SMax %d, want at least SMin, %d", l.SMax, l.SMin)
	case l.Views < 0:
		return fmt.Errorf("field Views %d, want 0 or more", l.Views)
	case !(l.ShiftStd >= 0) || math.IsInf(l.ShiftStd, 0):
		return fmt.Errorf("field ShiftStd %v, want 0 or more", l.ShiftStd)
	case l.Batches() == 0:
		return fmt.Errorf("DropLast leaves none of %d images, want at least Batch, %d", l.Data.Len(), l.Batch)
	}
	return nil
}

// View returns the number of the crops that an epoch shows, from 1: the epoch's own number
// unless Views makes crops return. An evaluation has one view.
func (l *Loader) View(epoch int) int {
	switch {
	case !l.Train:
		return 1
	case l.Views == 0:
		return epoch
	}
	return 1 + (epoch-1)%l.Views
}

// Order returns the indices of the samples in the order of an epoch.
func (l *Loader) Order(epoch int) []int {
	return epochOrder(l.Data.Len(), l.Train, l.Seed, epoch)
}

func (l *Loader) crop() int {
	if l.Crop == 0 {
		return l.Spec.Crop
	}
	return l.Crop
}

func (l *Loader) testScale() int {
	if l.SMin == 0 {
		return l.Spec.Resize
	}
	return l.SMin
}

func (l *Loader) workers() int {
	if l.Workers == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return l.Workers
}

// cacheBytes is the most bytes of decoded images that are kept.
func (l *Loader) cacheBytes() int64 {
	switch l.CacheBytes {
	case 0:
		return DefaultCacheBytes
	case NoCache:
		return 0
	}
	return l.CacheBytes
}

// slotImages is the most images that a batch of this loader can have.
func (l *Loader) slotImages() int {
	parts := max(1, l.Parts)
	return (min(l.Batch, l.Data.Len()) + parts - 1) / parts
}

// Places returns the positions in an epoch's order that batch b of this loader has:
// from … to−1.
func (l *Loader) Places(b int) (from, to int) {
	first := b * l.Batch
	n, parts := min(l.Batch, l.Data.Len()-first), max(1, l.Parts)
	return first + l.Part*n/parts, first + (l.Part+1)*n/parts
}

// Prepare returns what an epoch shows of sample i, (3,Crop,Crop), outside the epoch's batches.
// Its error is that of an unreadable image.
func (l *Loader) Prepare(ctx context.Context, epoch, i int) ([]float32, View, error) {
	p, x := preparer{loader: l, view: l.View(epoch)}, make([]float32, 3*l.crop()*l.crop())
	v, err := p.prepare(ctx, x, i)
	return x, v, err
}
