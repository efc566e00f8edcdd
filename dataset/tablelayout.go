package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// tableFolders are folders beside the images that may hold their tables.
var tableFolders = []string{"annotations", "meta", "metadata", "labels", "lists", "splits", "csv", "tables", "info"}

// tableCandidate is a file that may be a table of a folder's images.
type tableCandidate struct {
	file   string
	part   string // that its name says, "" if none
	source *tableSource
	boxes  *boxTable // its rows are boxes; else nil
	err    error     // why it isn't one
	table  *table    // as it was read; nil if it can't be
}

// rank puts tables of the training part first.
func (c *tableCandidate) rank() int {
	if c.part == "train" {
		return 0
	}
	return 1
}

// openTables reads a folder of images whose classes are in tables: labels.csv, metadata.csv
// or metadata.jsonl in the folder or that of a part, tables named after parts, or a single
// one of any name. ok is false if there are no tables, or class folders say the same.
func openTables(s *search, name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	if s.columns.Ignore {
		return nil, nil, false, nil
	}
	fail := func(err error) (*Dataset, *Dataset, bool, error) {
		return nil, nil, false, fmt.Errorf("dataset: %s: %w", name, err)
	}
	candidates, err := s.tableCandidates(fsys, root)
	if err != nil {
		return fail(err)
	}
	if len(candidates) == 0 {
		return nil, nil, false, nil
	}
	found, source := s.found, s.source
	source.Skipped, source.Notes = maps.Clone(source.Skipped), slices.Clone(source.Notes)
	all, err := s.images(fsys, ".")
	if err != nil {
		return fail(err)
	}
	undo := func() { s.found, s.source = found, source }
	if len(all) == 0 && len(root.folders) > 0 {
		undo()
		return nil, nil, false, nil
	}
	if len(all) == 0 {
		if text := s.foreignFile(fsys, "."); text != "" {
			return fail(fmt.Errorf("no images; %s", text))
		}
		if t, err := readRecords(s.ctx, fsys, candidates[0].file); err == nil && t.holdsPixels() {
			return fail(fmt.Errorf("no images; %s has their pixels: write them to pictures, a folder each class, as by numpy.reshape and PIL.Image.fromarray", candidates[0].file))
		}
		return fail(fmt.Errorf("no images beside %s, want those that it names", candidates[0].file))
	}
	classFolders := s.classFolders(fsys, root)
	var trained *tableSource
	slices.SortStableFunc(candidates, func(a, b *tableCandidate) int { return a.rank() - b.rank() })
	for _, c := range candidates {
		s.tryTable(fsys, c, newTableFiles(all, path.Dir(c.file)), trained)
		if c.err == nil && c.part == "train" && trained == nil {
			trained = c.source
		}
		if c.err == nil && classFolders && c.source.ofBoxes() {
			c.err = &noLabelsError{c.file}
		}
	}
	if !classFolders {
		if train, val, ok, err := s.openBoxTables(name, fsys, root, candidates); ok || err != nil {
			return train, val, ok, err
		}
	}
	s.firstSplit(candidates)
	// A table of classes tells more than a list of paths in folders.
	for _, c := range candidates {
		if c.err == nil && c.source.fromFolders && slices.ContainsFunc(candidates, func(o *tableCandidate) bool {
			return o.err == nil && !o.source.fromFolders && o.part == c.part
		}) {
			c.err = &noLabelsError{table: c.file}
		}
	}
	// And more than one of boxes.
	if slices.ContainsFunc(candidates, func(c *tableCandidate) bool {
		var ask *askError
		return c.boxes == nil && (c.err == nil || errors.As(c.err, &ask))
	}) {
		for _, c := range candidates {
			if c.boxes != nil {
				c.err = &noLabelsError{c.file}
			}
		}
	}
	chosen, err := s.chooseTables(name, candidates, classFolders)
	if err != nil {
		return fail(err)
	}
	if chosen == nil {
		notes := s.source.Notes
		undo()
		s.source.Notes = notes
		return nil, nil, false, nil
	}
	if chosen[0].parts, err = s.listedParts(chosen, candidates); err != nil {
		return fail(err)
	}
	if train, val, err = s.tableDatasets(name, fsys, fsys, chosen, all); err != nil {
		return fail(err)
	}
	if s.columns != (Columns{}) {
		return train, val, true, nil
	}
	parts := s.classParts(fsys, root)
	folders, err := compareFolders(chosen, train, val, parts)
	if err != nil {
		return fail(err)
	}
	if folders && (parts || !isLabels(chosen[0].name) && val == nil) {
		undo()
		s.note("%s says the same classes as the folders", chosen[0].name)
		return nil, nil, false, nil
	}
	return train, val, true, nil
}

