package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// OpenFolder reads a folder of images in one of two layouts:
//
//	dir/train/CLASS/…  and, if there is one, dir/val/CLASS/… (or validation, valid or test)
//	dir/CLASS/…        (val is then nil)
//
// A class's images may lie at any depth below its folder. Files count as
// images by their extension (jpg, jpeg, jpe, png, gif, webp, bmp in any case),
// their contents aren't looked at; names that begin with a dot are skipped.
// Links are followed to parts, to class folders and to images, but not to
// folders inside a class. Classes are sorted by name, samples by class and
// path.
//
// It is an error if dir is not a folder or holds no class folders, if a class
// folder holds no images, and if the two parts have different classes.
func OpenFolder(dir string) (train, val *Dataset, err error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("dataset: %s: no such folder: %w", dir, fs.ErrNotExist)
	case err != nil:
		return nil, nil, fmt.Errorf("dataset: %w", err)
	case !info.IsDir():
		return nil, nil, fmt.Errorf("dataset: %s: a file, want a folder", dir)
	}
	return OpenFS(dir, os.DirFS(dir))
}

// OpenFS is OpenFolder for any file system; name is what errors and reports
// call it.
func OpenFS(name string, fsys fs.FS) (train, val *Dataset, err error) {
	root, err := list(fsys, ".")
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	split, err := root.isSplit(fsys)
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if !split {
		if train, err = openClasses(name, fsys, "."); err != nil {
			return nil, nil, err
		}
		place(fsys, train, nil)
		return train, nil, nil
	}
	if train, err = openClasses(name, fsys, "train"); err != nil {
		return nil, nil, err
	}
	if part := root.valPart(fsys); part != "" {
		if val, err = openClasses(name, fsys, part); err != nil {
			return nil, nil, err
		}
		if err := sameClasses(train.Classes, val.Classes); err != nil {
			return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
	}
	place(fsys, train, val)
	return train, val, nil
}

// valPart returns the folder of the validation part: val, or another one of
// its names that holds folders.
func (root listing) valPart(fsys fs.FS) string {
	for _, word := range partWords[1] {
		if !slices.Contains(root.folders, word) {
			continue
		}
		if word == "val" {
			return word
		}
		if l, err := list(fsys, word); err == nil && len(l.folders) > 0 {
			return word
		}
	}
	return ""
}

// listing is what a folder directly holds, each sorted by name.
type listing struct{ folders, images, files []string } // files that are no images

func list(fsys fs.FS, dir string) (listing, error) {
	var l listing
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return l, err
	}
	for _, e := range entries {
		name := e.Name()
		if hidden(name) {
			continue
		}
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			// A link to nothing counts as a file: as an image it is unreadable.
			info, err := fs.Stat(fsys, path.Join(dir, name))
			isDir = err == nil && info.IsDir()
		}
		switch {
		case isDir:
			l.folders = append(l.folders, name)
		case isImage(name):
			l.images = append(l.images, name)
		default:
			l.files = append(l.files, name)
		}
	}
	slices.Sort(l.folders)
	slices.Sort(l.images)
	slices.Sort(l.files)
	return l, nil
}

// isSplit tells the layout with a training part from one in which "train" is
// a class, as it is in COCO and CIFAR-100.
func (root listing) isSplit(fsys fs.FS) (bool, error) {
	hasVal := slices.Contains(root.folders, "val")
	if !slices.Contains(root.folders, "train") {
		if hasVal && len(root.folders) == 1 {
			return false, errors.New("a folder val without a folder train beside it")
		}
		return false, nil
	}
	train, err := list(fsys, "train")
	return hasVal || len(train.images) == 0, err
}

// openClasses reads the class folders of one part, "." being the only one.
func openClasses(name string, fsys fs.FS, part string) (*Dataset, error) {
	where := name
	if part != "." {
		where = strings.TrimRight(name, `/\`) + "/" + part
	}
	l, err := list(fsys, part)
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
		files, err := images(fsys, path.Join(part, class))
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

// images returns the paths of the images at any depth below dir, sorted.
func images(fsys fs.FS, dir string) ([]string, error) {
	var files []string
	err := fs.WalkDir(fsys, dir, func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p != dir && hidden(e.Name()):
			if e.IsDir() {
				return fs.SkipDir
			}
		case !e.IsDir() && isImage(p):
			files = append(files, p)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

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

// some joins the first few of a list of names.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
