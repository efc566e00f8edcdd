package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A log goes on at the length that it had, whatever was added since.
func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := OpenLog(path, 0, LogOptions{Every: time.Hour, Pending: 100})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Add([]byte("one\n")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("%v, %v: want the line to wait", info, err)
	}
	if n := l.Sync(); n != 4 {
		t.Errorf("%d bytes, want 4", n)
	}
	if err := errors.Join(l.Add([]byte("two\n")), l.Close()); err != nil {
		t.Fatal(err)
	}
	if l, err = OpenLog(path, 4, LogOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Add([]byte("three\n")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "one\nthree\n" {
		t.Errorf("%q, %v", b, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLog(path, 11, LogOptions{}); err == nil || !strings.HasSuffix(err.Error(), "10 bytes, want at least 11") {
		t.Error(err)
	}
}

// What a full disk keeps out waits, up to a limit, and the first failure of several is told.
func TestLogOnFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here: ", err)
	}
	path := filepath.Join(t.TempDir(), "log")
	told := 0
	l, err := OpenLog(path, 0, LogOptions{Pending: 10, OnFailure: func(err error) {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
		told++
	}})
	if err != nil {
		t.Fatal(err)
	}
	disk := l.file
	l.file = full
	for _, text := range []string{"one\n", "two\n"} {
		if err := l.Add([]byte(text)); err != nil {
			t.Errorf("%q: %v, want it to wait", text, err)
		}
	}
	if err := l.Add([]byte("three\n")); !errors.Is(err, syscall.ENOSPC) || told != 1 {
		t.Errorf("%v, told %d times; want no space left, told once", err, told)
	}
	if n := l.Sync(); n != 0 {
		t.Errorf("%d bytes, want none", n)
	}
	full.Close()
	l.file = disk
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "one\ntwo\nthree\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// Where nothing may wait, a line that can't be written is an error, and the next one takes
// its place.
func TestLineThatFails(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here: ", err)
	}
	defer full.Close()
	path := filepath.Join(t.TempDir(), "j.jsonl")
	f, _ := resume(t, path)
	disk := f.log.file
	f.log.file = full
	if _, err := f.Append(line{1}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want no space left", err)
	}
	f.log.file = disk
	add(t, f, 2)
	f.Close()
	f, r := resume(t, path)
	if f.Close(); len(r.lines) != 1 || r.lines[0] != 2 {
		t.Errorf("%v, want 2", r.lines)
	}
}
