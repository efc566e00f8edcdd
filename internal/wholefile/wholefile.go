// Package wholefile reads whole files into memory: regular files alone, up to a limit.
//
// Opening a named pipe waits for its writer, a device has no end, and a sparse file or an
// entry of an archive is of any size. So a file is looked at before it is opened, its size is
// compared with the limit before memory is taken, and no more than the limit is read whatever
// the size was said to be.
package wholefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// Limits in bytes of files that are read whole. docs/limits.md lists them.
const (
	MaxText  = 64 << 20 // a recipe, a plan, a list of names, the annotation of an image
	MaxTable = 1 << 30  // a table or index with a line for each image of a collection
)

// KindError reports what isn't a regular file.
type KindError struct {
	Kind string // "a folder", "a named pipe", "a device", "a socket"
}

func (e *KindError) Error() string { return e.Kind + ", want a regular file" }

// SizeError reports a file of more bytes than the limit.
type SizeError struct {
	Size int64 // of the file; 0 if it isn't known
	Most int64
}

func (e *SizeError) Error() string {
	if e.Size == 0 {
		return fmt.Sprintf("more than %s, want at most that", inBytes(e.Most))
	}
	return fmt.Sprintf("%s, want at most %s", inBytes(e.Size), inBytes(e.Most))
}

// inBytes formats a number of bytes: 256 MiB, 18.6 GiB.
func inBytes(n int64) string {
	for _, unit := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n < unit.bytes {
			continue
		}
		if n%unit.bytes == 0 {
			return fmt.Sprintf("%d %s", n/unit.bytes, unit.name)
		}
		return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.bytes), unit.name)
	}
	return fmt.Sprintf("%d bytes", n)
}

// Regular returns a [*KindError] unless info is of a regular file.
func Regular(info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		return &KindError{"a folder"}
	case mode&fs.ModeNamedPipe != 0:
		return &KindError{"a named pipe"}
	case mode&fs.ModeDevice != 0:
		return &KindError{"a device"}
	case mode&fs.ModeSocket != 0:
		return &KindError{"a socket"}
	}
	return &KindError{"no file of bytes"}
}

// Open opens the regular file at path for reading. Anything else is a [*KindError] in an
// [*fs.PathError], and isn't opened.
func Open(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = Regular(info)
	}
	if err != nil {
		return nil, openError(path, err)
	}
	return os.Open(path)
}

// openError names the file in an error of looking at it before it is opened.
func openError(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return &fs.PathError{Op: "open", Path: path, Err: err}
}

// Read returns the contents of the regular file at path. More than most bytes are a
// [*SizeError], which names the path as do all its errors.
func Read(path string, most int64) ([]byte, error) {
	return ReadFS(context.Background(), disk{}, path, most)
}

// disk has the paths of the operating system as names.
type disk struct{}

// Open implements [fs.FS].
func (disk) Open(path string) (fs.File, error) { return Open(path) }

// ReadFS is [Read] of a file in fsys. It ends with the context's cause once ctx is done.
func ReadFS(ctx context.Context, fsys fs.FS, name string, most int64) ([]byte, error) {
	f, size, err := OpenFS(fsys, name, most)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return named(name)(ReadAll(ctx, f, size, most))
}

// OpenFS opens a regular file in fsys and returns its size. More than most bytes are a
// [*SizeError] in an [*fs.PathError].
func OpenFS(fsys fs.FS, name string, most int64) (fs.File, int64, error) {
	f, err := open(fsys, name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil {
		err = Regular(info)
	}
	if err == nil && info.Size() > most {
		err = &SizeError{info.Size(), most}
	}
	if err != nil {
		f.Close()
		return nil, 0, openError(name, err)
	}
	return f, info.Size(), nil
}

// named adds the file's name to a [*SizeError].
func named(name string) func([]byte, error) ([]byte, error) {
	return func(data []byte, err error) ([]byte, error) {
		if size, ok := errors.AsType[*SizeError](err); ok {
			return nil, &fs.PathError{Op: "read", Path: name, Err: size}
		}
		return data, err
	}
}

// open opens a file in fsys, which is looked at before where fsys allows it.
func open(fsys fs.FS, name string) (fs.File, error) {
	if s, ok := fsys.(fs.StatFS); ok {
		info, err := s.Stat(name)
		if err == nil {
			err = Regular(info)
		}
		if err != nil {
			return nil, openError(name, err)
		}
	}
	return fsys.Open(name)
}

const (
	chunk = 1 << 20  // bytes between two looks at the context
	claim = 16 << 20 // bytes for which memory is taken because a size says so, not because they are there
)

// ReadAll returns all that r gives up to its end. More than most bytes are a [*SizeError]; so
// is a size of more, which is the length that r is said to have, or 0. It ends with the
// context's cause once ctx is done.
func ReadAll(ctx context.Context, r io.Reader, size, most int64) ([]byte, error) {
	if size > most {
		return nil, &SizeError{size, most}
	}
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), claim)) + bytes.MinRead)
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		before := b.Len()
		_, err := b.ReadFrom(io.LimitReader(r, min(chunk, most+1-int64(before))))
		switch {
		case err != nil:
			return nil, err
		case int64(b.Len()) > most:
			return nil, &SizeError{0, most}
		case b.Len() == before:
			return b.Bytes(), nil
		}
	}
}

// Dir returns the folder at path as a file system. Its Open opens regular files and folders;
// anything else is a [*KindError] in an [*fs.PathError], and isn't opened.
func Dir(path string) fs.FS { return dir(path) }

type dir string

// Open implements [fs.FS].
func (d dir) Open(name string) (fs.File, error) {
	info, err := d.Stat(name)
	if err == nil && !info.IsDir() {
		err = Regular(info)
	}
	if err != nil {
		return nil, openError(name, err)
	}
	return os.DirFS(string(d)).Open(name)
}

// Stat implements [fs.StatFS].
func (d dir) Stat(name string) (fs.FileInfo, error) { return fs.Stat(os.DirFS(string(d)), name) }

// ReadDir implements [fs.ReadDirFS].
func (d dir) ReadDir(name string) ([]fs.DirEntry, error) {
	return fs.ReadDir(os.DirFS(string(d)), name)
}

// Sub implements [fs.SubFS].
func (d dir) Sub(name string) (fs.FS, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "sub", Path: name, Err: fs.ErrInvalid}
	}
	return dir(path.Join(string(d), name)), nil
}
