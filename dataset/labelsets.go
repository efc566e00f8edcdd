package dataset

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// noLabels is what a column of labels says of an image that shows none.
var noLabels = []string{"", "[]", "no finding", "none", "nan"}

// rowLabels are the classes of tables, and what their rows say of the images.
type rowLabels struct {
	classes, titles []string
	labels          []int   // of each row; or
	sets            [][]int // all labels of each row, ascending
}

// sample returns the sample of a row.
func (l rowLabels) sample(name string, row int) Sample {
	if l.sets == nil {
		return Sample{Name: name, Label: l.labels[row]}
	}
	s := Sample{Name: name, Labels: l.sets[row]}
	if len(s.Labels) > 0 {
		s.Label = s.Labels[0]
	}
	return s
}

// readLabels reads the classes, or the several labels, of rows.
func (s *search) readLabels(fsys fs.FS, rows []*tableRow) (l rowLabels, err error) {
	first := rows[0].tableSource
	for _, r := range rows {
		if len(r.labels) != len(first.labels) || r.number < 0 != (first.number < 0) || len(r.labels) > 1 && r.columnName(r.labels[0]) != first.columnName(first.labels[0]) {
			return l, fmt.Errorf("%s and %s: columns of classes differ: %s; and %s", first.name, r.name, first.reading(), r.reading())
		}
	}
	separator := ""
	for _, r := range rows {
		if separator != "" && r.separator != "" && separator != r.separator {
			return l, fmt.Errorf("%s and %s: labels are divided by %q and by %q, want the same in both", first.name, r.name, separator, r.separator)
		}
		separator = cmp.Or(separator, r.separator)
	}
	switch {
	case len(first.labels) > 1:
		return s.readFlags(rows)
	case separator != "":
		if l, err = splitLabels(rows, separator); err != nil {
			return l, err
		}
	default:
		if l, err = readClasses(rows); err != nil {
			return l, err
		}
	}
	if names := first.classNames[first.columnName(first.labels[0])]; names != nil {
		err = l.useNames(names)
	} else if l.titles == nil {
		if err = s.nameNumbers(fsys, path.Dir(first.name), &l); err == nil {
			err = s.titleByTable(fsys, path.Dir(first.name), &l)
		}
	}
	return l, err
}

// useNames names classes that are places in a list.
func (l *rowLabels) useNames(names []string) error {
	for i, c := range l.classes {
		n, err := strconv.Atoi(c)
		if err != nil || n < 0 || n >= len(names) {
			return fmt.Errorf("class %q, want a number below %d, since the file names %d classes", c, len(names), len(names))
		}
		l.classes[i] = names[n]
	}
	return nil
}

// readFlags reads columns of 0 and 1, whose names are the classes, in their order. If each
// row has a single 1, the tables give one class an image.
func (s *search) readFlags(rows []*tableRow) (l rowLabels, err error) {
	single := true
	l.sets = make([][]int, len(rows))
	seen := make([]bool, len(rows[0].labels))
	for i, r := range rows {
		l.sets[i] = []int{}
		for label, c := range r.labels {
			if r.flag(r.row, c) {
				l.sets[i] = append(l.sets[i], label)
				seen[label] = true
			}
		}
		single = single && len(l.sets[i]) == 1
	}
	for _, c := range rows[0].labels {
		l.classes = append(l.classes, rows[0].columnName(c))
	}
	if !single {
		return l, nil
	}
	label := make([]int, len(seen))
	var classes, barren []string
	for i, c := range l.classes {
		if !seen[i] {
			barren = append(barren, c)
			continue
		}
		label[i] = len(classes)
		classes = append(classes, c)
	}
	for _, set := range l.sets {
		l.labels = append(l.labels, label[set[0]])
	}
	l.classes, l.sets = classes, nil
	if barren != nil {
		s.note("classes without images, left out: %s", some(barren))
	}
	return l, nil
}

// splitLabels reads a column of lists of labels, which something divides. If none has more than one and none is
// empty, the tables give one class an image.
func splitLabels(rows []*tableRow, separator string) (l rowLabels, err error) {
	lists := make([][]string, len(rows))
	single := true
	for i, r := range rows {
		cell := r.value(r.tableSource.labels[0])
		if slices.Contains(noLabels, strings.ToLower(cell)) {
			single = false
			continue
		}
		for _, label := range splitCell(strings.Join(append([]string{cell}, r.more...), rowEach), separator) {
			if slices.Contains(lists[i], label) {
				return l, r.errorf("label %s is given twice", label)
			}
			lists[i] = append(lists[i], label)
		}
		single = single && len(lists[i]) == 1
		l.classes = append(l.classes, lists[i]...)
	}
	slices.SortFunc(l.classes, byNumber(l.classes))
	l.classes = slices.Compact(l.classes)
	if len(l.classes) == 0 {
		return l, fmt.Errorf("%s: column %s: no labels", rows[0].name, rows[0].columnName(rows[0].tableSource.labels[0]))
	}
	at := make(map[string]int, len(l.classes))
	for i, c := range l.classes {
		at[c] = i
	}
	l.sets = make([][]int, len(lists))
	for i, labels := range lists {
		l.sets[i] = []int{}
		for _, label := range labels {
			l.sets[i] = append(l.sets[i], at[label])
		}
		slices.Sort(l.sets[i])
	}
	if single {
		for _, set := range l.sets {
			l.labels = append(l.labels, set[0])
		}
		l.sets = nil
	}
	return l, nil
}

