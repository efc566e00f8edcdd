package train

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
)

// diskOptions are of a run of two epochs of ten iterations, with a checkpoint after each
// iteration, whose warnings go to log.
func diskOptions(t *testing.T, log io.Writer) Options {
	t.Helper()
	o := resumeOptions(t)
	o.Recipe.Batch, o.Recipe.Epochs, o.Recipe.Schedule.Steps = 1, 2, []int{1}
	o.CheckpointEvery, o.Keep = time.Nanosecond, 2
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	return o
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// mount makes a file system at dir for the length of the test.
func mount(t *testing.T, source, dir, kind string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount(source, dir, kind, flags, options); err != nil {
		vggtest.Skip(t, "the right to mount a file system")
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// wantGood fails unless the newest checkpoint is whole and of the given iteration or a
// later one.
func wantGood(t *testing.T, dir string, iteration int) {
	t.Helper()
	paths, err := listCheckpoints(dir)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no checkpoint: %v", err)
	}
	f, s, err := openWhole(t.Context(), paths[0])
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if s.Iteration < iteration {
		t.Errorf("the newest checkpoint is of iteration %d, want %d or later", s.Iteration, iteration)
	}
}

// TestFullDisk: a checkpoint that finds no room is a warning; the one before stays good,
// and the run goes on to the same end.
func TestFullDisk(t *testing.T) {
	whole := diskOptions(t, &bytes.Buffer{})
	mustRun(t, whole)
	log := &lines{}
	o := diskOptions(t, log)
	disk := t.TempDir()
	mount(t, "tmpfs", disk, "tmpfs", 0, "size=4m")
	o.Dir = filepath.Join(disk, "run")
	filler, full := filepath.Join(disk, "filler"), false
	o.OnIteration = func(it Iteration) {
		switch {
		case it.Iteration == 4:
			f, err := os.Create(filler)
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = f.Write(make([]byte, 512))
			}
			f.Close()
			if !errors.Is(err, syscall.ENOSPC) {
				t.Error(err)
			}
			full = true
		case full && it.Iteration >= 8 && strings.Contains(log.String(), "checkpoint not written"):
			wantGood(t, o.Dir, 2)
			if err := os.Remove(filler); err != nil {
				t.Error(err)
			}
			full = false
		case full: // checkpoints are written beside the run, and the next one tells of a failure
			time.Sleep(50 * time.Millisecond)
		}
	}
	mustRun(t, o)
	for _, want := range []string{"level=WARN", "checkpoint not written, training goes on", "no space left on device", "the last good one is " + filepath.Join(o.Dir, CheckpointDir)} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
	wantGood(t, o.Dir, 20)
	sameRun(t, "on a disk that was full for a while", o.Dir, whole.Dir)
}

// TestReadOnlyCheckpoints: a directory that can't be written is a warning, and at the
// end of the run an error; the checkpoints in it stay good, and the run goes on when it
// can be written again.
func TestReadOnlyCheckpoints(t *testing.T) {
	whole := diskOptions(t, &bytes.Buffer{})
	mustRun(t, whole)
	var log bytes.Buffer
	o := diskOptions(t, &log)
	dir := filepath.Join(o.Dir, CheckpointDir)
	mounted := false
	o.OnIteration = func(it Iteration) {
		if it.Iteration != 4 {
			return
		}
		if os.Geteuid() != 0 {
			if err := os.Chmod(dir, 0o555); err != nil {
				t.Error(err)
			}
			return
		}
		// For root every directory can be written but in a file system that can't be.
		mount(t, dir, dir, "", syscall.MS_BIND, "")
		mounted = true
		if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			vggtest.Skip(t, "the right to mount a file system")
		}
	}
	_, err := Run(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), dir) || !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EACCES) {
		t.Errorf("%v, want an error that names %s", err, dir)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "checkpoint not written, training goes on") {
		t.Errorf("no warning in the log:\n%s", &log)
	}
	wantGood(t, o.Dir, 2)
	if !bytes.Equal(read(t, o.Dir, LastFile), read(t, whole.Dir, LastFile)) {
		t.Error("the weights are not those of the run that could write")
	}
	if mounted {
		if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT, ""); err != nil {
			t.Fatal(err)
		}
	} else if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	o.Resume, o.OnIteration = true, nil
	mustRun(t, o)
	sameRun(t, "after a directory that couldn't be written", o.Dir, whole.Dir)
}

// TestBestWeightsOnFullDisk: without room for the best weights the run ends with an
// error, and goes on when there is room.
func TestBestWeightsOnFullDisk(t *testing.T) {
	whole := resumeOptions(t)
	mustRun(t, whole)
	o := resumeOptions(t)
	disk := t.TempDir()
	mount(t, "tmpfs", disk, "tmpfs", 0, "size=4m")
	o.Dir = filepath.Join(disk, "run")
	filler := filepath.Join(disk, "filler")
	o.OnIteration = func(it Iteration) {
		if it.Iteration == 8 {
			f, err := os.Create(filler)
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = f.Write(make([]byte, 512))
			}
			f.Close()
		}
	}
	if _, err := Run(context.Background(), o); err == nil || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), ".safetensors") {
		t.Errorf("%v, want an error that names the file that has no room", err)
	}
	wantGood(t, o.Dir, 6)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	o.Resume, o.OnIteration = true, nil
	mustRun(t, o)
	sameRun(t, "after a full disk", o.Dir, whole.Dir)
}
