package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// openFolders reads class folders in one of two layouts:
//
//	train/CLASS/…  and, if there is one, val/CLASS/… (or validation, valid or test)
//	CLASS/…        (val is then nil)
//
// A class's images may lie at any depth below its folder. Files count as images by
// their extension; their contents aren't looked at. Names that begin with a dot are
// skipped. Links are followed to parts, to class folders and to images, but not to
// folders inside a class. Classes are sorted by name, samples by class and path.
//
// It is an error if there are no class folders, if a class folder holds no images, and
// if the two parts have different classes.
func openFolders(s *search, name string, fsys fs.FS) (train, val *Dataset, err error) {
	root, err := s.list(fsys, ".")
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	split, err := root.isSplit(s, fsys)
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if !split {
		if train, err = openClasses(s, name, fsys, "."); err != nil {
			return nil, nil, err
		}
		setLayout(fsys, train, nil)
		return train, nil, nil
	}
	if train, err = openClasses(s, name, fsys, "train"); err != nil {
		return nil, nil, err
	}
	if part := root.valPart(s, fsys); part != "" {
		if val, err = openClasses(s, name, fsys, part); err != nil {
			return nil, nil, err
		}
		if err := sameClasses(train.Classes, val.Classes); err != nil {
			return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
	}
	setLayout(fsys, train, val)
	return train, val, nil
}

// valPart returns the folder of the validation part: val, or one with another of
// its names that holds folders. It returns "" if there is none.
func (root listing) valPart(s *search, fsys fs.FS) string {
	for _, word := range partWords[1] {
		if !slices.Contains(root.folders, word) {
			continue
		}
		if word == "val" {
			return word
		}
		if l, err := s.list(fsys, word); err == nil && len(l.folders) > 0 {
			return word
		}
	}
	return ""
}

// isSplit distinguishes a layout with a training part from one in which "train" is
// a class, as in COCO and CIFAR-100.
func (root listing) isSplit(s *search, fsys fs.FS) (bool, error) {
	hasVal := slices.Contains(root.folders, "val")
	if !slices.Contains(root.folders, "train") {
		if hasVal && len(root.folders) == 1 {
			return false, errors.New("a folder val without a folder train beside it")
		}
		return false, nil
	}
	train, err := s.list(fsys, "train")
	return hasVal || len(train.images) == 0, err
}

// openClasses reads the class folders of one part; "." is the only part.
func openClasses(s *search, name string, fsys fs.FS, part string) (*Dataset, error) {
	where := name
	if part != "." {
		where = strings.TrimRight(name, `/\`) + "/" + part
	}
	l, err := s.list(fsys, part)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", where, err)
	}
	if len(l.folders) == 0 {
		what := "empty"
		if len(l.images) > 0 {
			what = fmt.Sprintf("%d images without a class folder", len(l.images))
		}
		return nil, fmt.Errorf("dataset: %s: %s, want one folder of images for each class", where, what)
	}
	d := &Dataset{Name: where, Classes: l.folders, fsys: fsys}
	var barren []string
	for label, class := range l.folders {
		files, err := s.images(fsys, path.Join(part, class))
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", where, err)
		}
		if len(files) == 0 {
			barren = append(barren, class)
		}
		for _, f := range files {
			d.Samples = append(d.Samples, Sample{Name: f, Label: label})
		}
	}
	if len(barren) > 0 {
		return nil, fmt.Errorf("dataset: %s: no images in class folder %s, want jpg, jpeg, png, gif, webp or bmp files", where, some(barren))
	}
	return d, nil
}

func isImage(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".jpg", ".jpeg", ".jpe", ".png", ".gif", ".webp", ".bmp":
		return true
	}
	return false
}

func sameClasses(train, val []string) error {
	var diff []string
	if only := without(train, val); len(only) > 0 {
		diff = append(diff, "only in train: "+some(only))
	}
	if only := without(val, train); len(only) > 0 {
		diff = append(diff, "only in val: "+some(only))
	}
	if diff != nil {
		return fmt.Errorf("classes %s; want the same in both", strings.Join(diff, "; "))
	}
	return nil
}

func without(a, b []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// some joins the first few names of a list.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
