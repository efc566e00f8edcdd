package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// system is the part of the operating system that tests replace, to make it fail.
type system interface {
	create(name string) (file, error) // fails with fs.ErrExist where name exists
	rename(from, to string) error
	remove(name string) error
	syncDir(dir string) error
}

type file interface {
	io.WriteCloser
	Sync() error
	Stat() (fs.FileInfo, error)
}

// osSystem is the real operating system.
type osSystem struct{}

func (osSystem) create(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osSystem) rename(from, to string) error { return os.Rename(from, to) }

func (osSystem) remove(name string) error { return os.Remove(name) }

// syncDir makes a rename in dir last through a power failure, where the system has a way
// to ask for that.
func (osSystem) syncDir(dir string) error {
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
