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
)

// boxSource is a file or folder of annotations.
type boxSource struct {
	fsys fs.FS
	name string
	kind boxKind
	ours bool // annotates the dataset's images and no others
}

// annotationFolders are folders of XML files: of the part whose name replaces %s, or
// of all parts.
var annotationFolders = []string{
	"ILSVRC/Annotations/CLS-LOC/%s", "Annotations/CLS-LOC/%s", "Annotations/%s", "annotations/%s", "bbox/%s",
	"Annotations", "annotations", "bbox",
}

// findBoxes looks for annotations in the places that the layouts have for them.
func (d *Dataset) findBoxes(ctx context.Context) ([]boxSource, error) {
	if d.root != nil {
		if s := d.xmlFolder(); s != nil {
			return s, nil
		}
		if s, err := d.boxTables(ctx); s != nil || err != nil {
			return s, err
		}
		if s := d.tinyBoxes(); s != nil {
			return s, nil
		}
	}
	return nil, errors.New("no annotations beside the images, want a folder Annotations with XML or a table boxes.csv")
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
			return []boxSource{{d.root, dir, xmlBoxes, ours}}
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
		t, err := readTable(d.root, f)
		if err != nil {
			return nil, err
		}
		if _, ok := t.box(); !ok && t.column("predictionstring") < 0 {
			continue
		}
		s := boxSource{d.root, f, tableBoxes, !d.partial && (mine || d.part == "")}
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
			found = append(found, boxSource{d.root, n, tableBoxes, !d.partial})
		}
	}
	return found
}

// annotations yields the annotations of the source, each with the error that makes it
// unusable.
func (s boxSource) annotations(ctx context.Context) iter.Seq2[annotation, error] {
	if s.kind == tableBoxes {
		return s.fromTable
	}
	return func(yield func(annotation, error) bool) {
		err := fs.WalkDir(s.fsys, s.name, func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.IsDir() || hidden(e.Name()) || !strings.EqualFold(path.Ext(p), ".xml") {
				return ctx.Err()
			}
			data, err := wholefile.ReadFS(ctx, s.fsys, p, wholefile.MaxText)
			if err != nil {
				return err
			}
			note, bad, err := parseVOC(p, bytes.NewReader(data))
			// The file's name tells more than the name in it, which has no folders and
			// no extension.
			note.image, note.alias = p, note.image
			if err != nil {
				bad = append(bad, err)
			}
			for _, b := range bad {
				if !yield(note, b) {
					return fs.SkipAll
				}
			}
			if err == nil && !yield(note, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(annotation{source: s.name}, err)
		}
	}
}

func (s boxSource) fromTable(yield func(annotation, error) bool) {
	t, err := readTable(s.fsys, s.name)
	if err != nil {
		yield(annotation{source: s.name}, err)
		return
	}
	t.annotations(yield)
}

// annotations yields one annotation a row.
func (t *table) annotations(yield func(annotation, error) bool) {
	corners, boxed := t.box()
	solution := t.column("predictionstring")
	if !boxed && solution < 0 {
		yield(annotation{source: t.name}, errors.New("no columns of corners, want x0, y0, x1, y1 or xmin, ymin, xmax, ymax"))
		return
	}
	file, class := t.fileColumn(), t.classColumn()
	if t.columns == nil && len(t.rows) > 0 && len(t.rows[0]) == 6 {
		class = 1
	}
	width, height, sized := t.size()
	for row := range t.rows {
		note := annotation{source: fmt.Sprintf("%s:%d", t.name, t.lines[row]), image: t.cell(row, file)}
		err := error(nil)
		if sized {
			var size object
			size.corners = [4]string{"0", "0", t.cell(row, width), t.cell(row, height)}
			if err = size.parse(); err == nil && (size.x1 < 1 || size.y1 < 1) {
				err = fmt.Errorf("%w: width %g, height %g", errNoSize, size.x1, size.y1)
			}
			note.w, note.h = int(size.x1), int(size.y1)
		}
		if err == nil {
			if boxed {
				o := object{source: note.source, class: t.cell(row, class), difficult: t.cell(row, t.column("difficult")) == "1"}
				for i, c := range corners {
					o.corners[i] = t.cell(row, c)
				}
				note.objects = []object{o}
			} else {
				err = note.addSolution(t.cell(row, solution))
			}
		}
		for i := range note.objects {
			err = errors.Join(err, note.objects[i].parse())
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
		a.objects = append(a.objects, object{source: a.source, class: words[0], corners: [4]string(words[1:])})
	}
	return nil
}
