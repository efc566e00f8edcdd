package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// cornerForm says how the columns of a table hold a box.
type cornerForm int

const (
	cornersApart cornerForm = iota // left, upper, right and lower edge
	cornerSize                     // left and upper edge, width and height
	cornerList                     // the same in one cell: [x, y, w, h]
)

// cornerColumns are the columns of a table's boxes.
type cornerColumns struct {
	form cornerForm
	at   [4]int // of a list, four times the same
}

// boxColumns are the names of columns of boxes, as plainName has them.
var boxColumns = []struct {
	form  cornerForm
	names [4]string
}{
	{cornersApart, [4]string{"x0", "y0", "x1", "y1"}},
	{cornersApart, [4]string{"xmin", "ymin", "xmax", "ymax"}},
	{cornersApart, [4]string{"x1", "y1", "x2", "y2"}},
	{cornerSize, [4]string{"x1", "y1", "width", "height"}},
	{cornerSize, [4]string{"x", "y", "width", "height"}},
	{cornerSize, [4]string{"x", "y", "w", "h"}},
	{cornerSize, [4]string{"bboxx", "y", "w", "h"}}, // "Bbox [x,y,w,h]" of NIH's chest X-rays
}

// box returns the columns of boxes, and whether there are any. Without a header they are the
// last four: file, corners; or file, class, corners.
func (t *table) box() (c cornerColumns, ok bool) {
	if t.columns != nil {
		plain := make([]string, len(t.columns))
		for i, name := range t.columns {
			plain[i] = plainName(name)
		}
		for _, b := range boxColumns {
			for i, n := range b.names {
				c.at[i] = slices.Index(plain, n)
			}
			if slices.Min(c.at[:]) >= 0 {
				c.form = b.form
				return c, true
			}
		}
		for i := range t.columns {
			if isBoxName(t.columns, i) && len(t.rows) > 0 {
				c = cornerColumns{cornerList, [4]int{i, i, i, i}}
				_, err := t.corners(0, c)
				return c, err == nil
			}
		}
		return c, false
	}
	if len(t.rows) == 0 {
		return c, false
	}
	n := len(t.rows[0])
	for i := range c.at {
		c.at[i] = n - 4 + i
	}
	if n != 5 && n != 6 {
		return c, false
	}
	_, err := t.corners(0, c)
	return c, err == nil
}

// corners reads the box of a row, as edges.
func (t *table) corners(row int, c cornerColumns) (out [4]float64, err error) {
	if c.form == cornerList {
		text := t.cell(row, c.at[0])
		var list []float64
		if json.Unmarshal([]byte(text), &list) != nil || len(list) != 4 {
			return out, fmt.Errorf("box %.60q, want [x, y, width, height]", text)
		}
		out = [4]float64(list)
		for _, v := range out {
			if !(v > -1e9 && v < 1e9) {
				return out, fmt.Errorf("box %.60q, want pixels", text)
			}
		}
	} else {
		var texts [4]string
		for i, at := range c.at {
			texts[i] = t.cell(row, at)
		}
		if out, err = parseCorners(texts); err != nil {
			return out, err
		}
	}
	if c.form != cornersApart {
		out[2] += out[0]
		out[3] += out[1]
	}
	return out, nil
}

// boxless reports whether the cells of a row's box are empty: the row says that there is none.
func (t *table) boxless(row int, c cornerColumns) bool {
	return !slices.ContainsFunc(c.at[:], func(at int) bool { v := t.cell(row, at); return v != "" && !strings.EqualFold(v, "nan") })
}

// boxTable is a table whose rows are boxes.
type boxTable struct {
	*table
	image, class int // columns; class is -1 if the boxes have none
	part         string
}

// boxTable returns what a table of boxes has in its columns; nil if it is none of the images found.
func (t *table) boxTable(files *tableFiles, part string, chosen Columns) *boxTable {
	if !t.ofBoxes() {
		return nil
	}
	image, err := t.imageColumn(files, chosen)
	if err != nil {
		return nil
	}
	b := &boxTable{t, image, -1, part}
	corners, _ := t.box()
	for i, c := range t.columns {
		switch {
		case i == image || slices.Contains(corners.at[:], i) || isBoxName(t.columns, i) || !isLabelName(c) && c != "class name":
		case b.class < 0 || t.isNumbers(b.class) && !t.isNumbers(i):
			b.class = i
		}
	}
	return b
}

// needsBoxes reports whether the rows of a table give no class of whole images: they have none,
// or different ones for one image.
func (b *boxTable) needsBoxes() bool {
	if b.class < 0 {
		return true
	}
	class := map[string]string{}
	for row := range b.rows {
		image, c := b.cell(row, b.image), b.cell(row, b.class)
		if other, ok := class[image]; ok && other != c {
			return true
		}
		class[image] = c
	}
	return false
}

