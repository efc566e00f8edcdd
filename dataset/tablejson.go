package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// readRecords reads a table of images: text, JSON lines, a JSON array of records, or Parquet.
func readRecords(ctx context.Context, fsys fs.FS, name string) (*table, error) {
	switch {
	case strings.EqualFold(path.Ext(name), parquetExt):
		p, err := openParquet(fsys, name)
		if err != nil {
			return nil, err
		}
		return p.table()
	case !isJSONTable(name):
		return readTable(ctx, fsys, name)
	}
	data, err := readUnpacked(ctx, fsys, name)
	if err != nil {
		return nil, err
	}
	return parseJSON(ctx, name, data)
}

// isJSONTable reports whether a file's name is one of records in JSON.
func isJSONTable(name string) bool {
	switch path.Ext(strings.TrimSuffix(strings.ToLower(name), ".gz")) {
	case ".json", ".jsonl", ".ndjson":
		return true
	}
	return false
}

// parseJSON reads records: a JSON object a line, or an array of objects. Keys are columns. A
// value that is a list or an object stays JSON.
func parseJSON(ctx context.Context, name string, data []byte) (*table, error) {
	text, err := decodeText(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t := &table{name: name, divider: ','}
	column := map[string]int{}
	d := json.NewDecoder(strings.NewReader(text))
	line, at := 1, int64(0)
	lineOf := func() int {
		end := d.InputOffset()
		line += strings.Count(text[at:end], "\n")
		at = end
		return line
	}
	if t := mapTable(name, text); t != nil {
		return t, nil
	}
	array := strings.HasPrefix(strings.TrimSpace(text), "[")
	if array {
		if _, err := d.Token(); err != nil {
			return nil, fmt.Errorf("%s: JSON: %w", name, err)
		}
	}
	for !array || d.More() {
		if len(t.rows)%checkEvery == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var record json.RawMessage
		if err := d.Decode(&record); err == io.EOF && !array {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s:%d: JSON: %w", name, lineOf(), err)
		}
		end := lineOf()
		row, err := t.addRecord(record, column)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, end, err)
		}
		t.rows, t.lines = append(t.rows, row), append(t.lines, end)
	}
	for i, row := range t.rows {
		t.rows[i] = append(row, make([]string, len(t.written)-len(row))...)
	}
	for _, c := range t.written {
		t.columns = append(t.columns, strings.ToLower(c))
	}
	return t, nil
}

// mapTable reads one object that maps images to classes, {"1.jpg": "cat"}, or classes to images,
// {"cat": ["1.jpg"]}; nil if the text is something else.
func mapTable(name, text string) *table {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil || len(object) < 2 {
		return nil
	}
	t := newList(name, "")
	t.columns, t.written, t.record = t.columns[:2], t.written[:2], "entry "
	lists := 0
	for _, key := range slices.Sorted(maps.Keys(object)) {
		var images []string
		switch value := jsonCell(object[key]); {
		case slices.Contains(imageNames, plainName(key)): // a single record
			return nil
		case json.Unmarshal(object[key], &images) == nil && isList(value):
			for _, image := range images {
				t.addRow(len(t.rows)+1, image, key)
			}
			lists++
		case isList(value) || isRecord(value):
			return nil
		default:
			t.addRow(len(t.rows)+1, key, value)
		}
	}
	if lists > 0 && lists < len(object) {
		return nil
	}
	return t
}

// maxRecordColumns is the most keys of all records of a file.
const maxRecordColumns = 10_000

// addRecord reads an object, and adds columns for keys that are new.
func (t *table) addRecord(raw json.RawMessage, column map[string]int) ([]string, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("JSON: %.40s, want an object of an image's name and class", raw)
	}
	row := make([]string, len(t.written))
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("JSON: %w", err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("JSON: %w", err)
		}
		k := key.(string)
		if seen[k] {
			return nil, fmt.Errorf("JSON: key %q is given twice", k)
		}
		seen[k] = true
		i, ok := column[k]
		if !ok {
			if len(t.written) == maxRecordColumns {
				return nil, fmt.Errorf("JSON: more than %d different keys, want records with the same ones", maxRecordColumns)
			}
			i = len(t.written)
			column[k] = i
			t.written = append(t.written, k)
			row = append(row, "")
		}
		row[i] = jsonCell(value)
	}
	return row, nil
}

// jsonCell writes a value as a cell: text as it is, null as nothing.
func jsonCell(raw json.RawMessage) string {
	var text string
	switch {
	case string(raw) == "null":
		return ""
	case json.Unmarshal(raw, &text) == nil:
		return strings.TrimSpace(text)
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

// tableNames returns the files of a folder that may be tables of images, sorted.
func tableNames(files []string) []string {
	var out []string
	for _, f := range files {
		base := strings.TrimSuffix(strings.ToLower(f), ".gz")
		switch path.Ext(base) {
		case ".csv", ".tsv", ".jsonl", ".ndjson", parquetExt:
			out = append(out, f)
		case ".json", ".txt", ".lst", ".list":
			if isListName(base) {
				out = append(out, f)
			}
		}
	}
	slices.Sort(out)
	return out
}

// isListName reports whether a text or JSON file is called like a list of images: by a part,
// or labels, metadata, annotations, list.
func isListName(base string) bool {
	stem := strings.TrimSuffix(base, path.Ext(base))
	if partOfName(base) != "" || stem == "trainval" {
		return true
	}
	return slices.Contains([]string{"labels", "label", "metadata", "annotations", "annotation", "list", "images", "data"}, stem) || listedPart(base) != ""
}
