package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/protoscan"
)

// FormatError says that a file is malformed: truncated, or in conflict with
// itself.
type FormatError struct {
	File   string
	Tensor string // empty if the problem is none tensor's
	Reason string
}

func (e *FormatError) Error() string {
	if e.Tensor != "" {
		return fmt.Sprintf("weights: %s: %s: %s", e.File, display(e.Tensor), e.Reason)
	}
	return fmt.Sprintf("weights: %s: %s", e.File, e.Reason)
}

// UnsupportedError says that a file is of none of the Formats.
type UnsupportedError struct {
	File  string
	Found string // what the file looks like: "an HDF5 file (Keras .h5)"
}

func (e *UnsupportedError) Error() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, string(f))
	}
	return fmt.Sprintf("weights: %s: found %s, want %s or %s", e.File, e.Found,
		strings.Join(names[:len(names)-1], ", "), names[len(names)-1])
}

// FolderError says that data of a file is in another file beside it, where a file that
// was opened by OpenReader can't look.
type FolderError struct {
	File   string
	Beside string // the other file's name
}

func (e *FolderError) Error() string {
	return fmt.Sprintf("weights: %s: its data is in %s, a file beside it: open it by its path or from an fs.FS", e.File, display(e.Beside))
}

// DTypeError says that a tensor is of a type that isn't read as float32.
type DTypeError struct {
	File   string
	Tensor string
	DType  string // as the file has it
}

func (e *DTypeError) Error() string {
	return fmt.Sprintf("weights: %s: %s: dtype %s, want F32, F16, BF16 or F64", e.File, display(e.Tensor), e.DType)
}

// NotFoundError says that a file has no tensor of a name.
type NotFoundError struct {
	File   string
	Tensor string
	Count  int      // tensors in the file
	Near   []string // up to three of the file's names, the most alike first
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "weights: %s: %s: no such tensor among %d", e.File, display(e.Tensor), e.Count)
	for i, n := range e.Near {
		b.WriteString([]string{"; nearest: ", ", "}[min(i, 1)])
		b.WriteString(display(n))
	}
	return b.String()
}

// ShapeError says that a tensor has another shape than the wanted one.
type ShapeError struct {
	File   string
	Tensor string
	Shape  []int // in the file
	Want   []int
}

func (e *ShapeError) Error() string {
	return fmt.Sprintf("weights: %s: %s: shape %v, want %v", e.File, display(e.Tensor), e.Shape, e.Want)
}

// inFile puts the file's name into an error that was made without one.
func inFile(name string, err error) error {
	switch e := err.(type) {
	case *FormatError:
		e.File = name
		return e
	case *UnsupportedError:
		e.File = name
		return e
	case *FolderError:
		e.File = name
		return e
	case *protoscan.FormatError:
		return &FormatError{File: name, Reason: e.Error()}
	}
	return fmt.Errorf("weights: %s: %w", name, pathless(err))
}

// openError names the file once, where os has it in its own error too.
func openError(path string, err error) error {
	return fmt.Errorf("weights: %s: %w", path, pathless(err))
}

func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}

// display makes a tensor's name, which may be any string, fit for a line of
// text.
func display(name string) string {
	const most = 120
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	if q := strconv.Quote(name); name == "" || q[1:len(q)-1] != name {
		return q
	}
	return name
}

func (f *File) notFound(name string) error {
	// Bounds the work that a file of very many, or very long, names can cause.
	const mostNames, mostLength = 4096, 256
	type near struct {
		name     string
		distance int
	}
	var all []near
	for _, e := range f.entries[:min(len(f.entries), mostNames)] {
		if len(e.Name) <= mostLength && len(name) <= mostLength {
			all = append(all, near{e.Name, editDistance(name, e.Name)})
		}
	}
	slices.SortStableFunc(all, func(a, b near) int { return a.distance - b.distance })
	err := &NotFoundError{File: f.name, Tensor: name, Count: len(f.entries)}
	for _, n := range all[:min(len(all), 3)] {
		err.Near = append(err.Near, n.name)
	}
	return err
}

// editDistance is Levenshtein's: the fewest bytes to insert, delete or replace
// to make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
