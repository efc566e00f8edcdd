package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// labelsFile is the name of the table that gives the classes of a folder of images.
const labelsFile = "labels.csv"

// tableSource is a table of a collection, with what its columns hold.
type tableSource struct {
	*table
	roles
	files *tableFiles
	part  string            // of all rows; "" if none, or a column says it
	parts map[string]string // of images, where lists beside the table say them
}

// tableRow is a row about an image.
type tableRow struct {
	*tableSource
	row  int
	file string // path of the image
	part string
	more []string // labels in further rows of the image
}

func (r *tableRow) value(column int) string { return r.cell(r.row, column) }

func (r *tableRow) errorf(format string, args ...any) error {
	return r.table.errorf(r.row, format, args...)
}

// openTable reads a table and the images beside or below it. One column names the images,
// by a path, the end of one, or a name without extension; one has their classes, by name
// or number, or there is a column of 0 and 1 for each class; and perhaps one has parts.
func openTable(s *search, name string, fsys fs.FS, file string) (train, val *Dataset, err error) {
	all, err := s.images(fsys, ".")
	if err == nil {
		var t *tableSource
		if t, err = s.readSource(fsys, file, newTableFiles(all, path.Dir(file)), ""); err == nil {
			train, val, err = s.tableDatasets(name, fsys, fsys, []*tableSource{t}, all)
		}
	}
	var other *noImagesError
	if errors.As(err, &other) && len(all) == 0 {
		err = fmt.Errorf("no images beside or below it; open the folder that has both: %w", err)
	} else if errors.As(err, &other) && !slices.Contains([]string{".csv", ".tsv"}, path.Ext(file)) {
		err = fmt.Errorf("a file, want a folder, a .zip or .tar file, or a table of images such as labels.csv: %w", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	return train, val, nil
}

// readSource reads a table and tells its columns apart.
func (s *search) readSource(fsys fs.FS, file string, files *tableFiles, part string) (*tableSource, error) {
	t, err := readRecords(s.ctx, fsys, file)
	if err != nil {
		return nil, err
	}
	return t.source(files, part, s.columns)
}

// source tells the columns of a table apart.
func (t *table) source(files *tableFiles, part string, c Columns) (*tableSource, error) {
	if err := t.takeAnyHeader(files, c); err != nil {
		return nil, err
	}
	t.expandFolders(files)
	r, err := t.rolesOf(files, c)
	if err != nil {
		return nil, err
	}
	if part != "" && c.Split == "" {
		r.split = -1
	}
	return &tableSource{table: t, roles: r, files: files, part: part}, nil
}

// takeAnyHeader takes the first row as a header unless it names one of the files. Rows of
// another length than the header are an error: their values would stand in wrong columns.
func (t *table) takeAnyHeader(files *tableFiles, c Columns) error {
	t.takeCornersLast()
	if t.columns == nil && len(t.rows) > 0 && !slices.ContainsFunc(t.rows[0], func(v string) bool {
		i, err := files.find(v)
		return i >= 0 || err != nil
	}) && t.looksLikeHeader(c) {
		t.takeHeader()
	}
	if t.divider == 0 {
		t.joinWords(files)
	}
	if t.columns == nil {
		t.addFolders(files)
		return nil
	}
	n := len(t.columns)
	longest := 0
	for _, cells := range t.rows {
		longest = max(longest, len(cells))
	}
	if longest < n && len(t.rows) > 0 && !slices.ContainsFunc(t.columns[longest:], func(c string) bool { return c != "" }) {
		n = longest // the header ends in commas
		t.columns, t.written = t.columns[:n], t.written[:n]
	}
	for row, cells := range t.rows {
		for len(cells) > n && cells[len(cells)-1] == "" {
			cells = cells[:len(cells)-1]
		}
		t.rows[row] = cells
		if len(cells) != n {
			return t.errorf(row, "%d fields, want %d as in the header; a field with %q in it stands in quotes", len(cells), n, t.dividerText())
		}
	}
	return nil
}

// addFolders adds the folders of the images, which are their classes, to a list of paths
// alone.
func (t *table) addFolders(files *tableFiles) {
	if slices.ContainsFunc(t.rows, func(row []string) bool { return len(row) != 1 }) {
		return
	}
	folders := make([]string, len(t.rows))
	seen := map[string]bool{}
	for row := range t.rows {
		name := plainPath(t.cell(row, 0))
		if i, err := files.find(name); err == nil && i >= 0 {
			name = files.names[i]
		}
		if folders[row] = path.Base(path.Dir(name)); folders[row] == "." || isContainer(folders[row]) {
			return
		}
		seen[folders[row]] = true
	}
	if len(seen) < 2 {
		return
	}
	t.columns, t.written, t.fromFolders = []string{"image", "folder"}, []string{"image", "folder"}, true
	for row := range t.rows {
		t.rows[row] = append(t.rows[row], folders[row])
	}
}

// expandFolders makes a row for each image of rows that name folders of images, as the studies of
// MURA.
func (t *table) expandFolders(files *tableFiles) {
	if t.columnsOfFiles(files, false) != nil || len(t.rows) == 0 {
		return
	}
	in := map[string][]int{}
	for i, f := range files.names {
		in[path.Dir(f)] = append(in[path.Dir(f)], i)
	}
	of := func(value string) []int {
		dir := plainPath(value)
		for strings.Contains(dir, "/") {
			if found := in[dir]; found != nil {
				return found
			}
			_, dir, _ = strings.Cut(dir, "/")
		}
		return nil
	}
	for c := range t.width() {
		if slices.ContainsFunc(slices.Collect(t.someRows), func(row int) bool { return of(t.cell(row, c)) == nil }) {
			continue
		}
		var rows [][]string
		var lines []int
		for row, cells := range t.rows {
			images := of(cells[c])
			if images == nil { // counts as a missing image
				rows, lines = append(rows, cells), append(lines, t.lines[row])
			}
			for _, i := range images {
				cells = slices.Clone(cells)
				cells[c] = files.names[i]
				rows, lines = append(rows, cells), append(lines, t.lines[row])
			}
		}
		t.rows, t.lines, t.ofFolders = rows, lines, true
		return
	}
}

func (t *table) dividerText() string {
	if t.divider == 0 {
		return " "
	}
	return string(t.divider)
}

// looksLikeHeader reports whether the first row may be names of columns: each is another,
// and none is a number.
func (t *table) looksLikeHeader(c Columns) bool {
	seen := map[string]bool{}
	for i, v := range t.rows[0] {
		if _, number := wholeValue(v); number || v != "" && seen[v] || v == "" && i > 0 && slices.ContainsFunc(t.rows[0][i:], func(v string) bool { return v != "" }) {
			return false
		}
		if seen[v] = true; v != "" && (v == c.Image || v == c.Label) {
			return true
		}
	}
	return len(t.rows) > 1
}

// joinWords makes rows of an image's name and its class where blanks divide them and the
// name has blanks in it, too.
func (t *table) joinWords(files *tableFiles) {
	if t.columns != nil || !slices.ContainsFunc(t.rows, func(row []string) bool { return len(row) != 2 }) {
		return
	}
	for _, row := range t.rows {
		if len(row) < 2 {
			return
		}
		if i, _ := files.find(strings.Join(row[:len(row)-1], " ")); i < 0 && len(row) > 2 {
			return
		}
	}
	for i, row := range t.rows {
		last := len(row) - 1
		t.rows[i] = []string{strings.Join(row[:last], " "), row[last]}
	}
}

// tableDatasets makes datasets of the rows of tables. all are the images of the layout, which
// lie in fsys; lists is where the tables lie.
func (s *search) tableDatasets(name string, fsys, lists fs.FS, sources []*tableSource, all []string) (train, val *Dataset, err error) {
	for _, t := range sources {
		s.noteNegatives(t, t.dropNegatives())
	}
	if slices.ContainsFunc(sources, func(t *tableSource) bool { return t.separator == rowEach }) {
		for _, t := range sources {
			t.separator = cmp.Or(t.separator, rowEach)
		}
	}
	rows, named, err := s.tableRows(sources)
	if err != nil {
		return nil, nil, err
	}
	s.noteTables(sources, named, all)
	labels, err := s.readLabels(lists, rows)
	if err != nil {
		return nil, nil, err
	}
	s.noteAlike(labels.classes)
	s.source.Layout = "table " + sources[0].name
	parts := map[string][]Sample{}
	for i, r := range rows {
		parts[r.part] = append(parts[r.part], labels.sample(r.file, i))
	}
	train, val, err = s.divide(name, parts, func(name string, samples []Sample) *Dataset {
		d := &Dataset{Name: name, Classes: labels.classes, Titles: labels.titles, Samples: samples, MultiLabel: labels.sets != nil, fsys: fsys}
		d.sortSamples()
		return d
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", sources[0].name, err)
	}
	if only := train.unlearnt(val); len(only) > 0 {
		alone := ""
		if sources[0].part == "train" {
			alone = "; of the training images alone, open " + sources[0].name
		}
		return nil, nil, fmt.Errorf("%s: %s, of which no image is in part train, want only classes of train%s", sources[0].name, someClasses(only), alone)
	}
	setLayout(lists, train, val)
	setTitles(lists, train, val)
	return train, val, nil
}

// unlearnt returns the classes of images of val of which d, the training part, has none.
func (d *Dataset) unlearnt(val *Dataset) []string {
	if val == nil || d.MultiLabel {
		return nil
	}
	learnt := d.Counts()
	var only []string
	for label, n := range val.Counts() {
		if n > 0 && learnt[label] == 0 {
			only = append(only, d.Classes[label])
		}
	}
	return only
}

// divide makes datasets of the parts' samples. A part named test takes the place of val
// where there is none.
func (s *search) divide(name string, parts map[string][]Sample, make func(string, []Sample) *Dataset) (train, val *Dataset, err error) {
	if rest := parts[""]; rest != nil && len(parts) > 1 {
		return nil, nil, fmt.Errorf("%d rows say no part, want train, val or test as in the others", len(rest))
	}
	valPart := ""
	for _, p := range []string{"val", "test"} {
		if valPart == "" && parts[p] != nil {
			valPart = p
		}
	}
	if parts["train"] == nil && len(parts) > 1 {
		return nil, nil, errors.New("no row says train, want some, or none that says another part")
	}
	for i, p := range partNames {
		if samples := parts[p]; samples != nil {
			s.foundPart(i, "", p == "train" || p == valPart, len(samples))
		}
	}
	if parts["train"] == nil || valPart == "" {
		for part, samples := range parts {
			d := make(name, samples)
			if part != "" && part != partNames[partTrain] {
				d.part = partNames[partVal]
			}
			return d, nil, nil
		}
	}
	where := strings.TrimRight(name, `/\`)
	return make(where+" (train)", parts["train"]), make(where+" ("+valPart+")", parts[valPart]), nil
}

// tableRows finds the images of the rows. A row whose image is missing names a file that
// isn't there, which counts as unreadable. Of rows that say the same of an image one is
// left; rows that contradict each other are an error. named are the images of all rows.
func (s *search) tableRows(sources []*tableSource) (rows []*tableRow, named map[string]bool, err error) {
	named = map[string]bool{}
	first := map[string]*tableRow{}
	twice, bare, found, unlisted := 0, 0, 0, 0
	var missing []string
	for _, t := range sources {
		for i := range t.rows {
			if i%checkEvery == 0 && s.err() != nil {
				return nil, nil, s.err()
			}
			r, there, err := t.imageOf(i)
			if err != nil {
				return nil, nil, err
			}
			if named[r.file] = true; there {
				found++
			} else if missing = append(missing, r.file); !fs.ValidPath(r.file) {
				return nil, nil, r.errorf("file %q, want a path below the table's folder", r.file)
			}
			if r.parts != nil && r.part == "" {
				unlisted++
				continue
			}
			if r.part == "test" && r.unlabelled() {
				bare++
				continue
			}
			if f, ok := first[r.file]; ok {
				if t.separator == rowEach && r.part == f.part {
					if v := r.value(r.labels[0]); v == f.value(f.labels[0]) || slices.Contains(f.more, v) {
						twice++
					} else {
						f.more = append(f.more, v)
					}
					continue
				}
				if err := r.agrees(f); err != nil {
					return nil, nil, err
				}
				twice++
				continue
			}
			first[r.file] = r
			rows = append(rows, r)
		}
	}
	if found == 0 && len(missing) > 0 {
		t := sources[0]
		return nil, nil, fmt.Errorf("%s: none of its %d images is there; the first: %s", t.name, len(missing), t.cell(0, t.image))
	}
	s.noteRows(twice, bare, missing)
	if unlisted > 0 {
		s.note("%s in none of the lists of parts, left out", count(unlisted, "row"))
	}
	if len(rows) == 0 {
		return nil, nil, fmt.Errorf("%s: no rows with a class, want one an image", sources[0].name)
	}
	return rows, named, nil
}

// imageOf finds the image of a row and its part.
func (t *tableSource) imageOf(row int) (r *tableRow, there bool, err error) {
	r = &tableRow{tableSource: t, row: row, part: t.part}
	value := t.cell(row, t.image)
	at, err := t.files.find(value)
	switch {
	case err != nil:
		return nil, false, r.errorf("%w", err)
	case value == "":
		return nil, false, r.errorf("no image in column %s", t.columnName(t.image))
	case at >= 0:
		r.file = t.files.names[at]
	default:
		r.file = path.Clean(strings.ReplaceAll(value, `\`, "/"))
	}
	if t.parts != nil {
		r.part = t.parts[r.file]
	}
	if t.split < 0 {
		return r, at >= 0, nil
	}
	said := t.cell(row, t.split)
	if t.valIs != "" {
		r.part = "train"
		if said == t.valIs {
			r.part = "val"
		}
		return r, at >= 0, nil
	}
	if r.part, err = t.partOf(t.split, said); err != nil {
		return nil, false, r.errorf("column %s: %w", t.columnName(t.split), err)
	}
	return r, at >= 0, nil
}

// unlabelled reports whether the row has no class.
func (r *tableRow) unlabelled() bool {
	for _, c := range r.labels {
		if v := r.value(c); v != "" && v != "-1" {
			return false
		}
	}
	return true
}

// agrees is an error if an earlier row says something else of the same image.
func (r *tableRow) agrees(f *tableRow) error {
	same := len(r.labels) == len(f.labels) && r.part == f.part
	for i := range min(len(r.labels), len(f.labels)) {
		same = same && r.value(r.labels[i]) == f.value(f.labels[i])
	}
	if same {
		return nil
	}
	say := func(r *tableRow) string {
		var values []string
		for _, c := range r.labels {
			values = append(values, r.value(c))
		}
		if r.part != "" {
			values = append(values, "in part "+r.part)
		}
		return strings.Join(values, " ")
	}
	hint := r.rowsHint()
	if r.ofBoxes() {
		hint = "; a table of boxes says what is in an image, not its class"
	}
	return fmt.Errorf("%s and %s: %s is %s there and %s here, want one class an image%s", f.where(f.row), r.where(r.row), r.file, say(f), say(r), hint)
}

// partOf normalises the name that a table has for a part.
func partOf(s string) (string, error) {
	switch s := strings.ToLower(s); s {
	case "train", "training", "trn":
		return "train", nil
	case "val", "validation", "valid", "validate", "dev", "eval", "evaluation", "publictest":
		return "val", nil
	case "test", "testing", "privatetest":
		return "test", nil
	case "":
		return "", nil
	}
	return "", fmt.Errorf("%q, want train, val or test", s)
}

// errNoLabels is the error of images without class folders and without a list of
// labels.
var errNoLabels = errors.New("no list of their labels")
