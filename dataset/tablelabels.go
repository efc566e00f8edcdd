package dataset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// labelRole finds the columns of classes: by name, by being 0 and 1 for each class, or as the
// only column left.
func (t *table) labelRole(r *roles, c Columns, files *tableFiles) error {
	if c.Label != "" {
		return t.chosenLabel(r, c.Label)
	}
	left := t.labelCandidates(*r, files)
	var known []int
	for _, i := range left {
		if t.columns != nil && isLabelName(t.columns[i]) {
			known = append(known, i)
		}
	}
	if len(known) == 0 {
		if flags := t.flagColumns(left); len(flags) > 1 && len(flags) == len(left) {
			r.labels = flags
			return t.checkFlags(*r)
		}
		if err := t.findings(*r, left); err != nil {
			return err
		}
		only, err := t.onlyLabel(*r, left)
		if err != nil {
			return err
		}
		known = []int{only}
	}
	if err := t.pairLabels(r, known); err != nil {
		return err
	}
	if err := t.noRecords(r.labels[0]); err != nil {
		return err
	}
	return t.listRole(r)
}

// findingsError is that of a table of findings, of which some are left open.
type findingsError struct{ error }

// findings asks about columns of 1, 0, -1 and blanks, as of CheXpert: which labels they are, and
// what is uncertain, isn't for vgg to say.
func (t *table) findings(r roles, left []int) error {
	var flags []int
	open := false
	for _, i := range left {
		one, other := false, t.columns == nil
		blank := false
		for row := range t.rows {
			switch v := t.cell(row, i); {
			case v == "":
				blank = true
			default:
				n, err := strconv.ParseFloat(v, 64)
				one, other = one || n == 1, other || err != nil || n != 0 && n != 1 && n != -1
			}
		}
		if one && !other {
			flags = append(flags, i)
			open = open || blank
		}
	}
	if len(flags) < 2 || !open {
		return nil
	}
	rest := ""
	for _, i := range flags[1:] {
		rest += "+" + t.flagName(i)
	}
	return &findingsError{fmt.Errorf("%s: columns of 1, 0, -1 or nothing may be labels, several an image: %s; %s takes 1 as a label and all else, -1 for uncertain as well, as none",
		t.name, t.candidates(flags), t.columnsFlag(r.image, flags[0], rest))}
}

// onlyLabel returns the only column that may have classes where none is called so.
func (t *table) onlyLabel(r roles, left []int) (int, error) {
	for i, c := range t.columns {
		if isLabelName(c) && i != r.image {
			if err := t.noRecords(i); err != nil {
				return -1, err
			}
		}
	}
	if len(left) == 0 {
		return -1, &noLabelsError{t.name}
	}
	var plausible []int
	for _, i := range left {
		if t.columns == nil || t.repeats(i) && !slices.Contains(otherNames, plainName(t.columns[i])) {
			plausible = append(plausible, i)
		}
	}
	if t.columns == nil {
		plausible = t.dividing(plausible)
	}
	switch len(plausible) {
	case 1:
		return plausible[0], nil
	case 0:
		return -1, &unclearError{fmt.Errorf("%s: no column of classes: none has a name such as label or class, or few values: %s", t.name, t.candidates(left))}
	}
	return -1, &unclearError{t.askColumns(r, "no column of classes: none has a name such as label or class, and any of these may be it", plausible)}
}

// dividing returns those of some columns without names that have several values, and some of them
// more than once, the fewest values first; all of them if there are none.
func (t *table) dividing(columns []int) []int {
	values := map[int]int{}
	var some []int
	for _, i := range columns {
		if v, _ := t.values(i); len(v) > 1 && t.repeats(i) {
			some = append(some, i)
			values[i] = len(v)
		}
	}
	if some == nil {
		return columns
	}
	slices.SortStableFunc(some, func(a, b int) int { return values[a] - values[b] })
	return some
}

// unclearError is that of a table of images none of whose columns is called like classes.
type unclearError struct{ error }

func (e *unclearError) Unwrap() error { return e.error }

// otherNames are names of columns with few values that aren't classes.
var otherNames = []string{
	"encodedpixels", "rle", "rlemask", "maskrle", "pixels", "caption", "captions", "comment", "description",
	"size", "width", "height", "w", "h", "channels", "depth", "age", "score", "rating", "weight", "date", "year", "month", "time", "source", "license",
	"filesize", "format", "extension", "ext", "mode", "count", "quality", "lat", "lon", "title", "text", "url",
}

// repeats reports whether a column may be one of classes by its values: the rows don't all
// have another, and none is a fraction.
func (t *table) repeats(column int) bool {
	values, rows := t.values(column)
	for _, v := range values {
		_, whole := wholeValue(v)
		if _, err := strconv.ParseFloat(v, 64); err == nil && !whole {
			return false
		}
	}
	return len(values) < rows || rows == 2
}

// isLabelName reports whether a column may be one of classes by its name.
func isLabelName(column string) bool {
	if n := plainName(column); slices.Contains(labelNames, n) && (n != "y" || column == n) || column == "name" {
		return true
	}
	words := strings.FieldsFunc(strings.ToLower(column), func(r rune) bool { return r == '_' || r == ' ' || r == '-' || r == '.' })
	return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(labelWords, w) })
}

