package preprocess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
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
	data, err := Read(context.Background(), r)
	if err != nil {
		return nil, err
	}
	return Decode(data, o)
}

// Read returns the image file that r gives up to its end, with the errors of
// [DecodeReader] before any decoding. It ends with the context's cause once ctx is done,
// unless r itself waits.
func Read(ctx context.Context, r io.Reader) ([]byte, error) {
	if r == nil {
		return nil, errors.New("preprocess: image: nil reader")
	}
	return readFile(ctx, r, 0, MaxFileBytes)
}

// DecodeFile is [DecodeReader] of the file at path, which its errors name. Anything but a
// regular file is an error, and isn't opened.
func DecodeFile(path string, o DecodeOptions) (*Image, error) {
	im, err := decodeFile(path, o)
	if err != nil {
		return nil, &fileError{path, err}
	}
	return im, nil
}

func decodeFile(path string, o DecodeOptions) (*Image, error) {
	f, err := wholefile.Open(path)
	if kind, ok := errors.AsType[*wholefile.KindError](err); ok {
		return nil, errors.New(kind.Kind + ", want an image file")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data, err := readFile(context.Background(), f, info.Size(), MaxFileBytes)
	if err != nil {
		return nil, err
	}
	return Decode(data, o)
}

// opening is the number of bytes by which a format is told; sniff looks at less.
const opening = 1 << 10

// readFile reads an image file of at most so many bytes. size is its length where that
// is known, and only ever a hint.
func readFile(ctx context.Context, r io.Reader, size, most int64) ([]byte, error) {
	if size > most {
		return nil, ErrFileTooLarge
	}
	head, err := wholefile.ReadAll(ctx, io.LimitReader(r, min(opening, most+1)), 0, opening)
	if err != nil {
		return nil, readError(err)
	}
	if len(head) == opening {
		if format := sniff(head); !known(format) {
			return nil, &FormatError{Found: format}
		}
	}
	data, err := wholefile.ReadAll(ctx, io.MultiReader(bytes.NewReader(head), r), size, most)
	if _, tooLarge := errors.AsType[*wholefile.SizeError](err); tooLarge {
		return nil, ErrFileTooLarge
	}
	if err != nil {
		return nil, readError(err)
	}
	return data, nil
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
