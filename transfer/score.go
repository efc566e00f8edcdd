package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/metrics"
)

// Score is the result of a classifier on test images. A value that doesn't apply is NaN, which
// is null in JSON.
type Score struct {
	Images int
	// MeanClassRecall and Top1Error are for images with one class each.
	MeanClassRecall float64
	Top1Error       float64
	// MeanAP is for images with several classes: the mean over the classes of the average
	// precision, by each of its definitions. An image doesn't count for a class that is marked
	// difficult in it.
	MeanAP  map[metrics.APForm]float64
	Classes []ClassScore
	// Confusions are the pairs of classes of which the one was taken for the other, the most
	// often confused first, for images with one class each.
	Confusions []eval.Confusion
	multi      bool
}

// jsonConfusions is the number of pairs of classes that JSON lists, as that of package eval.
var jsonConfusions = eval.DefaultOptions().Confusions

// ClassScore is the score of one class.
type ClassScore struct {
	Class  string
	Images int // test images that show it
	Recall float64
	// ConfusedWith is the class most often predicted in its place; "" for none.
	ConfusedWith string
	AP           map[metrics.APForm]float64
}

// MarshalJSON leaves out values that don't apply.
func (s Score) MarshalJSON() ([]byte, error) {
	m := map[string]any{"images": s.Images, "classes": s.Classes}
	if s.multi {
		m["mean_ap"] = s.MeanAP
	} else {
		m["mean_class_recall"], m["top1_error"] = metrics.OrNil(s.MeanClassRecall), metrics.OrNil(s.Top1Error)
		m["confusions"] = append([]eval.Confusion{}, s.Confusions[:min(jsonConfusions, len(s.Confusions))]...)
	}
	return json.Marshal(m)
}

// MarshalJSON leaves out values that don't apply.
func (c ClassScore) MarshalJSON() ([]byte, error) {
	m := map[string]any{"class": c.Class, "images": c.Images}
	if c.AP != nil {
		ap := map[metrics.APForm]*float64{}
		for f, v := range c.AP {
			ap[f] = metrics.OrNil(v)
		}
		m["ap"] = ap
	} else {
		m["recall"] = metrics.OrNil(c.Recall)
		if c.ConfusedWith != "" {
			m["confused_with"] = c.ConfusedWith
		}
	}
	return json.Marshal(m)
}

// Multi reports whether the images may show several classes.
func (s Score) Multi() bool { return s.multi }

// value returns the value that C is chosen by.
func (s Score) value() float64 {
	if s.multi {
		return s.MeanAP[metrics.Area]
	}
	return s.MeanClassRecall
}

// Evaluate tests the classifier on rows of d, whose descriptors are x (Len × Header.Dim).
func (s *SVM) Evaluate(ctx context.Context, d *Descriptors, x []float32, rows []int) (*Score, error) {
	if err := s.check(d); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("transfer: %s: no images to test on, want some", d.Header.Data.Name)
	}
	k, dim := len(s.Info.Classes), d.Header.Dim
	scores := make([]float32, len(rows)*k)
	for i, r := range rows {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.score(scores[i*k:(i+1)*k], x[r*dim:(r+1)*dim])
	}
	return scoreOf(d, rows, scores), nil
}

func oneScore(d *Descriptors, rows []int, scores []float32) *Score {
	names := d.Header.Data.Classes
	k := len(names)
	c := metrics.NewConfusion(k)
	for i, r := range rows {
		c.Add(d.Rows[r].Labels[0], metrics.TopK(scores[i*k:(i+1)*k], 1)[0])
	}
	s := &Score{Images: len(rows), MeanClassRecall: c.MeanClassRecall(), Top1Error: c.Error()}
	confused := c.MostConfused()
	for class, wrong := range c.PerClassError() {
		of := ClassScore{Class: names[class], Images: c.Images(class), Recall: 1 - wrong}
		if with := confused[class].Predicted; with >= 0 {
			of.ConfusedWith = names[with]
		}
		s.Classes = append(s.Classes, of)
	}
	for _, m := range c.Mistakes(len(rows)) {
		s.Confusions = append(s.Confusions, eval.Confusion{Truth: names[m.Truth], Predicted: names[m.Predicted], Images: m.Count})
	}
	return s
}

func multiScore(d *Descriptors, rows []int, scores []float32) *Score {
	k := len(d.Header.Data.Classes)
	target := d.targets()
	s := &Score{Images: len(rows), MeanAP: map[metrics.APForm]float64{}, MeanClassRecall: math.NaN(), Top1Error: math.NaN(), multi: true}
	counted := 0
	for class, name := range d.Header.Data.Classes {
		var of []float32
		var positive []bool
		c := ClassScore{Class: name, AP: map[metrics.APForm]float64{}, Recall: math.NaN()}
		for i, r := range rows {
			if y := target(r, class); y != 0 {
				of, positive = append(of, scores[i*k+class]), append(positive, y > 0)
				c.Images += int(y+1) / 2
			}
		}
		for _, form := range metrics.APForms() {
			c.AP[form] = metrics.AveragePrecision(of, positive, form)
			if c.Images > 0 {
				s.MeanAP[form] += c.AP[form]
			}
		}
		if c.Images > 0 {
			counted++
		}
		s.Classes = append(s.Classes, c)
	}
	for form := range s.MeanAP {
		s.MeanAP[form] /= float64(counted)
	}
	return s
}
