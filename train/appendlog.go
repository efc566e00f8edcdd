package train

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// appendLog is a file that only grows. What can't be written, because the disk is full,
// waits in memory for the next attempt, up to a limit.
type appendLog struct {
	file    *os.File
	offset  int64 // bytes on disk
	pending []byte
	failed  bool // since the last success, and reported
	flushed time.Time
	log     *slog.Logger
}

// pendingBytes is the most that waits for a disk with room.
const pendingBytes = 64 << 20

// flushEvery is how long a line waits at most, as long as lines come.
const flushEvery = 2 * time.Second

// openAppendLog opens the file, made if it isn't there, and cuts it to its first bytes.
func openAppendLog(path string, bytes int64, log *slog.Logger) (*appendLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() < bytes {
		err = fmt.Errorf("%s: %d bytes, the checkpoint was taken at %d", path, info.Size(), bytes)
	}
	if err == nil {
		err = f.Truncate(bytes)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("train: %w", err)
	}
	return &appendLog{file: f, offset: bytes, flushed: time.Now(), log: log}, nil
}

// add appends b. It is an error if too much waits to be written.
func (l *appendLog) add(b []byte) error {
	l.pending = append(l.pending, b...)
	if time.Since(l.flushed) < flushEvery {
		return nil
	}
	err := l.flush()
	if err != nil && len(l.pending) > pendingBytes {
		return err
	}
	return nil
}

// flush writes what waits. The first of several failures is logged.
func (l *appendLog) flush() error {
	l.flushed = time.Now()
	n, err := l.file.WriteAt(l.pending, l.offset)
	l.offset += int64(n)
	l.pending = append(l.pending[:0], l.pending[n:]...)
	if err == nil {
		l.failed = false
		return nil
	}
	err = fmt.Errorf("train: %w", err)
	if !l.failed {
		l.failed = true
		l.log.Warn("log not written, its lines wait in memory", "file", filepath.Base(l.file.Name()), "error", err)
	}
	return err
}

// sync makes what was added last through a power failure, and returns the length of the
// file with it. What a full disk keeps out doesn't count.
func (l *appendLog) sync() int64 {
	if l.flush() == nil {
		_ = l.file.Sync() // if the disk lost it, the length shows that
	}
	return l.offset
}

// close writes what waits. Not being able to is an error.
func (l *appendLog) close() error {
	err := l.flush()
	if e := l.file.Close(); err == nil && e != nil && !errors.Is(e, os.ErrClosed) {
		err = fmt.Errorf("train: %w", e)
	}
	return err
}
