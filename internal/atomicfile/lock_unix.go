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
// The lock is nil where the file can't be locked.
func hold(name string) (io.Closer, error) {
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
	own, err := f.Stat()
	if there, statErr := os.Stat(name); err != nil || statErr != nil || !os.SameFile(own, there) {
		f.Close()
		return nil, errLost
	}
	return f, nil
}

// removeIfAbandoned removes a temporary file that nobody holds.
func removeIfAbandoned(name string) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	if tryLock(f) == nil {
		os.Remove(name)
	}
}

func tryLock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
