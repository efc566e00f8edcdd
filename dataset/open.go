package dataset

import (
	"archive/zip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Open reads the images at path in whichever of these layouts they lie:
//
//   - class folders, with or without parts, as [OpenFolder] reads them;
//   - ILSVRC as it is distributed: train/nXXXXXXXX/*.JPEG, a flat val with a
//     list of labels (the devkit's ground truth, or one that names the files),
//     and the folders of Kaggle's copy; also Tiny ImageNet;
//   - images with a file labels.csv beside them or above them, or that file
//     itself;
//   - PASCAL VOC: a folder of images beside a folder of annotations;
//   - tar shards in the WebDataset convention, or one of them;
//   - a ZIP file of any of these but shards, or a folder with one ZIP file a
//     part, such as train.zip and val.zip.
//
// A part called test, valid or validation serves as val where there is no val.
// One folder round everything is looked through. Where there are no parts, val
// is nil.
//
// In every layout the classes have one order and samples are sorted by class
// and name, so that the same images give the same dataset whatever they are
// packed in. A dataset keeps the archives open that its images lie in.
func Open(path string) (train, val *Dataset, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("dataset: %s: no such folder or file: %w", path, fs.ErrNotExist)
	case err != nil:
		return nil, nil, fmt.Errorf("dataset: %w", err)
	}
	o := opener{disk: path}
	if info.IsDir() {
		train, val, err = o.open(path, os.DirFS(path))
	} else {
		train, val, err = o.openFile(path)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, d := range []*Dataset{train, val} {
		if d != nil {
			d.path = path
		}
	}
	return train, val, nil
}

// opener finds out the layout of one path.
type opener struct {
	disk  string // the path, "" within an archive
	depth int    // of folders looked through
}

// openFile reads a single file: an archive or a table.
func (o opener) openFile(name string) (train, val *Dataset, err error) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".zip":
		fsys, err := openZip(name)
		if err != nil {
			return nil, nil, err
		}
		return opener{}.open(name, fsys)
	case ".tar":
		train, err = openShards(name, os.DirFS(filepath.Dir(name)), []string{filepath.Base(name)})
		return train, nil, err
	case ".csv":
		dir := filepath.Dir(name)
		return openTable(name, os.DirFS(dir), filepath.Base(name))
	}
	return nil, nil, fmt.Errorf("dataset: %s: a file, want a folder, a .zip or .tar file or a labels.csv", name)
}

// openZip returns the files of an archive, which stays open.
func openZip(name string) (fs.FS, error) {
	r, err := zip.OpenReader(name)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: ZIP file: %w", name, err)
	}
	return r, nil
}

// maxWrappers is how many folders that hold only a folder are looked through.
const maxWrappers = 8

// open recognises the layout of a folder. What tells the most is asked first.
func (o opener) open(name string, fsys fs.FS) (train, val *Dataset, err error) {
	root, err := list(fsys, ".")
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if o.disk != "" && !root.unpacked(fsys) {
		if train, val, ok, err := openShardFolder(name, fsys, root); ok || err != nil {
			return train, val, err
		}
		if train, val, ok, err := o.openParts(name, fsys, root); ok || err != nil {
			return train, val, err
		}
	}
	if train, val, ok, err := openILSVRC(name, fsys, root); ok || err != nil {
		return train, val, err
	}
	if train, val, ok, err := openVOC(name, fsys, root); ok || err != nil {
		return train, val, err
	}
	split, err := root.isSplit(fsys)
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if !split && slices.Contains(root.files, labelsFile) {
		return openTable(name, fsys, labelsFile)
	}
	if inner, ok := root.wrapper(fsys); ok && !split && o.depth < maxWrappers {
		sub, err := fs.Sub(fsys, inner)
		if err != nil {
			return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
		next := opener{depth: o.depth + 1}
		if o.disk != "" {
			next.disk = filepath.Join(o.disk, inner)
		}
		return next.open(strings.TrimRight(name, `/\`)+"/"+inner, sub)
	}
	train, val, err = OpenFS(name, fsys)
	if err != nil {
		return nil, nil, err
	}
	titles(fsys, train, val)
	return train, val, nil
}

// unpacked reports whether there are class folders to train on, which count
// more than the archives that they may have come from.
func (root listing) unpacked(fsys fs.FS) bool {
	if !slices.Contains(root.folders, "train") {
		return false
	}
	train, err := list(fsys, "train")
	return err == nil && len(train.folders) > 0
}

// wrapper returns the only folder of root, if it is round class folders or
// another layout and not a class itself.
func (root listing) wrapper(fsys fs.FS) (string, bool) {
	if len(root.folders) != 1 || len(root.images) > 0 {
		return "", false
	}
	inner, err := list(fsys, root.folders[0])
	if err != nil || slices.Contains(inner.files, labelsFile) {
		return root.folders[0], err == nil
	}
	return root.folders[0], len(inner.folders) > 0 && len(inner.images) == 0 && root.folders[0] != "train"
}

// partWords are what a part is called, the first that is there being it.
var partWords = [][]string{{"train", "training"}, {"val", "validation", "valid", "test"}}

// findPart returns the name that stands for part 0 (train) or 1 (val): the
// part's word itself, with or without extension, or beginning, ending or
// within it, set apart by another character than a letter.
func findPart(names []string, part int) string {
	for _, word := range partWords[part] {
		for _, n := range names {
			stem := strings.ToLower(strings.TrimSuffix(n, path.Ext(n)))
			words := strings.FieldsFunc(stem, func(r rune) bool { return r < 'a' || r > 'z' })
			if slices.Contains(words, word) {
				return n
			}
		}
	}
	return ""
}

// openParts reads a folder with one ZIP file a part.
func (o opener) openParts(name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	var archives []string
	for _, f := range root.files {
		if strings.EqualFold(path.Ext(f), ".zip") {
			archives = append(archives, f)
		}
	}
	trainFile, valFile := findPart(archives, 0), findPart(archives, 1)
	if trainFile == "" || trainFile == valFile {
		return nil, nil, false, nil
	}
	fail := func(err error) (*Dataset, *Dataset, bool, error) { return nil, nil, false, err }
	if train, _, err = (opener{}).openFile(filepath.Join(o.disk, trainFile)); err != nil {
		return fail(err)
	}
	if valFile != "" {
		file := filepath.Join(o.disk, valFile)
		archive, err := openZip(file)
		if err != nil {
			return fail(err)
		}
		flat, err := list(archive, ".")
		if err != nil {
			return fail(fmt.Errorf("dataset: %s: %w", file, err))
		}
		if len(flat.images) > 0 && len(flat.folders) == 0 {
			val, err = openFlat(file, archive, ".", fsys, []string{"."}, train.Classes)
		} else {
			val, _, err = opener{}.open(file, archive)
		}
		if err != nil {
			return fail(err)
		}
		if err := sameClasses(train.Classes, val.Classes); err != nil {
			return fail(fmt.Errorf("dataset: %s: %w", name, err))
		}
	}
	place(fsys, train, val)
	titles(fsys, train, val)
	return train, val, true, nil
}

// place notes where the lists beside the parts' images lie.
func place(root fs.FS, train, val *Dataset) {
	for i, d := range []*Dataset{train, val} {
		if d != nil {
			d.root = root
			if val != nil {
				d.part = partWords[i][0]
			}
		}
	}
}

// sortSamples puts samples in the order that every layout has.
func (d *Dataset) sortSamples() {
	slices.SortFunc(d.Samples, func(a, b Sample) int {
		if a.Label != b.Label {
			return a.Label - b.Label
		}
		return strings.Compare(a.Name, b.Name)
	})
}
