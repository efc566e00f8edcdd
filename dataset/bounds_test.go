package dataset

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

// hostile makes class folders with good pictures and one hostile file.
func hostile(t *testing.T, name string, create func(path string) error) string {
	t.Helper()
	root := t.TempDir()
	vggtest.WriteFiles(t, root, map[string][]byte{"a/1.png": picture(12, 10, 1), "b/1.png": picture(12, 10, 2), "b/2.png": picture(11, 10, 3)})
	if err := create(filepath.Join(root, "a", name)); err != nil {
		vggtest.Skip(t, "files of this kind: "+err.Error())
	}
	return root
}

// hostileFiles are files that would hang a reader or fill its memory.
var hostileFiles = []struct {
	name, want string
	create     func(path string) error
}{
	{"h.png", "20 GiB, want at most 256 MiB", func(path string) error {
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			return err
		}
		return os.Truncate(path, 20<<30)
	}},
	{"zero.png", "a device, want a regular file", func(path string) error { return os.Symlink("/dev/zero", path) }},
	{"pipe.png", "a named pipe, want a regular file", func(path string) error { return mkfifo(path) }},
	{"link.png", "a named pipe, want a regular file", func(path string) error {
		if err := mkfifo(path + ".target"); err != nil {
			return err
		}
		return os.Symlink(path+".target", path)
	}},
	{"claims.ppm", "PNM image of 60000×60000 pixels, want at most 178956970 in all", func(path string) error {
		return os.WriteFile(path, []byte("P6 60000 60000 255\n"), 0o666)
	}},
}

