package transfer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/weights"
)

// A large index has a third file beside it, its sketches: a sixteenth of the descriptors or less,
// and where the line of each row is in the names. A search reads the sketches, then only the
// descriptors that may be among the most similar (decision 0047). The file can be made again from
// the other two at any time, and is when they have changed.

const (
	// quickSuffix names the sketches beside a file of numbers.
	quickSuffix = ".sketch"
	quickFormat = "vgg sketches 1"
	// quickAxes is the most components of a sketch, and quickRecord its bytes: a component is an
	// int8, in front are three float32 (see record).
	quickAxes   = 116
	quickRecord = 12 + quickAxes
	// quickLeast is from how many bytes of descriptors on they get sketches: less is read at once.
	quickLeast = 64 << 20
)

// quickHeader is the first line of a file of sketches. Behind it are the axes (float64), a record
// for each row, and for each row the place of its line in the index: offset (int64), bytes (int32).
type quickHeader struct {
	Format  string `json:"format"`
	Numbers fileID `json:"numbers"`
	Index   fileID `json:"index"`
	Rows    int    `json:"rows"`
	Images  int    `json:"images"` // readable
	Axes    int    `json:"axes"`
}

// placeBytes is the size of a place in the index.
const placeBytes = 12

// fileID tells a file from an earlier one of its name.
type fileID struct {
	Bytes int64 `json:"bytes"`
	Time  int64 `json:"time"` // of the last change, in ns
}

func idOf(path string) (fileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}, err
	}
	return fileID{info.Size(), info.ModTime().UnixNano()}, nil
}

// Index is a file of descriptors that is open to be searched. Only what a search needs is read of a
// large .npy file.
type Index struct {
	Header Header

	path  string
	whole *Descriptors // of a small file, or one without sketches; else nil
	quick *quick
}

// IndexOf returns descriptors as an index. Its Close closes them.
func IndexOf(d *Descriptors) *Index { return &Index{Header: d.Header, whole: d} }

// quick reads an index by its sketches.
type quick struct {
	quickHeader
	header  Header
	axes    [][]float64
	numbers *os.File
	start   int64 // of the descriptors in numbers
	names   *os.File
	file    *os.File // of the sketches
	records int64    // their offset
	places  int64
}

// OpenIndex opens a file of descriptors ([Open]) to search in. Beside a .npy file of more than 64 MiB it makes
// sketches, FILE.npy.sketch, unless they are there, or can't be written: then a search reads all
// descriptors. o.OnRows is told the rows that are sketched.
func OpenIndex(ctx context.Context, path string, o SearchOptions) (*Index, error) {
	return openIndex(ctx, path, quickLeast, o)
}

