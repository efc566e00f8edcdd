package localize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// Net is a localisation network and the scales that it is run at.
type Net struct {
	Model  *vgg.Model
	Scales []int // smallest sides Q, pixels; empty: the one that the weights name
}

// UsedScales returns the scales that the network is run at.
func (n Net) UsedScales() []int {
	if len(n.Scales) == 0 {
		return []int{n.Model.Preprocess.Resize}
	}
	return n.Scales
}

// Locator finds the boxes of objects in images. Several goroutines may use one at once.
// Call [Locator.Check] once before: Centre and Dense assume that the networks go together.
type Locator struct {
	// Nets are the localisation networks, whose boxes are merged together (§A.2).
	Nets []Net
	// Classifiers rate the boxes by the mean of their posteriors. Their classes must be those
	// of the localisation networks, in any order. Without classifiers a box is rated by the
	// number of windows that it comes from, and an answer names no classes of its own.
	Classifiers []*vgg.Model
	// Threshold is the match score from which on two boxes are not merged; 0: [MergeThreshold].
	// With [NoMerge] no boxes are merged.
	Threshold float64
}

// UsedThreshold returns the match score from which on boxes are not merged: 0 with [NoMerge].
func (l *Locator) UsedThreshold() float64 {
	switch l.Threshold {
	case 0:
		return MergeThreshold
	case NoMerge:
		return 0
	}
	return l.Threshold
}

// Detection is a predicted box.
type Detection struct {
	Class   int        `json:"index"` // −1: no class in particular
	Box     [4]float64 `json:"box"`   // x0, y0, x1, y1 in pixels of the image
	Score   float64    `json:"score"` // see [Locator.Dense]
	Windows int        `json:"windows"`
}

// Answer is the result of the dense protocol for an image.
type Answer struct {
	// Posterior (K) is the mean over classifiers and scales of the dense posteriors of the
	// image; nil without classifiers.
	Posterior []float32
	windows   []window
	locator   *Locator
	merged    map[int][]merged // by class; with single-class regression all are under 0
}

// window is one position of a network's output map, and the part of the image that it sees.
type window struct {
	view      dataset.View
	outputs   []float32 // of the localisation network
	head      vgg.Regression
	posterior []float32 // of the classifiers; nil without
}

// Classes returns the names of the classes.
func (l *Locator) Classes() []string { return l.Nets[0].Model.Classes }

// Check returns an error if the networks can't be used together or a scale is too small.
func (l *Locator) Check() error {
	if l == nil || len(l.Nets) == 0 {
		return errors.New("localize: no localisation network, want at least one")
	}
	if !(l.Threshold >= 0) && l.Threshold != NoMerge {
		return fmt.Errorf("localize: merge threshold %v, want at least 0, or NoMerge", l.Threshold)
	}
	for i, n := range l.Nets {
		if n.Model == nil || n.Model.Net == nil {
			return fmt.Errorf("localize: network %d is nil", i+1)
		}
		if n.Model.Localisation == nil {
			return fmt.Errorf("localize: network %d is %w", i+1, vgg.ErrNotLocaliser)
		}
		if !sameClasses(n.Model.Classes, l.Classes()) {
			return fmt.Errorf("localize: network %d has other classes than the first", i+1)
		}
		if err := l.sameImages(n.Model); err != nil {
			return fmt.Errorf("localize: network %d: %w", i+1, err)
		}
		for _, q := range n.UsedScales() {
			if side := n.Model.Net.Options().Input; q < side {
				return fmt.Errorf("localize: scale %d, want at least the network's input side %d", q, side)
			}
		}
	}
	for i, c := range l.Classifiers {
		switch {
		case c == nil || c.Net == nil:
			return fmt.Errorf("localize: classifier %d is nil", i+1)
		case c.Localisation != nil:
			return fmt.Errorf("localize: classifier %d is %w", i+1, &vgg.LocaliserError{Regression: c.Localisation.Regression, Classes: len(c.Classes)})
		case c.Net.Options().Headless():
			return fmt.Errorf("localize: classifier %d: %w", i+1, vgg.ErrHeadless)
		case c.Net.Options().Posterior() == network.NoPosterior:
			return fmt.Errorf("localize: classifier %d: %w", i+1, vgg.ErrScores)
		}
		if l.order(c) == nil {
			return fmt.Errorf("localize: classifier %d has other classes than the localisation network: want the one that it was trained from", i+1)
		}
		if err := l.sameImages(c); err != nil {
			return fmt.Errorf("localize: classifier %d: %w", i+1, err)
		}
		for _, q := range l.Scales() {
			if side := c.Net.Options().Input; q < side {
				return fmt.Errorf("localize: scale %d, want at least the classifier's input side %d", q, side)
			}
		}
	}
	return nil
}

