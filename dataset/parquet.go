package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// parquetExt is the extension of Parquet files.
const parquetExt = ".parquet"

// parquetFile is an open Parquet file of records, perhaps with pictures in them.
type parquetFile struct {
	name     string // path in its layout
	r        io.ReaderAt
	size     int64
	modified time.Time
	file     *parquet.File
	features map[string]parquetFeature // of the columns, as Hugging Face describes them
	pictures *parquetPictures          // nil if it has none
	footer   contentHash               // of the footer, which says where every page lies
}

// parquetFeature is what Hugging Face's metadata say of a column.
type parquetFeature struct {
	kind  string   // Image, ClassLabel …
	names []string // of classes, in the order of their numbers
}

// Limits of Parquet files that no sound one reaches.
const (
	maxParquetFooter = 256 << 20 // bytes
	maxParquetPage   = 1 << 30   // bytes, unpacked
	maxParquetRows   = 1 << 28
	maxParquetText   = 1 << 30 // bytes of all values but pictures
)

// noPanic makes an error of a panic in the library that reads Parquet.
func noPanic(name string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: not a sound Parquet file: %v", name, p)
	}
}

// openParquet reads the footer of a file. The file stays open.
func openParquet(fsys fs.FS, name string) (p *parquetFile, err error) {
	defer noPanic(name, &err)
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil || p == nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("%s: Parquet in an archive, of which no part can be read alone: unpack the archive and open its folder", name)
	}
	p = &parquetFile{name: name, r: at, size: info.Size(), modified: info.ModTime()}
	if err := p.checkEnds(); err != nil {
		return nil, fmt.Errorf("%s: Parquet: %w", name, err)
	}
	if p.file, err = parquet.OpenFile(at, p.size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true)); err != nil {
		return nil, fmt.Errorf("%s: Parquet: %w", name, err)
	}
	if n := p.file.NumRows(); n < 0 || n > maxParquetRows {
		return nil, fmt.Errorf("%s: Parquet: %d rows, want at most %d", name, n, maxParquetRows)
	}
	p.readFeatures()
	return p, nil
}

// checkEnds checks the marks at both ends and the footer's size.
func (p *parquetFile) checkEnds() error {
	var head [4]byte
	var tail [8]byte
	if p.size < int64(len(head)+len(tail)) {
		return fmt.Errorf("%d bytes, want at least 12", p.size)
	}
	if _, err := p.r.ReadAt(head[:], 0); err != nil {
		return err
	}
	if _, err := p.r.ReadAt(tail[:], p.size-int64(len(tail))); err != nil {
		return err
	}
	if string(head[:]) == "PARE" || string(tail[4:]) == "PARE" {
		return errors.New("encrypted, want a plain file")
	}
	if string(head[:]) != "PAR1" || string(tail[4:]) != "PAR1" {
		return fmt.Errorf("begins with %q and ends with %q, want PAR1: the file isn't whole, or isn't Parquet", head[:], tail[4:])
	}
	footer := int64(binary.LittleEndian.Uint32(tail[:]))
	if footer > p.size-12 || footer > maxParquetFooter {
		return fmt.Errorf("footer of %d bytes in a file of %d", footer, p.size)
	}
	text := make([]byte, footer)
	if _, err := p.r.ReadAt(text, p.size-8-footer); err != nil {
		return err
	}
	p.footer = sha256.Sum256(text)
	return nil
}

// readFeatures reads the description of columns that Hugging Face's library writes.
func (p *parquetFile) readFeatures() {
	p.features = map[string]parquetFeature{}
	text, ok := p.file.Lookup("huggingface")
	if !ok {
		return
	}
	var meta struct {
		Info struct {
			Features map[string]json.RawMessage `json:"features"`
		} `json:"info"`
	}
	if json.Unmarshal([]byte(text), &meta) != nil {
		return
	}
	for column, raw := range meta.Info.Features {
		p.features[column] = featureOf(raw, 0)
	}
}

// featureOf reads a feature: of a list, that of its elements.
func featureOf(raw json.RawMessage, depth int) parquetFeature {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(list) == 1 && depth < 4 {
		return featureOf(list[0], depth+1)
	}
	var f struct {
		Type    string          `json:"_type"`
		Names   []string        `json:"names"`
		Feature json.RawMessage `json:"feature"`
	}
	if json.Unmarshal(raw, &f) != nil {
		return parquetFeature{}
	}
	if f.Feature != nil && depth < 4 {
		return featureOf(f.Feature, depth+1)
	}
	return parquetFeature{kind: f.Type, names: f.Names}
}

