package train

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/verydeep/vgg/internal/lockfile"
)

// LockFile is in a run directory while a run is writing there. It holds the number of the
// process. The system drops the lock when the process ends, for whatever reason.
const LockFile = "lock"

// HeldError is the error for a run directory that another run is writing:
// Path names it, and PID the process, 0 if not known.
type HeldError = lockfile.HeldError

// Held returns a [*HeldError] if a run is writing the run directory dir.
func Held(dir string) error { return ofDir(dir, lockfile.Check(filepath.Join(dir, LockFile))) }

// lockRun keeps other runs out of a run directory, which must exist, until release is
// called. On a file system without locks it only warns.
func lockRun(dir string, log *slog.Logger) (release func(), err error) {
	path := filepath.Join(dir, LockFile)
	release, err = lockfile.Take(path)
	if errors.Is(err, lockfile.ErrUnsupported) {
		log.Warn("the run directory can't be locked: take care that no other run uses it", "file", path, "error", err)
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("train: run directory %w", ofDir(dir, err))
	}
	return release, nil
}

// ofDir makes an error about the lock one about its directory.
func ofDir(dir string, err error) error {
	if held, ok := errors.AsType[*HeldError](err); ok {
		return &HeldError{Path: dir, PID: held.PID}
	}
	return err
}
