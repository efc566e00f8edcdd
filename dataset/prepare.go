package dataset

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/verydeep/vgg/preprocess"
)

// View describes the part of an image that the network sees: a square crop of the
// rescaled image, mirrored or not.
type View struct {
	ImageW, ImageH int  // size of the image, turned by Orientation, pixels
	Orientation    int  // by which [preprocess.Turn] turned the stored image; 0 or 1: not at all
	W, H           int  // size of the rescaled image
	X, Y           int  // upper left corner of the crop in it
	Side           int  // side of the crop
	Flip           bool // the crop is mirrored: left and right are exchanged
}

// view is a View and its colour shift.
type view struct {
	View
	shift [3]float32
}

// rescaled returns the view of a w×h image rescaled to scale s. The caller
// sets the crop's corner.
func (l *Loader) rescaled(w, h, s int) view {
	v := View{ImageW: w, ImageH: h, Side: l.crop()}
	v.W, v.H = l.Spec.Fit.Size(w, h, s)
	return view{View: v}
}

// augment draws the training view of a w×h image. Every number is drawn, in one
// order, whether it is used or not: so a setting doesn't change what others draw.
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

// centre returns the evaluation view of a w×h image.
func (l *Loader) centre(w, h int) view {
	c := l.Spec.CentreWindow(w, h, l.testScale(), l.crop())
	return view{View: View{ImageW: w, ImageH: h, W: c.W, H: c.H, X: c.X, Y: c.Y, Side: c.Side}}
}

// CentralView returns the view of image i that evaluation has, without decoding the image.
func (l *Loader) CentralView(i int) (View, error) {
	data, err := l.Data.Read(i)
	if err != nil {
		return View{}, err
	}
	w, h, err := preprocess.Size(data)
	if err != nil {
		return View{}, err
	}
	orientation := l.Spec.Orient.Orientation(data)
	v := l.centre(preprocess.TurnSize(w, h, orientation))
	v.Orientation = orientation
	return v.View, nil
}

// preparer turns samples into network input. Each worker has its own.
type preparer struct {
	loader  *Loader
	view    int // of the epoch
	random  stream
	resizer preprocess.Resizer
	crop    preprocess.Image
}

// prepare writes sample i into dst, (3,Crop,Crop), and returns its view.
func (p *preparer) prepare(ctx context.Context, dst []float32, i int) (View, error) {
	l := p.loader
	im, err := l.decode(ctx, i)
	if err != nil {
		return View{}, err
	}
	defer im.Release()
	var v view
	if l.Train {
		v = l.augment(im.W, im.H, p.random.start(l.Seed, useAugment, uint64(p.view), uint64(i)))
	} else {
		v = l.centre(im.W, im.H)
	}
	v.Orientation = im.Orientation
	if err := p.resizer.ResizeRegion(&p.crop, im.Image, v.W, v.H, l.Spec.Filter, v.X, v.Y, v.X+v.Side, v.Y+v.Side); err != nil {
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
// the cache are shared and must not be changed.
func (l *Loader) decode(ctx context.Context, i int) (Decoded, error) {
	if im := l.decoded.get(i); im.Image != nil {
		return im, nil
	}
	o := DecodeOptions{DecodeOptions: preprocess.DecodeOptions{Orient: l.Spec.Orient, MaxPixels: l.MaxPixels}, Room: l.Room}
	im, err := l.Data.Decode(ctx, i, o)
	if err != nil {
		return im, err
	}
	l.decoded.put(i, im, l.cacheBytes())
	return im, nil
}

// noneReadable is the error of a dataset of bad images, of which it wraps the first.
func noneReadable(d *Dataset, first int, err error) error {
	return fmt.Errorf("dataset: %s: none of %d images is readable; the first: %w",
		d.Name, d.Len(), &BadImage{Name: d.Samples[first].Name, Index: first, Err: err})
}
