package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// parquetPictures reads single pictures of a Parquet file. It knows where each page of their
// column lies, so that a picture costs the reading of one page.
type parquetPictures struct {
	*parquetFile
	column string
	leaf   *parquet.Column
	paths  *parquet.Column // of the pictures' files, nil if there are none
	pages  []parquetPage   // in the order of the rows
}

// parquetPage is a page of pictures.
type parquetPage struct {
	group        int   // row group
	first, rows  int   // rows of the file
	begin, end   int64 // bytes of the file, its header included
	dict         span  // of the dictionary that it needs
	uncompressed int64
}

type span struct{ begin, end int64 }

// errNoPicture is the error of a row without a picture.
var errNoPicture = errors.New("the row has no picture")

// newParquetPictures finds the pages of a column from their headers.
func newParquetPictures(p *parquetFile, leaf, paths *parquet.Column) (*parquetPictures, error) {
	out := &parquetPictures{parquetFile: p, leaf: leaf, paths: paths}
	row := 0
	groups := p.file.Metadata().RowGroups
	for i := range groups {
		if err := out.scanGroup(i, &groups[i], &row); err != nil {
			return nil, fmt.Errorf("%s: row group %d: %w", p.name, i, err)
		}
	}
	if n := p.file.NumRows(); int64(row) != n {
		return nil, fmt.Errorf("%s: Parquet: %d rows in its pages, want %d", p.name, row, n)
	}
	return out, nil
}

// scanGroup finds the pages of a row group. row is the next row of the file.
func (p *parquetPictures) scanGroup(group int, g *format.RowGroup, row *int) error {
	meta, err := chunkMeta(g, p.leaf.Index())
	if err != nil {
		return err
	}
	at, end := chunkSpan(meta).begin, chunkSpan(meta).end
	if at < 4 || meta.TotalCompressedSize < 0 || end > p.size {
		return fmt.Errorf("parquet: bytes %d to %d of a file of %d", at, end, p.size)
	}
	var dict span
	var header thrift.CompactProtocol
	last := *row + int(g.NumRows)
	for at < end && *row < last {
		h, n, err := pageHeader(p.r, &header, at, end)
		if err != nil {
			return fmt.Errorf("page at byte %d: %w", at, err)
		}
		next := at + n + int64(h.CompressedPageSize)
		if h.CompressedPageSize < 0 || next > end || h.UncompressedPageSize < 0 || int64(h.UncompressedPageSize) > maxParquetPage {
			return fmt.Errorf("parquet: page at byte %d of %d bytes, unpacked %d", at, h.CompressedPageSize, h.UncompressedPageSize)
		}
		values, encoding := int32(-1), format.Plain
		switch {
		case h.Type == format.DictionaryPage:
			dict = span{at, next}
		case h.Type == format.DataPage && h.DataPageHeader.Valid:
			values, encoding = h.DataPageHeader.V.NumValues, h.DataPageHeader.V.Encoding
		case h.Type == format.DataPageV2 && h.DataPageHeaderV2.Valid:
			values, encoding = h.DataPageHeaderV2.V.NumValues, h.DataPageHeaderV2.V.Encoding
		}
		if values > 0 {
			if int(values) > last-*row {
				return fmt.Errorf("parquet: page at byte %d has %d rows, where %d are left", at, values, last-*row)
			}
			page := parquetPage{group: group, first: *row, rows: int(values), begin: at, end: next, uncompressed: int64(h.UncompressedPageSize)}
			//lint:ignore SA1019 Older writers have it.
			if encoding == format.PlainDictionary || encoding == format.RLEDictionary {
				page.dict = dict
				page.uncompressed += dict.end - dict.begin
			}
			p.pages = append(p.pages, page)
			*row += int(values)
		}
		at = next
	}
	if *row != last {
		return fmt.Errorf("parquet: its pages end %d rows early", last-*row)
	}
	return nil
}

// pageHeader reads the header of the page at a position, and its length.
func pageHeader(file io.ReaderAt, protocol *thrift.CompactProtocol, at, end int64) (*format.PageHeader, int64, error) {
	// Headers have statistics, the least and the greatest value, and may so be long.
	for _, size := range []int64{512, 64 << 10, 16 << 20} {
		buffer := make([]byte, min(size, end-at))
		if _, err := file.ReadAt(buffer, at); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		h := new(format.PageHeader)
		r := protocol.NewReaderFromBytes(buffer)
		err := thrift.NewDecoder(r).Decode(h)
		if err == nil {
			return h, int64(r.BytesRead()), nil
		}
		if size < end-at && int64(len(buffer)) == size {
			continue
		}
		return nil, 0, fmt.Errorf("parquet: header: %w", err)
	}
	return nil, 0, errors.New("parquet: no header in 16 MiB")
}

