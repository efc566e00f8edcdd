package weights

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// files is what an atomic write needs of the operating system, and where tests
// make it fail.
type files interface {
	create(name string) (file, error) // fails with fs.ErrExist where name exists
	rename(from, to string) error
	remove(name string) error
	syncDir(dir string) error
}

type file interface {
	io.WriteCloser
	Sync() error
}

// writeAtomic makes what write writes the content of the file at path: in a
// temporary file beside it, which is synced and then renamed. If any of it
// fails the temporary file is removed, and path is as it was; only a failure to
// sync the directory, the last step, is reported with the new file in place.
func writeAtomic(fsys files, path string, write func(io.Writer) error) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s, want a file", kind(info.Mode()))
	}
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	var f file
	var temp string
	// Not os.CreateTemp, whose files are readable by their owner only.
	for try := 0; ; try++ {
		temp = filepath.Join(dir, fmt.Sprintf(".%s.%08x.tmp", base, rand.Uint32()))
		f, err = fsys.create(temp)
		if err == nil {
			break
		}
		if try == 100 || !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	open, done := true, false
	defer func() { // also where write panics
		if open {
			f.Close()
		}
		if !done {
			fsys.remove(temp)
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	open = false
	if err := f.Close(); err != nil {
		return err
	}
	if err := fsys.rename(temp, path); err != nil {
		return err
	}
	done = true
	return fsys.syncDir(dir)
}

// osFiles is the real operating system.
type osFiles struct{}

func (osFiles) create(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFiles) rename(from, to string) error {
	err := os.Rename(from, to)
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		return le.Err
	}
	return err
}

func (osFiles) remove(name string) error { return os.Remove(name) }

// syncDir makes a rename in dir last through a power failure, where the system
// has a way to ask for that.
func (osFiles) syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
