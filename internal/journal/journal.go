// Package journal keeps the results of a run in a file that an interrupted run goes on with.
//
// A journal is a file of JSON lines. The first line, the header, says which run the file is
// of; every other line is a result, written as soon as it is known. A process that is killed
// leaves at most one line in part, the last, which the next run cuts off. One run at a time
// writes a journal; reading it meanwhile is allowed. Journals of the shards of a run merge.
package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/internal/wholefile"
)

// Kind describes the journals of one package. H is the type of their header, L that of a
// line, both as encoding/json has them.
type Kind[H, L any] struct {
	Format string // the header's first key, "format": a name, a space and a version
	Name   string // for messages: "a file of evaluation results"
	Holds  string // for messages: "results"

	// Header is called with a header that was read, before any line. It reports what no
	// journal can have.
	Header func(H) error
	// Line is called with every line that was read, in order, and its place. It reports what
	// the header doesn't allow.
	Line func(L, Place) error
	// Difference says in which respect was is the header of another run than want; "" of the
	// same run.
	Difference func(was, want H) string
	// Begin, if set, prepares what belongs to a new journal, before its header is written.
	Begin func() error
	// Unlocked says that Resume takes no lock: its caller has one.
	Unlocked bool
}

// Place is where a line is in its file.
type Place struct {
	Offset int64
	Bytes  int
}

// File is an open journal. Its methods must not be called at the same time, except Read.
type File struct {
	Path    string
	Resumed bool // the file had a header: the run goes on

	log     *Log
	release func() // the lock; nil of a reader
}

// maxLine bounds a line, which holds the scores of an image or, in the header, names of classes.
const maxLine = wholefile.MaxText

// Open reads the journal at path, up to a last line that was cut off, and leaves it open for
// [File.Read]. The error is a [*FormatError] if it is no journal of this kind.
func (k Kind[H, L]) Open(ctx context.Context, path string) (*File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a file, want %s", path, k.Name)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	end, err := k.read(ctx, path, f, nil)
	if err == nil && end == 0 {
		err = &FormatError{Path: path, Err: fmt.Errorf("no header, want %s", k.Name)}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{Path: path, Resumed: true, log: &Log{file: f, end: end}}, nil
}

// Peek returns the header of the journal at path; ok is false if there is no such journal, or
// no whole header in it.
func (k Kind[H, L]) Peek(path string) (h H, ok bool) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return h, false
	}
	f, err := os.Open(path)
	if err != nil {
		return h, false
	}
	defer f.Close()
	text, err := readLine(bufio.NewReader(f))
	if err != nil || !k.begins(text) {
		return h, false
	}
	h, err = k.header(text)
	return h, err == nil
}

// Resume opens the journal of the run with this header to append to it. If there is one, it
// is read and a last line that was cut off is removed; if not, it is made. No other run can
// resume the journal until it is closed.
//
// The error is a [*lockfile.HeldError] if another run is writing the journal, an
// [*OtherRunError] if the journal is of another run, and a [*FormatError] if the file is no
// journal of this kind.
func (k Kind[H, L]) Resume(ctx context.Context, path string, header H) (_ *File, err error) {
	r := &File{Path: path}
	if !k.Unlocked {
		if r.release, err = lockfile.Beside(path); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	r.log = &Log{file: f}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() { // a device holds nothing to go on with
		if r.log.end, err = k.read(ctx, path, f, &header); err != nil {
			return nil, err
		}
		if info.Size() > r.log.end {
			if err := f.Truncate(r.log.end); err != nil {
				return nil, err
			}
		}
	}
	if r.log.end > 0 {
		r.Resumed = true
		return r, nil
	}
	if k.Begin != nil {
		if err := k.Begin(); err != nil {
			return nil, err
		}
	}
	_, err = r.Append(header)
	return r, err
}

// read reads a journal, which must be of the wanted run if want isn't nil. It returns where
// the last whole line ends; 0 if the header isn't whole.
func (k Kind[H, L]) read(ctx context.Context, path string, src io.Reader, want *H) (end int64, err error) {
	in := bufio.NewReaderSize(src, 1<<16)
	for number := 1; ; number++ {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		text, err := readLine(in)
		if errors.Is(err, errLine) {
			return 0, &FormatError{path, number, err}
		}
		if err == io.EOF {
			if number == 1 && !k.begins(text) {
				return 0, &FormatError{path, 1, fmt.Errorf("not %s", k.Name)}
			}
			return end, nil
		}
		if err != nil {
			return 0, err
		}
		if number == 1 {
			h, err := k.header(text)
			if err != nil {
				return 0, &FormatError{path, 1, err}
			}
			if want != nil {
				if d := k.Difference(h, *want); d != "" {
					return 0, &OtherRunError{Path: path, Holds: k.Holds, Difference: d}
				}
			}
		} else {
			var l L
			err := json.Unmarshal(text, &l)
			if err == nil {
				err = k.Line(l, Place{end, len(text)})
			}
			if err != nil {
				return 0, &FormatError{path, number, err}
			}
		}
		end += int64(len(text))
	}
}

// errLine is of a line that no journal has.
var errLine = fmt.Errorf("a line of more than %d bytes", maxLine)

// readLine is ReadBytes of a line. It reads no more than maxLine bytes of one that has no end.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, errLine
		}
		if line = append(line, part...); err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// begins reports whether text is the beginning of a header of any version.
