package wholefile

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// ways are all the ways to read a file, whose path has a slash before the last part.
func ways(ctx context.Context, path string, most int64) map[string]func() ([]byte, error) {
	folder, name := filepath.Split(path)
	sub, err := fs.Sub(Dir(filepath.Dir(filepath.Clean(folder))), filepath.Base(folder))
	if err != nil {
		panic(err)
	}
	return map[string]func() ([]byte, error){
		"Read":         func() ([]byte, error) { return Read(path, most) },
		"ReadFS":       func() ([]byte, error) { return ReadFS(ctx, Dir(folder), name, most) },
		"ReadFS below": func() ([]byte, error) { return ReadFS(ctx, sub, name, most) },
		"os.DirFS":     func() ([]byte, error) { return ReadFS(ctx, os.DirFS(folder), name, most) },
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, 511, 512, 513, chunk - 1, chunk, chunk + 1, 3*chunk + 7, claim + chunk} {
		want := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
		if err := os.WriteFile(path, want, 0o666); err != nil {
			t.Fatal(err)
		}
		for name, read := range ways(t.Context(), path, int64(size)) {
			if got, err := read(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s of %d bytes: %d bytes, %v", name, size, len(got), err)
			}
		}
		for name, read := range ways(t.Context(), path, int64(size)-1) {
			if _, err := read(); size > 0 && !isSize(err) {
				t.Errorf("%s of %d bytes with a limit of one less: %v", name, size, err)
			}
		}
	}
}

func isSize(err error) bool {
	_, ok := errors.AsType[*SizeError](err)
	return ok
}

// A reader may give more than the size that is claimed for it.
func TestReadAllLongerThanClaimed(t *testing.T) {
	long := strings.NewReader(strings.Repeat("x", 5000))
	if _, err := ReadAll(t.Context(), long, 10, 4999); !isSize(err) {
		t.Errorf("5000 bytes claimed as 10, limit 4999: %v", err)
	}
	if data, err := ReadAll(t.Context(), strings.NewReader("long"), 2, 4); err != nil || string(data) != "long" {
		t.Errorf("4 bytes claimed as 2: %q, %v", data, err)
	}
}

// A sparse file of 20 GB is refused by its size, and takes no memory.
func TestSparseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.png")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(20 << 30); err != nil {
		vggtest.Skip(t, "sparse files")
	}
	for name, read := range ways(t.Context(), path, 256<<20) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read()
		runtime.ReadMemStats(&after)
		if !isSize(err) || !strings.Contains(err.Error(), "20 GiB, want at most 256 MiB") || !strings.Contains(err.Error(), "h.png") {
			t.Errorf("%s: %v", name, err)
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, taken)
		}
	}
}

// An entry of 5 MB that inflates to 4.8 GB is refused by the size that the archive gives.
func TestZipBomb(t *testing.T) {
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	entry, err := w.Create("bomb.png")
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := entry.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFS(t.Context(), r, "bomb.png", 63<<20); !isSize(err) {
		t.Errorf("an entry of 64 MiB with a limit of 63: %v", err)
	}
	if data, err := ReadFS(t.Context(), r, "bomb.png", 64<<20); err != nil || len(data) != 64<<20 {
		t.Errorf("an entry of 64 MiB with that limit: %d bytes, %v", len(data), err)
	}
}

func TestNotRegular(t *testing.T) {
	folder := t.TempDir()
	for kind, create := range map[string]func(path string) error{
		"a folder":     func(path string) error { return os.Mkdir(path, 0o777) },
		"a named pipe": func(path string) error { return mkfifo(path) },
		"a device":     func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		path := filepath.Join(folder, strings.ReplaceAll(kind, " ", "-"))
		if _, err := os.Stat("/dev/zero"); kind != "a folder" && err != nil {
			vggtest.Skip(t, "named pipes and devices")
		}
		if err := create(path); err != nil {
			t.Fatal(err)
		}
		for name, read := range ways(t.Context(), path, 100) {
			_, err := read()
			if k, ok := errors.AsType[*KindError](err); !ok || k.Kind != kind || !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("%s of %s: %v", name, kind, err)
			}
		}
	}
}

func TestMissing(t *testing.T) {
	for name, read := range ways(t.Context(), filepath.Join(t.TempDir(), "none"), 100) {
		if _, err := read(); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "open ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Dir does what os.DirFS does, by the standard library's own test of file systems.
func TestDir(t *testing.T) {
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "a", "b"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "a/two", "a/b/three"} {
		if err := os.WriteFile(filepath.Join(folder, filepath.FromSlash(name)), []byte(name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := fstest.TestFS(Dir(folder), "one", "a/two", "a/b/three"); err != nil {
		t.Error(err)
	}
	below, err := fs.Sub(Dir(folder), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(below, "two", "b/three"); err != nil {
		t.Error(err)
	}
}

// endless gives bytes for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestReadAllIsCancelled(t *testing.T) {
	vggtest.Cancel(t, 5, func(ctx context.Context) error {
		_, err := ReadAll(ctx, io.LimitReader(endless{}, 8*chunk), 0, 9*chunk)
		return err
	})
}

func TestExhausted(t *testing.T) {
	open := func(err error) error {
		return fmt.Errorf("reading: %w", &fs.PathError{Op: "open", Path: "x", Err: err})
	}
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if !Exhausted(open(err)) {
			t.Errorf("%v doesn't count", err)
		}
	}
	for _, err := range []error{syscall.EIO, syscall.EACCES, fs.ErrNotExist, io.ErrUnexpectedEOF} {
		if Exhausted(open(err)) {
			t.Errorf("%v counts", err)
		}
	}
	if Exhausted(nil) {
		t.Error("no error counts")
	}
}
