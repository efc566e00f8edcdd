package weights

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/verydeep/vgg/internal/atomicfile"
)

// MaxBuffered is the size in bytes of the largest file that OpenFS reads into memory. It
// does so where the files of a file system don't implement io.ReaderAt.
const MaxBuffered int64 = 2 << 30

// maxFolderFiles is the most files beside a file of weights that hold its data.
const maxFolderFiles = 1024

// folder holds the files that lie beside a file of weights, as shards and external data.
// Each is opened once, by its name, and stays open until the folder is closed. A nil
// folder stands for a file that came from a lone reader.
type folder struct {
	ctx   context.Context
	enter func() (fs.FS, io.Closer, error) // called before the first file is opened
	fsys  fs.FS
	files map[string]*folderFile
	open  closers
}

// folderFile is a file of a folder.
type folderFile struct {
	io.ReaderAt
	size int64
}

// folderOf returns the folder of the file at a path of the operating system. No link
// leads out of it.
func folderOf(ctx context.Context, name string) *folder {
	return &folder{ctx: ctx, enter: func() (fs.FS, io.Closer, error) {
		root, err := os.OpenRoot(filepath.Dir(name))
		if err != nil {
			return nil, nil, err
		}
		return root.FS(), root, nil
	}}
}

// folderIn returns the folder of a file of fsys.
func folderIn(ctx context.Context, fsys fs.FS, name string) *folder {
	return &folder{ctx: ctx, enter: func() (fs.FS, io.Closer, error) {
		sub, err := fs.Sub(fsys, path.Dir(name))
		return sub, nil, err
	}}
}

// isFileName reports whether name is that of a file in the same folder.
func isFileName(name string) bool {
	return filepath.IsLocal(name) && name != "." && !strings.ContainsAny(name, `/\:`)
}

// file returns the file of that name, for which isFileName holds. From a nil folder it
// is a *FolderError.
func (d *folder) file(name string) (*folderFile, error) {
	if d == nil {
		return nil, &FolderError{Beside: name}
	}
	if f, ok := d.files[name]; ok {
		return f, nil
	}
	if len(d.files) == maxFolderFiles {
		return nil, fmt.Errorf("data in more than %d files", maxFolderFiles)
	}
	if d.fsys == nil {
		fsys, closer, err := d.enter()
		if err != nil {
			return nil, err
		}
		d.fsys = fsys
		if closer != nil {
			d.open = append(d.open, closer)
		}
	}
	f, closer, err := openFS(d.ctx, d.fsys, name)
	if err != nil {
		return nil, err
	}
	f.ReaderAt = readerUntil{d.ctx, f.ReaderAt}
	d.open = append(d.open, closer)
	if d.files == nil {
		d.files = make(map[string]*folderFile)
	}
	d.files[name] = f
	return f, nil
}

// Close closes the files that were opened.
func (d *folder) Close() error {
	if d == nil {
		return nil
	}
	return d.open.Close()
}

// openFS opens a regular file of fsys. One that doesn't implement io.ReaderAt is read
// into memory. Errors lack the file's name.
func openFS(ctx context.Context, fsys fs.FS, name string) (*folderFile, io.Closer, error) {
	info, err := fs.Stat(fsys, name) // opening a FIFO would wait for its writer
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s, want a file", atomicfile.Kind(info.Mode()))
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, nil, err
	}
	if r, ok := f.(io.ReaderAt); ok {
		return &folderFile{r, info.Size()}, f, nil
	}
	data, err := readBuffered(untilDone{ctx, f}, info.Size(), MaxBuffered)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, nil, err
	}
	m := newBuffered(data)
	return &folderFile{m, int64(len(data))}, m, nil
}

// readBuffered reads a file of size bytes, at most so many. It takes memory in
// proportion to what is there, whatever size claims.
func readBuffered(r io.Reader, size, most int64) ([]byte, error) {
	if size < 0 || size > most || int64(int(size)) != size {
		return nil, fmt.Errorf("%d bytes, want at most %d of a file that has to be read into memory", size, most)
	}
	const first = 1 << 20
	var data []byte
	for int64(len(data)) < size {
		grown := make([]byte, min(size, max(first, 2*int64(len(data)))))
		n := copy(grown, data)
		if _, err := io.ReadFull(r, grown[n:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		data = grown
	}
	return data, nil
}

// buffered is a file in memory. Once it is closed, reading it is an error.
type buffered struct{ data atomic.Pointer[bytes.Reader] }

func newBuffered(data []byte) *buffered {
	b := &buffered{}
	b.data.Store(bytes.NewReader(data))
	return b
}

// ReadAt implements [io.ReaderAt].
func (b *buffered) ReadAt(p []byte, at int64) (int, error) {
	r := b.data.Load()
	if r == nil {
		return 0, fs.ErrClosed
	}
	return r.ReadAt(p, at)
}

// Close implements [io.Closer].
func (b *buffered) Close() error {
	if b.data.Swap(nil) == nil {
		return fs.ErrClosed
	}
	return nil
}
