package dataset

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// cocoLabel is an annotation of COCO's form without a box: the class of a whole image.
type cocoLabel struct {
	image, category int // numbers of the ids
	at              int // place in the file, from 1
}

// cocoLabels is what a file of COCO's form says of whole images.
type cocoLabels struct {
	file       string
	images     []string // paths as the file has them
	labels     [][]string
	categories map[string]string // names by id
}

// wholeImages returns the classes of the images of a file; nil if its annotations have boxes.
// Images without an annotation are left out.
func (r *cocoReader) wholeImages() (*cocoLabels, error) {
	if len(r.boxes) > 0 || len(r.whole) == 0 {
		return nil, nil
	}
	out := &cocoLabels{file: r.name, categories: map[string]string{}}
	of := map[int][]string{}
	for _, l := range r.whole {
		c := r.names[l.category]
		switch {
		case c == "":
			return nil, fmt.Errorf("%s: %w: a category_id is not among the categories", r.name, errUnknownClass)
		case r.images[l.image].File == "":
			return nil, fmt.Errorf("%s: an annotation is of image %s, which is not among the images", r.name, r.images[l.image].ID)
		}
		if !slices.Contains(of[l.image], c) {
			of[l.image] = append(of[l.image], c)
		}
	}
	for _, c := range r.order {
		out.categories[string(c.ID)] = c.Name
	}
	for _, n := range r.listed {
		if of[n] != nil {
			out.images = append(out.images, strings.ReplaceAll(r.images[n].File, `\`, "/"))
			out.labels = append(out.labels, of[n])
		}
	}
	return out, nil
}

// openCOCOClasses reads images whose classes are in files of COCO's form without boxes, as of
// iNaturalist: annotations join an image and a category. Images of several categories have
// several labels. The part is that of the file's name or folder.
func (s *search) openCOCOClasses(name string, fsys fs.FS, files []*cocoLabels) (train, val *Dataset, err error) {
	fail := func(err error) (*Dataset, *Dataset, error) {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	all, err := s.images(fsys, ".")
	if err != nil {
		return fail(err)
	}
	there := make(map[string]bool, len(all))
	for _, f := range all {
		there[f] = true
	}
	names, number, err := cocoCategories(files)
	if err != nil {
		return fail(err)
	}
	several := false
	for _, f := range files {
		several = several || slices.ContainsFunc(f.labels, func(l []string) bool { return len(l) > 1 })
	}
	t := newList(files[0].file, "split")
	t.record = "image "
	for _, f := range files {
		dir, part := path.Dir(f.file), partOfName(path.Base(f.file))
		if part == "" {
			part = partOfName(path.Base(dir))
		}
		for i, image := range f.images {
			if there[path.Join(dir, image)] {
				image = path.Join(dir, image)
			}
			var numbers []string
			for _, l := range f.labels[i] {
				numbers = append(numbers, strconv.Itoa(number[l]))
			}
			cell := numbers[0]
			if several {
				cell = "[" + strings.Join(numbers, ",") + "]"
			}
			t.addRow(i+1, image, cell, part)
		}
	}
	t.classNames["label"] = names
	source, err := t.source(newTableFiles(all, "."), "", Columns{Image: "image", Label: "label"})
	if err != nil {
		return fail(err)
	}
	if train, val, err = s.tableDatasets(name, fsys, fsys, []*tableSource{source}, all); err != nil {
		return fail(err)
	}
	var from []string
	for _, f := range files {
		from = append(from, f.file)
	}
	s.source.Layout = "COCO JSON without boxes: " + some(from)
	return train, val, nil
}

// cocoCategories returns the names of all files' categories in the order of their ids, and the
// places of the names.
func cocoCategories(files []*cocoLabels) (names []string, number map[string]int, err error) {
	byID, from := map[string]string{}, map[string]string{}
	for _, f := range files {
		for id, name := range f.categories {
			if other, ok := byID[id]; ok && other != name {
				return nil, nil, fmt.Errorf("%s and %s: category %s is %s there and %s here, want the same in both", from[id], f.file, id, other, name)
			}
			byID[id], from[id] = name, f.file
		}
	}
	var ids []string
	for id := range byID {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, byNumber(ids))
	number = map[string]int{}
	for _, id := range ids {
		if _, twice := number[byID[id]]; !twice {
			number[byID[id]] = len(names)
			names = append(names, byID[id])
		}
	}
	return names, number, nil
}
