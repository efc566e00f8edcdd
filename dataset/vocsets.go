package dataset

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// MultiLabel is a dataset of several labels an image with the parts of its samples and the
// labels that are left open, such as PASCAL VOC.
type MultiLabel struct {
	*Dataset
	Difficult [][]int  // classes of which a sample only shows objects marked difficult; evaluation ignores them
	Parts     []string // part of each sample: train, val or test
}

// vocListed are the lists of images of a collection, in the order of their samples. An
// image belongs to the first list that has it.
var vocListed = []string{"train", "val", "trainval", "test"}

// OpenVOC reads all labels of a PASCAL VOC collection: a folder with JPEGImages,
// Annotations and ImageSets/Main, or a folder round that. The samples are those of the
// lists train and val (or of trainval, as train, where it is alone) and test. The labels
// are those of each class's lists (1 present, 0 difficult, -1 absent), or else of the
// annotations. Images without either, such as 2012's test images, are left out.
//
// It is an error if lists or annotations contradict each other or the images, and if ctx
// is done.
func OpenVOC(ctx context.Context, dir string) (*MultiLabel, error) {
	v, err := openVOCSets(ctx, dir, "ImageSets/Main")
	if err == nil {
		err = v.classification()
	}
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: VOC: %w", dir, err)
	}
	return v.out, nil
}

// OpenVOCActions reads the persons of PASCAL VOC's action task (ImageSets/Action). A
// sample is a person, and its Boxes hold the person's box alone. Several samples may be
// of one image. The errors are OpenVOC's.
func OpenVOCActions(ctx context.Context, dir string) (*MultiLabel, error) {
	v, err := openVOCSets(ctx, dir, "ImageSets/Action")
	if err == nil {
		err = v.actions()
	}
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: VOC actions: %w", dir, err)
	}
	return v.out, nil
}

// vocSets is a collection being read.
type vocSets struct {
	*search
	fsys  fs.FS
	sets  string   // folder of the lists
	lists []string // in it
	out   *MultiLabel
	files *finder
	names []string // of the images
}

func openVOCSets(ctx context.Context, dir, sets string) (*vocSets, error) {
	s := &search{ctx: ctx}
	fsys := wholefile.Dir(dir)
	for depth := 0; !isFolder(fsys, sets); depth++ {
		l, err := s.list(fsys, ".")
		if err != nil {
			return nil, err
		}
		inner := slices.DeleteFunc(l.folders, func(f string) bool { return !isFolder(fsys, f+"/"+sets) && len(l.folders) > 1 })
		if len(inner) != 1 || depth == maxWrappers {
			return nil, fmt.Errorf("no folder %s", sets)
		}
		if fsys, err = fs.Sub(fsys, inner[0]); err != nil {
			return nil, err
		}
	}
	l, err := s.list(fsys, sets)
	if err != nil {
		return nil, err
	}
	v := &vocSets{search: s, fsys: fsys, sets: sets, lists: l.files, out: &MultiLabel{Dataset: &Dataset{Name: dir, fsys: fsys, root: fsys, path: dir}}}
	for _, folder := range vocImages {
		if isFolder(fsys, folder) {
			if v.names, err = s.images(fsys, folder); err != nil {
				return nil, err
			}
			break
		}
	}
	if len(v.names) == 0 {
		return nil, fmt.Errorf("no images in %s", vocImages[0])
	}
	v.files = newFinder(v.names)
	return v, v.findClasses()
}

// findClasses lists the classes by the names of their lists.
func (v *vocSets) findClasses() error {
	seen := map[string]bool{}
	for _, f := range v.lists {
		class, part, ok := cutLast(strings.TrimSuffix(f, ".txt"), "_")
		if ok && slices.Contains(vocListed, part) && strings.HasSuffix(f, ".txt") && !seen[class] {
			seen[class] = true
			v.out.Classes = append(v.out.Classes, class)
		}
	}
	slices.Sort(v.out.Classes)
	return nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// rows reads a list: the words of each line that isn't empty. It returns nil if there is
// no such list.
func (v *vocSets) rows(list string, columns int) ([][]string, error) {
	data, err := wholefile.ReadFS(v.ctx, v.fsys, v.sets+"/"+list+".txt", wholefile.MaxText)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rows [][]string
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) < columns {
			return nil, fmt.Errorf("%s/%s.txt:%d: %q, want %d columns", v.sets, list, number, strings.TrimSpace(line), columns)
		}
		rows = append(rows, words)
	}
	return rows, nil
}

// mark reads -1, 0 or 1.
func mark(list, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < -1 || n > 1 {
		return 0, fmt.Errorf("%s: label %q, want -1, 0 or 1", list, text)
	}
	return n, nil
}

// add adds a sample of a part; the image must be there.
func (v *vocSets) add(image, part string, boxes []Box) (int, error) {
	at := v.files.find(image)
	if at < 0 {
		return 0, fmt.Errorf("%s: no image %s", part, image)
	}
	o := v.out
	o.Samples = append(o.Samples, Sample{Name: v.names[at], Labels: []int{}, Boxes: boxes})
	o.Difficult, o.Parts = append(o.Difficult, nil), append(o.Parts, part)
	return len(o.Samples) - 1, nil
}

// set records the mark of a class for sample i.
func (v *vocSets) set(i, class, mark int) {
	switch mark {
	case 1:
		s := &v.out.Samples[i]
		s.Labels = append(s.Labels, class)
	case 0:
		v.out.Difficult[i] = append(v.out.Difficult[i], class)
	}
}