func openIndex(ctx context.Context, path string, least int64, o SearchOptions) (*Index, error) {
	if info, err := os.Stat(path); strings.EqualFold(filepath.Ext(path), ".npy") && err == nil && info.Size() >= least {
		q, err := openQuick(path)
		if err != nil {
			if err = makeQuick(ctx, path, o); err == nil {
				q, err = openQuick(path)
			}
		}
		if err == nil {
			return &Index{Header: q.header, path: path, quick: q}, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	d, err := OpenMerged(ctx, path) // which also says what is wrong with the file
	if err != nil {
		return nil, err
	}
	return IndexOf(d), nil
}

// Close closes the files.
func (x *Index) Close() error {
	if x.whole != nil {
		return x.whole.Close()
	}
	return x.quick.close()
}

// Len returns the number of rows, including those of unreadable images.
func (x *Index) Len() int {
	if x.whole != nil {
		return x.whole.Len()
	}
	return x.quick.Rows
}

// Images returns the number of readable images.
func (x *Index) Images() int {
	if x.whole != nil {
		return x.whole.Summary().Images
	}
	return x.quick.Images
}

// Row describes the image of a row.
func (x *Index) Row(r int) (Row, error) {
	if r < 0 || r >= x.Len() {
		return Row{}, fmt.Errorf("transfer: row %d, want one of %d", r, x.Len())
	}
	if x.whole != nil {
		return x.whole.Rows[r], nil
	}
	return x.quick.row(r)
}

// Duplicates returns what [Descriptors.Duplicates] does. The names of all rows are read for it.
func (x *Index) Duplicates(ctx context.Context, threshold float64, o SearchOptions) ([]Pair, error) {
	if x.whole != nil {
		return x.whole.Duplicates(ctx, threshold, o)
	}
	d, err := OpenMerged(ctx, x.path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if !reflect.DeepEqual(d.Header, x.Header) || d.Len() != x.Len() {
		return nil, fmt.Errorf("transfer: %s has changed since it was opened", x.path)
	}
	return d.Duplicates(ctx, threshold, o)
}

func (q *quick) close() error {
	var errs []error
	for _, f := range []*os.File{q.numbers, q.names, q.file} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func (q *quick) row(r int) (Row, error) {
	fail := func(err error) (Row, error) {
		return Row{}, fmt.Errorf("transfer: %s: row %d: %w", q.names.Name(), r, err)
	}
	var place [placeBytes]byte
	if _, err := q.file.ReadAt(place[:], q.places+placeBytes*int64(r)); err != nil {
		return fail(err)
	}
	at, n := int64(binary.LittleEndian.Uint64(place[:])), int64(binary.LittleEndian.Uint32(place[8:]))
	if at < 0 || n > wholefile.MaxText || at+n > q.Index.Bytes {
		return fail(errors.New("a line outside the file"))
	}
	text := make([]byte, n)
	if _, err := q.names.ReadAt(text, at); err != nil {
		return fail(err)
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return fail(err)
	}
	if l.Image != q.header.image(r) {
		return fail(fmt.Errorf("a line of image %d, want %d: the files have changed since they were opened", l.Image, q.header.image(r)))
	}
	return l.Row, nil
}

// openQuick opens an index whose sketches are there and belong to it.
func openQuick(path string) (_ *quick, err error) {
	q := &quick{}
	defer func() {
		if err != nil {
			q.close()
		}
	}()
	h, ok := indexKind(Header.validate, nil).Peek(path + indexSuffix)
	if !ok {
		return nil, errors.New("no index")
	}
	q.header = h
	numbers := numbersAt(path)
	if q.numbers, err = wholefile.Open(numbers); err != nil {
		return nil, err
	}
	if q.names, err = wholefile.Open(path + indexSuffix); err != nil {
		return nil, err
	}
	if q.file, err = wholefile.Open(path + quickSuffix); err != nil {
		return nil, err
	}
	head := weights.NPYHeader(h.Rows(), h.Dim)
	if !beginsWith(q.numbers, head) {
		return nil, errors.New("not the array of the index")
	}
	q.start = int64(len(head))
	return q, q.readHead(numbers, path+indexSuffix)
}

// readHead reads what is before the records, and checks that the file is whole and of these files.
func (q *quick) readHead(numbers, index string) error {
	first := make([]byte, 4096)
	n, err := q.file.ReadAt(first, 0)
	if err != nil && err != io.EOF {
		return err
	}
	text, _, ok := strings.Cut(string(first[:n]), "\n")
	if !ok {
		return errors.New("no header")
	}
	if err := json.Unmarshal([]byte(text), &q.quickHeader); err != nil {
		return err
	}
	want := quickHeader{Format: quickFormat, Rows: q.header.Rows(), Images: q.Images, Axes: min(quickAxes, q.header.Dim)}
	if want.Numbers, err = idOf(numbers); err != nil {
		return err
	}
	if want.Index, err = idOf(index); err != nil {
		return err
	}
	if q.quickHeader != want {
		return errors.New("sketches of other files")
	}
	dim := q.header.Dim
	at := int64(len(text) + 1)
	q.records = at + 8*int64(q.Axes)*int64(dim)
	q.places = q.records + quickRecord*int64(q.Rows)
	if info, err := q.file.Stat(); err != nil || info.Size() != q.places+placeBytes*int64(q.Rows) {
		return errors.New("cut off")
	}
	raw := make([]byte, 8*q.Axes*dim)
	if _, err := q.file.ReadAt(raw, at); err != nil {
		return err
	}
	q.axes = make([][]float64, q.Axes)
	for j := range q.axes {
		q.axes[j] = make([]float64, dim)
		for i := range q.axes[j] {
			q.axes[j][i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*(j*dim+i):]))
		}
	}
	return nil
}

// readRows reads descriptors, beginning with row start.
func (q *quick) readRows(start int, dst []float32) error {
	if err := readFloats(q.numbers, q.start+4*int64(start)*int64(q.header.Dim), dst); err != nil {
		return fmt.Errorf("transfer: descriptors: %w", err)
	}
	return nil
}

// placesOf reads the index of the file of numbers at path. It returns for each row the place of the
// line that describes it, and whether its image is unreadable.
func placesOf(ctx context.Context, path string) (h Header, places []journal.Place, bad []bool, err error) {
	const most = 8 // columns, the bits of what is kept for a row
	var done, failed []uint8
	kind := indexKind(func(read Header) error {
		h = read
		if n := len(h.columns()); n > most {
			return fmt.Errorf("%d columns, want at most %d", n, most)
		}
		// What the header claims must be there before memory is taken for it.
		info, err := os.Stat(numbersAt(path))
		if err != nil {
			return err
		}
		if n := int64(h.Rows()); n > info.Size() || int64(len(weights.NPYHeader(h.Rows(), h.Dim)))+4*n*int64(h.Dim) != info.Size() {
			return fmt.Errorf("an array of %d×%d float32, which %s isn't", n, h.Dim, path)
		}
		places, done, failed = make([]journal.Place, h.Rows()), make([]uint8, h.Rows()), make([]uint8, h.Rows())
		return nil
	}, nil)
	kind.Line = func(l line, at journal.Place) error {
		if err := h.check(l); err != nil {
			return err
		}
		r, bit := l.Image/h.Shard.Count, uint8(1)<<l.Column
		done[r] |= bit
		failed[r] &^= bit
		if l.Error != "" {
			failed[r] |= bit
		}
		if l.Error != "" || failed[r] == 0 {
			places[r] = at
		}
		return nil
	}
	f, err := kind.Open(ctx, path+indexSuffix)
	if err != nil {
		return h, nil, nil, err
	}
	f.Close()
	bad = make([]bool, len(done))
	for r := range done {
		if done[r] != uint8(1<<len(h.columns())-1) {
			return h, nil, nil, fmt.Errorf("row %d is not described yet", r)
		}
		bad[r] = failed[r] != 0
	}
	return h, places, bad, nil
}
