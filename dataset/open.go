package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/progress"
)

// OpenOptions chooses where [Open] reads and who hears of it. The zero value reads
// the disk.
type OpenOptions struct {
	// FS, unless it is nil, is the file system that the path lies in: an [embed.FS],
	// a [zip.Reader], an object store. The path is then slash-separated, "." being
	// the root. Archives in it are read if its files are [io.ReaderAt]s.
	FS fs.FS
	// Columns says which columns of a table hold what.
	Columns Columns
	// Annotations is where the boxes of images lie that aren't in class folders, as
	// [BoxOptions] has it; "" looks for them beside the images.
	Annotations string
	// Layout decides what folders are that can be read in several ways.
	Layout Layout
	// Labels, unless it is nil, takes the classes from the names of the files.
	Labels *LabelPattern
	// Remote says how shards are read that lie on a server.
	Remote RemoteOptions
	// Progress hears of the images found so far, of an unknown total.
	Progress progress.Func
}

// Open reads the images at path in one of these layouts, which it recognises:
//
//   - class folders: CLASS/…, or train/CLASS/… with or without val/CLASS/…, or
//     CLASS/train/… and CLASS/val/…;
//   - ILSVRC as it is distributed: train/nXXXXXXXX/*.JPEG, a flat val with a
//     list of labels (the devkit's ground truth, or one that names the files),
//     and the folders of Kaggle's copy; also Tiny ImageNet;
//   - images with a file labels.csv beside them or above them, or that file
//     itself;
//   - images with boxes, whose names are the classes: XML as in PASCAL VOC, COCO's
//     JSON or YOLO's text files, in the folders of the images or in any others;
//   - tar shards in the WebDataset convention, one of them, or those that a pattern names:
//     shards/*.tar, train-{000000..000009}.tar; also on a server, by addresses with https,
//     http or s3 (https://HOST/train-{000000..000009}.tar);
//   - a ZIP or tar file of any of these but shards, or a folder with one archive a
//     part, such as train.zip and val.zip. A tar file compressed by gzip, bzip2 or
//     Zstandard is held in memory, up to 1 GiB.
//
// Parts are known by their names in any case: train or training; val, validation,
// valid, dev or eval; test or testing, which takes the place of val where there is none; with
// words beside them that say nothing (training_set) or are the same for all (seg_train,
// seg_test). Folders that could be parts or classes are an error, an [*AmbiguousError],
// unless o.Layout decides. A folder that holds nothing but one folder is looked through, the
// folder of a part, too. Where there are no parts, val is nil: [Split] makes one. Files
// count as images by their extension or, if that is unknown, by their first bytes.
//
// A table may give several labels an image (see Dataset.MultiLabel).
//
// The order of the classes is the same in every layout, and samples are sorted by
// class and name, those of several labels by name. So the same images give the same dataset however they are packed.
// A dataset keeps the archives of its images open.
//
// It is an error that wraps [fs.ErrNotExist] if there is nothing at path; that wraps
// the cause of ctx, once ctx is done; and if no layout is recognised, a list of labels
// is missing or contradicts itself, there are no images, or val has a class that train
// lacks. Images are not decoded: a [Loader] finds the unreadable ones.
// [Dataset.Source] says what was understood and what left out.
func Open(ctx context.Context, path string, o OpenOptions) (train, val *Dataset, err error) {
	s := &search{ctx: ctx, progress: o.Progress, layout: o.Layout, pattern: o.Labels, annotations: o.Annotations, columns: o.Columns, remote: o.Remote}
	switch {
	case o.FS != nil:
		train, val, err = s.openIn(path, o.FS)
	case remote.IsAddress(path):
		train, val, err = s.openRemote(path)
		path = remote.Plain(path)
	default:
		train, val, err = s.openOnDisk(path)
	}
	if s.err() != nil { // which may have hidden a folder
		return nil, nil, fmt.Errorf("dataset: %s: %w", path, s.err())
	}
	if err != nil {
		return nil, nil, err
	}
	s.finish(train, val)
	return train, val, nil
}

// missingError is the error of a path at which there is nothing.
type missingError struct{ path string }

func (e *missingError) Error() string { return "dataset: " + e.path + ": no such folder or file" }

func (e *missingError) Unwrap() error { return fs.ErrNotExist }

