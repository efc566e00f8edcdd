package train

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestEventsAgainstTensorBoard: the bytes are those that TensorBoard's own writer makes
// of the same events; tools/oracle/tfevents.py made the fixture.
func TestEventsAgainstTensorBoard(t *testing.T) {
	dir := t.TempDir()
	tick := 0
	now := func() time.Time { // each event a quarter of a second after the one before
		tick++
		return time.UnixMilli(1_700_000_000_000 + int64(tick-1)*250)
	}
	e, err := newEvents(dir, 7, true, slog.New(slog.NewTextHandler(io.Discard, nil)), now)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.scalars(8, scalar{"train/loss", 2.302585}, scalar{"train/learning_rate", 0.01}); err != nil {
		t.Fatal(err)
	}
	if err := e.text(0, "recipe", "```\nconfig: A\n```"); err != nil {
		t.Fatal(err)
	}
	if err := e.scalars(1<<40, scalar{"epoch/top1_error", 0.5}); err != nil {
		t.Fatal(err)
	}
	if err := e.log.close(); err != nil {
		t.Fatal(err)
	}
	got, want := read(t, dir, e.name), read(t, "testdata", "events.tfevents")
	if !bytes.Equal(got, want) {
		t.Errorf("events\n%q\nTensorBoard's\n%q", got, want)
	}
}

// eventSteps reads the steps of a run's events of one tag, over all its files in the
// order of their names.
func eventSteps(t *testing.T, dir, tag string) (steps []int) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, eventsPattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no events in %s: %v", dir, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for len(data) > 0 {
			if len(data) < 16 {
				t.Fatalf("%s: %d bytes after the last record", path, len(data))
			}
			n := binary.LittleEndian.Uint64(data)
			record := data[12 : 12+n]
			if binary.LittleEndian.Uint32(data[8:]) != maskedCRC(data[:8]) || binary.LittleEndian.Uint32(data[12+n:]) != maskedCRC(record) {
				t.Fatalf("%s: a record hasn't its checksum", path)
			}
			data = data[16+n:]
			step, found := 0, false
			for len(record) > 0 {
				field, kind, tagged := protowire.ConsumeTag(record)
				size := protowire.ConsumeFieldValue(field, kind, record[tagged:])
				if tagged < 0 || size < 0 {
					t.Fatalf("%s: malformed event", path)
				}
				value := record[tagged : tagged+size]
				switch field {
				case eventStep:
					v, _ := protowire.ConsumeVarint(value)
					step = int(v)
				case eventSummary:
					found = bytes.Contains(value, []byte(tag))
				}
				record = record[tagged+size:]
			}
			if found {
				steps = append(steps, step)
			}
		}
	}
	return steps
}

// TestEventsOfAResumedRun: every step once, whatever was logged after the checkpoint.
func TestEventsOfAResumedRun(t *testing.T) {
	o := resumeOptions(t)
	stopAt(t, o, 8)
	for i := 7; i <= 8; i++ { // the run goes on from iteration 6
		os.Remove(checkpointPath(o.Dir, i))
	}
	o.Resume = true
	stopAt(t, o, 7)
	mustRun(t, o)
	if got, want := eventSteps(t, o.Dir, "train/loss"), []int{1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
	if got, want := eventSteps(t, o.Dir, "epoch/top1_error"), []int{3, 6, 9}; !slices.Equal(got, want) {
		t.Errorf("steps of the epochs %v, want %v", got, want)
	}
	if paths, err := filepath.Glob(filepath.Join(o.Dir, eventsPattern)); err != nil || len(paths) != 3 {
		t.Errorf("event files %q, want one a process", paths)
	}
}

// TestAnyPath: a run finds its files in a directory whose path has characters of patterns.
func TestAnyPath(t *testing.T) {
	names := []string{"a[b]", "a*b?", `a\b`, `[a`}
	if runtime.GOOS == "windows" {
		names = []string{"a[b]", "[a"}
	}
	for _, name := range names {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(filepath.Join(dir, CheckpointDir), 0o777); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, iteration := range []int{30, 4} {
			path := checkpointPath(dir, iteration)
			want = append(want, path)
			if err := os.WriteFile(path, nil, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := listCheckpoints(dir); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: checkpoints %v, %v, want %v", name, got, err, want)
		}
		old := filepath.Join(dir, "events.out.tfevents.0000000500.vgg")
		if err := os.WriteFile(old, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if next, err := eventsAfter(dir, time.Unix(400, 0)); err != nil || next != "events.out.tfevents.0000000501.vgg" {
			t.Errorf("%s: the next event file is %s, %v, want that of second 501", name, next, err)
		}
		if err := cutEvents(dir, "events.out.tfevents.0000000400.vgg", 0); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a later event file stays: %v", name, err)
		}
	}
}
