package dataset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Columns says which columns of a table hold what, by their names in the header or by their
// numbers from 1. What isn't said is found out, if only one reading fits.
type Columns struct {
	Image string // names or numbers of the images
	// Label is the class. Names joined by + are columns of 0 and 1, one for each class. A
	// name followed by ":words", ":commas" or ":whole" says whether blanks or commas divide
	// several labels, or the cell is a single one; by ":rows", that each row of an image is
	// one of its labels.
	Label string
	// Split is the part: train, val or test. "COLUMN:VALUE" makes the rows with this value
	// the validation part, as of a fold, and all others the training part. "-" means that
	// no column is.
	Split string
	// Ignore reads no tables at all: class folders alone decide.
	Ignore bool
}

// UnmarshalText reads "image=COLUMN,label=COLUMN,split=COLUMN", each of which may be left
// out, or "none", which ignores tables.
func (c *Columns) UnmarshalText(text []byte) error {
	*c = Columns{}
	s := string(text)
	if s == "" {
		return nil
	}
	if s == "none" {
		c.Ignore = true
		return nil
	}
	for item := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(item, "=")
		value = strings.TrimSpace(value)
		field := map[string]*string{"image": &c.Image, "label": &c.Label, "split": &c.Split}[strings.TrimSpace(key)]
		switch {
		case !ok || field == nil || value == "":
			return fmt.Errorf("%q, want image=COLUMN,label=COLUMN,split=COLUMN or some of them, or none", item)
		case *field != "":
			return fmt.Errorf("%q, and %s=%s before it, want one", item, key, *field)
		}
		*field = value
	}
	return nil
}

// String writes what UnmarshalText reads.
func (c Columns) String() string {
	if c.Ignore {
		return "none"
	}
	var items []string
	for _, item := range [][2]string{{"image", c.Image}, {"label", c.Label}, {"split", c.Split}} {
		if item[1] != "" {
			items = append(items, item[0]+"="+item[1])
		}
	}
	return strings.Join(items, ",")
}

// roles says what the columns of a table hold; -1 is none.
type roles struct {
	image     int
	labels    []int  // one column of classes, or one of 0 and 1 for each class
	number    int    // numbers of the classes whose names are in labels[0]
	title     int    // readable names of them
	separator string // of several labels in a cell; "": there is one
	split     int
	valIs     string // value of split that makes the validation part; "": values say parts
}

// Names of columns, as plainName has them.
var (
	imageNames = []string{
		"file", "filename", "filenames", "filepath", "filepaths", "image", "images", "imageid", "imagename", "imagepath", "imagefile",
		"img", "imgid", "imgname", "imgpath", "imgfile", "path", "picture", "photo", "id", "idcode", "relativeimpath", "relpath", "imageindex", "imagelink",
	}
	labelNames = []string{
		"label", "labels", "class", "classes", "classname", "classid", "classindex", "classlabel", "category", "categories", "categoryname", "labelname", "categoryid",
		"target", "targets", "y", "tag", "tags", "wnid", "synset", "diagnosis", "dx", "breed", "species", "index", "label10", "classindex1000", "diagnostic", "findinglabel", "findinglabels",
	}
	labelWords = []string{"label", "labels", "class", "category", "target", "tag", "tags", "species", "breed", "diagnosis"}
	splitNames = []string{"split", "reposplit", "set", "subset", "part", "partition", "dataset", "usage", "phase"}
	boolSplits = map[string][2]string{ // the parts of false and true
		"istest": {"train", "test"}, "istrain": {"test", "train"}, "istraining": {"test", "train"}, "istrainingimage": {"test", "train"}, "isval": {"train", "val"}, "isvalid": {"train", "val"},
	}
)

// plainName is a column's name without case, blanks and signs.
func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

// width is the number of columns.
func (t *table) width() int {
	if t.columns != nil {
		return len(t.columns)
	}
	n := 0
	for _, row := range t.rows {
		n = max(n, len(row))
	}
	return n
}

// columnName is what a message calls a column.
func (t *table) columnName(i int) string {
	if t.columns != nil && i < len(t.written) && t.written[i] != "" {
		return t.written[i]
	}
	return strconv.Itoa(i + 1)
}

