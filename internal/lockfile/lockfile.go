// Package lockfile keeps a second process from what a first one is writing.
package lockfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// HeldError is a lock that another run holds, in this process or another.
type HeldError struct {
	Path string
	PID  int // of the holder, 0 where the file doesn't say it
}

func (e *HeldError) Error() string {
	return e.Path + ": locked" + e.Holder()
}

// Holder is " (process 123)", or nothing where that isn't known.
func (e *HeldError) Holder() string {
	if e.PID == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d)", e.PID)
}

// ErrUnsupported is a file system that knows no locks.
var ErrUnsupported = errors.New("can't be locked")

// Beside keeps other runs from the file at path by a lock beside it: where locks bind, the
// file's own would keep its readers out. What is no regular file, and a file system without
// locks, has to do without; release is never nil then.
func Beside(path string) (release func(), err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return func() {}, nil
	}
	release, err = Take(path + ".lock")
	var held *HeldError
	switch {
	case errors.As(err, &held):
		return nil, fmt.Errorf("%s: another run is writing it%s: wait for its end, or choose another file", path, held.Holder())
	case errors.Is(err, ErrUnsupported):
		return func() {}, nil
	case err != nil:
		return nil, fmt.Errorf("%s: no lock beside it: %w", path, err)
	}
	return release, nil
}

// Take locks the file at path until release is called, which removes it. The system's
// lock ends with the process, however that ends, so a file that was left behind is in
// nobody's way. Besides [*HeldError] and [ErrUnsupported], which leave nothing to release,
// an error is an [*fs.PathError]: the file can't be made.
func Take(path string) (release func(), err error) {
	for {
		lock := flock.New(path, flock.SetPermissions(0o666))
		ok, err := lock.TryLock()
		var unopened *fs.PathError
		switch {
		case errors.As(err, &unopened):
			return nil, err
		case err != nil:
			os.Remove(path)
			return nil, fmt.Errorf("%s: %w: %w", path, ErrUnsupported, err)
		case !ok:
			return nil, &HeldError{path, holder(path)}
		}
		// A run that ended since the file was opened has removed it.
		own, err := lock.Stat()
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		if there, err := os.Stat(path); err != nil || !os.SameFile(own, there) {
			lock.Close()
			continue
		}
		os.WriteFile(path, fmt.Appendln(nil, os.Getpid()), 0o666) // for whoever meets it
		return func() {
			removed := os.Remove(path) // before another can lock it
			lock.Close()
			if removed != nil { // where an open file can't be removed
				os.Remove(path)
			}
		}, nil
	}
}

// holder is the process that a lock says it is held by, if it says so.
func holder(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}
