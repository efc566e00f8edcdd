package localize

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/metrics"
)

// Result is the result of an evaluation. Its JSON keys are those of
// `vgg localize eval --json`. A box is right if its intersection over union with a true box of
// the image's class is above one half. Errors are fractions.
type Result struct {
	Data       string        `json:"data"`
	Protocol   eval.Protocol `json:"protocol"`
	Images     int           `json:"images"` // evaluated
	Unreadable int           `json:"unreadable"`
	Without    int           `json:"without_box"` // images without a box of their class, left out

	// Error is the share of images whose box for their own class is wrong.
	Error   float64    `json:"gt_class_error"`
	Range   [2]float64 `json:"gt_class_interval"` // 95 % confidence interval (Wilson)
	MeanIoU float64    `json:"mean_iou"`

	// Top1 and Top5 are nil without classifiers, and with the centre protocol.
	Top1 *TopError `json:"top1"`
	Top5 *TopError `json:"top5"`

	Baselines []Baseline         `json:"baselines"`
	Classes   []ClassError       `json:"classes"` // in the set's order
	Sizes     []SizeError        `json:"sizes"`   // by the share of the image that the largest true box covers
	Bad       []dataset.BadImage `json:"unreadable_images"`

	Records []*Record `json:"-"` // of all images, in the set's order
}

// TopError is the error of answers with one or five classes, each with a box.
type TopError struct {
	Error      float64    `json:"localisation_error"` // share of images without the right class and a right box for it
	Range      [2]float64 `json:"localisation_interval"`
	ClassError float64    `json:"classification_error"` // share of images without the right class
}

// Baseline is the result of a rule that looks at no pixels.
type Baseline struct {
	Name    string  `json:"name"`
	Error   float64 `json:"gt_class_error"`
	MeanIoU float64 `json:"mean_iou"`
}

// ClassError is the result for the images of one class. Without images it is NaN, which is
// null in JSON.
type ClassError struct {
	Class   string  `json:"class"`
	Images  int     `json:"images"`
	Error   float64 `json:"gt_class_error"`
	MeanIoU float64 `json:"mean_iou"`
}

// SizeError is the result for the images of whose area the largest true box covers a share of
// From to To.
type SizeError struct {
	From    float64 `json:"from"`
	To      float64 `json:"to"`
	Images  int     `json:"images"`
	Error   float64 `json:"gt_class_error"`
	MeanIoU float64 `json:"mean_iou"`
}

// MarshalJSON writes NaN as null.
func (c ClassError) MarshalJSON() ([]byte, error) {
	type plain ClassError
	return json.Marshal(struct {
		plain
		Error   *float64 `json:"gt_class_error"`
		MeanIoU *float64 `json:"mean_iou"`
	}{plain(c), metrics.OrNil(c.Error), metrics.OrNil(c.MeanIoU)})
}

// MarshalJSON writes NaN as null.
func (s SizeError) MarshalJSON() ([]byte, error) {
	type plain SizeError
	return json.Marshal(struct {
		plain
		Error   *float64 `json:"gt_class_error"`
		MeanIoU *float64 `json:"mean_iou"`
	}{plain(s), metrics.OrNil(s.Error), metrics.OrNil(s.MeanIoU)})
}

// sizeBounds are the bounds of the shares in [SizeError].
var sizeBounds = []float64{0, 0.1, 0.25, 0.5, 0.75, 1}

// sizeBin returns the range of [sizeBounds] that a share is in.
func sizeBin(share float64) int {
	bin := 0
	for bin < len(sizeBounds)-2 && share >= sizeBounds[bin+1] {
		bin++
	}
	return bin
}

// tally counts wrong boxes and adds up intersections over union.
type tally struct {
	n, missed int
	iou       float64
}

func (t *tally) add(iou float64) {
	t.n++
	t.iou += iou
	if !metrics.Located(iou) {
		t.missed++
	}
}

func (t *tally) error() float64 { return float64(t.missed) / float64(t.n) } // NaN of none
func (t *tally) mean() float64  { return t.iou / float64(t.n) }

// result computes the result from the records of all images.
func (l *Locator) result(data *dataset.Dataset, records []*Record, left int, labels []int, p eval.Protocol) (*Result, error) {
	r := &Result{Data: data.Name, Protocol: p, Without: left, Records: records, Bad: []dataset.BadImage{}}
	head := l.Nets[0].Model.Localisation
	baselines := []struct {
		name string
		box  func(label int) [4]float64
	}{
		{"whole image", func(int) [4]float64 { return [4]float64{0, 0, 1, 1} }},
		{"mean box", func(int) [4]float64 { return head.MeanBox }},
		{"mean box of the class", func(label int) [4]float64 { return head.ClassBoxes[label] }},
	}
	var all tally
	classes, sizes, rules := make([]tally, len(l.Classes())), make([]tally, len(sizeBounds)-1), make([]tally, len(baselines))
	// Images whose first k classes don't have the right one with a right box; the right one.
	var wrongBox, wrongClass [topClasses + 1]int
	for _, rec := range records {
		if rec.Error != "" {
			r.Bad = append(r.Bad, dataset.BadImage{Name: rec.File, Index: -1, Err: errors.New(rec.Error)})
			continue
		}
		all.add(rec.GivenIoU)
		classes[rec.Label].add(rec.GivenIoU)
		sizes[sizeBin(rec.share())].add(rec.GivenIoU)
		for i, b := range baselines {
			share := b.box(rec.Label)
			w, h := float64(rec.W), float64(rec.H)
			rules[i].add(bestIoU(corners{share[0] * w, share[1] * h, share[2] * w, share[3] * h}, rec.Truths))
		}
		for _, k := range []int{1, topClasses} {
			iou := rec.topIoU(k)
			if !metrics.Located(iou) {
				wrongBox[k]++
			}
			if iou < 0 {
				wrongClass[k]++
			}
		}
	}
	r.Images, r.Unreadable = all.n, len(r.Bad)
	if all.n == 0 {
		return nil, fmt.Errorf("localize: %s: none of %d images is readable; the first: %w", data.Name, len(r.Bad), &r.Bad[0])
	}
	r.Error, r.Range, r.MeanIoU = all.error(), wilson(all.missed, all.n), all.mean()
	if p != eval.Centre && len(l.Classifiers) > 0 {
		of := func(k int) *TopError {
			return &TopError{float64(wrongBox[k]) / float64(all.n), wilson(wrongBox[k], all.n), float64(wrongClass[k]) / float64(all.n)}
		}
		r.Top1, r.Top5 = of(1), of(topClasses)
	}
	for i, b := range baselines {
		r.Baselines = append(r.Baselines, Baseline{b.name, rules[i].error(), rules[i].mean()})
	}
	for i, c := range data.Classes {
		t := classes[labels[i]]
		r.Classes = append(r.Classes, ClassError{c, t.n, t.error(), t.mean()})
	}
	for i, t := range sizes {
		r.Sizes = append(r.Sizes, SizeError{sizeBounds[i], sizeBounds[i+1], t.n, t.error(), t.mean()})
	}
	return r, nil
}
