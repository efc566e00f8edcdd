package localize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/prefetch"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// EvalOptions chooses how localisation is measured. The zero value is the command line's
// default, without a result file.
type EvalOptions struct {
	// Protocol is [eval.Centre], the paper's first (§A.1), [eval.Dense], its second (§A.2), or
	// [eval.MultiCrop], the second with crops in place of dense windows.
	Protocol eval.Protocol
	// Resources: Workers decode images, within a quarter of Memory, which then go through the
	// networks one by one. There are no batches and ranks: Batch and Ranks must be 0.
	resources.Resources

	// Out, if set, is the result file: the run skips the images that it holds and adds the
	// others as they are done. RunID names the networks and how they are run; a file with
	// another RunID is an [*OtherRunError].
	Out, RunID string
	// Verify compares the contents of all images with what Out says of them, whatever their
	// times. Without it, those of the images whose time of change is another. Images that changed
	// are located again, and OnRemark hears how many.
	Verify bool

	// Shard is the part of the set to locate; zero: all. Images without a box of their class
	// don't count in it.
	Shard eval.Shard

	// OnImage is told the images that are done, readable or not.
	OnImage progress.Func
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
	dataset.Version
}

// topClasses is the number of classes that an answer may name (ILSVRC).
const topClasses = 5

// Evaluate measures the localisation error of networks on images whose boxes have been read.
// Every image with a box of its own class counts exactly once: as located, as missed, or as
// unreadable. The others are left out, and their number is reported.
//
// These errors are told apart: [vgg.ErrNotLocaliser] of a network that gives no boxes, a
// [*vgg.LocaliserError] or [vgg.ErrHeadless] of a classifier that gives no classes,
// [vgg.ErrNotFinite], and of o.Out a [*HeldError], an [*OtherRunError] and a [*FormatError].
func Evaluate(ctx context.Context, l *Locator, data *dataset.Dataset, o EvalOptions) (*Result, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	if err := o.validate(l); err != nil {
		return nil, err
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
	switch s := o.Shard; {
	case s == eval.Shard{Index: 1, Count: 1}:
		o.Shard = eval.Shard{}
	case s != eval.Shard{} && (s.Index < 1 || s.Index > s.Count):
		return nil, fmt.Errorf("localize: shard %v, want 1/n to n/n", s)
	case s.Index > boxed.Len():
		return nil, fmt.Errorf("localize: shard %v of %d images is empty, want fewer shards", s, boxed.Len())
	}
	e := &evaluation{l: l, o: o, boxed: boxed, labels: labels, records: make([]*Record, boxed.Len())}
	if o.Out != "" {
		if err := e.open(ctx); err != nil {
			return nil, err
		}
		defer e.file.close()
	}
	if err := e.run(ctx); err != nil {
		return nil, err
	}
	done := slices.DeleteFunc(slices.Clone(e.records), func(r *Record) bool { return r == nil }) // of other shards
	return l.result(data, done, left, labels, o.Protocol)
}

// evaluation is one run of [Evaluate].
type evaluation struct {
	l       *Locator
	o       EvalOptions
	boxed   *dataset.Dataset // the images with a box of their own class
	labels  []int            // index of the network's class for each of the set's
	records []*Record        // by image of boxed; nil: not done
	file    *resultFile      // nil: there is none
	follows *dataset.Versions
	grey16  sync.Once
}

// open opens the result file and takes over the records that it holds.
func (e *evaluation) open(ctx context.Context) error {
	fingerprint, err := dataset.Fingerprint(ctx, e.boxed)
	if err != nil {
		return err
	}
	h := resultHeader{
		Format: resultFormat, Run: e.o.RunID, Protocol: e.o.Protocol, Data: e.boxed.Name, Fingerprint: fingerprint,
		Shard: e.o.Shard, Boxes: boxesHash(e.boxed), Images: e.boxed.Len(), Classes: len(e.l.Classes()), Orient: e.l.Orient(), Fit: e.l.fit(),
	}
	if err := h.keepOrientation(ctx, e.o.Out, e.boxed); err != nil {
		return err
	}
	if e.file, err = openResults(ctx, e.o.Out, h, e.records); err != nil {
		return err
	}
	if err := e.forgetChanged(ctx); err != nil {
		e.file.close()
		return err
	}
	return nil
}

// forgetChanged drops the records of images that have changed since.
func (e *evaluation) forgetChanged(ctx context.Context) (err error) {
	if e.follows, err = dataset.NewVersions(ctx, e.boxed); err != nil {
		return err
	}
	var held []int
	for i, r := range e.records {
		if r != nil {
			held = append(held, i)
		}
	}
	changed, err := e.follows.Changed(ctx, held, func(i int) dataset.Version { return e.records[i].Version }, e.o.Verify)
	if err != nil {
		return err
	}
	for _, i := range changed {
		e.records[i] = nil
	}
	if len(changed) > 0 && e.o.OnRemark != nil {
		e.o.OnRemark(e.follows.Remark(len(changed), e.o.Out, "evaluated again"))
	}
	return nil
}

// run makes the records that are left.
func (e *evaluation) run(ctx context.Context) error {
	var todo []int
	for i, r := range e.records {
		if r == nil && (e.o.Shard.Count == 0 || i%e.o.Shard.Count == e.o.Shard.Index-1) {
			todo = append(todo, i)
		}
	}
	all := e.o.Shard.Images(len(e.records))
	done := all - len(todo)
	decode := dataset.DecodeOptions{
		DecodeOptions: preprocess.DecodeOptions{Orient: e.l.Orient(), MaxPixels: e.o.MaxPixels}, Room: e.o.DecodeRoom(),
		OnHeader: func(h preprocess.Header) {
			if h.Grey16 && e.o.OnRemark != nil {
				e.grey16.Do(func() { e.o.OnRemark(preprocess.Grey16Remark) })
			}
		},
	}
	defer e.boxed.Ahead(ctx, todo)()
	for im := range prefetch.Ordered(ctx, slices.Values(todo), e.o.AllWorkers(), func(ctx context.Context, i int) decoded { return decodeImage(ctx, e.boxed, i, decode) }) {
		if err := e.add(ctx, im); err != nil {
			return err
		}
		done++
		e.o.OnImage.Report(int64(done), int64(all))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e.file != nil {
		return e.file.sync()
	}
	return nil
}

// add makes the record of an image. It is an error if the network is broken, ctx is done or
// the record can't be written; an unreadable image is none.
func (e *evaluation) add(ctx context.Context, im decoded) error {
	s := e.boxed.Samples[im.index]
	r := &Record{Image: im.index, File: s.Name, Label: e.labels[s.Label], Truths: truths(s)}
	err := im.err
	if err == nil {
		r.Truths = turn(r.Truths, im.image.W, im.image.H, im.orientation)
		err = e.l.record(ctx, r, im.image, e.o.Protocol)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case dataset.Environment(ctx, err):
		return err
	case errors.Is(err, vgg.ErrNotFinite), errors.Is(err, nn.ErrDevice):
		return fmt.Errorf("localize: %s: %w", s.Name, err)
	case err != nil:
		r.Error = err.Error()
	}
	if e.file != nil {
		if r.Error == "" {
			r.Version = e.follows.Of(im.index)
		}
		if err := e.file.add(r); err != nil {
			return err
		}
	}
	e.records[im.index] = r
	return nil
}

// validate returns an error for options that an evaluation by l can't heed.
func (o EvalOptions) validate(l *Locator) error {
	if err := o.Resources.Validate("localize"); err != nil {
		return err
	}
	switch {
	case o.Batch > 0 || o.Ranks > 0:
		return fmt.Errorf("localize: batch %d, ranks %d, want 0: images go through the networks one by one", o.Batch, o.Ranks)
	case !slices.Contains([]eval.Protocol{eval.Centre, eval.Dense, eval.MultiCrop}, o.Protocol):
		return fmt.Errorf("localize: protocol %v, want centre, dense or multi-crop", o.Protocol)
	case o.Protocol == eval.Centre && (len(l.Nets) > 1 || len(l.Nets[0].Scales) > 1):
		return errors.New("localize: several networks or scales with the centre protocol, want one of each, or the dense protocol")
	}
	return nil
}

// record locates the object of an image.
func (l *Locator) record(ctx context.Context, r *Record, im *preprocess.Image, p eval.Protocol) error {
	r.W, r.H = im.W, im.H
	if p == eval.Centre {
		found, err := l.Centre(ctx, im)
		if err != nil {
			return err
		}
		r.Given = found[r.Label].Box
	} else {
		run := l.Dense
		if p == eval.MultiCrop {
			run = l.MultiCrop
		}
		a, err := run(ctx, im)
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
func decodeImage(ctx context.Context, d *dataset.Dataset, i int, o dataset.DecodeOptions) decoded {
	im, err := d.Decode(ctx, i, o)
	if err != nil {
		return decoded{index: i, err: err}
	}
	// The images wait for their turn in order. One that kept its room could keep an earlier
	// one from being decoded.
	im.Release()
	return decoded{i, im.Image, im.Orientation, nil}
}

// wilson returns the 95 % confidence interval of a share.
func wilson(wrong, n int) [2]float64 {
	low, high := metrics.Wilson(wrong, n)
	return [2]float64{low, high}
}