// partTables are tables in the folders of the images: of Hugging Face, and those of Roboflow's
// exports of classes and boxes.
var partTables = []string{labelsFile, "metadata.csv", "metadata.jsonl", "_classes.csv", "_annotations.csv"}

// numberedSplit matches lists of one of several divisions into parts, as of DTD.
var numberedSplit = regexp.MustCompile(`^(?:train|val|test)(\d+)\.txt$`)

// firstSplit passes over the lists of all divisions into parts but the first.
func (s *search) firstSplit(candidates []*tableCandidate) {
	number := map[*tableCandidate]int{}
	least := math.MaxInt
	for _, c := range candidates {
		if m := numberedSplit.FindStringSubmatch(path.Base(c.file)); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				number[c], least = n, min(least, n)
			}
		}
	}
	others := 0
	for c, n := range number {
		if n > least {
			c.err = &noLabelsError{c.file}
			others++
		}
	}
	if others > 0 {
		s.note("the lists with number %d give the parts; %s of other numbers not used", least, count(others, "list"))
	}
}

// tableCandidates lists the files that may be tables: in the root, in folders for tables,
// and metadata in the folders of the images.
func (s *search) tableCandidates(fsys fs.FS, root listing) ([]*tableCandidate, error) {
	var out []*tableCandidate
	add := func(file, part string) { out = append(out, &tableCandidate{file: file, part: part}) }
	for _, f := range tableNames(root.files) {
		add(f, partOfName(f))
	}
	for _, folder := range root.folders {
		if slices.Contains(tableFolders, strings.ToLower(folder)) {
			l, err := s.list(fsys, folder)
			if err != nil {
				return nil, err
			}
			for _, f := range tableNames(l.files) {
				add(path.Join(folder, f), partOfName(f))
			}
			continue
		}
		for _, f := range partTables {
			if info, err := fs.Stat(fsys, path.Join(folder, f)); err == nil && !info.IsDir() {
				add(path.Join(folder, f), partOfName(folder))
			}
		}
	}
	return out, nil
}

// tryTable reads a candidate. A table of another part with the columns of the training
// part's is read as that is.
func (s *search) tryTable(fsys fs.FS, c *tableCandidate, files *tableFiles, trained *tableSource) {
	if strings.Contains(strings.ToLower(path.Base(c.file)), "submission") {
		c.err = errSubmission
		return
	}
	t, err := readRecords(s.ctx, fsys, c.file)
	if err != nil {
		c.err = &tableFault{err}
		return
	}
	dir := path.Dir(c.file)
	for _, within := range []*tableFiles{files.of(dir, c.part), files} {
		copied := *t
		copied.rows = slices.Clone(t.rows)
		c.table = &copied
		c.source, c.err = copied.source(within, c.part, s.columns)
		c.boxes = copied.boxTable(within, c.part, s.columns)
		if trained != nil && c.part != "" && copied.columns != nil && slices.Equal(copied.written, trained.written) && copied.columnsOfFiles(within, false) != nil {
			c.source, c.err = &tableSource{table: &copied, roles: trained.roles, files: within, part: c.part}, nil
		}
		if c.err == nil || len(within.names) == len(files.names) {
			return
		}
	}
}

// holdsPixels reports whether the columns of a table are pixels, as of FER2013 or of MNIST as CSV.
func (t *table) holdsPixels() bool {
	header := t.columns
	if header == nil && len(t.rows) > 0 {
		header = t.rows[0]
	}
	n := 0
	for _, c := range header {
		if c = strings.ToLower(c); c == "pixels" {
			return true
		} else if strings.HasPrefix(c, "pixel") || len(c) > 2 && strings.Trim(c, "0123456789x") == "" {
			n++
		}
	}
	return n > 9
}

// ofBoxes reports whether the rows of a table are objects in images.
func (t *table) ofBoxes() bool {
	_, boxed := t.box()
	return boxed && t.columns != nil
}

// errSubmission is the error of a table of made-up labels.
var errSubmission = errors.New("a form for answers, not labels")

// tableFault is the error of a file that can't be read as a table at all.
type tableFault struct{ err error }

func (e *tableFault) Error() string { return e.err.Error() }
func (e *tableFault) Unwrap() error { return e.err }

