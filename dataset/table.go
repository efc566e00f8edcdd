package dataset

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// table is a text file of rows: CSV with or without a header, or words
// separated by blanks.
type table struct {
	name    string
	divider rune     // of the fields; 0: blanks
	columns []string // lower case; nil without a header
	written []string // the columns as they are written
	rows    [][]string
	lines   []int // of the rows, from 1

	ofFolders   bool // each row was of the images of a folder
	fromFolders bool // the classes are the folders of a list of paths

	classNames map[string][]string // of columns of class numbers, where the file says them
	record     string              // what stands before the number of a row in errors; "" of a line
}

// Names of columns; the first one found is taken.
var (
	fileColumns  = []string{"file", "filename", "file_name", "image", "path", "image_path", "imageid", "image_id", "img"}
	classColumns = []string{"wnid", "synset", "class", "class_name", "category", "name"}
	indexColumns = []string{"label", "label10", "class_index", "class_id", "class_index1000", "target", "index"}
	sizeColumns  = [][2]string{{"orig_w", "orig_h"}, {"width", "height"}, {"image_width", "image_height"}}
)

// maxTable bounds a table, and what it may unpack to.
const maxTable = wholefile.MaxTable

// readTable reads a table from a file; one ending in .gz is unpacked.
func readTable(ctx context.Context, fsys fs.FS, name string) (*table, error) {
	data, err := readUnpacked(ctx, fsys, name)
	if err != nil {
		return nil, err
	}
	return parseTable(ctx, name, data)
}

// readUnpacked reads a file; one ending in .gz is unpacked.
func readUnpacked(ctx context.Context, fsys fs.FS, name string) ([]byte, error) {
	data, err := wholefile.ReadFS(ctx, fsys, name, maxTable)
	if err != nil || !strings.EqualFold(path.Ext(name), ".gz") {
		return data, err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		data, err = wholefile.ReadAll(ctx, z, 0, maxTable)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: gzip: %w", name, err)
	}
	return data, nil
}

// parseTable reads rows, and takes the first for a header if it has a name of a column of
// files.
func parseTable(ctx context.Context, name string, data []byte) (*table, error) {
	t, err := parseRows(ctx, name, data)
	if err != nil {
		return nil, err
	}
	if len(t.rows) > 0 && slices.ContainsFunc(t.rows[0], func(c string) bool {
		c = strings.ToLower(c)
		return slices.Contains(fileColumns, c) || c == "name"
	}) {
		t.takeHeader()
	}
	return t, nil
}

// parseRows reads fields divided by commas, tabs or semicolons, with quotes as in CSV, or
// words divided by blanks. Rows without content are left out.
func parseRows(ctx context.Context, name string, data []byte) (*table, error) {
	text, err := decodeText(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t := &table{name: name, divider: dividerOf(name, text)}
	if t.divider == 0 {
		line := 0
		for text := range strings.Lines(text) {
			if line%checkEvery == 0 && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			line++
			if words := strings.Fields(text); len(words) > 0 {
				t.rows, t.lines = append(t.rows, words), append(t.lines, line)
			}
		}
		return t, nil
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma = t.divider
	r.FieldsPerRecord = -1
	r.TrimLeadingSpace = t.divider != '\t'
	for {
		if len(t.rows)%checkEvery == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := r.FieldPos(0)
		empty := true
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
			empty = empty && row[i] == ""
		}
		if !empty {
			t.rows, t.lines = append(t.rows, row), append(t.lines, line)
		}
	}
}

// takeHeader makes the first row the names of the columns.
func (t *table) takeHeader() {
	t.written = t.rows[0]
	t.columns = make([]string, len(t.written))
	for i, c := range t.written {
		t.columns[i] = strings.ToLower(c)
	}
	t.rows, t.lines = t.rows[1:], t.lines[1:]
}

// column returns the column with the first of the names that is there, or -1.
func (t *table) column(names ...string) int {
	for _, n := range names {
		if i := slices.Index(t.columns, n); i >= 0 {
			return i
		}
	}
	return -1
}

// fileColumn returns the column that names the images, or -1. Without a header it is
// the first.
func (t *table) fileColumn() int {
	if t.columns == nil {
		return 0
	}
	if i := t.column(fileColumns...); i >= 0 {
		return i
	}
	return t.column("name")
}

// classColumn returns the column of class names, or -1.
func (t *table) classColumn() int {
	for _, n := range classColumns {
		if i := slices.Index(t.columns, n); i >= 0 && i != t.fileColumn() {
			return i
		}
	}
	return -1
}

// size returns the columns of the image's size, and whether there are any.
func (t *table) size() (w, h int, ok bool) {
	for _, n := range sizeColumns {
		if w, h = t.column(n[0]), t.column(n[1]); w >= 0 && h >= 0 {
			return w, h, true
		}
	}
	return -1, -1, false
}

// cell returns a field, "" if the row is too short or i is -1.
func (t *table) cell(row, i int) string {
	if i < 0 || i >= len(t.rows[row]) {
		return ""
	}
	return t.rows[row][i]
}

// errorf names the table and the line of a row.
func (t *table) errorf(row int, format string, args ...any) error {
	return fmt.Errorf("%s: %w", t.where(row), fmt.Errorf(format, args...))
}

// where names the table and the line of a row.
func (t *table) where(row int) string {
	if t.record != "" {
		return fmt.Sprintf("%s: %s%d", t.name, t.record, t.lines[row])
	}
	return fmt.Sprintf("%s:%d", t.name, t.lines[row])
}