// noLabelsError is that of a table of images without classes.
type noLabelsError struct{ table string }

func (e *noLabelsError) Error() string {
	return fmt.Sprintf("%s: no column of classes, want one called %s, or label with their numbers", e.table, strings.Join(classColumns, ", "))
}

// chosenLabel takes the columns that the user chose.
func (t *table) chosenLabel(r *roles, label string) error {
	if i, err := t.named("--columns label", label); err == nil {
		r.labels = []int{i}
		if err := t.noRecords(i); err != nil {
			return err
		}
		return t.listRole(r)
	}
	name, form, ok := cutLast(label, ":")
	if divider, known := map[string]string{"words": " ", "commas": ",", "whole": "", "rows": rowEach}[form]; ok && known {
		i, err := t.named("--columns label", name)
		if err == nil {
			err = t.noRecords(i)
		}
		r.labels, r.separator = []int{i}, divider
		return err
	}
	for name := range strings.SplitSeq(label, "+") {
		i, err := t.named("--columns label", name)
		if err != nil {
			return err
		}
		r.labels = append(r.labels, i)
	}
	for _, i := range r.labels {
		for row := range t.rows {
			if v := t.cell(row, i); v != "" {
				if n, err := strconv.ParseFloat(v, 64); err != nil || n != 0 && n != 1 && n != -1 {
					return fmt.Errorf("%s: --columns label=%s: %s, want columns of 1, 0, -1 or nothing", t.name, label, t.candidates([]int{i}))
				}
			}
		}
	}
	return nil
}

// labelCandidates returns the columns that are neither of images, parts or boxes, nor without
// name or content.
func (t *table) labelCandidates(r roles, files *tableFiles) []int {
	others := []int{r.image, r.split}
	if corners, ok := t.box(); ok && t.columns != nil {
		others = append(others, corners.at[:]...)
	}
	if w, h, ok := t.size(); ok {
		others = append(others, w, h)
	}
	var left []int
	for i := range t.width() {
		if slices.Contains(others, i) || t.columns != nil && t.columns[i] == "" {
			continue
		}
		values, rows := t.values(i)
		if len(values) == 1 && values[0] == "" || t.columns != nil && (isFold(t.columns[i]) || slices.Contains(splitNames, plainName(t.columns[i]))) {
			continue
		}
		if isBoxName(t.columns, i) || slices.ContainsFunc(values, isRecord) {
			continue
		}
		// Another path of the image, such as that of a mask.
		if rows > 2 && len(values) == rows && !slices.ContainsFunc(values, func(v string) bool { return !isImage(v) }) {
			continue
		}
		left = append(left, i)
	}
	return left
}

// isFold reports whether a column numbers the folds of a cross-validation, or the rows.
func isFold(column string) bool {
	return slices.Contains([]string{"fold", "folds", "kfold", "unnamed0"}, plainName(column))
}

// flagColumns returns those of some columns that hold nothing but 0 and 1, or -1 and 1.
func (t *table) flagColumns(among []int) []int {
	var flags []int
	for _, i := range among {
		zero, minus, other := false, false, t.columns == nil
		for row := range t.rows {
			v, err := strconv.ParseFloat(t.cell(row, i), 64)
			zero, minus, other = zero || v == 0, minus || v == -1, other || err != nil || v != 0 && v != 1 && v != -1
		}
		if !other && !(zero && minus) && len(t.rows) > 0 {
			flags = append(flags, i)
		}
	}
	return flags
}

// checkFlags refuses two columns of 0 and 1 that aren't each other's opposite: they may be
// labels, or one of them the class.
func (t *table) checkFlags(r roles) error {
	if len(r.labels) > 2 {
		return nil
	}
	for row := range t.rows {
		if t.flag(row, r.labels[0]) == t.flag(row, r.labels[1]) {
			return fmt.Errorf("%w, or %s for both", t.askColumns(r, "no column of classes: any of these may be it", r.labels), t.columnsFlag(r.image, r.labels[0], "+"+t.flagName(r.labels[1])))
		}
	}
	return nil
}

func (t *table) flag(row, column int) bool {
	v, err := strconv.ParseFloat(t.cell(row, column), 64)
	return err == nil && v == 1
}