// openOnDisk opens a path of the operating system.
func (s *search) openOnDisk(path string) (train, val *Dataset, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && isShardPattern(path):
		return s.openShardPattern(path)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, &missingError{path}
	case err != nil:
		return nil, nil, fmt.Errorf("dataset: %w", err)
	}
	o := opener{search: s, onDisk: true}
	if info.IsDir() {
		train, val, err = o.open(path, wholefile.Dir(path))
	} else {
		train, val, err = o.openFile(path, wholefile.Dir(filepath.Dir(path)), filepath.Base(path))
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

// openIn opens a path of another file system.
func (s *search) openIn(name string, fsys fs.FS) (train, val *Dataset, err error) {
	info, err := fs.Stat(fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, &missingError{name}
	case err != nil:
		return nil, nil, fmt.Errorf("dataset: %w", err)
	}
	dir := name
	if !info.IsDir() {
		dir = path.Dir(name)
	}
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	o := opener{search: s}
	if info.IsDir() {
		return o.open(name, sub)
	}
	return o.openFile(name, sub, path.Base(name))
}

// opener recognises the layout of one folder or file.
type opener struct {
	*search
	inArchive bool // the folder lies in a ZIP file, in which archives can't be read
	onDisk    bool // the file system is the disk's
	depth     int  // of folders looked through
}

// openFile reads a single file of fsys: an archive or a table. name is what errors and
// reports call it.
func (o opener) openFile(name string, fsys fs.FS, file string) (train, val *Dataset, err error) {
	if isTar(file) {
		shard, err := looksSharded(o.search, fsys, file)
		if err != nil {
			return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
		if shard {
			train, err = openShards(o.search, name, fsys, []string{file})
			return train, nil, err
		}
	}
	if isArchive(file) {
		archive, err := o.openArchive(name, fsys, file)
		if err != nil {
			return nil, nil, err
		}
		return opener{search: o.search, inArchive: true}.open(name, archive)
	}
	switch strings.ToLower(path.Ext(file)) {
	case ".7z", ".rar", ".xz", ".bz2", ".zst", ".lz4", ".z01":
		return nil, nil, fmt.Errorf("dataset: %s: an archive of a kind that can't be read here, want a .zip or .tar file or the folder that it unpacks to", name)
	case parquetExt:
		if train, val, ok, err := o.openParquetFiles(name, fsys, []string{file}); ok || err != nil {
			return train, val, err
		}
		return openTable(o.search, name, fsys, file)
	case ".json":
		if isCOCO(fsys, file) {
			return o.openBoxFile(name, fsys, file)
		}
		return openTable(o.search, name, fsys, file)
	case ".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".lst", ".gz":
		return openTable(o.search, name, fsys, file)
	case ".yaml", ".yml":
		return o.openBoxFile(name, fsys, file)
	}
	return nil, nil, fmt.Errorf("dataset: %s: a file, want a folder, a .zip or .tar file, a table such as labels.csv, COCO's JSON or YOLO's data.yaml", name)
}

// maxWrappers is the most folders, each the only entry of the one round it, that are
// looked through.
const maxWrappers = 8

// open recognises the layout of a folder. The most specific layout is tried first.
func (o opener) open(name string, fsys fs.FS) (train, val *Dataset, err error) {
	root, err := o.list(fsys, ".")
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if err := o.dropCopies(fsys, ".", &root); err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if o.pattern != nil {
		if len(root.folders) == 1 && len(root.images) == 0 && o.depth < maxWrappers {
			if part, _, _ := namedPart(root.folders[0]); part < 0 {
				return o.goInto(name, fsys, root, root.folders[0])
			}
		}
		return openPattern(o.search, name, fsys, root)
	}
	if !o.inArchive && !root.unpacked(o.search, fsys) {
		if train, val, ok, err := openShardFolder(o.search, name, fsys, root); ok || err != nil {
			return train, val, err
		}
		if train, val, ok, err := o.openParts(name, fsys, root); ok || err != nil {
			return train, val, err
		}
	}
	if err := o.findCopies(fsys, root); err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if train, val, ok, err := openLists(o.search, name, fsys, root); ok || err != nil {
		return train, val, err
	}
	if train, val, ok, err := o.openBoxes(name, fsys, root); ok || err != nil {
		return train, val, err
	}
	train, val, ok, err := openILSVRC(o.search, name, fsys, root)
	var ambiguous *AmbiguousError
	if ok || err != nil && !errors.As(err, &ambiguous) {
		return train, val, err
	}
	if train, val, ok, err := openParquetFolder(o.search, name, fsys, root); ok || err != nil {
		return train, val, err
	}
	if train, val, ok, err := openTables(o.search, name, fsys, root); ok || err != nil {
		return train, val, err
	}
	if train, val, ok, err := o.openDomains(name, fsys, root); ok || err != nil {
		return train, val, err
	}
	parts, err := o.parts(name, fsys, root)
	if err != nil {
		return nil, nil, err
	}
	inner, wraps, err := root.wrapper(o.search, fsys)
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if wraps && parts == nil && o.depth < maxWrappers {
		return o.goInto(name, fsys, root, inner)
	}
	train, val, err = openFolders(o.search, name, fsys)
	if err != nil {
		return nil, nil, err
	}
	setTitles(fsys, train, val)
	if err := o.titleNumbers(fsys, train, val); err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	return train, val, nil
}

// goInto opens the folder of root that wraps the images.
func (o opener) goInto(name string, fsys fs.FS, root listing, inner string) (train, val *Dataset, err error) {
	sub, err := fs.Sub(fsys, inner)
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	for _, f := range root.folders {
		if f != inner {
			o.source.Empty = append(o.source.Empty, f)
		}
	}
	o.enter(fsys)
	var copies []string
	for _, c := range o.copies {
		if below, ok := strings.CutPrefix(c, inner+"/"); ok {
			copies = append(copies, below)
		}
	}
	o.copies = copies
	o.outer = append(o.outer, fsys)
	next := opener{search: o.search, inArchive: o.inArchive, onDisk: o.onDisk, depth: o.depth + 1}
	return next.open(strings.TrimRight(name, `/\`)+"/"+inner, sub)
}

// unpacked reports whether there are class folders to train on. They are read
// rather than the archives that they may have come from.
func (root listing) unpacked(s *search, fsys fs.FS) bool {
	for _, f := range root.folders {
		if part, _, _ := namedPart(f); part == partTrain {
			train, err := s.list(fsys, f)
			return err == nil && len(train.folders) > 0
		}
	}
	return false
}

// wrapper returns the only folder of root that has images, if it holds class folders or
// another layout and is not a class itself.
func (root listing) wrapper(s *search, fsys fs.FS) (string, bool, error) {
	const most = 16 // of folders of which one wraps the images
	if len(root.folders) == 0 || len(root.folders) > most || len(root.images) > 0 {
		return "", false, nil
	}
	if len(root.folders) == 1 {
		// Shards and archives count, too.
		return root.soleWrapper(s, fsys)
	}
	only := ""
	for _, f := range root.folders {
		sh, err := s.shape(fsys, f)
		switch {
		case err != nil:
			return "", false, err
		case sh == (shape{}):
			continue
		case only != "":
			return "", false, nil
		}
		only = f
	}
	if only == "" {
		return "", false, nil
	}
	classes, err := s.folderClasses(fsys, only)
	return only, classes >= 2, err
}

func (root listing) soleWrapper(s *search, fsys fs.FS) (string, bool, error) {
	only := root.folders[0]
	inner, err := s.list(fsys, only)
	if err != nil || slices.Contains(inner.files, labelsFile) {
		return only, err == nil, err
	}
	return only, len(inner.folders) > 0 && len(inner.images) == 0, nil
}

// isArchive reports whether a file has the name of a ZIP or tar file.
func isArchive(name string) bool { return strings.EqualFold(path.Ext(name), ".zip") || isTar(name) }

// openArchive returns the files of a ZIP or tar file, which stays open.
func (o opener) openArchive(name string, fsys fs.FS, file string) (fs.FS, error) {
	if !isTar(file) {
		return openZip(name, fsys, file)
	}
	t, err := openTar(o.search, fsys, file)
	var files fs.FS
	if err == nil {
		files, err = tarTree(o.search, t)
	}
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if t.unpacked {
		o.note("%s is held unpacked in memory: %d MB", name, t.size/1e6)
	}
	return files, nil
}

// openParts reads a folder with one archive a part, or with a single archive.
func (o opener) openParts(name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	var archives []string
	for _, f := range root.files {
		if isArchive(f) {
			archives = append(archives, f)
		}
	}
	fail := func(err error) (*Dataset, *Dataset, bool, error) { return nil, nil, false, err }
	where := func(file string) string { return filepath.Join(name, file) }
	trainFile, valFile := findPart(archives, 0), findPart(archives, 1)
	if trainFile == "" || trainFile == valFile {
		if len(archives) == 0 || len(root.folders) > 0 || len(root.images) > 0 {
			return nil, nil, false, nil
		}
		if len(archives) > 1 {
			return fail(fmt.Errorf("dataset: %s: %d archives and no images (%s), want one of them, or archives that are called train and val", name, len(archives), some(archives)))
		}
		train, val, err = o.openFile(where(archives[0]), fsys, archives[0])
		return train, val, err == nil, err
	}
	if train, _, err = o.openFile(where(trainFile), fsys, trainFile); err != nil {
		return fail(err)
	}
	if valFile != "" {
		file := where(valFile)
		archive, err := o.openArchive(file, fsys, valFile)
		if err != nil {
			return fail(err)
		}
		flat, err := o.list(archive, ".")
		if err != nil {
			return fail(fmt.Errorf("dataset: %s: %w", file, err))
		}
		if len(flat.images) > 0 && len(flat.folders) == 0 {
			val, err = openFlat(o.search, file, archive, ".", fsys, []string{"."}, train.Classes)
		} else {
			val, _, err = opener{search: o.search, inArchive: true}.open(file, archive)
		}
		if err != nil {
			return fail(err)
		}
		if err := val.takeClasses(train.Classes); err != nil {
			return fail(fmt.Errorf("dataset: %s: %w", name, err))
		}
	}
	setLayout(fsys, train, val)
	setTitles(fsys, train, val)
	return train, val, true, nil
}

// setLayout notes the folder that has the lists beside the parts' images.
func setLayout(root fs.FS, train, val *Dataset) {
	for i, d := range []*Dataset{train, val} {
		if d != nil {
			d.root = root
			if val != nil {
				d.part = partWords[i][0]
			}
		}
	}
}

// sortSamples sorts the samples by class and name, as they are in every layout; those of
// several labels by name.
func (d *Dataset) sortSamples() {
	slices.SortFunc(d.Samples, func(a, b Sample) int {
		if a.Label != b.Label && !d.MultiLabel {
			return a.Label - b.Label
		}
		return strings.Compare(a.Name, b.Name)
	})
}