// unnamedObject is the class of the boxes of a table without classes.
const unnamedObject = "object"

// notes returns an annotation for every image of the table.
func (b *boxTable) notes() []annotation {
	corners, _ := b.box()
	rule := edges
	if b.ofShares(corners) {
		rule = shares
	}
	width, height, sized := b.size()
	if corners.form == cornerSize && slices.Contains(corners.at[:], width) {
		sized = false
	}
	var out []annotation
	at := map[string]int{}
	for row := range b.rows {
		name := b.cell(row, b.image)
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			image := strings.ReplaceAll(name, `\`, "/")
			n := annotation{image: join(path.Dir(b.name), image), alias: image, source: b.where(row), part: b.part, rule: rule}
			if sized {
				n.w, _ = wholeValue(b.cell(row, width))
				n.h, _ = wholeValue(b.cell(row, height))
			}
			out = append(out, n)
		}
		if b.boxless(row, corners) {
			continue
		}
		c, err := b.corners(row, corners)
		if err != nil {
			out[i].faults = append(out[i].faults, fmt.Errorf("line %d: %w", b.lines[row], err))
			continue
		}
		class := unnamedObject
		if b.class >= 0 {
			class = b.cell(row, b.class)
		}
		if class == "" {
			out[i].faults = append(out[i].faults, fmt.Errorf("line %d: no class in column %s", b.lines[row], b.columnName(b.class)))
			continue
		}
		out[i].objects = append(out[i].objects, object{class: class, corners: c, number: int64(row + 1)})
	}
	return out
}

// readTables reads tables of boxes.
func (s boxSource) readTables() *noteSet {
	set := &noteSet{}
	for _, t := range s.tables {
		set.notes = append(set.notes, t.notes()...)
	}
	return set
}

// openBoxTables reads images by tables of boxes, where no other table gives their classes and
// these give an image different ones, or none.
func (s *search) openBoxTables(name string, fsys fs.FS, root listing, candidates []*tableCandidate) (train, val *Dataset, ok bool, err error) {
	var tables []*boxTable
	needed := false
	for _, c := range candidates {
		switch {
		case c.boxes != nil && (c.part != "test" || c.boxes.class >= 0):
			tables = append(tables, c.boxes)
			needed = needed || c.boxes.needsBoxes()
		case c.err == nil:
			return nil, nil, false, nil
		}
	}
	if !needed || s.columns != (Columns{}) && s.columns != (Columns{Image: s.columns.Image}) || s.layout == LayoutFolders || s.layout == LayoutParts {
		return nil, nil, false, nil
	}
	byPart := map[string]string{}
	for _, t := range tables {
		if other, twice := byPart[t.part]; twice {
			return nil, nil, false, fmt.Errorf("dataset: %s: %s and %s both have boxes, want one of them: --data %s", name, other, t.name, shellWord(strings.TrimRight(name, `/\`)+"/"+other))
		}
		byPart[t.part] = t.name
	}
	source := &boxSource{fsys: fsys, name: tables[0].name, kind: tableBoxes, tables: tables}
	train, val, ok, err = openBoxed(s, name, fsys, root, source, true)
	if err == nil && ok {
		for _, t := range tables {
			corners, _ := t.box()
			form := []string{"its edges", "x, y, width and height", "[x, y, width, height]"}[corners.form]
			class := "without classes, called " + unnamedObject
			if t.class >= 0 {
				class = "classes by column " + t.columnName(t.class)
			}
			s.note("%s: images by column %s, %s, a box a row by %s", t.name, t.columnName(t.image), class, form)
		}
	}
	return train, val, ok, err
}

var errCorners = errors.New("no columns of corners, want x0, y0, x1, y1 or xmin, ymin, xmax, ymax")

// ofShares reports whether all corners are 0 to 1 and some are between, which pixels are not.
func (t *table) ofShares(columns cornerColumns) bool {
	between := false
	for row := range t.rows {
		c, err := t.corners(row, columns)
		if err != nil && t.boxless(row, columns) {
			continue
		}
		for _, v := range c {
			if err != nil || v < 0 || v > 1 {
				return false
			}
			between = between || v != float64(int(v))
		}
	}
	return between
}

// takeCornersLast gives a list without a header, of which each row is a file, four corners and a
// class, as keras-retinanet has it, its header.
func (t *table) takeCornersLast() {
	if t.columns != nil || len(t.rows) == 0 {
		return
	}
	for _, row := range t.rows {
		if len(row) != 6 {
			return
		}
		if _, err := strconv.ParseFloat(row[5], 64); err == nil || row[5] == "" {
			return
		}
		if _, err := parseCorners([4]string(row[1:5])); err != nil {
			return
		}
	}
	t.columns = []string{"file", "x1", "y1", "x2", "y2", "class"}
	t.written = t.columns
}
