package preprocess

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// MaxFileBytes is the size in bytes of the largest image file that [DecodeReader] and
// [DecodeFile] read.
const MaxFileBytes = 256 << 20

// ErrFileTooLarge is the error of a file of more than [MaxFileBytes].
var ErrFileTooLarge = errors.New("preprocess: image: more than 256 MiB, want an image file")

// DecodeReader is [Decode] of all that r gives up to its end. Besides the errors of
// Decode it has those of r, and [ErrFileTooLarge]. What begins like no image is refused
// without reading the rest.
func DecodeReader(r io.Reader, o DecodeOptions) (*Image, error) {
	if r == nil {
		return nil, errors.New("preprocess: image: nil reader")
	}
	data, err := readFile(r, 0, MaxFileBytes)
	if err != nil {
		return nil, err
	}
	return Decode(data, o)
}

// DecodeFile is [DecodeReader] of the file at path, which its errors name.
func DecodeFile(path string, o DecodeOptions) (*Image, error) {
	im, err := decodeFile(path, o)
	if err != nil {
		return nil, &fileError{path, err}
	}
	return im, nil
}

func decodeFile(path string, o DecodeOptions) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("a folder, want an image file")
	}
	data, err := readFile(f, info.Size(), MaxFileBytes)
	if err != nil {
		return nil, err
	}
	return Decode(data, o)
}

// readFile reads an image file of at most so many bytes. size is its length where that
// is known, and only ever a hint.
func readFile(r io.Reader, size, most int64) ([]byte, error) {
	if size > most {
		return nil, ErrFileTooLarge
	}
	// sniff looks at less than this.
	const opening = 1 << 10
	var b bytes.Buffer
	if size > 0 {
		b.Grow(int(size) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(r, min(opening, most+1))); err != nil {
		return nil, readError(err)
	}
	if format := sniff(b.Bytes()); b.Len() == opening {
		if _, ok := codecFor(format); !ok {
			return nil, &FormatError{Found: format}
		}
	}
	if _, err := b.ReadFrom(io.LimitReader(r, most+1-int64(b.Len()))); err != nil {
		return nil, readError(err)
	}
	if int64(b.Len()) > most {
		return nil, ErrFileTooLarge
	}
	return b.Bytes(), nil
}

func readError(err error) error { return fmt.Errorf("preprocess: image: %w", pathless(err)) }

// pathless returns an error of package os without the file's name.
func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// fileError is an error of the file at path.
type fileError struct {
	path string
	err  error
}

func (e *fileError) Error() string {
	return "preprocess: " + e.path + ": " + strings.TrimPrefix(pathless(e.err).Error(), "preprocess: ")
}

func (e *fileError) Unwrap() error { return e.err }
