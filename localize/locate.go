package localize

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// Net is a localisation network and the scales that it is run at.
type Net struct {
	Model  *vgg.Model
	Scales []int // smallest sides Q, pixels; empty: the one that the weights name
}

// UsedScales are those that the network is run at.
func (n Net) UsedScales() []int {
	if len(n.Scales) == 0 {
		return []int{n.Model.Preprocess.Resize}
	}
	return n.Scales
}

// Locator finds the boxes of objects in images. Several goroutines may use one at once.
type Locator struct {
	// Nets are the localisation networks, whose boxes are merged together (§A.2).
	Nets []Net
	// Classifiers rate the boxes, their posteriors averaged. They know the classes of the
	// localisation networks, by the same names in any order. Without any, boxes are
	// rated by the number of windows they come from, and there are boxes of classes only
	// where they are asked for.
	Classifiers []*vgg.Model
	// Threshold is that of the match score, from which on boxes are not merged; 0: none
	// are.
	Threshold float64
}

// Detection is a box that was predicted.
type Detection struct {
	Class   int        `json:"index"` // −1: of no class in particular
	Box     [4]float64 `json:"box"`   // x0, y0, x1, y1 in pixels of the image
	Score   float64    `json:"score"` // see [Locator.Dense]
	Windows int        `json:"windows"`
}

// Answer is what the dense protocol makes of an image.
type Answer struct {
	// Posterior is the classifiers' for the image, dense and averaged over the scales; nil
	// without classifiers.
	Posterior []float32
	windows   []window
	locator   *Locator
	merged    map[int][]merged // by class; by single-class regression the same of all
}

// window is a place of a network's output map.
type window struct {
	view      dataset.View
	outputs   []float32 // of the place
	head      vgg.Regression
	posterior []float32 // of the classifiers there; nil without
}

// Classes are the names of the classes.
func (l *Locator) Classes() []string { return l.Nets[0].Model.Classes }

// Check reports networks that can't be used together, and scales that are too small.
func (l *Locator) Check() error {
	if len(l.Nets) == 0 {
		return errors.New("localize: no localisation network, want at least one")
	}
	if !(l.Threshold >= 0) {
		return fmt.Errorf("localize: merge threshold %v, want at least 0", l.Threshold)
	}
	for i, n := range l.Nets {
		if n.Model.Localisation == nil {
			return fmt.Errorf("localize: network %d is a classification network, want a localisation network", i+1)
		}
		if !sameClasses(n.Model.Classes, l.Classes()) {
			return fmt.Errorf("localize: network %d has other classes than the first", i+1)
		}
		for _, q := range n.UsedScales() {
			if side := n.Model.Net.Options().Input; q < side {
				return fmt.Errorf("localize: scale %d, want at least the network's input side %d", q, side)
			}
		}
	}
	for i, c := range l.Classifiers {
		if c.Localisation != nil {
			return fmt.Errorf("localize: classifier %d is a localisation network, want a classification network", i+1)
		}
		if l.order(c) == nil {
			return fmt.Errorf("localize: classifier %d has other classes than the localisation network: want the one that it was trained from", i+1)
		}
		for _, q := range l.allScales() {
			if side := c.Net.Options().Input; q < side {
				return fmt.Errorf("localize: scale %d, want at least the classifier's input side %d", q, side)
			}
		}
	}
	return nil
}

// sameClasses tells whether classes are the same in the same order; ImageNet's go by
// their names or by their synsets.
func sameClasses(a, b []string) bool {
	return slices.Equal(canonical(a), canonical(b))
}

func canonical(classes []string) []string {
	if slices.Equal(classes, vgg.ImageNetClasses()) {
		return vgg.ImageNetSynsets()
	}
	return classes
}

// order is where a classifier has each class of the localisation networks; nil if it
// knows others.
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

