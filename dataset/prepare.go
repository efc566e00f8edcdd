package dataset

import (
	"fmt"
	"math/rand/v2"

	"github.com/verydeep/vgg/preprocess"
)

// view is what the network sees of one image: a crop of the rescaled image,
// perhaps mirrored, with its colours shifted.
type view struct {
	w, h  int // size of the rescaled image
	x, y  int // upper left corner of the crop
	flip  bool
	shift [3]float32
}

// augment draws the training view of a w×h image. Everything is drawn in the
// same order whether it is used or not, so that one setting doesn't move what
// another draws.
func (l *Loader) augment(w, h int, rng *rand.Rand) view {
	var v view
	s := l.SMin + int(rng.Float64()*float64(l.SMax-l.SMin+1))
	v.w, v.h = preprocess.ShortSide(w, h, s)
	v.x, v.y = preprocess.RandomCrop(v.w, v.h, l.crop(), rng)
	v.flip = rng.Uint64()>>63 == 1 && l.Flip
	if l.Shift != nil {
		var alpha [3]float64
		for i := range alpha {
			alpha[i] = l.ShiftStd * rng.NormFloat64()
		}
		v.shift = l.Shift(alpha)
	}
	return v
}

// centre is the evaluation view of a w×h image.
func (l *Loader) centre(w, h int) view {
	var v view
	v.w, v.h = preprocess.ShortSide(w, h, l.testScale())
	v.x, v.y = preprocess.CentreCrop(v.w, v.h, l.crop())
	return v
}

// preparer turns samples into network input. Every worker has one of its own.
type preparer struct {
	loader  *Loader
	epoch   int
	random  stream
	resizer preprocess.Resizer
	crop    preprocess.Image
}

// prepare writes sample i into dst, (3,Crop,Crop).
func (p *preparer) prepare(dst []float32, i int) error {
	l := p.loader
	im, err := l.decode(i)
	if err != nil {
		return err
	}
	var v view
	if l.Train {
		v = l.augment(im.W, im.H, p.random.start(l.Seed, useAugment, uint64(p.epoch), uint64(i)))
	} else {
		v = l.centre(im.W, im.H)
	}
	if err := p.resizer.ResizeRegion(&p.crop, im, v.w, v.h, l.Spec.Filter, v.x, v.y, v.x+l.crop(), v.y+l.crop()); err != nil {
		return err
	}
	crop := &p.crop
	if v.flip {
		crop = preprocess.FlipH(crop)
	}
	l.Spec.Tensor(dst, crop, v.shift)
	return nil
}

// decode returns sample i's image, from the cache if it is there. Images in
// the cache are shared and only read.
func (l *Loader) decode(i int) (*preprocess.Image, error) {
	if im := l.decoded.get(i); im != nil {
		return im, nil
	}
	im, err := l.Data.decode(i, l.MaxPixels)
	if err != nil {
		return nil, err
	}
	l.decoded.put(i, im, l.CacheBytes)
	return im, nil
}

// decode reads and decodes sample i. Nothing is turned upright: neither
// training nor evaluation follows EXIF orientation.
func (d *Dataset) decode(i, maxPixels int) (*preprocess.Image, error) {
	data, err := d.Read(i)
	if err != nil {
		return nil, err
	}
	return preprocess.Decode(data, preprocess.DecodeOptions{MaxPixels: maxPixels})
}

func noneReadable(d *Dataset, first int, err error) error {
	return fmt.Errorf("dataset: %s: none of %d images is readable; the first: %s: %w",
		d.Name, d.Len(), d.Samples[first].Name, err)
}