// What isn't a file of bytes, or is too large, is an unreadable picture with that reason:
// nothing waits, and no memory is taken for it. Files that the layout passes over are none of
// the pictures.
func TestHostileFiles(t *testing.T) {
	for _, h := range hostileFiles {
		t.Run(h.name, func(t *testing.T) {
			root := hostile(t, h.name, h.create)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			opened, _, err := Open(ctx, root, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			files, err := OpenFiles(ctx, filepath.Join(root, "a", h.name), filepath.Join(root, "b"))
			if err != nil {
				t.Fatal(err)
			}
			fsys, err := New("fs", os.DirFS(root), []string{"a", "b"}, []Sample{{Name: "a/" + h.name}, {Name: "b/1.png", Label: 1}})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []*Dataset{opened, files, fsys} {
				if d == opened && opened.Len() == 3 {
					continue // passed over
				}
				if _, err := Fingerprint(ctx, d); err != nil {
					t.Fatal(err)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				survey, err := ComputeSurvey(ctx, d, StatsOptions{})
				runtime.ReadMemStats(&after)
				if err != nil {
					t.Fatal(err)
				}
				if len(survey.Unreadable) != 1 || !strings.Contains(survey.Unreadable[0].Err.Error(), h.want) {
					t.Errorf("%s: unreadable %v, want %s", d.Name, survey.Unreadable, h.want)
				}
				if taken := after.TotalAlloc - before.TotalAlloc; taken > 32<<20 {
					t.Errorf("%s: %d bytes allocated", d.Name, taken)
				}
			}
		})
	}
}

// A ZIP entry that inflates to more than an image may have.
func TestZipEntryBomb(t *testing.T) {
	var archive, deflated bytes.Buffer
	c, err := flate.NewWriter(&deflated, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(&archive)
	good, err := w.Create("a/1.png")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := good.Write(picture(12, 10, 1)); err != nil {
		t.Fatal(err)
	}
	bomb, err := w.CreateRaw(&zip.FileHeader{Name: "b/bomb.png", Method: zip.Deflate, UncompressedSize64: 4_800_000_000, CompressedSize64: uint64(deflated.Len())})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bomb.Write(deflated.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bomb.zip")
	if err := os.WriteFile(path, archive.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	d, _, err := Open(t.Context(), path, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(1); !errors.Is(err, preprocess.ErrFileTooLarge) {
		t.Errorf("an entry of more than 256 MiB: %v", err)
	}
}

// A shard whose index, of either version, claims an image of 39 GB.
func TestShardIndexBomb(t *testing.T) {
	const size = 39 << 30
	sums := fmt.Sprintf("%s\t%d\t%064d\n512\t%d\t0123abcd\t0\ta/1.jpg\n512\t10\t0123abcd\t0\ta/2.jpg\n", indexVersion, size, 0, size-512)
	for _, index := range []string{sums, fmt.Sprintf("%s\t%d\n512\t%d\t0\ta/1.jpg\n512\t10\t0\ta/2.jpg\n", indexVersion1, size, size-512)} {
		testIndexBomb(t, size, index)
	}
}

func testIndexBomb(t *testing.T, size int64, index string) {
	t.Helper()
	dir := t.TempDir()
	shard := filepath.Join(dir, "train-000000.tar")
	if err := os.WriteFile(shard, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(shard, size); err != nil {
		vggtest.Skip(t, "sparse files")
	}
	if err := os.WriteFile(shard+indexExt, []byte(index), 0o666); err != nil {
		t.Fatal(err)
	}
	d, _, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(0); !errors.Is(err, preprocess.ErrFileTooLarge) {
		t.Errorf("an image of 39 GB: %v", err)
	}
}

// However many goroutines decode, of however many loaders, the images fit into one room.
func TestDecodingSharesOneRoom(t *testing.T) {
	data := vggtest.PNG(400, 400, vggtest.Plain(vggtest.Red))
	files := fstest.MapFS{}
	var samples []Sample
	for i := range 8 {
		name := fmt.Sprintf("%02d.png", i)
		files[name] = &fstest.MapFile{Data: data}
		samples = append(samples, Sample{Name: name})
	}
	d, err := New("roomy", files, []string{"a"}, samples)
	if err != nil {
		t.Fatal(err)
	}
	h, err := preprocess.ReadHeader(data)
	if err != nil {
		t.Fatal(err)
	}
	room := resources.NewRoom(h.DecodeBytes*7/2*4/3, 1<<30) // for three images: three quarters are for pixels
	var now, most atomic.Int64
	peak := func(im Decoded) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(time.Millisecond)
		now.Add(-1)
		im.Release()
	}
	done := make(chan error)
	for range 12 {
		go func() {
			for i := range d.Len() {
				im, err := d.Decode(t.Context(), i, DecodeOptions{Room: room})
				if err != nil {
					done <- err
					return
				}
				peak(im)
			}
			done <- nil
		}()
	}
	for range 12 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if m := most.Load(); m > 3 {
		t.Errorf("%d images at once, want at most the 3 that there is room for", m)
	}
	// What can't fit is unreadable, with that reason, and such a survey isn't kept.
	small := resources.NewRoom(h.DecodeBytes, 1<<30)
	_, err = d.Decode(t.Context(), 0, DecodeOptions{Room: small})
	if _, ok := errors.AsType[*resources.RoomError](err); !ok || !strings.Contains(err.Error(), "PNG image of 400×400 pixels: decoding takes") {
		t.Errorf("an image larger than the room: %v", err)
	}
	l := &Loader{Data: d, Spec: paperSpec(t, 8, 8), Batch: 4, Room: small}
	for _, err := range l.Epoch(t.Context(), 0) {
		if err != nil && !strings.Contains(err.Error(), "none of 8 images is readable") {
			t.Error(err)
		}
	}
}

// emptyHanded is a file system in which no more files can be opened.
type emptyHanded struct {
	fs.FS
	left atomic.Int64
}

func (e *emptyHanded) Open(name string) (fs.File, error) {
	if e.left.Add(-1) < 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	return e.FS.Open(name)
}

// Running out of open files is no fault of the pictures: the work stops.
func TestNoMoreOpenFiles(t *testing.T) {
	whole, fsys := pictures(t, 12)
	d, err := New("pictures", &emptyHanded{FS: fsys}, whole.Classes, whole.Samples)
	if err != nil {
		t.Fatal(err)
	}
	for left := range int64(4) {
		d.fsys.(*emptyHanded).left.Store(left)
		if _, err := ComputeSurvey(t.Context(), d, StatsOptions{Workers: 2}); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("survey with %d files: %v", left, err)
		}
		d.fsys.(*emptyHanded).left.Store(left)
		l := trainLoader(t, d)
		l.CacheBytes = NoCache
		var last error
		for b, err := range l.Epoch(t.Context(), 0) {
			last = err
			if err == nil && len(b.Bad) > 0 {
				t.Errorf("loader with %d files: bad images %v", left, b.Bad)
			}
		}
		if !errors.Is(last, syscall.EMFILE) {
			t.Errorf("loader with %d files: %v", left, last)
		}
	}
	d.fsys.(*emptyHanded).left.Store(0)
	if _, err := d.TypicalSide(t.Context()); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("typical side: %v", err)
	}
	if _, err := d.AnyTurned(t.Context()); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("any turned: %v", err)
	}
}

// An epoch that is cancelled while its images are decoded ends with the cause, and no batch
// has images that count as bad for it.
func TestCancelledWhileDecoding(t *testing.T) {
	d, fsys := pictures(t, 12)
	fsys.delay = time.Millisecond
	cause := errors.New("signal")
	for n := range 12 {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Duration(n)*time.Millisecond, func() { cancel(cause) })
		l := trainLoader(t, d)
		l.CacheBytes = NoCache
		for b, err := range l.Epoch(ctx, 0) {
			if err != nil && !errors.Is(err, cause) {
				t.Error(err)
			}
			if err == nil && len(b.Bad) > 0 {
				t.Errorf("bad images %v", b.Bad)
			}
		}
		cancel(nil)
	}
}
