package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// wantFiles fails unless dir holds just these files.
func wantFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		t.Errorf("the directory holds %q, want %q", got, names)
	}
}

// wantContent fails unless the file holds the text.
func wantContent(t *testing.T, path, text string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != text {
		t.Errorf("%s holds %.40q, %v; want %.40q", path, b, err, text)
	}
}

// text writes a text.
func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// A shorter file doesn't keep the end of the longer one that it replaces.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	for _, want := range []string{"long text", "short"} {
		if err := Write(path, text(want)); err != nil {
			t.Fatal(err)
		}
		wantContent(t, path, want)
	}
	wantFiles(t, dir, "w")
}

func TestPermissionsStay(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such permissions here")
	}
	path := filepath.Join(t.TempDir(), "w")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, text("new")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v; want -rw-r-----", info.Mode(), err)
	}
}

func TestThroughALink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(real, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	for _, write := range []func(string, func(io.Writer) error) error{Write, WriteOrStream} {
		if err := write(link, text("new")); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("the link was replaced: %v, %v", info, err)
		}
		wantContent(t, real, "new")
	}
	wantFiles(t, dir, "link", "real")
}

func TestWrongPlaces(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		sub:                             "a directory, want a file",
		filepath.Join(dir, "none", "w"): "no such file or directory",
		os.DevNull:                      "a device, want a file",
		"":                              "",
	} {
		err := Write(path, text("x"))
		pathError, ok := errors.AsType[*fs.PathError](err)
		if !ok || pathError.Path != path || runtime.GOOS != "windows" && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", path, err, want)
		}
	}
	wantFiles(t, dir, "sub")
	wantFiles(t, sub)
}

// Pipes and devices are written to as they are.
func TestStream(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no names for open files here")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteOrStream(fmt.Sprintf("/proc/self/fd/%d", w.Fd()), text("through the pipe")); err != nil {
		t.Error(err)
	}
	w.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "through the pipe" {
		t.Errorf("%q, %v", b, err)
	}
	r.Close()

	// A shell's redirection to a file stays one to that file.
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := WriteOrStream(fmt.Sprintf("/dev/fd/%d", f.Fd()), text("redirected")); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "redirected" {
		t.Errorf("%q, %v", b, err)
	}
	wantFiles(t, filepath.Dir(path), "f")

	if err := WriteOrStream(os.DevNull, text("x")); err != nil {
		t.Error(err)
	}
	if err := WriteOrStream("/dev/full", text("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want no space left", err)
	}
	named := filepath.Join(t.TempDir(), "pipe")
	if err := exec.Command("mkfifo", named).Run(); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		b, _ := os.ReadFile(named)
		read <- string(b)
	}()
	if err := WriteOrStream(named, text("named")); err != nil {
		t.Error(err)
	}
	if got := <-read; got != "named" {
		t.Errorf("%q came through the named pipe", got)
	}
	if err := WriteOrStream(t.TempDir(), text("x")); err == nil || !strings.Contains(err.Error(), "a directory, want a file") {
		t.Errorf("a directory: %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	if os.Getuid() <= 0 {
		t.Skip("directories aren't read-only to root")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "w"), text("x")); !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v, want permission denied", err)
	}
	wantFiles(t, dir)
}

var errBroken = errors.New("broken")

// broken is the real file system, with one thing that fails.
type broken struct {
	osSystem
	create_, sync, close, rename_, syncDir_ bool
	writable                                int      // bytes that can be written, plus one; 0: all
	full                                    *os.File // takes what is written, if set
}

func (b *broken) create(name string) (file, error) {
	if b.create_ {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errBroken}
	}
	f, err := b.osSystem.create(name)
	return &brokenFile{f, b}, err
}

func (b *broken) rename(from, to string) error {
	if b.rename_ {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: errBroken}
	}
	return b.osSystem.rename(from, to)
}

func (b *broken) syncDir(dir string) error {
	if b.syncDir_ {
		return errBroken
	}
	return b.osSystem.syncDir(dir)
}

type brokenFile struct {
	file
	b *broken
}

func (f *brokenFile) Write(p []byte) (int, error) {
	if f.b.full != nil {
		return f.b.full.Write(p)
	}
	if f.b.writable == 0 {
		return f.file.Write(p)
	}
	n := min(len(p), f.b.writable-1)
	f.b.writable -= n
	n, err := f.file.Write(p[:n])
	if err == nil && n < len(p) {
		err = errBroken
	}
	return n, err
}

func (f *brokenFile) Sync() error {
	if f.b.sync {
		return errBroken
	}
	return f.file.Sync()
}

func (f *brokenFile) Close() error {
	err := f.file.Close()
	if f.b.close {
		return errBroken
	}
	return err
}