// byNumber orders names as numbers if all are, else as text.
func byNumber(names []string) func(a, b string) int {
	for _, n := range names {
		if _, err := strconv.Atoi(n); err != nil {
			return strings.Compare
		}
	}
	return func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return cmp.Or(x-y, strings.Compare(a, b))
	}
}

// tableClass is a class as a row has it.
type tableClass struct {
	name, title string
	number      int
}

// readClasses reads a column of classes: their names or numbers, or both, and their readable
// names if there are both. Classes are in the order of their numbers, or of their names
// where there are no numbers.
func readClasses(rows []*tableRow) (l rowLabels, err error) {
	numbers := rows[0].number >= 0
	if !numbers {
		numbers = !slices.ContainsFunc(rows, func(r *tableRow) bool {
			_, ok := wholeValue(r.value(r.tableSource.labels[0]))
			return !ok
		})
	}
	if !numbers && rows[0].isNumbers(rows[0].tableSource.labels[0]) {
		if err := mixed(rows); err != nil {
			return l, err
		}
	}
	byName, byNumber := map[string]tableClass{}, map[int]string{}
	keys := make([]string, len(rows))
	for i, r := range rows {
		c, err := r.class(numbers)
		if err != nil {
			return l, err
		}
		known, ok := byName[c.name]
		if !ok {
			byName[c.name], known = c, c
		}
		if known.number != c.number {
			return l, r.errorf("class %s has number %d, and %d further up", c.name, c.number, known.number)
		}
		if other, ok := byNumber[c.number]; numbers && ok && other != c.name {
			return l, r.errorf("class number %d is %s, and %s further up", c.number, c.name, other)
		}
		byNumber[c.number] = c.name
		keys[i] = c.name
	}
	sorted := make([]tableClass, 0, len(byName))
	for _, c := range byName {
		sorted = append(sorted, c)
	}
	slices.SortFunc(sorted, func(a, b tableClass) int { return cmp.Or(a.number-b.number, strings.Compare(a.name, b.name)) })
	label := make(map[string]int, len(sorted))
	for i, c := range sorted {
		label[c.name] = i
		l.classes, l.titles = append(l.classes, c.name), append(l.titles, c.title)
	}
	for _, k := range keys {
		l.labels = append(l.labels, label[k])
	}
	if slices.Contains(l.titles, "") {
		l.titles = nil
	}
	return l, nil
}

// class reads the class of a row.
func (r *tableRow) class(numbers bool) (c tableClass, err error) {
	c = tableClass{name: r.value(r.tableSource.labels[0]), title: r.value(r.title)}
	column := r.tableSource.labels[0]
	if r.number >= 0 {
		column = r.number
	}
	if c.name == "" {
		return c, r.errorf("no class in column %s", r.columnName(r.tableSource.labels[0]))
	}
	if numbers {
		n, ok := wholeValue(r.value(column))
		if !ok || n < 0 {
			return c, r.errorf("column %s: %q, want a class number", r.columnName(column), r.value(column))
		}
		if c.number = n; r.number < 0 {
			c.name = strconv.Itoa(n)
		}
	}
	return c, nil
}

// mixed is an error if a column has numbers and fractions, which aren't classes, or is
// mostly numbers with a value that isn't one.
func mixed(rows []*tableRow) error {
	column := rows[0].tableSource.labels[0]
	whole, floats := 0, 0
	var other *tableRow
	for _, r := range rows {
		v := r.value(r.tableSource.labels[0])
		if _, ok := wholeValue(v); ok {
			whole++
		} else if _, err := strconv.ParseFloat(v, 64); err == nil {
			floats++
		} else if other == nil {
			other = r
		}
	}
	if floats > 0 && other == nil {
		return fmt.Errorf("%s: column %s has fractions, which aren't classes", rows[0].name, rows[0].columnName(column))
	}
	if other != nil && whole+floats == len(rows)-1 && whole > 1 {
		return other.errorf("column %s: %q, want a class number as in the other rows", other.columnName(column), other.value(other.tableSource.labels[0]))
	}
	return nil
}
