package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/preprocess"
)

// Box is the bounding box of one object in pixels of the image as it is stored, edges
// counted from 0: it covers x0 ≤ x < x1, y0 ≤ y < y1, and the pixel in column i covers
// i ≤ x < i+1. So the box of a whole image of w×h pixels is (0, 0, w, h). Annotations of
// every format are converted to this, once:
//
//   - PASCAL VOC's XML counts pixels from 1 and names the last one: (xmin−1, ymin−1, xmax, ymax);
//   - ILSVRC's XML, Kaggle's solution tables and Tiny ImageNet's lists count pixels from 0 and
//     name the last one: (xmin, ymin, xmax+1, ymax+1);
//   - COCO's x, y, width and height are edges: (x, y, x+width, y+height);
//   - YOLO's centre and size are shares of the upright image's sides, and give edges;
//   - tables of corners are edges; if all are 0 to 1, shares as YOLO's.
type Box struct {
	X0, Y0, X1, Y1 float64
	Class          int  // index into Dataset.Classes
	Difficult      bool // PASCAL VOC's mark of objects that evaluation ignores, or COCO's of crowds
}

// pixelRule says how an annotation's corners count pixels.
type pixelRule int

const (
	edges    pixelRule = iota // from 0, as Box does
	fromOne                   // pixels from 1, the last one named
	fromZero                  // pixels from 0, the last one named
	shares                    // edges, as shares of the upright image's width and height
)

// String returns what a user is told of the rule.
func (r pixelRule) String() string {
	return [...]string{"edges from 0", "pixels from 1", "pixels from 0", "shares of the sides"}[r]
}

// edges converts corners to a Box's; w and h are the sides that shares are of.
func (r pixelRule) edges(c [4]float64, w, h float64) [4]float64 {
	switch r {
	case fromOne:
		c[0]--
		c[1]--
	case fromZero:
		c[2]++
		c[3]++
	case shares:
		c = [4]float64{c[0] * w, c[1] * h, c[2] * w, c[3] * h}
	}
	return c
}

// annotation is the content of one file or row: the objects of an image.
type annotation struct {
	image   string // name of the image in the annotation, or its path if it is found
	alias   string // another name of it, or ""
	found   bool   // image is the path of a file of the collection
	source  string // file, or file:line, for errors
	part    string // a name that says the part; "" if none does
	w, h    int    // size of the image; 0 if it isn't given
	rule    pixelRule
	objects []object
	faults  []error // of objects that can't be used
	broken  bool    // the whole can't: objects is empty
}

// object is one box and its class as the annotation names it; "" is the image's
// class.
type object struct {
	class            string
	difficult, crowd bool
	corners          [4]float64 // as the annotation has them
	number           int64      // the annotation's id or line in its file, 0 if it has none
}

// at returns where an object stands, for errors.
func (n annotation) at(o object) string {
	switch {
	case o.number == 0:
		return n.source
	case n.rule == shares:
		return fmt.Sprintf("%s: line %d", n.source, o.number)
	}
	return fmt.Sprintf("%s: annotation %d", n.source, o.number)
}

// BadBox is an annotation that is not usable.
type BadBox struct {
	Source string // file, or file:line
	Err    error
}

// BoxReport counts the bounding boxes that were read, and lists the bad ones.
type BoxReport struct {
	Boxes   int    // read
	Images  int    // images with boxes
	Without int    // images without
	Clipped int    // boxes that extended beyond their image and were cut to it
	Crowds  int    // boxes that COCO marks as crowds, among Boxes
	Others  int    // boxes left out because their class labels no image
	Format  string // of the annotations, as "COCO JSON"
	Corners string // how they count pixels, as "pixels from 1"
	Bad     []BadBox
}

// BoxOptions chooses where bounding boxes are read from and how bad ones are treated.
type BoxOptions struct {
	// From is a table (CSV with a header: columns of files, of corners called
	// x0 y0 x1 y1, xmin ymin xmax ymax or x1 y1 x2 y2, and perhaps of classes
	// and of the size of the image); COCO's JSON or YOLO's data.yaml; an XML file as in
	// ILSVRC and PASCAL VOC; or a folder of XML files, of COCO's JSON or of YOLO's text
	// files. "": the place that the layout has for them.
	From string
	// Strict makes the first bad annotation an error, and the first box that
	// extends beyond its image.
	Strict bool
	// Rescale reads the size of every image with boxes, and rescales the boxes of
	// annotations that give another size.
	Rescale bool
}

// Faults of annotations.
var (
	errNoSize       = errors.New("no size of the image")
	errEmptyBox     = errors.New("empty box")
	errUnknownClass = errors.New("unknown class")
	errNoImage      = errors.New("no such image")
	errOutside      = errors.New("box outside the image")
	errBeyond       = errors.New("box reaches beyond the image")
)

