package dataset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A table gives several labels an image in one column of them, or in a column of 0 and 1
// for each.

// labelsColumns are the names of a column of several labels. In one of class names, too,
// there may be several, separated by | or ;.
var labelsColumns = []string{"labels", "tags", "classes", "categories", "finding labels", "attributes"}

// noLabels is what a column of labels says of an image that shows none.
var noLabels = []string{"", "[]", "no finding"}

// rowLabels are the classes of a table, and what its rows say of the images.
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

// readLabels reads the classes, or the several labels, of the rows.
func (t *table) readLabels() (l rowLabels, err error) {
	if i, separator := t.labelsColumn(); i >= 0 {
		return t.splitLabels(i, separator)
	}
	if t.classColumn() < 0 && t.column(indexColumns...) < 0 {
		if flags := t.flagColumns(); len(flags) > 1 {
			return t.readFlags(flags), nil
		}
	}
	l.classes, l.titles, l.labels, err = t.classes()
	return l, err
}

// labelsColumn returns a column of lists of labels, and what separates them; -1 if there is
// none.
func (t *table) labelsColumn() (column int, separator string) {
	plural := t.column(labelsColumns...)
	i, name, number := plural, t.classColumn(), t.column(indexColumns...)
	switch {
	case plural >= 0:
	case name >= 0 && number >= 0:
		return -1, "" // a class, its number and perhaps its title
	default:
		i = max(name, number)
	}
	if i < 0 {
		return -1, ""
	}
	for _, separator := range []string{"|", ";"} {
		for row := range t.rows {
			if strings.Contains(t.cell(row, i), separator) {
				return i, separator
			}
		}
	}
	if plural < 0 {
		return -1, ""
	}
	for row := range t.rows {
		if strings.Contains(t.cell(row, i), ",") {
			return i, ","
		}
	}
	return i, " "
}

// splitLabels reads a column of lists of labels.
func (t *table) splitLabels(column int, separator string) (l rowLabels, err error) {
	lists := make([][]string, len(t.rows))
	for row := range t.rows {
		cell := t.cell(row, column)
		if slices.Contains(noLabels, strings.ToLower(cell)) {
			continue
		}
		for label := range strings.SplitSeq(strings.Trim(cell, "[]"), separator) {
			label = strings.Trim(label, ` '"`)
			if label == "" {
				continue
			}
			if slices.Contains(lists[row], label) {
				return l, t.errorf(row, "label %s is given twice", label)
			}
			lists[row] = append(lists[row], label)
		}
		l.classes = append(l.classes, lists[row]...)
	}
	slices.Sort(l.classes)
	l.classes = slices.Compact(l.classes)
	if len(l.classes) == 0 {
		return l, fmt.Errorf("%s: column %s: no labels", t.name, t.columns[column])
	}
	l.sets = make([][]int, len(lists))
	for row, labels := range lists {
		l.sets[row] = []int{}
		for _, label := range labels {
			at, _ := slices.BinarySearch(l.classes, label)
			l.sets[row] = append(l.sets[row], at)
		}
		slices.Sort(l.sets[row])
	}
	return l, nil
}

// flagColumns returns the columns that hold nothing but 0 and 1, and are not of the file,
// the part or a box.
func (t *table) flagColumns() []int {
	corners, _ := t.box()
	w, h, _ := t.size()
	others := append([]int{t.fileColumn(), t.column(splitColumns...), w, h}, corners[:]...)
	var flags []int
	for i := range t.columns {
		if slices.Contains(others, i) {
			continue
		}
		flag := true
		for row := range t.rows {
			v, err := strconv.ParseFloat(t.cell(row, i), 64)
			flag = flag && err == nil && (v == 0 || v == 1)
		}
		if flag {
			flags = append(flags, i)
		}
	}
	return flags
}

// readFlags reads columns of 0 and 1, whose names are the classes, in their order. If each
// row has a single 1, the table gives one class an image.
func (t *table) readFlags(columns []int) (l rowLabels) {
	single := true
	l.sets = make([][]int, len(t.rows))
	for row := range t.rows {
		l.sets[row] = []int{}
		for label, i := range columns {
			if v, _ := strconv.ParseFloat(t.cell(row, i), 64); v == 1 {
				l.sets[row] = append(l.sets[row], label)
			}
		}
		single = single && len(l.sets[row]) == 1
	}
	for _, i := range columns {
		l.classes = append(l.classes, t.written[i])
	}
	if single {
		for _, set := range l.sets {
			l.labels = append(l.labels, set[0])
		}
		l.sets = nil
	}
	return l
}