// checkCall returns an error if the networks can't be used together or im is no picture.
func (l *Locator) checkCall(im *preprocess.Image) error {
	if err := l.Check(); err != nil {
		return err
	}
	_, err := preprocess.FromImage(im)
	return err
}

// Orient tells which way up the networks want images.
func (l *Locator) Orient() preprocess.Orient { return l.Nets[0].Model.Preprocess.Orient }

func (l *Locator) fit() preprocess.Fit { return l.Nets[0].Model.Preprocess.Fit }

// sameImages returns an error if a network wants images another way up, or rescaled otherwise,
// than the first network: their windows then show different parts of the image.
func (l *Locator) sameImages(m *vgg.Model) error {
	switch p := m.Preprocess; {
	case p.Orient != l.Orient():
		return fmt.Errorf("orientation %v, want that of the first network, %v", p.Orient, l.Orient())
	case p.Fit != l.fit():
		return fmt.Errorf("images are rescaled by %v, want as for the first network, %v", p.Fit, l.fit())
	}
	return nil
}

// sameClasses reports whether a and b are the same classes in the same order. ImageNet's
// classes may have their names or their synsets.
func sameClasses(a, b []string) bool {
	return slices.Equal(canonical(a), canonical(b))
}

func canonical(classes []string) []string {
	if slices.Equal(classes, vgg.ImageNetClasses()) {
		return vgg.ImageNetSynsets()
	}
	return classes
}

// order returns the classifier's index of each class of the localisation networks; nil if
// the classifier has other classes.
func (l *Locator) order(c *vgg.Model) []int {
	known := canonical(c.Classes)
	if len(known) != len(l.Classes()) {
		return nil
	}
	order := make([]int, len(known))
	for i, name := range canonical(l.Classes()) {
		if order[i] = slices.Index(known, name); order[i] < 0 {
			return nil
		}
	}
	return order
}

