package dataset

import (
	"fmt"
	"math/rand/v2"

	"github.com/verydeep/vgg/preprocess"
)

// View is what the network sees of one image: a square crop of the rescaled
// image, perhaps mirrored.
type View struct {
	ImageW, ImageH int  // size of the image as it is stored, pixels
	W, H           int  // size of the rescaled image
	X, Y           int  // upper left corner of the crop in it
	Side           int  // of the crop
	Flip           bool // the crop is mirrored, left and right exchanged
}

// view is a View with the shift of its colours.
type view struct {
	View
	shift [3]float32
}

// rescaled is the view of a w×h image rescaled to smallest side s, without its
// corner.
func (l *Loader) rescaled(w, h, s int) view {
	v := View{ImageW: w, ImageH: h, Side: l.crop()}
	v.W, v.H = preprocess.ShortSide(w, h, s)
	return view{View: v}
}

// augment draws the training view of a w×h image. Everything is drawn in the
// same order whether it is used or not, so that one setting doesn't move what
// another draws.
func (l *Loader) augment(w, h int, rng *rand.Rand) view {
	v := l.rescaled(w, h, l.SMin+int(rng.Float64()*float64(l.SMax-l.SMin+1)))
	v.X, v.Y = preprocess.RandomCrop(v.W, v.H, v.Side, rng)
	v.Flip = rng.Uint64()>>63 == 1 && l.Flip
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
	c := preprocess.CentreWindow(w, h, l.testScale(), l.crop())
	return view{View: View{ImageW: w, ImageH: h, W: c.W, H: c.H, X: c.X, Y: c.Y, Side: c.Side}}
}

// preparer turns samples into network input. Every worker has one of its own.
type preparer struct {
	loader  *Loader
	epoch   int
	random  stream
	resizer preprocess.Resizer
	crop    preprocess.Image
}

// prepare writes sample i into dst, (3,Crop,Crop), and returns what is seen of it.
func (p *preparer) prepare(dst []float32, i int) (View, error) {
	l := p.loader
	im, err := l.decode(i)
	if err != nil {
		return View{}, err
	}
	var v view
	if l.Train {
		v = l.augment(im.W, im.H, p.random.start(l.Seed, useAugment, uint64(p.epoch), uint64(i)))
	} else {
		v = l.centre(im.W, im.H)
	}
	if err := p.resizer.ResizeRegion(&p.crop, im, v.W, v.H, l.Spec.Filter, v.X, v.Y, v.X+v.Side, v.Y+v.Side); err != nil {
		return View{}, err
	}
	crop := &p.crop
	if v.Flip {
		crop = preprocess.FlipH(crop)
	}
	l.Spec.Tensor(dst, crop, v.shift)
	return v.View, nil
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
