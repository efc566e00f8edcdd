package journal

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// LogOptions say how long lines may wait before they are written. With the zero value each
// is written at once, and one that can't be written is an error.
type LogOptions struct {
	// Every is how long a line waits at most, as long as lines come.
	Every time.Duration
	// Pending is how many bytes may wait in memory for a disk that is full. Beyond it, not
	// being able to write is an error.
	Pending int
	// OnFailure, if set, is told the first of several failures in a row.
	OnFailure func(error)
}

// Log is a file that only grows. What can't be written, because the disk is full, waits in
// memory for the next attempt.
type Log struct {
	file    *os.File
	end     int64 // bytes in the file, without what failed to be written in part
	options LogOptions
	pending []byte
	failed  bool // since the last success
	flushed time.Time
}

// OpenLog opens the file at path, made if it isn't there, and cuts it to its first bytes. It
// is an error if it has fewer.
func OpenLog(path string, bytes int64, o LogOptions) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < bytes {
		err = fmt.Errorf("%s: %d bytes, want at least %d", path, info.Size(), bytes)
	}
	if err == nil {
		err = f.Truncate(bytes)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Log{file: f, end: bytes, options: o, flushed: time.Now()}, nil
}

// Add appends b.
func (l *Log) Add(b []byte) error {
	l.pending = append(l.pending, b...)
	if l.options.Every > 0 && time.Since(l.flushed) < l.options.Every {
		return nil
	}
	err := l.Flush()
	if err == nil || len(l.pending) <= l.options.Pending {
		return nil
	}
	if l.options.Pending == 0 {
		l.pending = l.pending[:0] // the next line takes the place of this one
	}
	return err
}

// Flush writes what waits.
func (l *Log) Flush() error {
	l.flushed = time.Now()
	n, err := l.file.WriteAt(l.pending, l.end)
	if err == nil {
		l.end += int64(n)
		l.pending = l.pending[:0]
		l.failed = false
		return nil
	}
	if l.options.Pending > 0 { // the rest follows
		l.end += int64(n)
		l.pending = append(l.pending[:0], l.pending[n:]...)
	}
	if !l.failed && l.options.OnFailure != nil {
		l.options.OnFailure(err)
	}
	l.failed = true
	return err
}

// Sync makes what was added last through a power failure, and returns the length of the
// file with it. What a full disk keeps out doesn't count.
func (l *Log) Sync() int64 {
	if l.Flush() == nil {
		_ = l.file.Sync() // if the disk lost it, the length shows that
	}
	return l.end
}

// Close writes what waits, and reports if it can't.
func (l *Log) Close() error {
	err := l.Flush()
	if e := l.file.Close(); err == nil && !errors.Is(e, os.ErrClosed) {
		err = e
	}
	return err
}