// Scales returns the scales that the networks are run at (smallest sides, pixels), each once, in
// ascending order.
func (l *Locator) Scales() []int {
	var all []int
	for _, n := range l.Nets {
		all = append(all, n.UsedScales()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// SingleClass reports whether all networks give one box, whatever the class.
func (l *Locator) SingleClass() bool {
	return !slices.ContainsFunc(l.Nets, func(n Net) bool { return n.Model.Localisation.Regression != vgg.SCR })
}

// Centre is the first protocol of the paper (§A.1): the first network sees the central crop
// at its first scale. It returns one box for each class, cut to the image; with single-class
// regression they are the same. Every score is 1.
func (l *Locator) Centre(ctx context.Context, im *preprocess.Image) ([]Detection, error) {
	if err := l.checkCall(im); err != nil {
		return nil, err
	}
	n := l.Nets[0]
	m := n.Model
	side := m.Net.Options().Input
	c := m.Preprocess.CentreWindow(im.W, im.H, n.UsedScales()[0], side)
	v := dataset.View{ImageW: im.W, ImageH: im.H, W: c.W, H: c.H, X: c.X, Y: c.Y, Side: side}
	crop, err := c.Cut(im, m.Preprocess.Filter)
	if err != nil {
		return nil, err
	}
	x := tensor.New(1, 3, side, side)
	m.Preprocess.Tensor(x.Data, crop, [3]float32{})
	y := tensor.New(1, m.Localisation.Regression.Outputs(len(m.Classes)), 1, 1)
	if err := m.Net.ForwardContext(ctx, y, x); err != nil {
		return nil, err
	}
	if !tensor.Finite(y.Data) {
		return nil, vgg.ErrNotFinite
	}
	var found []Detection
	for class := range m.Classes {
		at := slot(m.Localisation.Regression, class)
		found = append(found, Detection{Class: class, Box: predicted(v, y.Data[at:at+4]), Score: 1, Windows: 1})
	}
	return found, nil
}

// Dense is the second protocol of the paper (§A.2), up to the part that depends on the class.
// Every network runs densely over the whole image at each of its scales. Every position of the
// output map whose window lies in the image gives a box relative to that window. The
// classifiers run in the same way.
//
// The score of a box for a class is the sum of the classifiers' posteriors of that class in
// the windows that the box comes from. A classifier with another input size has its windows at
// other positions; the one whose centre is nearest counts.
func (l *Locator) Dense(ctx context.Context, im *preprocess.Image) (*Answer, error) {
	if err := l.checkCall(im); err != nil {
		return nil, err
	}
	a := &Answer{locator: l, merged: map[int][]merged{}}
	var maps [][]eval.ScoreMap // by classifier and scale
	scales := l.Scales()
	var means [][]float32
	for _, c := range l.Classifiers {
		s, err := eval.ScoreMaps(ctx, c, im, scales)
		if err != nil {
			return nil, err
		}
		order := l.order(c)
		var each [][]float32
		for i := range s {
			s[i].Posterior = arrange(s[i].Posterior, order, 1)
			s[i].Posteriors = arrange(s[i].Posteriors, order, s[i].OH*s[i].OW)
			each = append(each, s[i].Posterior)
		}
		means = append(means, eval.Mean(each...))
		maps = append(maps, s)
	}
	if means != nil {
		a.Posterior = eval.Mean(means...)
	}
	for _, n := range l.Nets {
		outputs, err := eval.OutputMaps(ctx, n.Model, im, n.UsedScales())
		if err != nil {
			return nil, err
		}
		for _, o := range outputs {
			at := slices.Index(scales, o.Scale)
			for i := range within(o.H, o.Window, o.Stride, o.OH) {
				for j := range within(o.W, o.Window, o.Stride, o.OW) {
					w := window{
						view:    dataset.View{ImageW: im.W, ImageH: im.H, W: o.W, H: o.H, X: j * o.Stride, Y: i * o.Stride, Side: o.Window},
						outputs: column(o.Outputs, o.OH*o.OW, i*o.OW+j), head: n.Model.Localisation.Regression,
					}
					var there [][]float32
					for _, s := range maps {
						there = append(there, posteriorAt(s[at], w.view))
					}
					if there != nil {
						w.posterior = eval.Mean(there...)
					}
					a.windows = append(a.windows, w)
				}
			}
		}
	}
	return a, nil
}

// arrange puts the classes of a (K,positions) map into another order.
func arrange(values []float32, order []int, positions int) []float32 {
	out := make([]float32, 0, len(values))
	for _, k := range order {
		out = append(out, values[k*positions:(k+1)*positions]...)
	}
	return out
}

// within returns the number of positions along a side whose windows lie in the image. These
// are all, unless pooling drops a part of the crop, as of 56 pixels pooled five times.
func within(length, window, stride, positions int) int {
	return min((length-window)/stride+1, positions)
}

// column returns the K values of a (K,positions) map at a position.
func column(values []float32, positions, at int) []float32 {
	out := make([]float32, len(values)/positions)
	for k := range out {
		out[k] = values[k*positions+at]
	}
	return out
}

// posteriorAt returns the posterior (K) of the map's window whose centre is nearest to that
// of the view. Both are at the same scale.
func posteriorAt(s eval.ScoreMap, v dataset.View) []float32 {
	nearest := func(corner, most int) int {
		at := (float64(corner) + float64(v.Side-s.Window)/2) / float64(s.Stride)
		return int(math.Min(math.Max(math.Round(at), 0), float64(most-1)))
	}
	return column(s.Posteriors, s.OH*s.OW, nearest(v.Y, s.OH)*s.OW+nearest(v.X, s.OW))
}

// Unmerged returns the box that each window predicts for a class, in the order of networks,
// scales, rows and columns. Empty boxes are left out.
func (a *Answer) Unmerged(class int) []Detection {
	return a.detections(class, a.boxes(class))
}

// Boxes returns the merged boxes of a class, best first.
func (a *Answer) Boxes(class int) []Detection {
	key := class
	if a.locator.SingleClass() {
		key = 0
	}
	boxes, ok := a.merged[key]
	if !ok {
		boxes = merge(a.boxes(class), a.locator.UsedThreshold())
		a.merged[key] = boxes
	}
	found := a.detections(class, boxes)
	slices.SortStableFunc(found, func(x, y Detection) int { return cmp.Compare(y.Score, x.Score) })
	return found
}

// Top returns the best box of each of the k most probable classes, most probable first. A
// class without a usable box is left out.
func (a *Answer) Top(k int) []Detection {
	var top []Detection
	for _, c := range metrics.TopK(a.Posterior, k) {
		if b := a.Boxes(c); len(b) > 0 {
			top = append(top, b[0])
		}
	}
	return top
}

// boxes returns the boxes that the windows predict for a class, without the empty ones.
func (a *Answer) boxes(class int) []merged {
	var boxes []merged
	for i, w := range a.windows {
		at := slot(w.head, class)
		if b := predicted(w.view, w.outputs[at:at+4]); usable(b) {
			boxes = append(boxes, merged{b, []int{i}})
		}
	}
	return boxes
}

// detections computes the scores of boxes for a class.
func (a *Answer) detections(class int, boxes []merged) []Detection {
	var found []Detection
	for _, b := range boxes {
		d := Detection{Class: class, Box: b.box, Windows: len(b.windows)}
		for _, i := range b.windows {
			if p := a.windows[i].posterior; p != nil {
				d.Score += float64(p[class])
			} else {
				d.Score++
			}
		}
		found = append(found, d)
	}
	return found
}