func (v *vocSets) classification() error {
	fromNotes := len(v.out.Classes) == 0
	if fromNotes {
		if err := v.classesOfNotes(); err != nil {
			return err
		}
	}
	taken := map[string]bool{}
	for _, part := range vocListed {
		rows, err := v.rows(part, 1)
		if err != nil {
			return err
		}
		marks := make([]map[string]int, len(v.out.Classes))
		listed := false
		for c, class := range v.out.Classes {
			labels, err := v.rows(class+"_"+part, 2)
			if err != nil {
				return err
			}
			if labels == nil {
				continue
			}
			listed = true
			marks[c] = map[string]int{}
			for _, row := range labels {
				if marks[c][row[0]], err = mark(class+"_"+part, row[1]); err != nil {
					return err
				}
			}
		}
		if part == "trainval" {
			part = "train"
		}
		for _, row := range rows {
			if taken[row[0]] {
				continue
			}
			note, err := v.note(row[0])
			if err != nil && !listed {
				if errors.Is(err, fs.ErrNotExist) {
					continue // its classes are not known
				}
				return err
			}
			taken[row[0]] = true
			i, err := v.add(row[0], part, nil)
			if err != nil {
				return err
			}
			for c, class := range v.out.Classes {
				m := -1
				if listed && !fromNotes {
					if marked, ok := marks[c][row[0]]; ok {
						m = marked
					}
				} else {
					m = note.mark(class)
				}
				v.set(i, c, m)
			}
		}
	}
	return v.finish()
}

// note reads an image's annotation.
func (v *vocSets) note(image string) (vocNote, error) {
	var n vocNote
	if err := v.err(); err != nil {
		return n, err
	}
	for _, folder := range vocAnnotations {
		data, err := wholefile.ReadFS(v.ctx, v.fsys, path.Join(folder, image+".xml"), wholefile.MaxText)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = xml.NewDecoder(bytes.NewReader(data)).Decode(&n.voc)
		}
		if err != nil {
			return n, fmt.Errorf("%s/%s.xml: %w", folder, image, err)
		}
		return n, nil
	}
	return n, fmt.Errorf("%s/%s.xml: %w", vocAnnotations[0], image, fs.ErrNotExist)
}

// vocNote is the annotation of an image.
type vocNote struct{ voc }

// mark returns the label of a class: 1 if an object is of it, 0 if only difficult objects
// are, else -1.
func (n vocNote) mark(class string) int {
	m := -1
	for _, o := range n.Objects {
		if strings.TrimSpace(o.Name) != class {
			continue
		}
		if strings.TrimSpace(o.Difficult) != "1" {
			return 1
		}
		m = 0
	}
	return m
}

// classesOfNotes lists the classes of all annotations.
func (v *vocSets) classesOfNotes() error {
	seen := map[string]bool{}
	for _, name := range v.names {
		n, err := v.note(stem(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, o := range n.Objects {
			seen[strings.TrimSpace(o.Name)] = true
		}
	}
	for c := range seen {
		v.out.Classes = append(v.out.Classes, c)
	}
	slices.Sort(v.out.Classes)
	return nil
}

func (v *vocSets) actions() error {
	type place struct {
		sample int
		list   string
	}
	taken := map[string]place{} // by image and number
	for _, part := range vocListed {
		kept := part
		if part == "trainval" {
			kept = "train"
		}
		for c, class := range v.out.Classes {
			rows, err := v.rows(class+"_"+part, 3)
			if err != nil {
				return err
			}
			for _, row := range rows {
				person := row[0] + " " + row[1]
				at, ok := taken[person]
				if ok && at.list != part {
					continue
				}
				if !ok {
					box, err := v.person(row[0], row[1])
					if err != nil {
						return err
					}
					i, err := v.add(row[0], kept, []Box{box})
					if err != nil {
						return err
					}
					at = place{i, part}
					taken[person] = at
				}
				m, err := mark(class+"_"+part, row[2])
				if err != nil {
					return err
				}
				v.set(at.sample, c, m)
			}
		}
	}
	return v.finish()
}

// person returns the box of the image's object with that number, counted from 1.
func (v *vocSets) person(image, number string) (Box, error) {
	note, err := v.note(image)
	if err != nil {
		return Box{}, err
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(note.Objects) || note.Objects[n-1].Box == nil {
		return Box{}, fmt.Errorf("%s.xml: no object %s with a box among %d", image, number, len(note.Objects))
	}
	b := note.Objects[n-1].Box
	c, err := parseCorners([4]string{b.X0, b.Y0, b.X1, b.Y1})
	if err != nil {
		return Box{}, fmt.Errorf("%s.xml: object %s: %w", image, number, err)
	}
	if !(c[0] < c[2] && c[1] < c[3]) {
		return Box{}, fmt.Errorf("%s.xml: object %s: %w", image, number, errEmptyBox)
	}
	c = fromOne.edges(c, 0, 0)
	return Box{X0: c[0], Y0: c[1], X1: c[2], Y1: c[3]}, nil
}

// finish completes the samples' labels.
func (v *vocSets) finish() error {
	o := v.out
	if len(o.Classes) == 0 || o.Len() == 0 {
		return fmt.Errorf("no labelled images in the lists of %s", v.sets)
	}
	return o.setMultiLabel()
}
