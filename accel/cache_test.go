package accel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

// sumProgram adds a number of values to a vector.
func sumProgram(t *testing.T, times int) pjrt.Program {
	t.Helper()
	f := hlo.New(hlo.Highest)
	x := f.Arg(hlo.F32, 4)
	y := x
	for range times {
		y = f.Add(y, x)
	}
	p, err := program("sum", f, 1, y)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// cachedPrograms lists the files of a cache.
func cachedPrograms(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// compileOnce compiles a program on a device that is open for that alone: a GPU's memory is for one.
func compileOnce(t *testing.T, dir string, p pjrt.Program) {
	t.Helper()
	d, err := Open(Options{Plugin: xla.Plugin(t).Path, CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.compile(p, 1, false, work{})
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
}

// recompiles compiles a program on a device that is opened anew, and reports whether it wrote the
// cache's only file.
func recompiles(t *testing.T, dir string, p pjrt.Program) bool {
	t.Helper()
	file := cachedPrograms(t, dir)[0]
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	compileOnce(t, dir, p)
	if files := cachedPrograms(t, dir); !slices.Equal(files, []string{file}) {
		t.Fatalf("%v, want %s", files, file)
	}
	after, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return !os.SameFile(before, after) // a file is replaced, not rewritten
}

func TestCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vgg", "programs")
	p := sumProgram(t, 1)
	compileOnce(t, dir, p)
	files := cachedPrograms(t, dir)
	if len(files) != 1 {
		t.Fatalf("%d files, want 1", len(files))
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(files[0], long, long); err != nil {
		t.Fatal(err)
	}
	if recompiles(t, dir, p) {
		t.Error("a whole file: the program was compiled")
	}
	if info, err := os.Stat(files[0]); err != nil || !info.ModTime().After(long.Add(time.Hour)) {
		t.Errorf("a whole file isn't marked as used: %v", err)
	}
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 1
	for name, data := range map[string][]byte{
		"damaged": damaged, "cut": whole[:len(whole)-1], "of a checksum": whole[:32], "empty": {}, "too long": append(bytes.Clone(whole), 0),
	} {
		if err := os.WriteFile(files[0], data, 0o644); err != nil {
			t.Fatal(err)
		}
		if !recompiles(t, dir, p) {
			t.Errorf("a file that is %s: the program was loaded", name)
		}
		if recompiles(t, dir, p) {
			t.Errorf("a file that was %s isn't whole again", name)
		}
	}
}

// TestCacheNames: what changes a program or its bits has another file.
func TestCacheNames(t *testing.T) {
	for _, name := range variables {
		t.Setenv(name, "")
	}
	plugin := filepath.Join(t.TempDir(), "plugin.so")
	library := filepath.Join(t.TempDir(), "libcudart.so.13")
	flags := filepath.Join(t.TempDir(), "flags")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(plugin, "first")
	write(library, "first")
	p, o := sumProgram(t, 1), pjrt.CompileOptions{}
	client := func() *pjrt.Client {
		c := clientOf("cuda", "H100", "H100")
		c.Plugin, c.Version = &pjrt.Plugin{Path: plugin, Minor: 90, Libraries: []string{library}}, "13000"
		return c
	}
	driver := filepath.Join(t.TempDir(), "version")
	seen := map[string]string{}
	check := func(name string, c *pjrt.Client, p pjrt.Program, o pjrt.CompileOptions) {
		t.Helper()
		file := newCache(t.TempDir(), c, []string{driver}).file(p, o)
		if again := newCache(filepath.Dir(file), c, []string{driver}).file(p, o); again != file {
			t.Errorf("%s: %s, and then %s", name, file, again)
		}
		file = filepath.Base(file)
		if other, ok := seen[file]; ok {
			t.Errorf("%s has the file of %s", name, other)
		}
		seen[file] = name
	}
	check("the first", client(), p, o)
	check("another program", client(), sumProgram(t, 2), o)
	check("flags", client(), p, pjrt.CompileOptions{Flags: map[string]any{"xla_gpu_deterministic_ops": true}})
	c := client()
	check("two devices", c, p, pjrt.CompileOptions{Devices: c.Devices})
	c = client()
	c.Version = "13010"
	check("another version of CUDA", c, p, o)
	c = client()
	c.Devices[1].Kind = "H200"
	check("another kind of device", c, p, o)
	c = client()
	c.Plugin.Minor++
	check("another version of PJRT", c, p, o)
	for _, name := range variables {
		value := os.Getenv(name)
		t.Setenv(name, "--of="+name)
		check(name, client(), p, o)
		t.Setenv(name, value)
	}
	t.Setenv("XLA_FLAGS", flags)
	check("a file of flags that isn't there", client(), p, o)
	write(flags, "--xla_a=1")
	check("a file of flags", client(), p, o)
	write(flags, "--xla_a=2")
	check("another file of flags", client(), p, o)
	t.Setenv("XLA_FLAGS", "")
	write(library, "the second")
	check("another library", client(), p, o)
	write(plugin, "the second")
	check("another plugin", client(), p, o)
	write(driver, "580")
	check("a driver", client(), p, o)
	write(driver, "590")
	check("another driver", client(), p, o)
}

// TestCacheUnwritable: where nothing can be kept, programs are compiled.
func TestCacheUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "programs")} {
		compileOnce(t, dir, sumProgram(t, 1))
	}
}

// TestCacheEvicts: programs that were unused longest go, and nothing else that lies there.
func TestCacheEvicts(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for i, name := range []string{"c" + suffix, "a" + suffix, "notes.txt", "b" + suffix} { // the first was unused longest
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, 100), 0o644); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		most int64
		want string
	}{{300, "a.pjrt b.pjrt c.pjrt notes.txt"}, {299, "a.pjrt b.pjrt notes.txt"}} {
		cache{dir: dir, most: test.most}.evict()
		if got := listed(t, dir); got != test.want {
			t.Errorf("at most %d bytes: %s, want %s", test.most, got, test.want)
		}
	}
	// Saving does it.
	d := testDevice(t, Options{CacheDir: dir})
	d.cache.most = 1 << 20
	if _, err := d.compile(sumProgram(t, 1), 1, false, work{}); err != nil {
		t.Fatal(err)
	}
	saved := len(cachedPrograms(t, dir))
	d.cache.most = 1
	if _, err := d.compile(sumProgram(t, 2), 1, false, work{}); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, dir); saved != 3 || got != "notes.txt" {
		t.Errorf("%d programs, and then %s", saved, got)
	}
}

// listed lists a folder's files.
func listed(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
