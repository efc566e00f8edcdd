package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// boxKind is a kind of annotation files.
type boxKind int

const (
	xmlBoxes   boxKind = iota // an XML file, or a folder with XML files at any depth
	tableBoxes                // a table
	cocoBoxes                 // COCO's JSON files
	yoloBoxes                 // YOLO's text files, one an image
)

// String returns the name of the format.
func (k boxKind) String() string {
	return [...]string{"XML", "table", "COCO JSON", "YOLO"}[k]
}

// boxSource is a file or folder of annotations.
type boxSource struct {
	fsys  fs.FS
	name  string
	kind  boxKind
	ours  bool       // annotates the dataset's images and no others
	ext   string     // of XML files below a folder: ".xml", or "" as Stanford's dogs have it
	files []string   // of the annotations, if they are known; else those at any depth below name
	names *yoloNames // classes and parts of YOLO's

	tables []*boxTable // that the images were opened by
}

// noteSet is what a source has.
type noteSet struct {
	notes   []annotation
	classes []string       // in the format's own order; nil: by name
	parts   map[string]int // of the images, if there are lists
	whole   []*cocoLabels  // files of COCO's form that give the classes of whole images
}

// annotationFolders are folders of XML files: of the part whose name replaces %s, or
// of all parts.
var annotationFolders = []string{
	"ILSVRC/Annotations/CLS-LOC/%s", "Annotations/CLS-LOC/%s", "Annotations/%s", "annotations/%s", "bbox/%s",
	"Annotations", "annotations", "bbox",
}

// ErrNoAnnotations is wrapped by the error of [ReadBoxes] where no annotations are found.
var ErrNoAnnotations = errors.New("no annotations beside the images, want a folder with XML, COCO's JSON, YOLO's text files or a table boxes.csv")

// findBoxes looks for annotations in the places that the layouts have for them.
func (d *Dataset) findBoxes(ctx context.Context) ([]boxSource, error) {
	if d.root != nil {
		if _, err := fs.Stat(d.root, "."); errors.Is(err, fs.ErrNotExist) {
			return nil, ErrNoAnnotations // shards on servers, which list nothing
		}
		if s := d.xmlFolder(); s != nil {
			return s, nil
		}
		if s, err := d.boxTables(ctx); s != nil || err != nil {
			return s, err
		}
		if s := d.tinyBoxes(); s != nil {
			return s, nil
		}
		search := &search{ctx: ctx}
		root, err := search.list(d.root, ".")
		if err != nil {
			return nil, err
		}
		if s, err := search.lookForBoxes(d.root, root); s != nil || err != nil {
			return []boxSource{*s}, err
		}
	}
	return nil, ErrNoAnnotations
}

func (d *Dataset) xmlFolder() []boxSource {
	for _, dir := range annotationFolders {
		ours := !d.partial && d.part == ""
		if strings.Contains(dir, "%s") {
			if d.part == "" {
				continue
			}
			dir, ours = strings.ReplaceAll(dir, "%s", d.part), !d.partial
		}
		if isFolder(d.root, dir) {
			return []boxSource{{fsys: d.root, name: dir, kind: xmlBoxes, ext: ".xml", ours: ours}}
		}
	}
	return nil
}

// boxTables returns the table of the part's boxes, or else one of all boxes.
func (d *Dataset) boxTables(ctx context.Context) ([]boxSource, error) {
	l, err := (&search{ctx: ctx}).list(d.root, ".")
	if err != nil {
		return nil, err
	}
	var all *boxSource
	for _, f := range l.files {
		if !strings.EqualFold(path.Ext(f), ".csv") {
			continue
		}
		isTrain, isVal := findPart([]string{f}, 0) != "", findPart([]string{f}, 1) != ""
		mine := isTrain && d.part == partWords[0][0] || isVal && d.part == partWords[1][0]
		if !mine && (isTrain || isVal || all != nil) {
			continue
		}
		t, err := readTable(ctx, d.root, f)
		if err != nil {
			return nil, err
		}
		if _, ok := t.box(); !ok && t.column("predictionstring") < 0 {
			continue
		}
		s := boxSource{fsys: d.root, name: f, kind: tableBoxes, ours: !d.partial && (mine || d.part == "")}
		if mine {
			return []boxSource{s}, nil
		}
		all = &s
	}
	if all == nil {
		return nil, nil
	}
	return []boxSource{*all}, nil
}

// tinyBoxes finds Tiny ImageNet's lists.
func (d *Dataset) tinyBoxes() []boxSource {
	var found []boxSource
	for _, pattern := range []string{"train/*/*_boxes.txt", "*/*_boxes.txt", "val/val_annotations.txt"} {
		if strings.HasPrefix(pattern, "val/") != (d.part == partWords[1][0]) {
			continue
		}
		names, err := fs.Glob(d.root, pattern)
		if err != nil || found != nil {
			continue
		}
		for _, n := range names {
			found = append(found, boxSource{fsys: d.root, name: n, kind: tableBoxes, ours: !d.partial})
		}
	}
	return found
}