// names returns a name for each row's picture.
func (p *parquetPictures) names() ([]string, error) {
	n := int(p.file.NumRows())
	paths := make([]string, n)
	if p.paths != nil && p.paths.Leaf() {
		cells, err := p.cells(p.paths, false)
		if err != nil {
			return nil, err
		}
		paths = cells
	}
	names := make([]string, n)
	for i := range names {
		names[i] = parquetName(p.name, i, paths[i])
	}
	return names, nil
}

// pageOf returns the index of the page that has a row, -1 if there is none.
func (p *parquetPictures) pageOf(row int) int {
	i, ok := slices.BinarySearchFunc(p.pages, row, func(g parquetPage, row int) int { return g.first - row })
	if !ok {
		i--
	}
	if i < 0 || row >= p.pages[i].first+p.pages[i].rows {
		return -1
	}
	return i
}

// decode reads and unpacks a page.
func (p *parquetPictures) decode(i int) (page parquet.Page, err error) {
	defer noPanic(p.name, &err)
	at := p.pages[i]
	chunk, ok := p.file.RowGroups()[at.group].ColumnChunks()[p.leaf.Index()].(*parquet.FileColumnChunk)
	if !ok {
		return nil, fmt.Errorf("%s: Parquet: a chunk that isn't in a file", p.name)
	}
	meta := &p.file.Metadata().RowGroups[at.group].Columns[p.leaf.Index()].MetaData
	base := chunkSpan(meta).begin
	parts := [2]span{at.dict, {at.begin, at.end}}
	held, err := p.hold(parts[:]...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	for _, part := range parts {
		if err := checkPages(held, meta, part); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	// The library reads a chunk from its beginning: here, one of this page alone.
	pages := chunk.PagesFrom(&splicedReader{r: held, base: base, parts: parts})
	defer pages.Close()
	if page, err = pages.ReadPage(); err != nil {
		return nil, fmt.Errorf("%s: Parquet: page at byte %d: %w", p.name, at.begin, err)
	}
	if page.NumRows() != int64(at.rows) {
		return nil, fmt.Errorf("%s: Parquet: page at byte %d has %d rows, want %d", p.name, at.begin, page.NumRows(), at.rows)
	}
	return page, nil
}

// pick copies a row's picture from its page.
func (p *parquetPictures) pick(page parquet.Page, row int) (data []byte, err error) {
	defer noPanic(p.name, &err)
	var value [1]parquet.Value
	part := page.Slice(int64(row), int64(row)+1)
	defer parquet.Release(part)
	n, err := part.Values().ReadValues(value[:])
	if n != 1 {
		return nil, fmt.Errorf("parquet: no value of the row: %w", err)
	}
	if value[0].IsNull() {
		return nil, errNoPicture
	}
	return bytes.Clone(value[0].ByteArray()), nil
}

// read reads a row's picture.
func (p *parquetPictures) read(row int) ([]byte, error) {
	i := p.pageOf(row)
	if i < 0 {
		return nil, fmt.Errorf("parquet: no row %d, want less than %d", row, p.file.NumRows())
	}
	page, err := p.decode(i)
	if err != nil {
		return nil, err
	}
	defer parquet.Release(page)
	return p.pick(page, row-p.pages[i].first)
}

// splicedReader has parts of a file one after another, the first at position base.
type splicedReader struct {
	r     io.ReaderAt
	base  int64
	parts [2]span
}

// ReadAt implements [io.ReaderAt].
func (s *splicedReader) ReadAt(b []byte, at int64) (n int, err error) {
	at -= s.base
	if at < 0 {
		return 0, errors.New("before the page")
	}
	for _, part := range s.parts {
		length := part.end - part.begin
		if at >= length {
			at -= length
			continue
		}
		want := min(int64(len(b)-n), length-at)
		k, err := s.r.ReadAt(b[n:n+int(want)], part.begin+at)
		n += k
		if err != nil && int64(k) < want {
			return n, err
		}
		if at = 0; n == len(b) {
			return n, nil
		}
	}
	return n, io.EOF
}

// parquetCache is the most bytes of unpacked pages that a [parquetFS] keeps.
const parquetCache = 64 << 20

// parquetFS has the pictures of Parquet files as files. It keeps the pages used last.
type parquetFS struct {
	files map[string]*parquetPictures
	turns chan struct{} // bounds the pages that are unpacked at once
	most  int64         // bytes of pages kept

	mu    sync.Mutex
	kept  []*keptPage // the one used last is the last
	bytes int64
}

// keptPage is an unpacked page.
type keptPage struct {
	file *parquetPictures
	page int
	data parquet.Page
}

func newParquetFS(files []*parquetPictures) *parquetFS {
	f := &parquetFS{files: map[string]*parquetPictures{}, turns: make(chan struct{}, 4), most: parquetCache}
	for _, p := range files {
		f.files[p.name] = p
	}
	return f
}

// find returns the file and the row of a picture's name.
func (f *parquetFS) find(op, name string) (*parquetPictures, int, error) {
	fail := &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	p, ok := f.files[path.Dir(name)]
	number, _, _ := strings.Cut(path.Base(name), "-")
	row, err := strconv.Atoi(number)
	if !ok || err != nil || row < 0 || int64(row) >= p.file.NumRows() {
		return nil, 0, fail
	}
	return p, row, nil
}

// ReadFile implements [fs.ReadFileFS].
func (f *parquetFS) ReadFile(name string) ([]byte, error) {
	p, row, err := f.find("read", name)
	if err != nil {
		return nil, err
	}
	i := p.pageOf(row)
	if i < 0 {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	data, ok, err := f.fromKept(p, i, row)
	if !ok {
		f.turns <- struct{}{}
		data, err = f.unpack(p, i, row)
		<-f.turns
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// fromKept reads a picture from a page that is kept.
func (f *parquetFS) fromKept(p *parquetPictures, page, row int) (data []byte, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := slices.IndexFunc(f.kept, func(k *keptPage) bool { return k.file == p && k.page == page })
	if at < 0 {
		return nil, false, nil
	}
	k := f.kept[at]
	f.kept = append(slices.Delete(f.kept, at, at+1), k)
	data, err = p.pick(k.data, row-p.pages[page].first)
	return data, true, err
}

// unpack reads a picture from its page, and keeps the page in place of others.
func (f *parquetFS) unpack(p *parquetPictures, i, row int) ([]byte, error) {
	if data, ok, err := f.fromKept(p, i, row); ok { // meanwhile
		return data, err
	}
	page, err := p.decode(i)
	if err != nil {
		return nil, err
	}
	data, err := p.pick(page, row-p.pages[i].first)
	size := p.pages[i].uncompressed
	f.mu.Lock()
	defer f.mu.Unlock()
	if size > f.most {
		parquet.Release(page)
		return data, err
	}
	for len(f.kept) > 0 && f.bytes+size > f.most {
		old := f.kept[0]
		f.bytes -= old.file.pages[old.page].uncompressed
		parquet.Release(old.data)
		f.kept = f.kept[1:]
	}
	f.kept = append(f.kept, &keptPage{p, i, page})
	f.bytes += size
	return data, err
}

// Open implements [fs.FS].
func (f *parquetFS) Open(name string) (fs.File, error) {
	data, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat(name)
	if err != nil {
		return nil, err
	}
	return &openPicture{info, bytes.NewReader(data)}, nil
}

// Stat implements [fs.StatFS]. The size is the picture's share of its page, which is known
// without unpacking.
func (f *parquetFS) Stat(name string) (fs.FileInfo, error) {
	p, row, err := f.find("stat", name)
	if err != nil {
		return nil, err
	}
	i := p.pageOf(row)
	if i < 0 {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	page := p.pages[i]
	return pictureInfo{path.Base(name), (page.end - page.begin) / int64(page.rows), p}, nil
}

// pictureInfo describes a picture of a Parquet file.
type pictureInfo struct {
	name string
	size int64
	file *parquetPictures
}

func (i pictureInfo) Name() string       { return i.name }
func (i pictureInfo) Size() int64        { return i.size }
func (i pictureInfo) Mode() fs.FileMode  { return 0o444 }
func (i pictureInfo) ModTime() time.Time { return i.file.modified }
func (i pictureInfo) IsDir() bool        { return false }
func (i pictureInfo) Sys() any           { return i.file.footer }

// openPicture is an open picture of a Parquet file.
type openPicture struct {
	info fs.FileInfo
	*bytes.Reader
}

func (f *openPicture) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openPicture) Close() error               { return nil }
