package dataset

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// listedParts reads lists that say the parts of another table's images and nothing else, such as
// the train_val_list.txt and test_list.txt of NIH's chest X-rays: an image a line. It returns nil
// unless the only table of classes says no parts and there are lists of two of them.
func (s *search) listedParts(chosen []*tableSource, candidates []*tableCandidate) (map[string]string, error) {
	if len(chosen) != 1 || chosen[0].part != "" || chosen[0].split >= 0 || s.columns.Split != "" {
		return nil, nil
	}
	files := chosen[0].files
	parts, from := map[string]string{}, map[string]string{}
	seen := map[string]bool{}
	var names []string
	for _, c := range candidates {
		part := listedPart(c.file)
		if part == "" || c.table == nil || c.table.width() != 1 || strings.Contains(strings.ToLower(path.Base(c.file)), "submission") {
			continue
		}
		found := false
		for row := range c.table.rows {
			i, err := files.find(c.table.cell(row, 0))
			if err != nil {
				return nil, c.table.errorf(row, "%w", err)
			}
			if i < 0 {
				continue
			}
			f := files.names[i]
			if other := from[f]; other != "" && parts[f] != part {
				return nil, c.table.errorf(row, "%s is in %s, too, want one part an image", f, other)
			}
			parts[f], from[f], found = part, c.file, true
		}
		if found {
			seen[part] = true
			names = append(names, c.file)
		}
	}
	if len(seen) < 2 || !seen["train"] {
		return nil, nil
	}
	slices.Sort(names)
	for _, n := range names {
		s.used(n)
	}
	s.note("parts by %s", strings.Join(names, ", "))
	return parts, nil
}

// used takes back the note that a file isn't used.
func (s *search) used(file string) {
	s.source.Notes = slices.DeleteFunc(s.source.Notes, func(note string) bool { return strings.HasPrefix(note, file+" isn't used") })
}

// listedPart is the part that the name of a list says; train_val is train where the list of
// another part is test.
func listedPart(file string) string {
	var parts []string
	for _, w := range nameWords(strings.TrimSuffix(path.Base(file), path.Ext(file))) {
		if w == "trainval" {
			w = "train"
		}
		if p, _ := partWord(w); p >= 0 {
			parts = append(parts, partNames[p])
		}
	}
	switch {
	case len(parts) == 1:
		return parts[0]
	case slices.Equal(parts, []string{"train", "val"}):
		return "train"
	}
	return ""
}

// dropNegatives takes out of a table the rows that say what an image doesn't show: those with
// Confidence 0 of Open Images' labels. Where a column Confidence has nothing but 0 and 1, the
// other rows of an image are all labels of it.
func (t *tableSource) dropNegatives() (dropped int) {
	column := -1
	for i, c := range t.columns {
		if plainName(c) == "confidence" {
			column = i
		}
	}
	if column < 0 || len(t.labels) != 1 || slices.Contains(t.labels, column) {
		return 0
	}
	verified := true
	var rows [][]string
	var lines []int
	for row, cells := range t.rows {
		v, err := strconv.ParseFloat(t.cell(row, column), 64)
		verified = verified && err == nil && (v == 0 || v == 1)
		if err == nil && v == 0 {
			continue
		}
		rows, lines = append(rows, cells), append(lines, t.lines[row])
	}
	dropped = len(t.rows) - len(rows)
	if dropped == 0 {
		return 0
	}
	t.rows, t.lines = rows, lines
	if verified && t.separator == "" && t.number < 0 {
		t.separator = rowEach
	}
	return dropped
}

// rowEach is the separator of labels of which each is a row of its own.
const rowEach = "\n"

// titleByTable gives classes readable names by a table of two columns beside theirs, as Open
// Images' class-descriptions.csv: all classes in the first, and another name for each in the
// second. Classes that are numbers are called by them.
func (s *search) titleByTable(fsys fs.FS, dir string, l *rowLabels) error {
	list, err := s.list(fsys, dir)
	if err != nil {
		return err
	}
	for _, f := range list.files {
		file := path.Join(dir, f)
		if info, err := fs.Stat(fsys, file); !strings.EqualFold(path.Ext(f), ".csv") || err != nil || info.Size() > maxNames {
			continue
		}
		t, err := readTable(s.ctx, fsys, file)
		if s.err() != nil {
			return s.err()
		}
		if err != nil {
			continue
		}
		names := t.titles(l.classes)
		if names == nil {
			continue
		}
		s.used(file)
		s.note("%s: names of the classes, %s is %s", file, l.classes[0], names[0])
		if _, err := strconv.Atoi(l.classes[0]); err == nil {
			l.classes = names
		} else {
			l.titles = names
		}
		return nil
	}
	return nil
}

// titles returns the names that a table of two columns has for classes, nil if it isn't one.
func (t *table) titles(classes []string) []string {
	rows := t.rows
	if t.written != nil {
		rows = append([][]string{t.written}, rows...)
	}
	names, given := map[string]string{}, map[string]bool{}
	for _, cells := range rows {
		if len(cells) != 2 || cells[1] == "" || names[cells[0]] != "" || given[cells[1]] {
			return nil
		}
		names[cells[0]], given[cells[1]] = cells[1], true
	}
	out := make([]string, len(classes))
	for i, c := range classes {
		if out[i] = names[c]; out[i] == "" {
			return nil
		}
		if _, err := strconv.Atoi(out[i]); err == nil {
			return nil
		}
	}
	return out
}

// noteNegatives says which rows of a table aren't labels.
func (s *search) noteNegatives(t *tableSource, n int) {
	if n > 0 {
		s.note("%s: %s with Confidence 0, left out: they say what an image doesn't show", t.name, count(n, "row"))
	}
}

// rowsHint is the end of the error of rows that give an image several classes.
func (t *tableSource) rowsHint() string {
	if len(t.labels) != 1 || t.number >= 0 {
		return ""
	}
	return fmt.Sprintf(", or several labels an image: %s", t.columnsFlag(t.image, t.labels[0], ":rows"))
}
