// Package lockfile keeps a second process away from the file that a first one is writing.
package lockfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// HeldError is the error for a file or a directory that another run is writing, in this
// process or in another.
type HeldError struct {
	Path string // the file or directory
	PID  int    // of the process that writes it; 0: not known
}

func (e *HeldError) Error() string {
	process := ""
	if e.PID != 0 {
		process = fmt.Sprintf(" (process %d)", e.PID)
	}
	return e.Path + ": another run is writing it" + process + ": wait until it ends, or choose another name"
}

// ErrUnsupported is the error of a file system that has no locks.
var ErrUnsupported = errors.New("can't be locked")

// Suffix is what a lock's name has behind that of its file; see [Beside].
const Suffix = ".lock"

// Beside keeps other runs away from the file or directory at path until release is called.
// The lock is a file beside it, named path + [Suffix]: on systems where a locked file can't be
// read, a lock on the file itself would shut out its readers. A symbolic link at path is
// followed first. There is no lock for pipes and devices, and none on a file system without
// locks; release is never nil then. If another run has the lock, the error is a [*HeldError].
func Beside(path string) (release func(), err error) {
	target := path
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		target = resolved
	}
	if info, err := os.Stat(target); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return func() {}, nil
	}
	release, err = Take(filepath.Clean(target) + Suffix)
	if held, ok := errors.AsType[*HeldError](err); ok {
		return nil, &HeldError{path, held.PID}
	}
	if unopened, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: unopened.Err}
	}
	if errors.Is(err, ErrUnsupported) {
		return func() {}, nil
	}
	return release, err
}

// Take makes a file at path and locks it until release is called, which removes the file.
// The file holds the number of the process. The system drops the lock when the process ends,
// for whatever reason, so a file that a killed process left behind is in nobody's way.
//
// There is nothing to release if the error is [*HeldError], [ErrUnsupported] or
// [*fs.PathError] (the file can't be made).
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
		os.WriteFile(path, fmt.Appendln(nil, os.Getpid()), 0o666) // for those who find it locked
		return func() {
			removed := os.Remove(path) // before another run can lock it
			lock.Close()
			if removed != nil { // where an open file can't be removed
				os.Remove(path)
			}
		}, nil
	}
}

// Check returns a [*HeldError] if another run has the file at path locked by [Take], and
// leaves the file as it is.
func Check(path string) error {
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
	ok, err := lock.TryRLock()
	defer lock.Close()
	if err == nil && !ok {
		return &HeldError{path, holder(path)}
	}
	return nil // whatever else is wrong shows when the file is taken
}

// holder returns the number of the process in a lock file, or 0.
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
