package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// many is class folders with n images each.
func many(classes, n int) fstest.MapFS {
	files := fstest.MapFS{}
	for c := range classes {
		for i := range n {
			files[fmt.Sprintf("photos/%02d/%05d.jpg", c, i)] = &fstest.MapFile{}
		}
	}
	return files
}

// Opening stops when its context is done, wherever it is.
func TestOpenCancelled(t *testing.T) {
	why := errors.New("enough")
	for _, after := range []int64{0, 1, 3} {
		ctx, cancel := context.WithCancelCause(context.Background())
		if after == 0 {
			cancel(why)
		}
		calls := int64(0)
		train, val, err := Open(ctx, "photos", OpenOptions{FS: many(5, 700), Progress: func(done, total int64) {
			if calls++; calls == after {
				cancel(why)
			}
			if total != 0 || done != 700*calls {
				t.Errorf("progress %d of %d after %d folders", done, total, calls)
			}
		}})
		if !errors.Is(err, why) || train != nil || val != nil || calls > after {
			t.Errorf("cancelled after %d folders: %v, %v, %v after %d", after, train, val, err, calls)
		}
		cancel(nil)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := folder(t, "a/1.jpg")
	d, err := OpenFiles(ctx, dir)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("OpenFiles: %v, %v", d, err)
	}
	if _, err := OpenVOC(ctx, vocTree(t, vocFiles())); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenVOC: %v", err)
	}
	if _, err := opened(t, onDisk(t, 2)).TypicalSide(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("TypicalSide: %v", err)
	}
	_, shards := sharded(t, opened(t, onDisk(t, 4)), ShardOptions{})
	if _, _, err := Open(ctx, shards, OpenOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("shards: %v", err)
	}
}

// A file system of any kind gives what the disk gives.
func TestOpenFS(t *testing.T) {
	dir := onDisk(t, 6)
	want := opened(t, dir)
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, shards := sharded(t, want, ShardOptions{})
	within := t.TempDir()
	if err := os.WriteFile(filepath.Join(within, "set.zip"), archive.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	zipped, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		t.Fatal(err)
	}
	print := func(d *Dataset) string {
		s, err := Fingerprint(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for what, c := range map[string]struct {
		fsys fs.FS
		path string
	}{
		"root":            {os.DirFS(dir), "."},
		"folder":          {os.DirFS(filepath.Dir(dir)), filepath.Base(dir)},
		"ZIP reader":      {zipped, "."},
		"ZIP file":        {os.DirFS(within), "set.zip"},
		"shards":          {os.DirFS(shards), "."},
		"files in memory": {fstest.MapFS{"x/set.zip": {Data: archive.Bytes()}}, "x/set.zip"},
	} {
		got, val, err := Open(t.Context(), c.path, OpenOptions{FS: c.fsys})
		if err != nil || val != nil {
			t.Errorf("%s: %v, %v", what, val, err)
			continue
		}
		if !slices.Equal(names(got), names(want)) || print(got) != print(want) {
			t.Errorf("%s: %q, want %q", what, names(got), names(want))
		}
	}
	if _, _, err := Open(t.Context(), "none", OpenOptions{FS: os.DirFS(dir)}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestBadImageJSON(t *testing.T) {
	text, err := json.Marshal([]BadImage{{Name: "a/1.jpg", Index: 7, Err: errors.New("no image")}})
	if want := `[{"file":"a/1.jpg","error":"no image"}]`; err != nil || string(text) != want {
		t.Fatalf("%s, %v, want %s", text, err, want)
	}
	var back []BadImage
	if err := json.Unmarshal(text, &back); err != nil || len(back) != 1 || back[0].Name != "a/1.jpg" || back[0].Index != -1 || back[0].Err.Error() != "no image" {
		t.Errorf("%+v, %v", back, err)
	}
}

// A survey that was kept names its bad images as the one that was computed does.
func TestCachedSurveyKeepsBadImages(t *testing.T) {
	dir := onDisk(t, 6)
	if err := os.WriteFile(filepath.Join(dir, "b", "3.png"), []byte("text"), 0o666); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		s, kept, err := CachedSurvey(t.Context(), opened(t, dir), StatsOptions{})
		if err != nil || kept != (i == 1) || len(s.Unreadable) != 1 {
			t.Fatalf("time %d: %+v, kept %v, %v", i, s.Unreadable, kept, err)
		}
		if b := s.Unreadable[0]; b.Name != "b/3.png" || b.Index != 4 || !strings.Contains(b.Err.Error(), "text") {
			t.Errorf("time %d: %+v", i, b)
		}
	}
}