// Whatever fails, the file is the old one, or there is none, and no temporary file is left.
func TestNothingHalfWritten(t *testing.T) {
	const piece, pieces = 1000, 4
	cases := map[string]*broken{
		"create": {create_: true},
		"sync":   {sync: true},
		"close":  {close: true},
		"rename": {rename_: true},
	}
	for _, n := range []int{0, 1, piece - 1, piece, piece + 1, pieces*piece - 1} {
		cases[fmt.Sprintf("write of byte %d", n)] = &broken{writable: n + 1}
	}
	for name, sys := range cases {
		for _, old := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/old=%v", name, old), func(t *testing.T) {
				sys := *sys
				dir := t.TempDir()
				path := filepath.Join(dir, "w")
				var files []string
				if old {
					files = []string{"w"}
					if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				err := replace(&sys, path, func(w io.Writer) error {
					for range pieces {
						if _, err := w.Write(make([]byte, piece)); err != nil {
							return err
						}
					}
					return nil
				})
				if !errors.Is(err, errBroken) || strings.Contains(err.Error(), ".tmp") {
					t.Errorf("%v, want %v", err, errBroken)
				}
				wantFiles(t, dir, files...)
				if old {
					wantContent(t, path, "old")
				}
			})
		}
	}
}

// A disk that is full names the file that was to be written.
func TestFullDevice(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here: ", err)
	}
	defer full.Close()
	dir := t.TempDir()
	if err := replace(&broken{full: full}, filepath.Join(dir, "w"), text("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want no space left", err)
	}
	wantFiles(t, dir)
}

// What write returns comes back as it is.
func TestErrorOfWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	failing := errors.New("cancelled")
	err := Write(path, func(w io.Writer) error {
		io.WriteString(w, "half")
		return failing
	})
	if err != failing {
		t.Errorf("%v, want %v", err, failing)
	}
	err = WriteNamed(path, func(name string) error {
		if err := os.WriteFile(name, []byte("half"), 0o666); err != nil {
			return err
		}
		return failing
	})
	if err != failing {
		t.Errorf("%v, want %v", err, failing)
	}
	wantFiles(t, dir, "w")
	wantContent(t, path, "old")
}

func TestWriteNamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	if err := WriteNamed(path, func(name string) error { return os.WriteFile(name, []byte("new"), 0o666) }); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, "w")
	wantContent(t, path, "new")
}

// A scratch file is gone afterwards, also that of a process that was killed.
func TestScratch(t *testing.T) {
	dir := t.TempDir()
	path, failing := filepath.Join(dir, "w.part"), errors.New("failing")
	if err := os.WriteFile(filepath.Join(dir, temporaryName("w.part", 0)), []byte("half"), 0o666); err != nil {
		t.Fatal(err)
	}
	err := Scratch(path, func(name string) error {
		wantContent(t, name, "")
		if err := os.WriteFile(name, []byte("new"), 0o666); err != nil {
			t.Error(err)
		}
		return failing
	})
	if err != failing {
		t.Errorf("%v, want %v", err, failing)
	}
	wantFiles(t, dir)
}

// A directory that can't be synced is reported, with the new file whole.
func TestDirectorySyncFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	if err := replace(&broken{syncDir_: true}, path, text("new")); !errors.Is(err, errBroken) {
		t.Errorf("%v, want %v", err, errBroken)
	}
	wantFiles(t, dir, "w")
	wantContent(t, path, "new")
}

func TestPanic(t *testing.T) {
	dir := t.TempDir()
	defer func() {
		if recover() != "source" {
			t.Error("the panic was lost")
		}
		wantFiles(t, dir)
	}()
	Write(filepath.Join(dir, "w"), func(io.Writer) error { panic("source") })
}

// Writing a file removes the temporary files that killed processes left of it, and of no
// other file.
func TestAbandonedFilesGo(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("é", 120) // 240 bytes
	others := []string{".v.00000000.tmp", ".w.0000000.tmp", ".w.tmp", ".w.x.00000000.tmp", "w.00000000.tmp"}
	for _, name := range append([]string{".w.00000000.tmp", ".w.00000001.tmp", temporaryName(long, 0)}, others...) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"w", long} {
		if err := Write(filepath.Join(dir, name), text("new")); err != nil {
			t.Fatal(err)
		}
	}
	wantFiles(t, dir, append(others[:4:4], "w", "w.00000000.tmp", long)...)
	Clean(dir)
	wantFiles(t, dir, ".w.0000000.tmp", ".w.tmp", "w", "w.00000000.tmp", long)
}

// The temporary file of a writer that lives stays.
func TestLivingWriterKeepsItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	first, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(path, text("second")); err != nil {
		t.Fatal(err)
	}
	Clean(filepath.Dir(path))
	if err := text("first")(first); err != nil {
		t.Fatal(err)
	}
	if err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	first.Abort()
	wantFiles(t, filepath.Dir(path), "w")
	wantContent(t, path, "first")
}

// Of writers at the same time each writes a whole file, and one of them is last.
func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	whole := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 10000+i) }
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 20 {
				if err := Write(path, text(string(whole(i)))); err != nil {
					t.Error(err)
				}
				b, err := os.ReadFile(path)
				if err != nil || len(b) == 0 || int(b[0]-'a') > 8 || !bytes.Equal(b, whole(int(b[0]-'a'))) {
					t.Errorf("%d bytes, %v", len(b), err)
				}
			}
		})
	}
	group.Wait()
	wantFiles(t, dir, "w")
}