// allScales are those of all networks, each once, in ascending order.
func (l *Locator) allScales() []int {
	var all []int
	for _, n := range l.Nets {
		all = append(all, n.UsedScales()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// SingleClass tells whether all networks give one box whatever the class.
func (l *Locator) SingleClass() bool {
	return !slices.ContainsFunc(l.Nets, func(n Net) bool { return n.Model.Localisation.Regression != vgg.SCR })
}

// Centre is the first protocol of the paper: the boxes of the central crop, at the first
// scale of the first network, one of each class (by single-class regression the same for
// all), cut to the image. Their score is 1.
func (l *Locator) Centre(im *preprocess.Image) ([]Detection, error) {
	n := l.Nets[0]
	m := n.Model
	side := m.Net.Options().Input
	c := preprocess.CentreWindow(im.W, im.H, n.UsedScales()[0], side)
	v := dataset.View{ImageW: im.W, ImageH: im.H, W: c.W, H: c.H, X: c.X, Y: c.Y, Side: side}
	crop, err := c.Cut(im, m.Preprocess.Filter)
	if err != nil {
		return nil, err
	}
	x := tensor.New(1, 3, side, side)
	m.Preprocess.Tensor(x.Data, crop, [3]float32{})
	y, err := m.Net.Forward(x)
	if err != nil {
		return nil, err
	}
	if !finite(y.Data) {
		return nil, errNotFinite
	}
	var found []Detection
	for class := range m.Classes {
		at := slot(m.Localisation.Regression, class)
		found = append(found, Detection{Class: class, Box: predicted(v, y.Data[at:at+4]), Score: 1, Windows: 1})
	}
	return found, nil
}

// Dense is the second protocol of the paper, as far as it doesn't depend on the class:
// every network runs densely over the whole image at each of its scales, and every place
// of the map whose window lies in the image gives a box relative to it; the classifiers
// run likewise.
//
// A box's score for a class is the sum of the classifiers' posteriors of that class in
// the windows that it came from. A classifier whose windows lie elsewhere, since its input
// has another size, gives those of its window whose centre is nearest.
func (l *Locator) Dense(im *preprocess.Image) (*Answer, error) {
	a := &Answer{locator: l, merged: map[int][]merged{}}
	var maps [][]eval.ScoreMap // by classifier and scale
	scales := l.allScales()
	var means [][]float32
	for _, c := range l.Classifiers {
		s, err := eval.ScoreMaps(c, im, scales)
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
		outputs, err := eval.OutputMaps(n.Model, im, n.UsedScales())
		if err != nil {
			return nil, err
		}
		for _, o := range outputs {
			if !finite(o.Outputs) {
				return nil, errNotFinite
			}
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

func finite(values []float32) bool {
	return !slices.ContainsFunc(values, func(v float32) bool { return v-v != 0 })
}

// arrange puts the classes of a (K,places) map into another order.
func arrange(values []float32, order []int, places int) []float32 {
	out := make([]float32, 0, len(values))
	for _, k := range order {
		out = append(out, values[k*places:(k+1)*places]...)
	}
	return out
}

// within is how many of the places along a side have their windows in the image. All
// have, unless the poolings leave over a part of the crop: 56 pixels pooled five times.
func within(length, window, stride, places int) int {
	return min((length-window)/stride+1, places)
}

// column is what a (K,places) map has at a place.
func column(values []float32, places, at int) []float32 {
	out := make([]float32, len(values)/places)
	for k := range out {
		out[k] = values[k*places+at]
	}
	return out
}

// posteriorAt is that of the window of a map whose centre is nearest to a view's, at the
// same scale.
func posteriorAt(s eval.ScoreMap, v dataset.View) []float32 {
	nearest := func(corner, most int) int {
		at := (float64(corner) + float64(v.Side-s.Window)/2) / float64(s.Stride)
		return int(math.Min(math.Max(math.Round(at), 0), float64(most-1)))
	}
	return column(s.Posteriors, s.OH*s.OW, nearest(v.Y, s.OH)*s.OW+nearest(v.X, s.OW))
}

// Unmerged returns the box that every window predicts of a class, in the order of
// networks, scales, rows and columns; empty ones are left out.
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
		boxes = merge(a.boxes(class), a.locator.Threshold)
		a.merged[key] = boxes
	}
	found := a.detections(class, boxes)
	slices.SortStableFunc(found, func(x, y Detection) int { return cmp.Compare(y.Score, x.Score) })
	return found
}

// Top returns the best box of each of the k classes most probable in the image, in their
// order. A class without a usable box is left out.
func (a *Answer) Top(k int) []Detection {
	var top []Detection
	for _, c := range metrics.TopK(a.Posterior, k) {
		if b := a.Boxes(c); len(b) > 0 {
			top = append(top, b[0])
		}
	}
	return top
}

// boxes are what the windows predict of a class, without the empty ones.
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

// detections rates boxes.
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