// pairLabels orders columns of classes: names, numbers of the same classes, and readable
// names of them. Columns that divide the images differently can't all be the classes.
func (t *table) pairLabels(r *roles, known []int) error {
	for _, i := range known[1:] {
		if !t.sameClasses(known[0], i) && !(slices.Contains(classColumns, t.columns[i]) || slices.Contains(indexColumns, t.columns[i])) {
			return t.askColumns(roles{image: r.image, labels: known[:1]}, "several columns may be that of classes", known)
		}
	}
	var names, numbers []int
	for _, i := range known {
		if t.isNumbers(i) {
			numbers = append(numbers, i)
		} else {
			names = append(names, i)
		}
	}
	order := func(columns []int, order []string) {
		rank := func(i int) int {
			if t.columns == nil {
				return 0
			}
			if at := slices.Index(order, t.columns[i]); at >= 0 {
				return at
			}
			return len(order)
		}
		slices.SortStableFunc(columns, func(a, b int) int { return rank(a) - rank(b) })
	}
	order(names, classColumns)
	order(numbers, indexColumns)
	switch {
	case len(names) == 0:
		r.labels = numbers[:1]
		names = numbers[:1]
	default:
		r.labels = names[:1]
		if len(numbers) > 0 {
			r.number = numbers[0]
		}
	}
	if len(names) > 1 {
		r.title = names[1]
	}
	for _, i := range known {
		if i != r.labels[0] && i != r.number && i != r.title && !t.sameClasses(r.labels[0], i) {
			return t.askColumns(roles{image: r.image, labels: known[:1]}, "several columns may be that of classes", known)
		}
	}
	if r.title >= 0 && !t.sameClasses(r.labels[0], r.title) {
		return t.askColumns(roles{image: r.image, labels: known[:1]}, "several columns may be that of classes", names)
	}
	return nil
}

// sameClasses reports whether two columns divide the rows in the same way.
func (t *table) sameClasses(a, b int) bool {
	to, from := map[string]string{}, map[string]string{}
	for row := range t.rows {
		x, y := t.cell(row, a), t.cell(row, b)
		if v, ok := to[x]; ok && v != y {
			return false
		}
		if v, ok := from[y]; ok && v != x {
			return false
		}
		to[x], from[y] = y, x
	}
	return true
}

// isNumbers reports whether a column's first value is a whole number.
func (t *table) isNumbers(column int) bool {
	for row := range t.rows {
		if v := t.cell(row, column); v != "" {
			_, ok := wholeValue(v)
			return ok
		}
	}
	return false
}

// wholeValue reads a class number, which tables with gaps write as 3.0.
func wholeValue(s string) (int, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, true
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v != float64(int(v)) {
		return 0, false
	}
	return int(v), true
}

// listRole finds out whether cells hold several labels, and what divides them.
func (t *table) listRole(r *roles) error {
	column := r.labels[0]
	if r.number >= 0 || r.title >= 0 {
		return nil
	}
	for _, divider := range []string{"[", "|", ";"} {
		for row := range t.rows {
			if v := t.cell(row, column); strings.Contains(v, divider) && (divider != "[" || isList(v)) {
				r.separator = divider
				return nil
			}
		}
	}
	if t.columns == nil {
		return nil
	}
	switch plainName(t.columns[column]) {
	case "tags":
		r.separator = " "
	case "labels", "classes", "categories", "attributeids":
	default:
		return nil
	}
	for _, divider := range []string{",", " "} {
		for row := range t.rows {
			if !strings.Contains(t.cell(row, column), divider) {
				continue
			}
			if r.separator == "" {
				form := map[string]string{",": ":commas", " ": ":words"}[divider]
				return t.errorf(row, "column %s: %q may be one class or several labels; say which by %s or %s",
					t.columnName(column), t.cell(row, column), t.columnsFlag(r.image, column, ":whole"), t.columnsFlag(r.image, column, form))
			}
			r.separator = divider
			return nil
		}
	}
	r.separator = ""
	return nil
}

// isBoxName reports whether a column is called like one of boxes.
func isBoxName(columns []string, i int) bool {
	return columns != nil && slices.Contains([]string{"bbox", "bboxes", "box", "boxes", "boundingbox", "boundingboxes"}, plainName(columns[i]))
}

// isRecord reports whether a cell holds an object of JSON, or a list of objects or lists, which
// is no class.
func isRecord(v string) bool {
	if strings.HasPrefix(v, "{") && strings.HasSuffix(v, "}") {
		return true
	}
	return isList(v) && strings.HasPrefix(strings.TrimSpace(v[1:]), "{") || isList(v) && strings.HasPrefix(strings.TrimSpace(v[1:]), "[")
}

// noRecords is an error if a column has values that are no classes.
func (t *table) noRecords(column int) error {
	for row := range t.rows {
		if v := t.cell(row, column); isRecord(v) {
			return t.errorf(row, "column %s: %.60s, want a class or a list of classes, not a record; write the classes into a table of images and labels", t.columnName(column), v)
		}
	}
	return nil
}

func isList(v string) bool { return strings.HasPrefix(v, "[") && strings.HasSuffix(v, "]") }

// splitCell returns the labels in a cell.
func splitCell(cell, divider string) []string {
	var parts []string
	if divider == "[" {
		var list []any
		if json.Unmarshal([]byte(cell), &list) == nil {
			for _, v := range list {
				parts = append(parts, fmt.Sprint(v))
			}
			return parts
		}
		cell, divider = strings.Trim(cell, "[]"), ","
		if !strings.Contains(cell, ",") && strings.Count(cell, "'") != 2 {
			divider = " " // as numpy writes it
		}
	}
	for label := range strings.SplitSeq(cell, divider) {
		if label = strings.Trim(label, ` '"`+"\n"); label != "" {
			parts = append(parts, label)
		}
	}
	return parts
}