// annotations yields the annotations of the source, each with the error that makes it
// unusable.
func (s boxSource) annotations(ctx context.Context) iter.Seq2[annotation, error] {
	if s.kind == tableBoxes {
		return func(yield func(annotation, error) bool) { s.fromTable(ctx, yield) }
	}
	return func(yield func(annotation, error) bool) {
		set, err := s.read(&search{ctx: ctx})
		if err != nil {
			yield(annotation{source: s.name}, err)
			return
		}
		for _, n := range set.notes {
			if !yield(n, nil) {
				return
			}
		}
	}
}

// read reads all annotations of a source that is no table.
func (s boxSource) read(search *search) (*noteSet, error) {
	switch s.kind {
	case cocoBoxes:
		return s.readCOCO(search)
	case yoloBoxes:
		return s.readYOLO(search)
	case tableBoxes:
		return s.readTables(), nil
	}
	return s.readXML(search)
}

// list returns the files of the source: those with its extension where they are below a folder.
func (s boxSource) list(search *search) ([]string, error) {
	if s.files != nil {
		return s.files, nil
	}
	info, err := fs.Stat(s.fsys, s.name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{s.name}, nil
	}
	t, err := search.tree(s.fsys, s.name)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(t.files, func(f string) bool { return !strings.EqualFold(path.Ext(f), s.ext) }), nil
}

func (s boxSource) readXML(search *search) (*noteSet, error) {
	files, err := s.list(search)
	if err != nil {
		return nil, err
	}
	set := &noteSet{notes: make([]annotation, 0, len(files))}
	for i, p := range files {
		if i%checkEvery == 0 && search.err() != nil {
			return nil, search.err()
		}
		data, err := wholefile.ReadFS(search.ctx, s.fsys, p, wholefile.MaxText)
		if err != nil {
			return nil, err
		}
		note, faults, err := parseVOC(p, bytes.NewReader(data))
		// The file's name tells more than the name in it, which has no folders and
		// no extension.
		note.image, note.alias, note.faults = p, note.image, faults
		if err != nil {
			note.faults, note.broken = append(faults, err), true
		}
		set.notes = append(set.notes, note)
	}
	settleRule(set.notes, s.name)
	return set, nil
}

func (s boxSource) fromTable(ctx context.Context, yield func(annotation, error) bool) {
	t, err := readTable(ctx, s.fsys, s.name)
	if err != nil {
		yield(annotation{source: s.name}, err)
		return
	}
	t.annotations(yield)
}

// tinyList reports whether a list has the name of one of Tiny ImageNet's.
func tinyList(name string) bool {
	base := path.Base(name)
	return strings.HasSuffix(base, "_boxes.txt") || base == "val_annotations.txt"
}

// annotations yields one annotation a row.
func (t *table) annotations(yield func(annotation, error) bool) {
	corners, boxed := t.box()
	solution := t.column("predictionstring")
	if !boxed && solution < 0 {
		yield(annotation{source: t.name}, errCorners)
		return
	}
	file, class := t.fileColumn(), t.classColumn()
	if t.columns == nil && len(t.rows) > 0 && len(t.rows[0]) == 6 {
		class = 1
	}
	width, height, sized := t.size()
	if corners.form == cornerSize && slices.Contains(corners.at[:], width) {
		sized = false
	}
	rule := edges
	if !boxed || t.columns == nil && tinyList(t.name) {
		rule = fromZero // Kaggle's solution, Tiny ImageNet's lists
	} else if t.ofShares(corners) {
		rule = shares // as in Open Images
	}
	for row := range t.rows {
		note := annotation{source: fmt.Sprintf("%s:%d", t.name, t.lines[row]), image: t.cell(row, file), rule: rule}
		err := error(nil)
		if sized {
			var size [4]float64
			if size, err = parseCorners([4]string{"0", "0", t.cell(row, width), t.cell(row, height)}); err == nil && (size[2] < 1 || size[3] < 1) {
				err = fmt.Errorf("%w: width %g, height %g", errNoSize, size[2], size[3])
			}
			note.w, note.h = int(size[2]), int(size[3])
		}
		switch {
		case err != nil:
		case boxed:
			o := object{class: t.cell(row, class), difficult: t.cell(row, t.column("difficult")) == "1"}
			if t.boxless(row, corners) {
				break
			}
			o.corners, err = t.corners(row, corners)
			note.objects = []object{o}
		default:
			err = note.addSolution(t.cell(row, solution))
		}
		if !yield(note, err) {
			return
		}
	}
}

// addSolution reads the boxes of Kaggle's LOC_val_solution.csv: a class and four
// corners for each.
func (a *annotation) addSolution(text string) error {
	for words := range slices.Chunk(strings.Fields(text), 5) {
		if len(words) != 5 {
			return fmt.Errorf("%q, want a class and four corners for each box", text)
		}
		corners, err := parseCorners([4]string(words[1:]))
		if err != nil {
			return err
		}
		a.objects = append(a.objects, object{class: words[0], corners: corners})
	}
	return nil
}
