package localize

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/prefetch"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/preprocess"
)

// EvalOptions chooses how localisation is measured.
type EvalOptions struct {
	// Protocol is [eval.Centre], the paper's first (§A.1), [eval.Dense], its second (§A.2), or
	// [eval.MultiCrop], the second with crops in place of dense windows.
	Protocol eval.Protocol
	Workers  int // images decoded at once; 0: runtime.GOMAXPROCS

	// Out, if set, is the result file: the run skips the images that it holds and adds the
	// others as they are done. RunID names the networks and how they are run; a file with
	// another RunID is an [*OtherRunError].
	Out, RunID string

	// OnImage, if set, is told how many images are done, readable or not.
	OnImage func(done, total int)
}

// Record is the result for one image. Its JSON keys are those of the lines of a result file.
// Size and boxes are those of the image as the networks see it: where they want images upright,
// the true boxes are turned with the image, whose annotations are of the stored pixels.
type Record struct {
	Image  int          `json:"image"` // index in the set
	File   string       `json:"file"`
	Label  int          `json:"label"` // index of the class in the network
	W      int          `json:"width,omitempty"`
	H      int          `json:"height,omitempty"`
	Truths [][4]float64 `json:"truths,omitempty"` // of the image's class
	// Given is the predicted box for the image's own class.
	Given    [4]float64  `json:"given"`
	GivenIoU float64     `json:"given_iou"`
	Top      []Detection `json:"top,omitempty"` // dense with classifiers: up to five classes, best first
	Error    string      `json:"error,omitempty"`
}

// topClasses is the number of classes that an answer may name (ILSVRC).
const topClasses = 5

// Evaluate measures the localisation error of networks on images whose boxes have been read.
// Every image with a box of its own class counts exactly once: as located, as missed, or as
// unreadable. The others are left out, and their number is reported.
//
// If another run is writing o.Out, the error is a [*HeldError].
func Evaluate(ctx context.Context, l *Locator, data *dataset.Dataset, o EvalOptions) (*Result, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	if !slices.Contains([]eval.Protocol{eval.Centre, eval.Dense, eval.MultiCrop}, o.Protocol) {
		return nil, fmt.Errorf("localize: protocol %v, want centre, dense or multi-crop", o.Protocol)
	}
	if o.Protocol == eval.Centre && (len(l.Nets) > 1 || len(l.Nets[0].Scales) > 1) {
		return nil, errors.New("localize: several networks or scales with the centre protocol, want one of each, or the dense protocol")
	}
	if o.Protocol == eval.MultiCrop {
		if err := l.checkCrops(); err != nil {
			return nil, err
		}
	}
	labels, err := eval.MatchClasses(l.Nets[0].Model, data)
	if err != nil {
		return nil, err
	}
	boxed, left, err := Boxed(data)
	if err != nil {
		return nil, err
	}
	records := make([]*Record, boxed.Len())
	var file *resultFile
	if o.Out != "" {
		print, err := dataset.Fingerprint(ctx, boxed)
		if err != nil {
			return nil, err
		}
		h := resultHeader{Format: resultFormat, Run: o.RunID, Protocol: o.Protocol, Data: data.Name, Fingerprint: print, Boxes: boxesHash(boxed), Images: boxed.Len(), Classes: len(l.Classes()), Orient: l.Orient(), Fit: l.fit()}
		if err := h.keepOrientation(ctx, o.Out, boxed); err != nil {
			return nil, err
		}
		if file, err = openResults(o.Out, h, records); err != nil {
			return nil, err
		}
		defer file.close()
	}
	done := 0
	var todo []int
	for i, r := range records {
		if r == nil {
			todo = append(todo, i)
		} else {
			done++
		}
	}
	for im := range prefetch.Ordered(ctx, todo, o.workers(), func(_ context.Context, i int) decoded { return decodeImage(boxed, i, l.Orient()) }) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s := boxed.Samples[im.index]
		r := &Record{Image: im.index, File: s.Name, Label: labels[s.Label], Truths: truths(s)}
		err := im.err
		if err == nil {
			r.Truths = turn(r.Truths, im.image.W, im.image.H, im.orientation)
			err = l.record(r, im.image, o.Protocol)
		}
		if errors.Is(err, errNotFinite) {
			return nil, fmt.Errorf("localize: %s: %w", s.Name, err)
		}
		if err != nil {
			r.Error = err.Error()
		}
		if file != nil {
			if err := file.add(r); err != nil {
				return nil, err
			}
		}
		records[im.index] = r
		done++
		if o.OnImage != nil {
			o.OnImage(done, len(records))
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if file != nil {
		if err := file.sync(); err != nil {
			return nil, err
		}
	}
	return l.result(data, records, left, labels, o.Protocol)
}

func (o EvalOptions) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// errNotFinite is the error for broken weights.
var errNotFinite = errors.New("the network's outputs are not finite")

// record locates the object of an image.
func (l *Locator) record(r *Record, im *preprocess.Image, p eval.Protocol) error {
	r.W, r.H = im.W, im.H
	if p == eval.Centre {
		found, err := l.Centre(im)
		if err != nil {
			return err
		}
		r.Given = found[r.Label].Box
	} else {
		run := l.Dense
		if p == eval.MultiCrop {
			run = l.MultiCrop
		}
		a, err := run(im)
		if err != nil {
			return err
		}
		if b := a.Boxes(r.Label); len(b) > 0 {
			r.Given = b[0].Box
		}
		if a.Posterior != nil {
			r.Top = a.Top(topClasses)
		}
	}
	r.GivenIoU = bestIoU(r.Given, r.Truths)
	return nil
}

// topIoU returns the largest intersection over union with a true box among those of the
// first k detections that have the right class; −1 if none has.
func (r *Record) topIoU(k int) float64 {
	best := -1.0
	for _, d := range r.Top[:min(k, len(r.Top))] {
		if d.Class == r.Label {
			best = max(best, bestIoU(d.Box, r.Truths))
		}
	}
	return best
}

// share returns the area of the largest true box as a share of the area of the image.
func (r *Record) share() float64 {
	most := 0.0
	for _, b := range r.Truths {
		most = max(most, area(clip(b, float64(r.W), float64(r.H))))
	}
	return most / float64(r.W*r.H)
}

// decoded is an image, or the error that kept it from being decoded.
type decoded struct {
	index       int
	image       *preprocess.Image // turned by its orientation
	orientation int
	err         error
}

// decodeImage reads and decodes an image.
func decodeImage(d *dataset.Dataset, i int, o preprocess.Orient) decoded {
	im := decoded{index: i}
	var data []byte
	if data, im.err = d.Read(i); im.err != nil {
		return im
	}
	if im.image, im.err = preprocess.Decode(data, preprocess.DecodeOptions{}); im.err == nil {
		im.orientation = o.Orientation(data)
		im.image = preprocess.Turn(im.image, im.orientation)
	}
	return im
}

// wilson returns the 95 % confidence interval of a share.
func wilson(wrong, n int) [2]float64 {
	low, high := metrics.Wilson(wrong, n)
	return [2]float64{low, high}
}
