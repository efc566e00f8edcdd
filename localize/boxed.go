package localize

import (
	"context"
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/prefetch"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
)

// Boxed returns d, whose boxes have been read, without the images that have no box of their
// own class, apart from boxes marked difficult. left is the number of images left out. It is
// an error if no image remains, and if an image has several labels.
func Boxed(d *dataset.Dataset) (boxed *dataset.Dataset, left int, err error) {
	if d.MultiLabel {
		return nil, 0, fmt.Errorf("localize: %s: several labels an image, want one class an image, whose boxes count", d.Name)
	}
	boxed = d.Select(func(s dataset.Sample) bool { return len(truths(s)) > 0 })
	if boxed.Len() == 0 {
		return nil, d.Len(), fmt.Errorf("localize: %s: none of %d images has a box of its class", d.Name, d.Len())
	}
	return boxed, d.Len() - boxed.Len(), nil
}

// meanImages is the most images over which mean boxes are computed, spread evenly.
const meanImages = 50_000

// MeanBoxes returns a localisation network's description with the mean box of all of d's
// images and of each class's. Every box counts once. A class without images has the mean of
// all. It reads the sizes of the images, of large sets those of 50,000 images spread evenly, and
// turns them as the network wants them.
// Unreadable images don't count; it is an error if none is readable. onImage is told the images
// that are done.
func MeanBoxes(ctx context.Context, d *dataset.Dataset, r vgg.Regression, orient preprocess.Orient, workers int, onImage progress.Func) (vgg.Localisation, error) {
	head := vgg.Localisation{Regression: r, ClassBoxes: make([][4]float64, len(d.Classes))}
	sizes, err := turnedSizes(ctx, d, orient, workers, onImage)
	if err != nil {
		return head, err
	}
	var all mean
	of := make([]mean, len(d.Classes))
	for _, size := range sizes {
		s := d.Samples[size.image]
		w, h := float64(size.w), float64(size.h)
		for _, b := range turn(truths(s), size.w, size.h, size.orientation) {
			share := corners{b[0] / w, b[1] / h, b[2] / w, b[3] / h}
			all.add(share)
			of[s.Label].add(share)
		}
	}
	if all.n == 0 {
		return head, fmt.Errorf("localize: %s: no boxes", d.Name)
	}
	head.MeanBox = all.box()
	for c := range of {
		head.ClassBoxes[c] = head.MeanBox
		if of[c].n > 0 {
			head.ClassBoxes[c] = of[c].box()
		}
	}
	return head, nil
}

// MeanBoxResult returns the error and the mean intersection over union on d's images of the mean
// boxes that head has: with PCR of that of each image's class. It is what can be known of boxes
// without a look at the images. It reads the sizes of the images as [MeanBoxes] does.
func MeanBoxResult(ctx context.Context, d *dataset.Dataset, head vgg.Localisation, orient preprocess.Orient, workers int) (Baseline, error) {
	sizes, err := turnedSizes(ctx, d, orient, workers, nil)
	if err != nil {
		return Baseline{}, err
	}
	var t tally
	for _, size := range sizes {
		s := d.Samples[size.image]
		share := head.MeanBox
		if head.Regression == vgg.PCR {
			share = head.ClassBoxes[s.Label]
		}
		w, h := float64(size.w), float64(size.h)
		t.add(bestIoU(corners{share[0] * w, share[1] * h, share[2] * w, share[3] * h}, turn(truths(s), size.w, size.h, size.orientation)))
	}
	return Baseline{"mean box", t.error(), t.mean()}, nil
}

// turnedSizes returns the sizes of d's images, of large sets those of 50,000 images spread
// evenly. Unreadable images are left out; it is an error if none is readable.
func turnedSizes(ctx context.Context, d *dataset.Dataset, orient preprocess.Orient, workers int, onImage progress.Func) ([]turnedSize, error) {
	step := (d.Len() + meanImages - 1) / meanImages
	total := (d.Len() + step - 1) / step
	sizes, errs := make([]turnedSize, total), make([]error, total)
	picked := make([]int, total)
	for k := range picked {
		picked[k] = k
	}
	counter := progress.NewCounter(onImage, int64(total))
	for range prefetch.Unordered(ctx, prefetch.List(picked), workers, func(_ context.Context, k int) int {
		sizes[k], errs[k] = sizeOf(d, k*step, orient)
		return k
	}) {
		counter.Add(1)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var readable []turnedSize
	for k, err := range errs {
		switch {
		case dataset.Environment(ctx, err):
			return nil, err
		case err == nil:
			readable = append(readable, sizes[k])
		case k == total-1 && len(readable) == 0:
			return nil, fmt.Errorf("localize: %s: none of %d images is readable; one of them: %s: %w", d.Name, total, d.Samples[k*step].Name, err)
		}
	}
	return readable, nil
}

// turnedSize is the size of an image after it is turned by its EXIF orientation.
type turnedSize struct{ image, w, h, orientation int }

// sizeOf returns the size of image i, turned as the network wants it.
func sizeOf(d *dataset.Dataset, i int, o preprocess.Orient) (turnedSize, error) {
	data, err := d.Read(i)
	if err != nil {
		return turnedSize{}, err
	}
	w, h, err := preprocess.Size(data)
	if err != nil {
		return turnedSize{}, err
	}
	orientation := o.Orientation(data)
	w, h = preprocess.TurnSize(w, h, orientation)
	return turnedSize{i, w, h, orientation}, nil
}

// mean computes the mean of boxes.
type mean struct {
	sum corners
	n   int
}

func (m *mean) add(b corners) {
	m.n++
	for i, x := range b {
		m.sum[i] += x
	}
}

func (m *mean) box() corners {
	b := m.sum
	for i := range b {
		b[i] /= float64(m.n)
	}
	return b
}
