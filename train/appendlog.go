package train

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/verydeep/vgg/internal/journal"
)

const (
	// pendingBytes is the most that waits in memory for a disk with room.
	pendingBytes = 64 << 20
	// flushEvery is how long a line waits at most, as long as lines come.
	flushEvery = 2 * time.Second
)

// appendLog is a log in a run directory. What a full disk keeps out waits in memory.
type appendLog struct{ log *journal.Log }

// openAppendLog opens the file, made if it isn't there, and cuts it to its first bytes: those
// that it had when a checkpoint was taken.
func openAppendLog(path string, bytes int64, log *slog.Logger) (*appendLog, error) {
	l, err := journal.OpenLog(path, bytes, journal.LogOptions{
		Every: flushEvery, Pending: pendingBytes,
		OnFailure: func(err error) {
			log.Warn("log not written, its lines wait in memory", "file", filepath.Base(path), "error", err)
		},
	})
	return &appendLog{l}, prefixed(err)
}

// add appends b. It is an error if too much waits to be written.
func (l *appendLog) add(b []byte) error { return prefixed(l.log.Add(b)) }

// flush writes what waits. The first of several failures is logged.
func (l *appendLog) flush() error { return prefixed(l.log.Flush()) }

// sync makes what was added last through a power failure, and returns the length of the
// file with it. What a full disk keeps out doesn't count.
func (l *appendLog) sync() int64 { return l.log.Sync() }

// close writes what waits, and reports if it can't.
func (l *appendLog) close() error { return prefixed(l.log.Close()) }

func prefixed(err error) error {
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}