// ReadBoxes returns a copy of d with the bounding boxes of its images.
//
// Bad annotations are skipped and listed in the report: XML that can't be parsed
// or gives no size of the image; a box whose x1 isn't greater than its x0, or y1
// than y0; one of a class that d doesn't have, by name or title; one of an image
// that d doesn't have, if the annotations are of d's part alone; one that lies
// wholly outside its image. A box that extends beyond the image is cut to it and
// counted. A bad box doesn't affect other boxes of its image.
//
// It is an error if there are no annotations, if none is usable, and if ctx is
// done.
func ReadBoxes(ctx context.Context, d *Dataset, o BoxOptions) (*Dataset, BoxReport, error) {
	var r BoxReport
	if d == nil {
		return nil, r, errNil
	}
	fail := func(err error) (*Dataset, BoxReport, error) {
		return nil, r, fmt.Errorf("dataset: %s: boxes: %w", d.Name, err)
	}
	a := newAttacher(d, o, &r)
	var err error
	if d.boxes != nil && (o.From == "" || o.From == d.boxes.from) {
		err = a.attachKnown(ctx, d.boxes)
	} else {
		err = a.attachSources(ctx)
	}
	if err != nil {
		return fail(err)
	}
	out := a.out
	for _, s := range out.Samples {
		if len(s.Boxes) > 0 {
			r.Images++
			r.Boxes += len(s.Boxes)
		}
	}
	r.Without = out.Len() - r.Images
	if r.Boxes == 0 {
		if len(r.Bad) > 0 {
			return fail(fmt.Errorf("none of %d annotations is usable; the first: %s: %w", len(r.Bad), r.Bad[0].Source, r.Bad[0].Err))
		}
		return fail(errors.New("no annotation is of one of its images"))
	}
	return out, r, nil
}

// attachSources reads the annotations that the options name, or those beside the images.
func (a *attacher) attachSources(ctx context.Context) error {
	var sources []boxSource
	var err error
	if a.options.From != "" {
		sources, err = namedBoxes(ctx, a.options.From)
	} else {
		sources, err = a.out.findBoxes(ctx)
	}
	if err != nil {
		return err
	}
	for _, s := range sources {
		for note, err := range s.annotations(ctx) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				note = annotation{source: note.source, faults: []error{err}, broken: true}
			}
			a.report.Format = s.kind.String()
			if err := a.attach(note, s.ours); err != nil {
				return err
			}
		}
	}
	return nil
}

// attachKnown attaches the annotations that the collection was opened by.
func (a *attacher) attachKnown(ctx context.Context, b *boxSet) error {
	a.report.Format, a.others = b.kind.String(), b.others
	if a.out.part != partWords[1][0] { // the training part reports what is of no part
		for _, bad := range b.bad {
			if err := a.bad(bad.Source, bad.Err); err != nil {
				return err
			}
		}
	}
	for i, note := range b.notes {
		if i%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := a.attach(note, false); err != nil {
			return err
		}
	}
	return nil
}

// attacher adds annotations to their samples.
type attacher struct {
	out     *Dataset
	options BoxOptions
	report  *BoxReport
	find    *finder
	classes map[string]int
	others  map[string]bool // classes of boxes that the dataset leaves out
	samples map[string]int  // by path
}

func newAttacher(d *Dataset, o BoxOptions, r *BoxReport) *attacher {
	a := &attacher{out: d.subset(d.Name, slices.Clone(d.Samples)), options: o, report: r, classes: map[string]int{}, samples: make(map[string]int, d.Len())}
	for i, s := range d.Samples {
		a.samples[s.Name] = i
		a.out.Samples[i].Boxes = nil
	}
	for i, t := range d.Titles {
		a.classes[t] = i
	}
	for i, c := range d.Classes {
		a.classes[c] = i
	}
	return a
}

// bad records a bad annotation, or returns it as an error if the options are strict.
func (a *attacher) bad(source string, err error) error {
	if a.options.Strict {
		return fmt.Errorf("%s: %w", source, err)
	}
	a.report.Bad = append(a.report.Bad, BadBox{source, err})
	return nil
}

// sample returns the index of the sample that an annotation is of, -1 if there is none.
func (a *attacher) sample(note annotation) int {
	if i, ok := a.samples[note.image]; ok {
		return i
	}
	if note.found {
		return -1
	}
	if a.find == nil {
		names := make([]string, a.out.Len())
		for i, s := range a.out.Samples {
			names[i] = s.Name
		}
		a.find = newFinder(names)
	}
	i := a.find.find(note.image)
	if i < 0 && note.alias != "" {
		i = a.find.find(note.alias)
	}
	return i
}

