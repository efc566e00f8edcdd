package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// labelsFile is the name of the table that gives the classes of a folder of images.
const labelsFile = "labels.csv"

// openTable reads a table with a header and the images beside or below it. The
// table has a column of files (file, filename, image, path …) and one of class
// names (wnid, class, name …), of class numbers (label, class_index …), or
// both; and perhaps one of parts (split, set …) with the values train, and val or
// test. A file is named by its path or the end of it.
func openTable(s *search, name string, fsys fs.FS, file string) (train, val *Dataset, err error) {
	t, err := readTable(fsys, file)
	if err == nil {
		train, val, err = t.datasets(s, name, fsys)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	setLayout(fsys, train, val)
	setTitles(fsys, train, val)
	return train, val, nil
}

func (t *table) datasets(s *search, name string, fsys fs.FS) (train, val *Dataset, err error) {
	files := t.fileColumn()
	if t.columns == nil || files < 0 {
		return nil, nil, fmt.Errorf("%s: no header with a column of files, want one called %s", t.name, strings.Join(fileColumns[:4], ", "))
	}
	labels, err := t.readLabels()
	if err != nil {
		return nil, nil, err
	}
	all, err := s.images(fsys, ".")
	if err != nil {
		return nil, nil, err
	}
	find := newFinder(all)
	split := t.column(splitColumns...)
	parts := map[string][]Sample{}
	found := 0
	seen := map[string]int{}
	for row := range t.rows {
		file := t.cell(row, files)
		if i := find.find(file); i >= 0 {
			file = all[i]
			found++
		}
		if row%checkEvery == 0 && s.err() != nil {
			return nil, nil, s.err()
		}
		if !fs.ValidPath(file) {
			return nil, nil, t.errorf(row, "file %q, want a path below the table's folder", file)
		}
		if first, ok := seen[file]; ok {
			return nil, nil, t.errorf(row, "%s is in line %d already", file, t.lines[first])
		}
		seen[file] = row
		part, err := partOf(t.cell(row, split))
		if err != nil {
			return nil, nil, t.errorf(row, "column %s: %w", t.columns[split], err)
		}
		parts[part] = append(parts[part], labels.sample(file, row))
	}
	if found == 0 {
		return nil, nil, fmt.Errorf("%s: none of its %d images is there; the first: %s", t.name, len(t.rows), t.cell(0, files))
	}
	make := func(name string, samples []Sample) *Dataset {
		d := &Dataset{Name: name, Classes: labels.classes, Titles: labels.titles, Samples: samples, MultiLabel: labels.sets != nil, fsys: fsys}
		d.sortSamples()
		return d
	}
	valPart := ""
	for _, p := range partWords[1] {
		if valPart == "" && parts[p] != nil {
			valPart = p
		}
	}
	if parts["train"] == nil || valPart == "" {
		if len(parts) > 1 {
			return nil, nil, fmt.Errorf("%s: column %s: no row says train, want some, or none that says another part", t.name, t.columns[split])
		}
		for _, samples := range parts {
			return make(name, samples), nil, nil
		}
	}
	where := strings.TrimRight(name, `/\`)
	return make(where+" (train)", parts["train"]), make(where+" ("+valPart+")", parts[valPart]), nil
}

// partOf normalises the name that a table has for a part.
func partOf(s string) (string, error) {
	switch s := strings.ToLower(s); s {
	case "train", "training":
		return "train", nil
	case "", "val", "validation", "valid", "test":
		return s, nil
	}
	return "", fmt.Errorf("%q, want train, val or test", s)
}

// classes returns the classes of a table, their readable names if it has both
// names and WordNet ids, and every row's label. Classes are in the order of their
// numbers, or of their names where the table gives no numbers.
func (t *table) classes() (classes, titles []string, labels []int, err error) {
	if len(t.rows) == 0 {
		return nil, nil, nil, fmt.Errorf("%s: no rows, want one an image", t.name)
	}
	nameColumn, indexColumn := t.classColumn(), t.column(indexColumns...)
	if indexColumn >= 0 && nameColumn < 0 {
		// A label that isn't a number is a name.
		if _, err := strconv.Atoi(t.cell(0, indexColumn)); err != nil {
			nameColumn, indexColumn = indexColumn, -1
		}
	}
	if nameColumn < 0 && indexColumn < 0 {
		return nil, nil, nil, fmt.Errorf("%s: no column of classes, want one called %s, or label with their numbers", t.name, strings.Join(classColumns, ", "))
	}
	type class struct {
		name, title string
		index       int
	}
	byName := map[string]class{}
	byIndex := map[int]string{}
	keys := make([]string, len(t.rows))
	titleColumn := t.column("name")
	if nameColumn < 0 || titleColumn == nameColumn || titleColumn == t.fileColumn() {
		titleColumn = -1
	}
	for row := range t.rows {
		c := class{name: t.cell(row, nameColumn), title: t.cell(row, titleColumn)}
		if indexColumn >= 0 {
			if c.index, err = strconv.Atoi(t.cell(row, indexColumn)); err != nil || c.index < 0 {
				return nil, nil, nil, t.errorf(row, "column %s: %q, want a class number", t.columns[indexColumn], t.cell(row, indexColumn))
			}
			if nameColumn < 0 {
				c.name = strconv.Itoa(c.index)
			}
		}
		if c.name == "" {
			return nil, nil, nil, t.errorf(row, "no class in column %s", t.columns[nameColumn])
		}
		known, ok := byName[c.name]
		if !ok {
			byName[c.name], known = c, c
		}
		if known.index != c.index {
			return nil, nil, nil, t.errorf(row, "class %s has number %d, and %d further up", c.name, c.index, known.index)
		}
		if other, ok := byIndex[c.index]; indexColumn >= 0 && ok && other != c.name {
			return nil, nil, nil, t.errorf(row, "class number %d is %s, and %s further up", c.index, c.name, other)
		}
		byIndex[c.index] = c.name
		keys[row] = c.name
	}
	sorted := make([]class, 0, len(byName))
	for _, c := range byName {
		sorted = append(sorted, c)
	}
	slices.SortFunc(sorted, func(a, b class) int {
		return cmp.Or(a.index-b.index, strings.Compare(a.name, b.name))
	})
	label := make(map[string]int, len(sorted))
	for i, c := range sorted {
		label[c.name] = i
		classes, titles = append(classes, c.name), append(titles, c.title)
	}
	for _, k := range keys {
		labels = append(labels, label[k])
	}
	if titleColumn < 0 || slices.Contains(titles, "") {
		titles = nil
	}
	return classes, titles, labels, nil
}

// errNoLabels is the error of images without class folders and without a list of
// labels.
var errNoLabels = errors.New("no list of their labels")
