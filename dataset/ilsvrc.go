package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// kaggleFolders hold the images of Kaggle's copy of ILSVRC, seen from the folder
// that it is unpacked to and from the one below it.
var kaggleFolders = []string{"ILSVRC/Data/CLS-LOC", "Data/CLS-LOC"}

// listFolders hold the lists that go with ILSVRC, seen from the folder above
// train and val.
var listFolders = []string{
	".", "devkit", "devkit/data", "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12/data", "data", "meta",
}

// join is path.Join: it keeps "." a valid path for fs.FS.
func join(dir, name string) string { return path.Join(dir, name) }

// openILSVRC reads class folders for training beside a flat val folder, either
// of which may be missing, and Kaggle's folders with any kind of val. ok is false
// if the layout is another one.
func openILSVRC(s *search, name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	base := "."
	for _, dir := range kaggleFolders {
		if l, err := s.list(fsys, dir); err == nil && (slices.Contains(l.folders, "train") || slices.Contains(l.folders, "val")) {
			base, root = dir, l
			break
		}
	}
	fail := func(err error) (*Dataset, *Dataset, bool, error) { return nil, nil, false, err }
	found, source := s.found, s.source
	source.Notes = slices.Clone(source.Notes)
	source.Skipped = maps.Clone(source.Skipped)
	sub, err := fs.Sub(fsys, base)
	if err != nil {
		return fail(fmt.Errorf("dataset: %s: %w", name, err))
	}
	parts, err := s.parts(name, sub, root)
	if err != nil {
		return fail(err)
	}
	if parts != nil && parts.dirs[partTrain] != "" {
		l, err := s.list(sub, parts.dirs[partTrain])
		if err == nil && len(l.images) > 0 && len(l.folders) == 0 {
			return nil, nil, false, nil // both parts are flat: tables have their classes
		}
	}
	flat := ""
	if parts != nil && (parts.dirs[partTrain] != "" || len(parts.other) == 0) {
		if flat, err = s.flatPart(fsys, base, parts.dirs[partVal]); err != nil {
			return fail(fmt.Errorf("dataset: %s: %w", name, err))
		}
	}
	if flat == "" {
		if base == "." {
			return nil, nil, false, nil
		}
		if train, val, err = openFolders(s, strings.TrimRight(name, `/\`)+"/"+base, sub); err != nil {
			return fail(err)
		}
	} else {
		var classes []string
		if parts.dirs[partTrain] != "" {
			if train, err = openPart(s, name, fsys, join(base, parts.dirs[partTrain])); err != nil {
				return fail(err)
			}
			classes = train.Classes
		}
		lists := slices.Clone(listFolders)
		if base != "." {
			lists = append(lists, base)
		}
		lists = append(lists, join(base, parts.dirs[partVal]))
		where := strings.TrimRight(name, `/\`) + "/" + flat
		val, err = openFlat(s, where, fsys, flat, fsys, lists, classes)
		if (errors.Is(err, errNoLabels) && train != nil || errors.Is(err, errNumbered)) && base == "." && !slices.ContainsFunc(classes, isWNID) {
			s.found, s.source = found, source
			return nil, nil, false, nil // class folders, and val isn't labelled, or by a table
		}
		if err != nil {
			return fail(err)
		}
	}
	s.source.Layout = "ILSVRC"
	if train == nil {
		train, val = val, nil
		train.root, train.part = fsys, partNames[partVal]
	} else {
		setLayout(fsys, train, val)
	}
	setTitles(fsys, train, val)
	return train, val, true, nil
}

// flatPart returns the folder of validation images that aren't in class folders: val, or
// images in it, as in Tiny ImageNet. It returns "" if val, "" if there is none, has class
// folders.
func (s *search) flatPart(fsys fs.FS, base, val string) (string, error) {
	if val == "" {
		return "", nil
	}
	dir := join(base, val)
	l, err := s.list(fsys, dir)
	switch {
	case err != nil:
		return "", err
	case len(l.images) > 0 && len(l.folders) == 0:
		return dir, nil
	case slices.Equal(l.folders, []string{"images"}) && len(l.images) == 0 && len(l.files) > 0:
		return join(dir, "images"), nil
	}
	return "", nil
}

// openFlat reads validation images that lie in one folder, with their labels
// in a list that one of the folders of lists holds. classes is nil where there
// are no training images; the list then gives the classes.
func openFlat(s *search, where string, fsys fs.FS, dir string, lists fs.FS, folders, classes []string) (*Dataset, error) {
	fail := func(err error) (*Dataset, error) { return nil, fmt.Errorf("dataset: %s: %w", where, err) }
	l, err := s.list(fsys, dir)
	if err != nil {
		return fail(err)
	}
	s.add(len(l.images))
	files := make([]string, len(l.images))
	for i, f := range l.images {
		files[i] = join(dir, f)
	}
	synsets, err := readSynsets(lists, folders)
	if err != nil {
		return fail(err)
	}
	for _, folder := range folders {
		l, err := s.list(lists, folder)
		if err != nil {
			continue
		}
		for _, f := range l.files {
			if !mayListLabels(f) {
				continue
			}
			t, err := readTable(s.ctx, lists, join(folder, f))
			if err != nil {
				return fail(err)
			}
			values := t.labelValues(files)
			if values == nil {
				continue
			}
			d := &Dataset{Name: where, fsys: fsys}
			if err := values.label(d, files, classes, synsets); err != nil {
				return fail(err)
			}
			d.sortSamples()
			return d, nil
		}
	}
	return fail(fmt.Errorf("%d images without class folders and %w, want val.txt, LOC_val_solution.csv, ILSVRC2012_validation_ground_truth.txt or a labels.csv", len(files), errNoLabels))
}

// mayListLabels reports, by the name of a file, whether it may be a table of the
// validation part or of all images.
func mayListLabels(name string) bool {
	lower := strings.ToLower(name)
	base := strings.TrimSuffix(lower, ".gz")
	switch path.Ext(base) {
	case ".csv", ".txt":
		return base == labelsFile || findPart([]string{base}, 1) != ""
	}
	return false
}

// labelValues are the columns of a list of labels.
type labelValues struct {
	t      *table
	file   int  // column, -1 if the rows are in the order of the files
	value  int  // column
	index  int  // column of class numbers, counted from 0 in the order of the classes, or -1
	devkit bool // the values are the devkit's class ids
}

// labelValues finds the columns of a list of labels. It returns nil if the table
// is no such list.
func (t *table) labelValues(files []string) *labelValues {
	if len(t.rows) == 0 {
		return nil
	}
	if t.columns != nil {
		v := &labelValues{t: t, file: t.fileColumn(), value: t.classColumn(), index: t.column(indexColumns...)}
		if v.value < 0 {
			v.value = t.column("predictionstring") // Kaggle's: class and box, repeated
		}
		if v.file < 0 || v.value < 0 && v.index < 0 {
			return nil
		}
		return v
	}
	_, boxed := t.box()
	switch n := len(t.rows[0]); {
	case n == 1 && len(t.rows) == len(files):
		return &labelValues{t: t, file: -1, value: 0, index: -1, devkit: true}
	case n == 2, n >= 6 && boxed:
		return &labelValues{t: t, file: 0, value: 1, index: 1}
	}
	return nil
}

// label makes samples of the files. The list must name every file; rows about
// other files are ignored.
func (v *labelValues) label(d *Dataset, files, classes []string, synsets []synset) error {
	labels := map[string]int{}
	byID := map[int]string{}
	known := make([]string, 0, len(synsets))
	for _, s := range synsets {
		byID[s.id] = s.wnid
		known = append(known, s.wnid)
	}
	slices.Sort(known)
	if classes == nil {
		if classes = known; len(known) == 0 {
			if classes = v.names(); classes == nil {
				return fmt.Errorf("%s: %w; without training images a list of synsets is wanted, such as synset_words.txt", v.t.name, errNumbered)
			}
		}
	}
	for i, c := range classes {
		labels[c] = i
	}
	d.Classes = classes
	find := newFinder(files)
	samples := make([]Sample, len(files))
	seen := make([]bool, len(files))
	for row := range v.t.rows {
		i := row
		if v.file >= 0 {
			if i = find.find(v.t.cell(row, v.file)); i < 0 {
				continue
			}
		}
		label, err := v.of(row, labels, classes, byID)
		if err != nil {
			return err
		}
		if seen[i] && samples[i].Label != label {
			return v.t.errorf(row, "%s has class %s, and %s further up", files[i], classes[label], classes[samples[i].Label])
		}
		samples[i], seen[i] = Sample{Name: files[i], Label: label}, true
	}
	var missing []string
	for i, ok := range seen {
		if !ok {
			missing = append(missing, files[i])
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: no label for %s", v.t.name, some(missing))
	}
	d.Samples = samples
	return nil
}

// errNumbered is the error of a list that numbers classes that aren't ImageNet's, whose order is
// known.
var errNumbered = errors.New("a number, want the name of a class folder, or a list of the numbers' names")

// of returns the label of a row: its class by name, by the devkit's id or by number.
func (v *labelValues) of(row int, labels map[string]int, classes []string, byID map[int]string) (int, error) {
	value, _, _ := strings.Cut(v.t.cell(row, v.value), " ")
	if label, ok := labels[value]; ok && !v.devkit {
		return label, nil
	}
	if v.devkit {
		id, err := strconv.Atoi(value)
		if err != nil || id < 1 {
			return 0, v.t.errorf(row, "%q, want a class id of the devkit, from 1", value)
		}
		wnid, ok := byID[id]
		if !ok {
			return 0, v.t.errorf(row, "class id %d: no list says which synset that is, want the devkit's meta.mat or map_clsloc.txt beside it", id)
		}
		label, ok := labels[wnid]
		if !ok {
			return 0, v.t.errorf(row, "class id %d is %s, which has no folder of training images", id, wnid)
		}
		return label, nil
	}
	if v.index >= 0 && (v.t.columns != nil || slices.ContainsFunc(classes, isWNID)) {
		n, err := strconv.Atoi(v.t.cell(row, v.index))
		if err == nil && n >= 0 && n < len(classes) {
			return n, nil
		}
		value = v.t.cell(row, v.index)
	}
	if _, err := strconv.Atoi(value); err == nil && !slices.ContainsFunc(classes, isWNID) {
		return 0, v.t.errorf(row, "class %q: %w", value, errNumbered)
	}
	return 0, v.t.errorf(row, "class %q, want one of the %d classes or its number from 0", value, len(classes))
}

// names returns the different class names of a list, sorted, or nil if the list
// has numbers.
func (v *labelValues) names() []string {
	seen := map[string]bool{}
	for row := range v.t.rows {
		value, _, _ := strings.Cut(v.t.cell(row, v.value), " ")
		if _, err := strconv.Atoi(value); err == nil || value == "" {
			return nil
		}
		seen[value] = true
	}
	var names []string
	for n := range seen {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// readSynsets returns the first list of synsets found. One with the devkit's ids
// is preferred.
func readSynsets(fsys fs.FS, folders []string) ([]synset, error) {
	var withoutIDs []synset
	for _, dir := range folders {
		if data, err := wholefile.ReadFS(context.Background(), fsys, join(dir, "meta.mat"), wholefile.MaxText); err == nil {
			list, err := parseMeta(data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", join(dir, "meta.mat"), err)
			}
			return list, nil
		}
		for _, name := range synsetFiles {
			data, err := wholefile.ReadFS(context.Background(), fsys, join(dir, name), wholefile.MaxText)
			if err != nil {
				continue
			}
			list := parseSynsets(data)
			if len(list) == 0 {
				continue
			}
			if numberedFromOne(list) {
				return list, nil
			}
			if withoutIDs == nil {
				for i := range list {
					list[i].id = -1
				}
				withoutIDs = list
			}
		}
	}
	return withoutIDs, nil
}

// numberedFromOne reports whether the ids are 1 … n, as the devkit's are.
func numberedFromOne(list []synset) bool {
	seen := make([]bool, len(list)+1)
	for _, s := range list {
		if s.id < 1 || s.id > len(list) || seen[s.id] {
			return false
		}
		seen[s.id] = true
	}
	return true
}