func (k Kind[H, L]) begins(text []byte) bool {
	head := []byte(`{"format":"` + k.Format[:strings.LastIndexByte(k.Format, ' ')+1])
	return bytes.HasPrefix(head, text[:min(len(text), len(head))])
}

// header decodes and checks the first line.
func (k Kind[H, L]) header(text []byte) (h H, err error) {
	var versioned struct {
		Format string `json:"format"`
	}
	if err = json.Unmarshal(text, &versioned); err == nil && versioned.Format != k.Format {
		err = fmt.Errorf("format %q, want %q", versioned.Format, k.Format)
	}
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil {
		return h, fmt.Errorf("not %s: %w", k.Name, err)
	}
	return h, k.Header(h)
}

// Append writes v as a line. The line is in the file when Append returns, so that a process
// that is killed leaves at most one in part.
func (f *File) Append(v any) (Place, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return Place{}, fmt.Errorf("%s: %w", f.Path, err)
	}
	at := Place{f.log.end, len(text) + 1}
	return at, f.log.Add(append(text, '\n'))
}

// Read decodes the line at a place into v.
func (f *File) Read(at Place, v any) error {
	text := make([]byte, at.Bytes)
	if _, err := f.log.file.ReadAt(text, at.Offset); err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// Sync makes what was appended last through a power failure.
func (f *File) Sync() error { return f.log.file.Sync() }

// Close closes the file and lets other runs write it.
func (f *File) Close() error {
	if f.release != nil {
		defer f.release()
	}
	f.release = nil
	if f.log == nil {
		return nil
	}
	return f.log.file.Close()
}

// FormatError is the error for a file that is not a journal of the wanted kind, or has a
// line that its header doesn't allow.
type FormatError struct {
	Path string
	Line int // from 1, the header; 0: no line in particular
	Err  error
}

func (e *FormatError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: line %d: %v", e.Path, e.Line, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }

// OtherRunError is the error for a file of another run: made of other data, with other
// weights or in another way.
type OtherRunError struct {
	Path       string
	Holds      string // "results", "descriptors"
	Than       string // the file of the wanted run; "": the run that is about to begin
	Difference string // the first one: "scales 32, want 32, 40"
}

func (e *OtherRunError) Error() string {
	text := e.Path + ": " + e.Holds + " of another run"
	if e.Than != "" {
		text += " than " + e.Than
	}
	return text + ": " + e.Difference
}

// ErrUnfinished is the error of a file that lacks results of its run.
var ErrUnfinished = errors.New("the run was not finished; the same command goes on with it")

// Part is the file of one shard of a run.
type Part struct {
	Path         string
	Index, Count int // shard Index of Count, from 1
	// Difference says in which respect the part is of another run than the first part.
	Difference string
}

// Merge checks that the parts are the shards of one run, each once. It returns the positions
// in parts of shard 1, shard 2 and so on. The error is an [*OtherRunError] if a part is of
// another run than the first.
func Merge(holds string, parts []Part) ([]int, error) {
	if len(parts) == 0 {
		return nil, fmt.Errorf("no files of %s, want at least one", holds)
	}
	first := parts[0]
	of := map[int]int{}
	for i, p := range parts {
		if p.Difference != "" {
			return nil, &OtherRunError{p.Path, holds, first.Path, p.Difference}
		}
		if p.Count != first.Count {
			return nil, fmt.Errorf("%s: shard %d/%d, want one of %d", p.Path, p.Index, p.Count, first.Count)
		}
		if other, ok := of[p.Index]; ok {
			return nil, fmt.Errorf("%s: shard %d/%d, which is %s already", p.Path, p.Index, p.Count, parts[other].Path)
		}
		of[p.Index] = i
	}
	var order, missing []int
	for s := 1; s <= first.Count; s++ {
		if i, ok := of[s]; ok {
			order = append(order, i)
		} else {
			missing = append(missing, s)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s: one of %d shards, want the others too: no file for %s", first.Path, first.Count, List(missing[:min(len(missing), 10)]))
	}
	return order, nil
}