// attach adds an annotation's boxes to its image. ours means that the source
// annotates this dataset's images and no others.
func (a *attacher) attach(note annotation, ours bool) error {
	i := -1
	if !note.broken {
		i = a.sample(note)
	}
	if i >= 0 || !note.found {
		for _, fault := range note.faults {
			if err := a.bad(note.source, fault); err != nil {
				return err
			}
		}
	}
	if i < 0 {
		if note.broken {
			return nil
		}
		if ours {
			return a.bad(note.source, fmt.Errorf("%w: %s", errNoImage, note.image))
		}
		return nil
	}
	if len(note.objects) > 0 {
		a.report.Corners = note.rule.String()
	}
	frame, err := a.frame(note, i)
	if err != nil {
		return a.bad(note.source, err)
	}
	sample := &a.out.Samples[i]
	for _, o := range note.objects {
		b, clipped, err := a.box(frame, o, sample.Label)
		if err == nil && clipped && a.options.Strict {
			err = fmt.Errorf("%w: %s", errBeyond, frame.describe(o))
		}
		if err != nil {
			if err := a.bad(note.at(o), err); err != nil {
				return err
			}
			continue
		}
		if a.others[o.class] {
			a.report.Others++
			continue
		}
		if clipped {
			a.report.Clipped++
		}
		if o.crowd {
			a.report.Crowds++
		}
		sample.Boxes = append(sample.Boxes, b)
	}
	return nil
}

// frame is what an image's boxes are measured in.
type frame struct {
	rule           pixelRule
	w, h           int // size that the annotation is of; 0 if it isn't known
	scaleX, scaleY float64
	orientation    int // by which the boxes are turned back to the stored image
}

// describe writes an object's corners and the image that they are of, for errors.
func (f frame) describe(o object) string {
	c := o.corners
	if f.rule == shares {
		return fmt.Sprintf("(%g, %g, %g, %g) of the sides", c[0], c[1], c[2], c[3])
	}
	if f.w == 0 {
		return fmt.Sprintf("(%g, %g, %g, %g)", c[0], c[1], c[2], c[3])
	}
	return fmt.Sprintf("(%g, %g, %g, %g) of %d×%d pixels", c[0], c[1], c[2], c[3], f.w, f.h)
}

// frame returns the frame of an annotation of sample i. The image's header is read where
// the annotation alone doesn't say which pixels it means.
func (a *attacher) frame(note annotation, i int) (frame, error) {
	f := frame{rule: note.rule, w: note.w, h: note.h, scaleX: 1, scaleY: 1}
	if note.rule != shares && !(a.options.Rescale && note.w > 0) {
		return f, nil
	}
	w, h, orientation, err := a.out.stored(i)
	if err != nil {
		return f, err
	}
	if note.rule == shares {
		f.orientation = orientation
		f.w, f.h = preprocess.TurnSize(w, h, orientation)
		return f, nil
	}
	f.scaleX, f.scaleY = float64(w)/float64(note.w), float64(h)/float64(note.h)
	return f, nil
}

// emptyBox returns the error of an object without an extent.
func emptyBox(o object) error {
	if c := o.corners; !(c[0] < c[2] && c[1] < c[3]) {
		return fmt.Errorf("%w: (%g, %g, %g, %g), want x0 < x1 and y0 < y1", errEmptyBox, c[0], c[1], c[2], c[3])
	}
	return nil
}

// cutTo cuts a box to an image of w×h pixels, of which 0 are unknown. ok is false if nothing
// is left.
func cutTo(c [4]float64, w, h int) (cut [4]float64, ok bool) {
	right, lower := math.Inf(1), math.Inf(1)
	if w > 0 {
		right, lower = float64(w), float64(h)
	}
	c = [4]float64{max(c[0], 0), max(c[1], 0), min(c[2], right), min(c[3], lower)}
	return c, c[0] < c[2] && c[1] < c[3]
}

// turnBack returns the orientation that undoes another.
func turnBack(orientation int) int {
	switch orientation {
	case 6:
		return 8
	case 8:
		return 6
	}
	return orientation
}

// slack is by how many pixels a box may reach beyond its image through rounding alone.
const slack = 0.01

// box checks and converts one object of an annotation.
func (a *attacher) box(f frame, o object, label int) (b Box, clipped bool, err error) {
	b = Box{Class: label, Difficult: o.difficult || o.crowd}
	if o.class != "" {
		class, ok := a.classes[o.class]
		if !ok && !a.others[o.class] {
			return b, false, fmt.Errorf("%w %q", errUnknownClass, o.class)
		}
		b.Class = class
	}
	if err := emptyBox(o); err != nil {
		return b, false, err
	}
	whole := f.rule.edges(o.corners, float64(f.w), float64(f.h))
	cut, ok := cutTo(whole, f.w, f.h)
	if !ok {
		return b, false, fmt.Errorf("%w: %s", errOutside, f.describe(o))
	}
	for i := range cut {
		clipped = clipped || math.Abs(cut[i]-whole[i]) > slack
	}
	if f.orientation > 1 {
		cut = preprocess.TurnBox(cut, f.w, f.h, turnBack(f.orientation))
	}
	b.X0, b.Y0, b.X1, b.Y1 = cut[0]*f.scaleX, cut[1]*f.scaleY, cut[2]*f.scaleX, cut[3]*f.scaleY
	return b, clipped, nil
}

// parseCorners reads an object's corners.
func parseCorners(texts [4]string) (c [4]float64, err error) {
	for i, text := range texts {
		v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || !(v > -1e9 && v < 1e9) {
			return c, fmt.Errorf("corner %q, want a number", text)
		}
		c[i] = v
	}
	return c, nil
}

// isFolder reports whether fsys has a folder of that name.
func isFolder(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.IsDir()
}