// isLabels reports whether a table is called as this package and Hugging Face call one of
// an image folder's labels.
func isLabels(file string) bool {
	base := path.Base(file)
	return base == labelsFile || base == "metadata.csv" || base == "metadata.jsonl"
}

// chooseTables returns the tables that say the classes: labels.csv, or else metadata, or
// else those of parts, or else the only one. It is an error if several do, and nil if none
// does and the folders may be classes.
func (s *search) chooseTables(where string, candidates []*tableCandidate, classFolders bool) ([]*tableSource, error) {
	for _, name := range []string{labelsFile, "metadata.csv", "metadata.jsonl"} {
		var chosen []*tableSource
		for _, c := range candidates {
			if path.Base(c.file) != name {
				continue
			}
			if c.err != nil {
				if classFolders || c.part == "test" || c.boxes != nil {
					s.note("%s isn't used: %v", c.file, trimTable(c))
					continue
				}
				return nil, c.err
			}
			chosen = append(chosen, c.source)
		}
		if chosen != nil {
			return chosen, nil
		}
	}
	byPart := map[string][]*tableSource{}
	var bad []*tableCandidate
	for _, c := range candidates {
		if c.err == nil {
			byPart[c.source.part] = append(byPart[c.source.part], c.source)
		} else {
			bad = append(bad, c)
		}
	}
	for _, part := range []string{"train", "val", "test", ""} {
		if list := byPart[part]; len(list) > 1 {
			return nil, severalTables(where, list)
		}
	}
	parts := slices.Concat(byPart["train"], byPart["val"], byPart["test"])
	if len(byPart["train"]) > 0 && len(byPart[""]) > 0 && !byPart["train"][0].shares(byPart[""][0]) {
		s.note("%s isn't used: it names none of the images of %s", byPart[""][0].name, byPart["train"][0].name)
		byPart[""] = nil
	}
	var chosen []*tableSource
	switch {
	case len(byPart["train"]) > 0 && len(byPart[""]) > 0:
		return nil, severalTables(where, append(parts, byPart[""]...))
	case len(byPart["train"]) > 0:
		chosen = parts
	case len(byPart[""]) > 0:
		chosen = byPart[""]
	case len(parts) == 1:
		chosen = parts
	}
	if chosen == nil {
		return nil, s.noTable(bad, classFolders)
	}
	for _, c := range bad {
		var none *noLabelsError
		var other *noImagesError
		var unclear *unclearError
		switch {
		case errors.As(c.err, &none) && c.part != "test":
			continue // such as a table of boxes
		case chosen[0].part != "" && (c.part == "train" || c.part == "val") && !errors.As(c.err, &other) && !errors.As(c.err, &unclear) && !errors.Is(c.err, errSubmission):
			return nil, c.err
		}
		s.note("%s isn't used: %v", c.file, trimTable(c))
	}
	return chosen, nil
}

// shares reports whether two tables name the same image.
func (t *tableSource) shares(other *tableSource) bool {
	files := func(t *tableSource, visit func(string) bool) bool {
		for row := range t.rows {
			if i, err := t.files.find(t.cell(row, t.image)); err == nil && i >= 0 && visit(t.files.names[i]) {
				return true
			}
		}
		return false
	}
	seen := map[string]bool{}
	files(t, func(f string) bool { seen[f] = true; return false })
	return files(other, func(f string) bool { return seen[f] })
}

// trimTable is a candidate's error without the name of its file.
func trimTable(c *tableCandidate) error {
	var none *noLabelsError
	if unclear := new(*unclearError); errors.As(c.err, unclear) {
		return errors.New("no column is called like classes")
	}
	if errors.As(c.err, &none) {
		return errors.New("it has no classes")
	}
	if text, ok := strings.CutPrefix(c.err.Error(), c.file+": "); ok {
		return errors.New(text)
	}
	return c.err
}