// pictureColumns returns the names of the columns that hold pictures: structs of bytes and
// path, and binary columns that begin with a picture.
func (p *parquetFile) pictureColumns() (names []string, err error) {
	defer noPanic(p.name, &err)
	for _, c := range p.file.Root().Columns() {
		leaf := c
		if !c.Leaf() {
			leaf = c.Column("bytes")
		}
		if leaf == nil || !leaf.Leaf() || leaf.MaxRepetitionLevel() > 0 || leaf.Type().Kind() != parquet.ByteArray {
			continue
		}
		if !c.Leaf() {
			names = append(names, c.Name())
			continue
		}
		if isText(leaf) {
			continue
		}
		pictures, err := newParquetPictures(p, leaf, nil)
		if err != nil {
			return nil, err
		}
		if data, err := pictures.read(0); err == nil && looksLikePicture(data) {
			names = append(names, c.Name())
		}
	}
	return names, nil
}

// isText reports whether a column of byte arrays holds text.
func isText(c *parquet.Column) bool {
	t := c.Type().LogicalType()
	return t != nil && (t.String() == "STRING" || t.String() == "ENUM" || t.String() == "JSON")
}

// looksLikePicture reports whether data begins as files of pictures do.
func looksLikePicture(data []byte) bool {
	for _, mark := range []string{"\xff\xd8\xff", "\x89PNG", "GIF8", "BM", "RIFF", "II*\x00", "MM\x00*", "P5", "P6"} {
		if strings.HasPrefix(string(data[:min(len(data), 8)]), mark) {
			return true
		}
	}
	return false
}

// setPictures chooses the column of pictures. ok is false if there is none.
func (p *parquetFile) setPictures(c Columns) (ok bool, err error) {
	names, err := p.pictureColumns()
	if err != nil {
		return false, err
	}
	column := ""
	switch {
	case c.Image != "" && slices.Contains(names, c.Image):
		column = c.Image
	case len(names) == 0 || c.Image != "":
		return false, nil
	case len(names) > 1:
		return false, fmt.Errorf("%s: several columns of pictures: %s; say which by --columns %s", p.name, strings.Join(names, ", "), shellWord("image="+names[0]))
	default:
		column = names[0]
	}
	at := p.file.Root().Column(column)
	leaf, paths := at, (*parquet.Column)(nil)
	if !at.Leaf() {
		leaf, paths = at.Column("bytes"), at.Column("path")
	}
	p.pictures, err = newParquetPictures(p, leaf, paths)
	if err != nil {
		return false, err
	}
	p.pictures.column = column
	if !at.Leaf() && p.file.NumRows() > 0 {
		// Rows that name files in place of holding them.
		if _, err := p.pictures.read(0); errors.Is(err, errNoPicture) {
			p.pictures = nil
			return false, nil
		}
	}
	return true, nil
}

// table returns the records without their pictures, whose names are in the first column.
func (p *parquetFile) table() (t *table, err error) {
	defer noPanic(p.name, &err)
	n := int(p.file.NumRows())
	t = &table{name: p.name, divider: ',', rows: make([][]string, n), lines: make([]int, n), classNames: map[string][]string{}, record: "row "}
	for i := range n {
		t.lines[i] = i
	}
	if p.pictures != nil {
		names, err := p.pictures.names()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		t.addColumn(p.pictures.column, names)
	}
	total := int64(0)
	for _, c := range p.file.Root().Columns() {
		if p.pictures != nil && c.Name() == p.pictures.column {
			continue
		}
		leaf, list := valueLeaf(c)
		if leaf == nil || leaf.Type().Kind() == parquet.ByteArray && !isText(leaf) {
			continue
		}
		if total += p.columnBytes(leaf); total > maxParquetText {
			return nil, fmt.Errorf("%s: Parquet: %d bytes of values besides pictures, want at most %d", p.name, total, maxParquetText)
		}
		cells, err := p.cells(leaf, list)
		if err != nil {
			return nil, fmt.Errorf("%s: column %s: %w", p.name, c.Name(), err)
		}
		t.addColumn(c.Name(), cells)
		if f := p.features[c.Name()]; len(f.names) > 0 {
			t.classNames[c.Name()] = f.names
		}
	}
	return t, nil
}

// addColumn adds a column with a cell for each row.
func (t *table) addColumn(name string, cells []string) {
	t.written, t.columns = append(t.written, name), append(t.columns, strings.ToLower(name))
	for i := range t.rows {
		t.rows[i] = append(t.rows[i], cells[i])
	}
}

