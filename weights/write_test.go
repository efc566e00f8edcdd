package weights

import (
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/tensor"
)

func TestWriteRefuses(t *testing.T) {
	floats := func(n int) iter.Seq[[]float32] {
		return func(yield func([]float32) bool) { _ = yield(make([]float32, n/2)) && yield(make([]float32, n-n/2)) }
	}
	var huge []Source
	for i := range 16 {
		huge = append(huge, Source{fmt.Sprint(i), []int{1 << 57}, floats(0), ""})
	}
	for name, c := range map[string]struct {
		meta    map[string]string
		sources []Source
		want    string
	}{
		"few elements":    {nil, []Source{{"a", []int{3, 4}, floats(11), ""}}, "a: 11 elements given, want 12 of shape [3 4]"},
		"many elements":   {nil, []Source{{"a", []int{3, 4}, floats(13), ""}}, "a: 13 elements given, want 12 of shape [3 4]"},
		"second, few":     {nil, []Source{{"a", nil, floats(1), ""}, {"b", []int{2}, floats(0), ""}}, "b: 0 elements given, want 2"},
		"negative axis":   {nil, []Source{{"a", []int{-1}, floats(0), ""}}, "a: shape [-1] negative or too large"},
		"too large":       {nil, []Source{{"a", []int{1 << 40, 1 << 40}, floats(0), ""}}, "negative or too large"},
		"sum too large":   {nil, huge, "15: shape [144115188075855872] negative or too large"},
		"name twice":      {nil, []Source{{"a", nil, floats(1), ""}, {"a", nil, floats(1), ""}}, "a: name given twice"},
		"metadata's name": {nil, []Source{{"__metadata__", nil, floats(1), ""}}, "__metadata__: the metadata's name"},
		"name not UTF-8":  {nil, []Source{{"a\xff", nil, floats(1), ""}}, `"a\xff": name is not UTF-8`},
		"key not UTF-8":   {map[string]string{"\xff": "v"}, nil, "not UTF-8"},
		"value not UTF-8": {map[string]string{"k": "\xff"}, nil, "metadata: k: not UTF-8"},
		"axes":            {nil, []Source{{"a", make([]int, 65), floats(0), ""}}, "a: 65 axes, want at most 64"},
		"long metadata":   {map[string]string{"k": strings.Repeat("v", maxHeader)}, nil, "metadata: k: header grows too long, want at most 100000000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "w")
			err := WriteSafetensors(path, c.meta, c.sources)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "weights: "+path+": ") {
				t.Errorf("%v, want %q in it", err, c.want)
			}
			wantFiles(t, dir)
			if err := EncodeSafetensors(io.Discard, c.meta, c.sources); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("EncodeSafetensors: %v, want %q in it", err, c.want)
			}
		})
	}
}

// wantFiles fails unless dir holds exactly these files.
func wantFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range es {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		t.Errorf("left %q in the directory, want %q", got, names)
	}
}

// Sources are read in order, each once, and may share a buffer.
func TestSourcesShareABuffer(t *testing.T) {
	buf := make([]float32, 3)
	var sources []Source
	for i := range 5 {
		asked := false
		sources = append(sources, Source{fmt.Sprint(i), []int{3}, func(yield func([]float32) bool) {
			if asked {
				t.Errorf("source %d asked twice", i)
			}
			asked = true
			for j := range buf {
				buf[j] = float32(10*i + j)
			}
			yield(buf)
		}, ""})
	}
	f := written(t, nil, sources...)
	for i, e := range f.Tensors() {
		x, err := f.Read(e.Name)
		if err != nil || e.Name != fmt.Sprint(i) || x.At(2) != float32(10*i+2) {
			t.Errorf("tensor %d is %s %v, %v", i, e.Name, x, err)
		}
	}
}

// Writing takes memory for a buffer and the header, not for a second copy of the tensors.
func TestWriteMemory(t *testing.T) {
	x := tensor.New(4 << 20) // 16 MiB
	least := ^uint64(0)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := EncodeSafetensors(io.Discard, nil, []Source{FromTensor("x", x)}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > 1<<20 {
		t.Errorf("%d bytes allocated to write %d", least, 4*x.Len())
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	for _, n := range []int{1000, 10} { // the shorter one doesn't keep the longer one's end
		if err := WriteSafetensors(path, nil, []Source{source("x", n)}); err != nil {
			t.Fatal(err)
		}
		f, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := f.Lookup("x"); err != nil || e.Shape[0] != n {
			t.Errorf("%v, %v; want %d elements", e, err, n)
		}
		f.Close()
	}
	wantFiles(t, dir, "w")
}

func TestWriteThroughALink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(real, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		vggtest.Skip(t, "symbolic links")
	}
	if err := WriteSafetensors(link, nil, []Source{source("x", 3)}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if f, err := Open(t.Context(), real); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
}

func TestWriteToWrongPlaces(t *testing.T) {
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
		err := WriteSafetensors(path, nil, nil)
		if err == nil || runtime.GOOS != "windows" && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", path, err, want)
		}
	}
	wantFiles(t, dir, "sub")
	wantFiles(t, sub)
}

// An error in the middle of a file leaves the earlier file.
func TestEarlierFileStays(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	few := Source{"few", []int{3 * chunk}, func(yield func([]float32) bool) { yield(make([]float32, 2*chunk)) }, ""}
	if err := WriteSafetensors(path, nil, []Source{source("x", chunk), few}); err == nil || !strings.Contains(err.Error(), "few: ") {
		t.Errorf("%v, want an error about few", err)
	}
	wantFiles(t, dir, "w")
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
		t.Errorf("the old file is %.40q, %v", b, err)
	}
}

func TestPanickingSource(t *testing.T) {
	dir := t.TempDir()
	defer func() {
		if recover() != "source" {
			t.Error("the panic was lost")
		}
		wantFiles(t, dir)
	}()
	WriteSafetensors(filepath.Join(dir, "w"), nil, []Source{{"x", nil, func(func([]float32) bool) { panic("source") }, ""}})
}

func BenchmarkEncode(b *testing.B) {
	x := tensor.New(4 << 20)
	b.SetBytes(int64(4 * x.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := EncodeSafetensors(io.Discard, nil, []Source{FromTensor("x", x)}); err != nil {
			b.Fatal(err)
		}
	}
}
