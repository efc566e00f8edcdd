//go:build unix && !aix && !solaris

package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// hold locks the temporary file that was just made, until the process ends or closes the
// lock. The lock is on a descriptor of its own, which outlives the one that is written to.
// The lock is nil where the file can't be locked. It is an error if the file is no longer
// there.
func hold(written file, name string) (io.Closer, error) {
	f, err := os.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errLost
	case err != nil:
		return nil, nil
	}
	switch err := tryLock(f); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		f.Close()
		return nil, errLost
	case err != nil:
		f.Close()
		return nil, nil
	}
	// Another writer may have made a file of the same name since.
	if !isAt(written, name) || !isAt(f, name) {
		f.Close()
		return nil, errLost
	}
	return f, nil
}

// removeIfAbandoned removes a temporary file that nobody holds, and reports whether it did.
func removeIfAbandoned(name string) bool {
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	// Its writer may have renamed it since, and another writer have made the next one.
	return tryLock(f) == nil && isAt(f, name) && os.Remove(name) == nil
}

// isAt reports whether the open file has the name.
func isAt(f file, name string) bool {
	own, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(name)
	return err == nil && os.SameFile(own, there)
}

func tryLock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
