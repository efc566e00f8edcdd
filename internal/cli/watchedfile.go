package cli

import (
	"log/slog"
	"sync"
	"time"
)

// watchedFile is what a file holds, read again when the file changes. A file that can't be
// read leaves what was read before.
type watchedFile[T any] struct {
	path string
	read func() (T, error)
	log  *slog.Logger

	mu     sync.Mutex
	value  T
	stamp  string
	looked time.Time
}

func (f *watchedFile[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < time.Second {
		return f.value, nil
	}
	f.looked = time.Now()
	stamp, err := stampOf(f.path)
	if err == nil && stamp == f.stamp {
		return f.value, nil
	}
	first := f.stamp == ""
	var value T
	if err == nil {
		value, err = f.read()
	}
	if err != nil {
		if first {
			f.looked = time.Time{}
			return f.value, err
		}
		f.log.Error("a file can't be read, what it held before stays", "file", f.path, "error", err.Error())
		return f.value, nil
	}
	f.value, f.stamp = value, stamp
	return f.value, nil
}
