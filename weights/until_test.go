package weights

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"
)

var errStopped = errors.New("stopped")

// stopping is a file system whose context ends with the read of that number, from 0 on.
type stopping struct {
	fs.FS
	at     int
	cancel context.CancelCauseFunc
	reads  int // of all files
	late   int // reads after the end
	bytes  int64
}

func (s *stopping) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if _, folder := f.(fs.ReadDirFile); folder {
		if info, err := f.Stat(); err != nil || info.IsDir() {
			return f, err
		}
	}
	return &stoppingFile{f, s}, nil
}

type stoppingFile struct {
	fs.File
	in *stopping
}

func (f *stoppingFile) ReadAt(b []byte, at int64) (int, error) {
	s := f.in
	if s.reads > s.at {
		s.late++
		s.bytes += int64(len(b))
	}
	if s.reads == s.at {
		s.cancel(errStopped)
	}
	s.reads++
	return f.File.(io.ReaderAt).ReadAt(b, at)
}

// readAllTensors opens a file and reads all tensors that can be read, in pieces.
func readAllTensors(ctx context.Context, fsys fs.FS, name string) error {
	f, err := OpenFS(ctx, fsys, name)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, e := range f.entries {
		if f.checkDType(&e) != nil {
			continue
		}
		n := 1
		for _, d := range e.Shape {
			n *= d
		}
		const piece = 1000
		for at := 0; at < n; at += piece {
			if err := f.ReadRange(e.Name, at, make([]float32, min(piece, n-at))); err != nil {
				return err
			}
		}
	}
	return nil
}

// Once the context is done, no byte of a file of any format is read, and the error is the
// context's cause, whatever was being read.
func TestReadingEndsWithItsContext(t *testing.T) {
	folder, names := doorsFolder(t)
	for _, name := range names {
		s := &stopping{FS: os.DirFS(folder), at: -1}
		s.at = 1 << 30
		if err := readAllTensors(t.Context(), s, name); err != nil {
			t.Fatal(err)
		}
		all := s.reads
		for at := 0; at < all; at += 1 + all/50 {
			ctx, cancel := context.WithCancelCause(t.Context())
			s := &stopping{FS: os.DirFS(folder), at: at, cancel: cancel}
			err := readAllTensors(ctx, s, name)
			if at < all-1 && !errors.Is(err, errStopped) {
				t.Errorf("%s: the context ends in read %d of %d: %v, want its cause", name, at, all, err)
			}
			if s.late > 0 {
				t.Errorf("%s: %d more reads of %d bytes after the context's end in read %d", name, s.late, s.bytes, at)
			}
			cancel(nil)
		}
	}
}

// stoppingReader ends its context after so many bytes.
type stoppingReader struct {
	io.ReaderAt
	left, late int64
	cancel     context.CancelCauseFunc
}

func (r *stoppingReader) ReadAt(b []byte, at int64) (int, error) {
	if r.left <= 0 {
		r.late += int64(len(b))
	}
	if r.left -= int64(len(b)); r.left <= 0 {
		r.cancel(errStopped)
	}
	return r.ReaderAt.ReadAt(b, at)
}

// A large tensor that is read at once is no exception, compressed or not.
func TestReadingALargeTensorEndsWithItsContext(t *testing.T) {
	for name, path := range largeFiles(t) {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		r := &stoppingReader{ReaderAt: file, left: info.Size() / 2, cancel: cancel}
		f, err := OpenReader(ctx, name, r, info.Size())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(f.Tensors()[0].Name); !errors.Is(err, errStopped) {
			t.Errorf("%s: %v, want the context's cause", name, err)
		}
		if r.left > 0 || r.late > 0 {
			t.Errorf("%s: %d bytes read after the context's end", name, r.late)
		}
	}
}