// named returns the column with a name, or of a number from 1.
func (t *table) named(flag, name string) (int, error) {
	for i, c := range t.written {
		if c == name {
			return i, nil
		}
	}
	same := -1
	for i, c := range t.written {
		if plainName(c) == plainName(name) {
			if same >= 0 {
				return 0, fmt.Errorf("%s: %s: columns %s and %s both have this name but for case and signs, want it as it is written", t.name, flag, t.written[same], c)
			}
			same = i
		}
	}
	if same >= 0 {
		return same, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 1 && n <= t.width() {
		return n - 1, nil
	}
	var have []string
	for i := range t.width() {
		have = append(have, t.columnName(i))
	}
	return 0, fmt.Errorf("%s: %s: no column %q, want one of %s", t.name, flag, name, some(have))
}

// looked is the most rows at which columns are told apart.
const looked = 1000

// someRows yields rows spread evenly over the table.
func (t *table) someRows(yield func(int) bool) {
	n := min(looked, len(t.rows))
	for i := range n {
		if !yield(i * len(t.rows) / n) {
			return
		}
	}
}

// values returns the different values of a column in some rows, in their order.
func (t *table) values(column int) (list []string, rows int) {
	seen := map[string]bool{}
	for row := range t.someRows {
		rows++
		if v := t.cell(row, column); !seen[v] {
			seen[v] = true
			list = append(list, v)
		}
	}
	return list, rows
}

// candidates describes columns with some of their values, for an error.
func (t *table) candidates(columns []int) string {
	var list []string
	for _, i := range columns {
		values, _ := t.values(i)
		for j := range values {
			values[j] = strconv.Quote(values[j])
		}
		if len(values) > 3 {
			values = append(values[:3:3], "…")
		}
		list = append(list, fmt.Sprintf("%s (%s)", t.columnName(i), strings.Join(values, ", ")))
	}
	if len(list) > 12 {
		list = append(list[:12:12], fmt.Sprintf("and %d more", len(columns)-12))
	}
	return strings.Join(list, ", ")
}

// flagName is what --columns calls a column: its name, or its number where the name has signs
// that the flag's value divides by.
func (t *table) flagName(i int) string {
	if name := t.columnName(i); !strings.ContainsAny(name, ",=+:") {
		return name
	}
	return strconv.Itoa(i + 1)
}

// columnsFlag is --columns for a column of images and one of classes, either of which may be -1.
// form follows the latter.
func (t *table) columnsFlag(image, label int, form string) string {
	var items []string
	if image >= 0 {
		items = append(items, "image="+t.flagName(image))
	}
	if label >= 0 {
		items = append(items, "label="+t.flagName(label)+form)
	}
	return "--columns " + shellWord(strings.Join(items, ","))
}

// askColumns is the error of a table that can be read in several ways, or in none. The flag
// that it shows chooses the first.
func (t *table) askColumns(r roles, what string, columns []int) error {
	flag := t.columnsFlag(columns[0], -1, "")
	if r.image >= 0 {
		label := columns[0]
		if len(r.labels) > 0 {
			label = r.labels[0]
		}
		flag = t.columnsFlag(r.image, label, "")
	}
	return &askError{fmt.Errorf("%s: %s: %s; say which by %s", t.name, what, t.candidates(columns), flag)}
}

// askError is that of a table of which only the user can say what its columns are.
type askError struct{ error }

// rolesOf tells the columns of a table apart: the images by comparing values with the files
// found, the classes by the column's name or by its being the only one left.
func (t *table) rolesOf(files *tableFiles, c Columns) (roles, error) {
	r := roles{image: -1, number: -1, title: -1, split: -1}
	var err error
	if r.image, err = t.imageColumn(files, c); err != nil {
		return r, err
	}
	if err := t.splitRole(&r, c); err != nil {
		return r, err
	}
	return r, t.labelRole(&r, c, files)
}

// imageColumn returns the column that names the images. Its values lead to more files than
// those of any other column.
func (t *table) imageColumn(files *tableFiles, c Columns) (int, error) {
	if c.Image != "" {
		return t.named("--columns image", c.Image)
	}
	all := t.columnsOfFiles(files, false)
	if len(all) == 0 && !files.loose {
		files.loose = true
		if all = t.columnsOfFiles(files, true); len(all) == 0 {
			files.loose = false
		}
	}
	var known []int
	for _, i := range all {
		if t.columns != nil && slices.Contains(imageNames, plainName(t.columns[i])) {
			known = append(known, i)
		}
	}
	switch {
	case len(all) == 1:
		return all[0], nil
	case len(known) == 1:
		return known[0], nil
	case len(all) > 1 && t.sameFiles(files, all):
		return all[0], nil
	case len(all) > 1:
		return -1, t.askColumns(roles{image: -1}, "several columns name images", all)
	}
	return -1, t.noImages(files)
}

// columnsOfFiles returns the columns whose values lead to files. once leaves out columns of
// which several rows lead to the same file.
func (t *table) columnsOfFiles(files *tableFiles, once bool) []int {
	type evidence struct {
		column, files int
		once          bool
	}
	var fit []evidence
	most, single := 0, false
	for i := range t.width() {
		found := map[int]bool{}
		rows := 0
		for row := range t.someRows {
			if at, _ := files.find(t.cell(row, i)); at >= 0 {
				found[at] = true
				rows++
			}
		}
		if len(found) > 0 && (!once || len(found) == rows) {
			fit = append(fit, evidence{i, len(found), len(found) == rows})
			most = max(most, len(found))
			single = single || len(found) == rows
		}
	}
	var columns []int
	for _, e := range fit {
		// A column of class numbers may lead to the few files that are called so.
		if 2*e.files >= most && (e.once || !single) {
			columns = append(columns, e.column)
		}
	}
	return columns
}

// noImages is the error of a table none of whose columns names one of the files.
func (t *table) noImages(files *tableFiles) error {
	for i, c := range t.columns {
		if n := plainName(c); slices.Contains(imageNames, n) && n != "id" || n == "name" {
			if len(t.rows) == 0 {
				return fmt.Errorf("%s: no rows, want one an image", t.name)
			}
			if _, err := files.find(t.cell(0, i)); err != nil {
				return t.errorf(0, "%w", err)
			}
			return &noImagesError{fmt.Errorf("%s: none of its %d images is there; the first: %s", t.name, len(t.rows), t.cell(0, i))}
		}
	}
	if len(t.rows) == 0 {
		return fmt.Errorf("%s: no rows, want one an image", t.name)
	}
	var all []int
	for i := range t.width() {
		all = append(all, i)
	}
	return &noImagesError{fmt.Errorf("%s: no column of files: no value of its columns names one of the %d images: %s", t.name, len(files.names), t.candidates(all))}
}

// noImagesError is that of a table that names none of the images.
type noImagesError struct{ error }

// sameFiles reports whether columns lead to the same file in each row.
func (t *table) sameFiles(files *tableFiles, columns []int) bool {
	for row := range t.someRows {
		first, _ := files.find(t.cell(row, columns[0]))
		for _, i := range columns[1:] {
			if at, _ := files.find(t.cell(row, i)); at != first {
				return false
			}
		}
	}
	return true
}

// splitRole finds the column of parts.
func (t *table) splitRole(r *roles, c Columns) error {
	switch c.Split {
	case "-":
		return nil
	case "":
		for i, name := range t.columns {
			n := plainName(name)
			if i == r.image || !slices.Contains(splitNames, n) && boolSplits[n] == [2]string{} {
				continue
			}
			if n != "split" && !t.saysParts(i) {
				continue
			}
			if r.split >= 0 {
				return fmt.Errorf("%s: columns %s both say parts, want --columns %s or --columns %s", t.name, t.candidates([]int{r.split, i}), shellWord("split="+t.flagName(r.split)), shellWord("split="+t.flagName(i)))
			}
			r.split = i
		}
		return nil
	}
	name, value, fold := strings.Cut(c.Split, ":")
	i, err := t.named("--columns split", name)
	if err != nil {
		return err
	}
	r.split = i
	if fold {
		r.valIs = value
		if all, _ := t.values(i); !slices.Contains(all, value) {
			return fmt.Errorf("%s: --columns split=%s: no row has this value, want one of %s", t.name, c.Split, some(all))
		}
		return nil
	}
	if !t.saysParts(i) {
		all, _ := t.values(i)
		slices.Sort(all)
		return fmt.Errorf("%s: --columns split=%s: values %s, want train, val and test, or --columns %s to validate on the rows with one value", t.name, c.Split, some(all), shellWord("split="+name+":"+all[0]))
	}
	return nil
}

// saysParts reports whether all values of a column say parts.
func (t *table) saysParts(column int) bool {
	for row := range t.someRows {
		if part, err := t.partOf(column, t.cell(row, column)); err != nil || part == "" && t.columns[column] != "split" {
			return false
		}
	}
	return len(t.rows) > 0
}

// partOf normalises what a column says of a row's part.
func (t *table) partOf(column int, value string) (string, error) {
	if t.columns != nil {
		if parts, ok := boolSplits[plainName(t.columns[column])]; ok {
			switch strings.ToLower(value) {
			case "1", "1.0", "true", "yes", "t":
				return parts[1], nil
			case "0", "0.0", "false", "no", "f":
				return parts[0], nil
			}
			return "", fmt.Errorf("%q, want 0 or 1", value)
		}
	}
	return partOf(value)
}
