package train

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/verydeep/vgg/internal/lockfile"
)

// LockFile is in a run directory while a run is under way there. It names the process,
// and the system's lock on it ends with that, however it ends.
const LockFile = "lock"

// lockRun keeps other runs out of a run directory, which must be there, until release is
// called. On file systems that know no locks it only warns.
func lockRun(dir string, log *slog.Logger) (release func(), err error) {
	path := filepath.Join(dir, LockFile)
	release, err = lockfile.Take(path)
	var held *lockfile.HeldError
	switch {
	case errors.As(err, &held):
		return nil, fmt.Errorf("train: run directory %s: another run is under way there%s: wait for its end, or take another directory", dir, held.Holder())
	case errors.Is(err, lockfile.ErrUnsupported):
		log.Warn("the run directory can't be locked: take care that no other run uses it", "file", path, "error", err)
		return func() {}, nil
	case err != nil:
		return nil, fmt.Errorf("train: run directory: %w", err)
	}
	return release, nil
}
