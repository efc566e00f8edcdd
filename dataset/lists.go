package dataset

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// openLists reads collections whose classes and parts are in lists of their own form, made
// into one table. ok is false if there are none.
func openLists(s *search, name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	if s.columns != (Columns{}) || s.layout != LayoutAuto || s.annotations != "" {
		return nil, nil, false, nil
	}
	for _, read := range []func(context.Context, fs.FS, listing) (*table, error){birdLists, petLists, flowerLists, celebrityLists, aircraftLists, signLists, carLists, dogLists, fashionLists} {
		t, err := read(s.ctx, fsys, root)
		if err == nil && t == nil {
			continue
		}
		if err == nil {
			train, val, err = s.openList(name, fsys, t)
		}
		if err != nil {
			return nil, nil, false, fmt.Errorf("dataset: %s: %w", name, err)
		}
		return train, val, true, nil
	}
	return nil, nil, false, nil
}

// openList makes datasets of a table that a layout's lists were made into.
func (s *search) openList(name string, fsys fs.FS, t *table) (train, val *Dataset, err error) {
	all, err := s.images(fsys, ".")
	if err != nil {
		return nil, nil, err
	}
	source, err := t.source(newTableFiles(all, "."), "", Columns{Image: "image", Label: "label:whole"})
	if err != nil {
		return nil, nil, err
	}
	if len(t.rows) > 0 && isList(t.rows[0][1]) {
		source.separator = "["
	}
	return s.tableDatasets(name, fsys, fsys, []*tableSource{source}, all)
}

// newList returns an empty table of images, classes and parts.
func newList(name, split string) *table {
	return &table{name: name, divider: ',', classNames: map[string][]string{}, columns: []string{"image", "label", split}, written: []string{"image", "label", split}}
}

func (t *table) addRow(line int, cells ...string) {
	t.rows, t.lines = append(t.rows, cells), append(t.lines, line)
}

// readWords reads a list of words; lines that begin with # are left out. It returns nil if
// there is no such list.
func readWords(ctx context.Context, fsys fs.FS, file string) (*table, error) {
	if _, err := fs.Stat(fsys, file); err != nil {
		return nil, nil
	}
	data, err := readUnpacked(ctx, fsys, file)
	if err != nil {
		return nil, err
	}
	text, err := decodeText(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	t := &table{name: file}
	line := 0
	for l := range strings.Lines(text) {
		line++
		if words := strings.Fields(l); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			t.addRow(line, words...)
		}
	}
	return t, nil
}

// birdLists reads the lists of Caltech-UCSD Birds 200-2011: images.txt,
// image_class_labels.txt, train_test_split.txt and classes.txt, each of a number and what it
// means.
func birdLists(ctx context.Context, fsys fs.FS, root listing) (*table, error) {
	if !slices.Contains(root.files, "images.txt") || !slices.Contains(root.files, "image_class_labels.txt") {
		return nil, nil
	}
	values := map[string]map[string]string{}
	for _, file := range []string{"image_class_labels.txt", "train_test_split.txt", "classes.txt"} {
		t, err := readWords(ctx, fsys, file)
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		values[file] = map[string]string{}
		for row, words := range t.rows {
			if len(words) != 2 {
				return nil, t.errorf(row, "%d words, want a number and a value", len(words))
			}
			if _, twice := values[file][words[0]]; twice {
				return nil, t.errorf(row, "%s is given twice", words[0])
			}
			values[file][words[0]] = words[1]
		}
	}
	images, err := readWords(ctx, fsys, "images.txt")
	if err != nil {
		return nil, err
	}
	out := newList("images.txt", "split")
	for row, words := range images.rows {
		if len(words) < 2 {
			return nil, images.errorf(row, "%d words, want a number and a file", len(words))
		}
		class, ok := values["image_class_labels.txt"][words[0]]
		if !ok {
			return nil, images.errorf(row, "image %s has no class in image_class_labels.txt", words[0])
		}
		part := ""
		if split := values["train_test_split.txt"]; split != nil {
			is, ok := split[words[0]]
			if !ok || is != "0" && is != "1" {
				return nil, images.errorf(row, "image %s: %q in train_test_split.txt, want 0 or 1", words[0], is)
			}
			part = map[string]string{"0": "test", "1": "train"}[is]
		}
		out.addRow(images.lines[row], strings.Join(words[1:], " "), class, part)
	}
	return out, out.nameByNumber(values["classes.txt"])
}

