package train

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// LockFile is in a run directory while a run is under way there. It names the process,
// and the system's lock on it ends with that, however it ends.
const LockFile = "lock"

// lockRun keeps other runs out of a run directory, which must be there, until release is
// called. On file systems that know no locks it only warns.
func lockRun(dir string, log *slog.Logger) (release func(), err error) {
	path := filepath.Join(dir, LockFile)
	for {
		lock := flock.New(path, flock.SetPermissions(0o666))
		ok, err := lock.TryLock()
		var unopened *fs.PathError
		switch {
		case errors.As(err, &unopened):
			return nil, fmt.Errorf("train: run directory: %w", err)
		case err != nil:
			log.Warn("the run directory can't be locked: take care that no other run uses it", "file", path, "error", err)
			return func() { os.Remove(path) }, nil
		case !ok:
			return nil, fmt.Errorf("train: run directory %s: another run is under way there%s: wait for its end, or take another directory", dir, holder(path))
		}
		// A run that ended since the file was opened has removed it.
		own, err := lock.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("train: run directory: %w", err), lock.Close())
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

// holder names the process that a lock says it is held by, if it says so.
func holder(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}
