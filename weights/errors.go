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

// ErrChanged is the error of a file that was written to while weights were read from it.
var ErrChanged = errors.New("written to since it was opened: open it again when it is whole")

// FormatError says that a file is malformed: it is truncated or contradicts itself.
type FormatError struct {
	File   string
	Tensor string // the tensor or layer that is malformed; "" for the file as a whole
	Reason string
}

func (e *FormatError) Error() string {
	if e.Tensor != "" {
		return fmt.Sprintf("weights: %s: %s: %s", e.File, display(e.Tensor), e.Reason)
	}
	return fmt.Sprintf("weights: %s: %s", e.File, e.Reason)
}

// UnsupportedError says that a file or folder is of none of the [Formats].
type UnsupportedError struct {
	File string
	// Kind is a word for what was found: savedmodel, graphdef, tensorflow-checkpoint, tflite,
	// mxnet, coreml, gguf, lfs-pointer, html, gzip, zip, tar, archive, pickle, npy, matlab,
	// json, image, text or unknown.
	Kind string
	// Found says what the file looks like: "an HTML page in place of the file".
	Found string
	// Convert says how to make a file of it that can be read; "" if it can't be said.
	Convert string
}

func (e *UnsupportedError) Error() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, string(f))
	}
	text := fmt.Sprintf("weights: %s: found %s, want %s or %s", e.File, e.Found,
		strings.Join(names[:len(names)-1], ", "), names[len(names)-1])
	if e.Convert != "" {
		text += ": " + e.Convert
	}
	return text
}

// FolderError says that a file's data is in another file beside it, which [OpenReader] has
// no access to.
type FolderError struct {
	File   string
	Beside string // the other file's name
}

func (e *FolderError) Error() string {
	return fmt.Sprintf("weights: %s: its data is in %s, a file beside it: open it by its path or from an fs.FS", e.File, display(e.Beside))
}

// DTypeError says that a tensor is of a type that can't be read as float32.
type DTypeError struct {
	File   string
	Tensor string
	DType  string // as the file has it
}

func (e *DTypeError) Error() string {
	return fmt.Sprintf("weights: %s: %s: dtype %s, want F32, F16, BF16 or F64", e.File, display(e.Tensor), e.DType)
}

// LayerError says that a file describes a network that can't be read as a chain of layers:
// one that branches, or has a layer that isn't known here. The file isn't malformed.
type LayerError struct {
	File   string
	Layer  string // the layer or node, "" for the network as a whole
	Reason string
}

func (e *LayerError) Error() string {
	if e.Layer != "" {
		return fmt.Sprintf("weights: %s: %s: %s", e.File, e.Layer, e.Reason)
	}
	return fmt.Sprintf("weights: %s: %s", e.File, e.Reason)
}

// refused returns a *LayerError without the file's name.
func refused(layer, format string, args ...any) error {
	return &LayerError{Layer: layer, Reason: fmt.Sprintf(format, args...)}
}

// NotFoundError says that a file has no tensor of that name.
type NotFoundError struct {
	File   string
	Tensor string
	Count  int      // tensors in the file
	Near   []string // up to three names in the file that are most alike, the nearest first
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

// ShapeError says that a tensor doesn't have the wanted shape.
type ShapeError struct {
	File   string
	Tensor string
	Shape  []int // in the file
	Want   []int
}

func (e *ShapeError) Error() string {
	return fmt.Sprintf("weights: %s: %s: shape %v, want %v", e.File, display(e.Tensor), e.Shape, e.Want)
}

// inFile adds the file's name to an error that lacks it.
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
	case *LayerError:
		e.File = name
		return e
	case *protoscan.FormatError:
		return &FormatError{File: name, Reason: e.Error()}
	}
	return fmt.Errorf("weights: %s: %w", name, pathless(err))
}

// openError adds the file's name to an error of package os, which may have it already.
func openError(path string, err error) error {
	return fmt.Errorf("weights: %s: %w", path, pathless(err))
}

// pathless returns an error of package os without the file's name.
func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// display returns a name, which may be any string, in a form that is fit for a line of
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

// notFound returns the error of a name that no tensor has.
func (f *File) notFound(name string) error {
	// Limits on the work that many, or long, names can cause.
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

// editDistance returns Levenshtein's distance: the fewest bytes to insert, delete or
// replace that turn a into b.
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