// nameByNumber sets the names of the classes, which are numbers in the rows.
func (t *table) nameByNumber(names map[string]string) error {
	if names == nil {
		return nil
	}
	most := 0
	for row := range t.rows {
		n, err := strconv.Atoi(t.cell(row, 1))
		if err != nil || n < 0 || n > len(names)+1 {
			return t.errorf(row, "class %q, want a number of one of %d classes", t.cell(row, 1), len(names))
		}
		if names[t.cell(row, 1)] == "" {
			return t.errorf(row, "class %d has no name", n)
		}
		most = max(most, n)
	}
	list := make([]string, most+1)
	for i := range list {
		list[i] = names[strconv.Itoa(i)]
	}
	t.classNames["label"] = list
	return nil
}

// petLists reads the lists of the Oxford-IIIT Pet dataset: annotations/trainval.txt and
// test.txt, or list.txt, of an image's name and the numbers of its class, species and breed.
// The image is called like its class.
func petLists(ctx context.Context, fsys fs.FS, root listing) (*table, error) {
	if !slices.Contains(root.folders, "annotations") {
		return nil, nil
	}
	lists := [][2]string{{"annotations/trainval.txt", "train"}, {"annotations/test.txt", "test"}}
	if _, err := fs.Stat(fsys, lists[0][0]); err != nil {
		lists = [][2]string{{"annotations/list.txt", ""}}
	}
	out := newList(path.Dir(lists[0][0]), "split")
	names := map[string]string{}
	for _, l := range lists {
		t, err := readWords(ctx, fsys, l[0])
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		for row, words := range t.rows {
			if len(words) != 4 {
				return nil, nil // another kind of list
			}
			class, _, ok := cutLast(words[0], "_")
			if other := names[words[1]]; !ok || other != "" && other != class {
				return nil, t.errorf(row, "image %s is of class %s, which is %s further up", words[0], words[1], other)
			}
			names[words[1]] = class
			out.addRow(t.lines[row], words[0], words[1], l[1])
		}
		out.name = l[0]
	}
	if len(out.rows) == 0 {
		return nil, nil
	}
	return out, out.nameByNumber(names)
}

// flowerLists reads the MAT-files of Oxford's 102 flowers: imagelabels.mat, the class of each
// image jpg/image_00001.jpg …, and setid.mat, the numbers of each part's images.
func flowerLists(ctx context.Context, fsys fs.FS, root listing) (*table, error) {
	if !slices.Contains(root.files, "imagelabels.mat") {
		return nil, nil
	}
	labels, err := matNumbers(ctx, fsys, "imagelabels.mat")
	if err != nil {
		return nil, err
	}
	if labels["labels"] == nil {
		return nil, fmt.Errorf("imagelabels.mat: no variable labels")
	}
	part := map[int]string{}
	if slices.Contains(root.files, "setid.mat") {
		sets, err := matNumbers(ctx, fsys, "setid.mat")
		if err != nil {
			return nil, err
		}
		for variable, name := range map[string]string{"trnid": "train", "valid": "val", "tstid": "test"} {
			for _, id := range sets[variable] {
				if other, twice := part[int(id)]; twice {
					return nil, fmt.Errorf("setid.mat: image %d is in the parts %s and %s", int(id), other, name)
				}
				part[int(id)] = name
			}
		}
	}
	out := newList("imagelabels.mat", "split")
	out.record = "image "
	for i, label := range labels["labels"] {
		p, ok := part[i+1]
		if !ok && len(part) > 0 {
			return nil, fmt.Errorf("setid.mat: image %d is in no part", i+1)
		}
		out.addRow(i+1, fmt.Sprintf("image_%05d.jpg", i+1), strconv.FormatFloat(label, 'f', -1, 64), p)
	}
	return out, nil
}
