package dataset

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// Box is the bounding box of one object in pixels of the image as it is
// stored: it covers x0 ≤ x < x1, y0 ≤ y < y1. Corners of annotations that count
// pixels from 1, as PASCAL VOC's do, are not changed.
type Box struct {
	X0, Y0, X1, Y1 float64
	Class          int  // index into Dataset.Classes
	Difficult      bool // PASCAL VOC's mark of objects that evaluation ignores
}

// annotation is the content of one file or row: the objects of an image.
type annotation struct {
	image   string // name of the image in the annotation
	alias   string // another name of it, or ""
	source  string // file, or file:line, for errors
	w, h    int    // size of the image; 0 if it isn't given
	objects []object
}

// object is one box and its class as the annotation names it; "" is the image's
// class.
type object struct {
	source         string
	class          string
	corners        [4]string
	difficult      bool
	x0, y0, x1, y1 float64
}

// BadBox is an annotation that is not usable.
type BadBox struct {
	Source string // file, or file:line
	Err    error
}

// BoxReport counts the bounding boxes that were read, and lists the bad ones.
type BoxReport struct {
	Boxes   int // read
	Images  int // images with boxes
	Without int // images without
	Clipped int // boxes that extended beyond their image and were cut to it
	Bad     []BadBox
}

// BoxOptions chooses where bounding boxes are read from and how bad ones are treated.
type BoxOptions struct {
	// From is a table (CSV with a header: columns of files, of corners called
	// x0 y0 x1 y1, xmin ymin xmax ymax or x1 y1 x2 y2, and perhaps of classes
	// and of the size of the image), or an XML file or a folder of them as in ILSVRC
	// and PASCAL VOC. "": the place that the layout has for them.
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
	fail := func(err error) (*Dataset, BoxReport, error) {
		return nil, r, fmt.Errorf("dataset: %s: boxes: %w", d.Name, err)
	}
	var sources []boxSource
	var err error
	if o.From != "" {
		sources, err = namedBoxes(o.From)
	} else {
		sources, err = d.findBoxes(ctx)
	}
	if err != nil {
		return fail(err)
	}
	a := newAttacher(d, o, &r)
	for _, s := range sources {
		for note, err := range s.annotations(ctx) {
			if ctx.Err() != nil {
				return fail(context.Cause(ctx))
			}
			if err == nil {
				err = a.attach(note, s.ours)
			} else {
				err = a.bad(note.source, err)
			}
			if err != nil {
				return fail(err)
			}
		}
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

// attacher adds annotations to their samples.
type attacher struct {
	out     *Dataset
	options BoxOptions
	report  *BoxReport
	find    *finder
	classes map[string]int
}

func newAttacher(d *Dataset, o BoxOptions, r *BoxReport) *attacher {
	a := &attacher{out: d.subset(d.Name, slices.Clone(d.Samples)), options: o, report: r, classes: map[string]int{}}
	names := make([]string, d.Len())
	for i, s := range d.Samples {
		names[i] = s.Name
		a.out.Samples[i].Boxes = nil
	}
	a.find = newFinder(names)
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

// attach adds an annotation's boxes to its image. ours means that the source
// annotates this dataset's images and no others.
func (a *attacher) attach(note annotation, ours bool) error {
	i := a.find.find(note.image)
	if i < 0 && note.alias != "" {
		i = a.find.find(note.alias)
	}
	if i < 0 {
		if ours {
			return a.bad(note.source, fmt.Errorf("%w: %s", errNoImage, note.image))
		}
		return nil
	}
	sample := &a.out.Samples[i]
	scaleX, scaleY := 1.0, 1.0
	if a.options.Rescale && note.w > 0 {
		w, h, err := a.out.Size(i)
		if err != nil {
			return a.bad(note.source, err)
		}
		scaleX, scaleY = float64(w)/float64(note.w), float64(h)/float64(note.h)
	}
	for _, o := range note.objects {
		b, clipped, err := a.box(note, o, sample.Label)
		if err == nil && clipped && a.options.Strict {
			err = fmt.Errorf("%w: (%g, %g, %g, %g) of %d×%d pixels", errBeyond, o.x0, o.y0, o.x1, o.y1, note.w, note.h)
		}
		if err != nil {
			if err := a.bad(o.source, err); err != nil {
				return err
			}
			continue
		}
		if clipped {
			a.report.Clipped++
		}
		b.X0, b.X1 = b.X0*scaleX, b.X1*scaleX
		b.Y0, b.Y1 = b.Y0*scaleY, b.Y1*scaleY
		sample.Boxes = append(sample.Boxes, b)
	}
	return nil
}

// box checks one object of an annotation.
func (a *attacher) box(note annotation, o object, label int) (b Box, clipped bool, err error) {
	b = Box{Class: label, Difficult: o.difficult}
	if o.class != "" {
		class, ok := a.classes[o.class]
		if !ok {
			return b, false, fmt.Errorf("%w %q", errUnknownClass, o.class)
		}
		b.Class = class
	}
	if !(o.x0 < o.x1 && o.y0 < o.y1) {
		return b, false, fmt.Errorf("%w: (%g, %g, %g, %g), want x0 < x1 and y0 < y1", errEmptyBox, o.x0, o.y0, o.x1, o.y1)
	}
	b.X0, b.Y0, b.X1, b.Y1 = o.x0, o.y0, o.x1, o.y1
	w, h := math.Inf(1), math.Inf(1)
	if note.w > 0 {
		w, h = float64(note.w), float64(note.h)
	}
	b.X0, b.Y0, b.X1, b.Y1 = max(b.X0, 0), max(b.Y0, 0), min(b.X1, w), min(b.Y1, h)
	if b.X0 >= b.X1 || b.Y0 >= b.Y1 {
		return b, false, fmt.Errorf("%w: (%g, %g, %g, %g) of %g×%g pixels", errOutside, o.x0, o.y0, o.x1, o.y1, w, h)
	}
	clipped = b.X0 != o.x0 || b.Y0 != o.y0 || b.X1 != o.x1 || b.Y1 != o.y1
	return b, clipped, nil
}

// parse reads an object's corners.
func (o *object) parse() error {
	for i, p := range []*float64{&o.x0, &o.y0, &o.x1, &o.y1} {
		v, err := strconv.ParseFloat(strings.TrimSpace(o.corners[i]), 64)
		if err != nil || !(v > -1e9 && v < 1e9) {
			return fmt.Errorf("corner %q, want a number", o.corners[i])
		}
		*p = v
	}
	return nil
}

// voc is an annotation of PASCAL VOC or ILSVRC.
type voc struct {
	XMLName  xml.Name `xml:"annotation"`
	Filename string   `xml:"filename"`
	Size     *struct {
		Width  string `xml:"width"`
		Height string `xml:"height"`
	} `xml:"size"`
	Objects []struct {
		Name      string `xml:"name"`
		Difficult string `xml:"difficult"`
		Box       *struct {
			X0 string `xml:"xmin"`
			Y0 string `xml:"ymin"`
			X1 string `xml:"xmax"`
			Y1 string `xml:"ymax"`
		} `xml:"bndbox"`
	} `xml:"object"`
}

// parseVOC reads an XML annotation: its usable objects, and an error for each that
// isn't. Its last result is the error of a file that is unusable as a whole.
func parseVOC(source string, r io.Reader) (annotation, []error, error) {
	note := annotation{source: source}
	var v voc
	if err := xml.NewDecoder(r).Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return note, nil, fmt.Errorf("XML: %w", err)
	}
	note.image = v.Filename
	if v.Size == nil {
		return note, nil, errNoSize
	}
	var errW, errH error
	note.w, errW = strconv.Atoi(strings.TrimSpace(v.Size.Width))
	note.h, errH = strconv.Atoi(strings.TrimSpace(v.Size.Height))
	if errW != nil || errH != nil || note.w < 1 || note.h < 1 {
		return note, nil, fmt.Errorf("%w: width %q, height %q", errNoSize, v.Size.Width, v.Size.Height)
	}
	var bad []error
	for _, obj := range v.Objects {
		o := object{source: source, class: strings.TrimSpace(obj.Name), difficult: strings.TrimSpace(obj.Difficult) == "1"}
		if obj.Box == nil {
			bad = append(bad, fmt.Errorf("object %s without a bndbox", o.class))
			continue
		}
		o.corners = [4]string{obj.Box.X0, obj.Box.Y0, obj.Box.X1, obj.Box.Y1}
		if err := o.parse(); err != nil {
			bad = append(bad, fmt.Errorf("object %s: %w", o.class, err))
			continue
		}
		if o.class == "" {
			bad = append(bad, errors.New("object without a name"))
			continue
		}
		note.objects = append(note.objects, o)
	}
	return note, bad, nil
}

// namedBoxes returns the source at a path.
func namedBoxes(from string) ([]boxSource, error) {
	info, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return []boxSource{{fsys: wholefile.Dir(from), name: ".", kind: xmlBoxes}}, nil
	}
	s := boxSource{fsys: wholefile.Dir(filepath.Dir(from)), name: filepath.Base(from), kind: tableBoxes}
	if strings.EqualFold(path.Ext(s.name), ".xml") {
		s.kind = xmlBoxes
	}
	return []boxSource{s}, nil
}

// isFolder reports whether fsys has a folder of that name.
func isFolder(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.IsDir()
}