// valueLeaf returns the leaf of a column of single values, or of lists of them; nil for
// another kind.
func valueLeaf(c *parquet.Column) (leaf *parquet.Column, list bool) {
	for !c.Leaf() {
		below := c.Columns()
		if len(below) != 1 {
			return nil, false
		}
		c = below[0]
	}
	switch c.MaxRepetitionLevel() {
	case 0:
		return c, false
	case 1:
		return c, true
	}
	return nil, false
}

// columnBytes is the size of a column's unpacked values, as the footer has it.
func (p *parquetFile) columnBytes(leaf *parquet.Column) int64 {
	n := int64(0)
	for _, g := range p.file.Metadata().RowGroups {
		if i := leaf.Index(); i < len(g.Columns) {
			n += max(0, g.Columns[i].MetaData.TotalUncompressedSize)
		}
	}
	return n
}

// cells reads a column as text; of a column of lists, as JSON lists.
func (p *parquetFile) cells(leaf *parquet.Column, list bool) ([]string, error) {
	n := int(p.file.NumRows())
	var cells []string
	var lists [][]string
	for v, err := range p.values(leaf) {
		if err != nil {
			return nil, err
		}
		if list {
			if v.RepetitionLevel() == 0 {
				lists = append(lists, []string{})
			}
			if !v.IsNull() && len(lists) > 0 {
				lists[len(lists)-1] = append(lists[len(lists)-1], strings.Clone(cellOf(v)))
			}
			if len(lists) > n {
				break
			}
			continue
		}
		if cells = append(cells, strings.Clone(cellOf(v))); len(cells) > n {
			break
		}
	}
	for _, l := range lists {
		text, err := json.Marshal(l)
		if err != nil {
			return nil, err
		}
		cells = append(cells, string(text))
	}
	if len(cells) != n {
		return nil, fmt.Errorf("parquet: %d values, want %d, one a row", len(cells), n)
	}
	return cells, nil
}

// values yields the values of a column.
func (p *parquetFile) values(leaf *parquet.Column) func(func(parquet.Value, error) bool) {
	return func(yield func(parquet.Value, error) bool) {
		buffer := make([]parquet.Value, 256)
		groups := p.file.Metadata().RowGroups
		for i, g := range p.file.RowGroups() {
			if err := p.checkChunk(&groups[i], leaf); err != nil {
				yield(parquet.Value{}, err)
				return
			}
			pages := g.ColumnChunks()[leaf.Index()].Pages()
			if !eachValue(pages, buffer, yield) {
				return
			}
		}
	}
}

// eachValue yields the values of pages, and closes them.
func eachValue(pages parquet.Pages, buffer []parquet.Value, yield func(parquet.Value, error) bool) bool {
	defer pages.Close()
	for {
		page, err := pages.ReadPage()
		if err == io.EOF {
			return true
		}
		if err != nil {
			yield(parquet.Value{}, err)
			return false
		}
		values := page.Values()
		for {
			n, err := values.ReadValues(buffer)
			for _, v := range buffer[:n] {
				if !yield(v, nil) {
					return false
				}
			}
			if err != nil && err != io.EOF {
				yield(parquet.Value{}, err)
				return false
			}
			if err == io.EOF || n == 0 {
				break
			}
		}
		parquet.Release(page)
	}
}

// cellOf writes a value as a table has it; null is empty.
func cellOf(v parquet.Value) string {
	if v.IsNull() {
		return ""
	}
	switch v.Kind() {
	case parquet.ByteArray, parquet.FixedLenByteArray:
		return string(v.ByteArray())
	case parquet.Float:
		return strconv.FormatFloat(float64(v.Float()), 'g', -1, 32)
	case parquet.Double:
		return strconv.FormatFloat(v.Double(), 'g', -1, 64)
	}
	return v.String()
}

// leafIndex finds a leaf's metadata in a row group.
func chunkMeta(g *format.RowGroup, leaf int) (*format.ColumnMetaData, error) {
	if leaf >= len(g.Columns) {
		return nil, fmt.Errorf("parquet: %d columns in a row group, want more than %d", len(g.Columns), leaf)
	}
	c := &g.Columns[leaf]
	if c.FilePath != "" {
		return nil, fmt.Errorf("parquet: the column lies in another file, %q", c.FilePath)
	}
	return &c.MetaData, nil
}

// parquetName is the name of a row's picture: the file, the row and the end of its path.
func parquetName(file string, row int, p string) string {
	name := fmt.Sprintf("%s/%07d", file, row)
	if p = path.Base(plainPath(p)); p != "." && p != "/" && p != ".." && fs.ValidPath(p) {
		name += "-" + p
	}
	return name
}