func severalTables(where string, list []*tableSource) error {
	var names []string
	for _, t := range list {
		names = append(names, t.name)
	}
	return fmt.Errorf("several tables give classes: %s; open one of them, as --data %s, or call one %s", strings.Join(names, ", "), shellWord(strings.TrimRight(where, `/\`)+"/"+names[0]), labelsFile)
}

// noTable is the error of tables none of which can be used. It is nil where there are class
// folders: tables may be about something else.
func (s *search) noTable(bad []*tableCandidate, classFolders bool) error {
	for _, c := range bad {
		var findings *findingsError
		if errors.As(c.err, &findings) {
			return c.err
		}
		if classFolders || errors.Is(c.err, errSubmission) {
			continue
		}
		var none *noLabelsError
		var other *noImagesError
		if !errors.As(c.err, &none) && !errors.As(c.err, &other) {
			return c.err
		}
	}
	for _, c := range bad {
		s.note("%s isn't used: %v", c.file, trimTable(c))
		if !errors.Is(c.err, errSubmission) {
			s.unread = append(s.unread, fmt.Sprintf("%s isn't used: %v", c.file, trimTable(c)))
		}
	}
	return nil
}

// containerWords are words in names of folders that hold images of all classes.
var containerWords = []string{
	"image", "images", "img", "imgs", "jpg", "jpeg", "jpegs", "jpegimages", "png", "photo", "photos", "picture", "pictures", "pics", "data", "raw", "all", "files", "part", "folder", "batch",
}

// isContainer reports whether a folder's name says that it holds images of all classes.
func isContainer(name string) bool {
	if partOfName(name) != "" {
		return true
	}
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) })
	return len(words) == 0 || slices.ContainsFunc(words, func(w string) bool { return slices.Contains(containerWords, w) })
}

// classFolders reports whether there are two folders that may be classes, in the root or in
// that of the training part.
func (s *search) classFolders(fsys fs.FS, root listing) bool {
	count := func(folders []string) int {
		n := 0
		for _, f := range folders {
			if !isContainer(f) && !slices.Contains(tableFolders, strings.ToLower(f)) {
				n++
			}
		}
		return n
	}
	return count(root.folders) > 1 || s.classParts(fsys, root)
}

// classParts reports whether the folder of the training part has class folders.
func (s *search) classParts(fsys fs.FS, root listing) bool {
	for _, f := range root.folders {
		if partOfName(f) != "train" {
			continue
		}
		if l, err := s.list(fsys, f); err == nil && len(l.folders) > 1 && len(l.images) == 0 {
			return true
		}
	}
	return false
}

// compareFolders compares the classes that tables give with the folders of the images. same
// means that the folders divide the images in the same way, and are called like the classes,
// which may be numbers, or lie in parts. It is an error if the folders
// are called like the classes, and an image lies in that of another class; and if they may
// be other classes.
func compareFolders(chosen []*tableSource, train, val *Dataset, parts bool) (same bool, err error) {
	folders, toFolder := map[string]string{}, map[string]string{}
	bijective, called := true, false
	type contradiction struct{ file, folder, class string }
	var differs *contradiction
	class := map[string]bool{}
	for _, c := range train.Classes {
		class[plainName(c)] = true
	}
	for _, d := range []*Dataset{train, val} {
		if d == nil {
			continue
		}
		for _, sample := range d.Samples {
			folder, label := path.Base(ownFolder(sample.Name)), d.Classes[sample.Label]
			if f, ok := folders[folder]; ok && f != label {
				bijective = false
			}
			if f, ok := toFolder[label]; ok && f != folder {
				bijective = false
			}
			folders[folder], toFolder[label] = label, folder
			called = called || class[plainName(folder)]
			if class[plainName(folder)] && plainName(folder) != plainName(label) && differs == nil {
				differs = &contradiction{sample.Name, folder, label}
			}
		}
	}
	containers := 0
	for f := range folders {
		if isContainer(f) && !class[plainName(f)] {
			containers++
		}
	}
	t := chosen[0]
	switch {
	case len(folders) < 2 || t.ofFolders:
		return false, nil
	case bijective && len(train.Classes) > 1:
		for folder, label := range folders {
			_, number := wholeValue(label)
			parts = parts || number
			called = called && plainName(folder) == plainName(label)
		}
		return parts || called, nil
	case train.MultiLabel:
		return false, nil
	case called && differs != nil:
		return false, fmt.Errorf("%s lies in folder %s, and %s says %s; say which holds: %s for the table, --columns none for the folders",
			differs.file, differs.folder, t.name, differs.class, t.columnsFlag(t.image, t.labels[0], ""))
	case containers == 0 && !isLabels(t.name):
		names := make([]string, 0, len(folders))
		for f := range folders {
			names = append(names, f)
		}
		slices.Sort(names)
		return false, fmt.Errorf("folders (%s) and %s (%s) may both be the classes; say which: %s for the table, --columns none for the folders",
			some(names), t.name, some(train.Classes), t.columnsFlag(t.image, t.labels[0], ""))
	}
	return false, nil
}
