package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/tensor"
)

// A half rounds to itself, and a number between two halves to the nearer one.
func TestToHalf(t *testing.T) {
	for h := range 1 << 16 {
		f := fromHalf(uint16(h))
		got := toHalf(f)
		if f != f {
			if got&0x7c00 != 0x7c00 || got&0x3ff == 0 {
				t.Fatalf("NaN %04x became %04x", h, got)
			}
		} else if got != uint16(h) {
			t.Fatalf("%04x became %04x", h, got)
		}
	}
	for h := uint16(0); h < 0x7bff; h++ {
		a, b := float64(fromHalf(h)), float64(fromHalf(h+1))
		even := h + h&1
		for _, c := range []struct {
			f    float64
			want uint16
		}{
			{(a + b) / 2, even},
			{(3*a + b) / 4, h},
			{(a + 3*b) / 4, h + 1},
			{math.Nextafter((a+b)/2*(1+0x1p-20), 1), h + 1},
			{(a + b) / 2 * (1 - 0x1p-20), h},
		} {
			f := float32(c.f)
			if got := toHalf(f); got != c.want || toHalf(-f) != c.want|0x8000 {
				t.Fatalf("%v, between %v and %v, became %04x, want %04x", f, a, b, got, c.want)
			}
		}
	}
	for f, want := range map[float32]uint16{65519.996: 0x7bff, 65520: 0x7c00, 1e9: 0x7c00, 0x1p-25: 0, 0x1.000002p-25: 1, 1e-45: 0} {
		if got := toHalf(f); got != want {
			t.Errorf("%v became %04x, want %04x", f, got, want)
		}
	}
}

func values(x ...float32) iter.Seq[[]float32] {
	return func(yield func([]float32) bool) {
		for p := range slices.Chunk(x, 2) {
			if !yield(p) {
				return
			}
		}
	}
}

// writers write files that Open reads.
var writers = map[Format]func(path string, metadata map[string]string, tensors []Source) error{
	Safetensors: WriteSafetensors, PyTorch: WritePyTorch, NPZ: WriteNPZ,
}

func TestWriteDTypes(t *testing.T) {
	inf := float32(math.Inf(1))
	for format, write := range writers {
		t.Run(string(format), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "w")
			meta := map[string]string{"config": `A <&> "é" 犬`, "labels": "[\"a\"]"}
			sources := []Source{
				{"a.weight", []int{2, 3}, values(1, -2, 0.1, 65519, inf, -inf), "F16"},
				{"b", []int{3}, values(1, 1e38, 0.1), "F32"},
				{"none", []int{0, 4}, values(), "F16"},
				{"scalar", nil, values(0.9), ""},
			}
			if format != NPZ {
				sources = append(sources, Source{"c", []int{1, 3}, values(1, 1e38, 0.1), "BF16"})
			}
			if err := write(path, meta, sources); err != nil {
				t.Fatal(err)
			}
			f, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Format() != format || !maps.Equal(f.Metadata(), meta) {
				t.Errorf("%s with metadata %q, want %s with %q", f.Format(), f.Metadata(), format, meta)
			}
			want := map[string]string{
				"a.weight": "F16 [2 3] [1 -2 0.099975586 65504 +Inf -Inf]",
				"b":        "F32 [3] [1 1e+38 0.1]",
				"none":     "F16 [0 4] []",
				"scalar":   "F32 [] [0.9]",
				"c":        "BF16 [1 3] [1 9.96921e+37 0.100097656]",
			}
			for i, e := range f.Tensors() {
				x, err := f.Read(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(e.DType, " ", e.Shape, " ", x.Data); e.Name != sources[i].Name || got != want[e.Name] {
					t.Errorf("tensor %d: %s: %s, want %s: %s", i, e.Name, got, sources[i].Name, want[e.Name])
				}
			}
			if len(f.Tensors()) != len(sources) {
				t.Errorf("%d tensors, want %d", len(f.Tensors()), len(sources))
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := write(path, meta, sources); err != nil {
				t.Fatal(err)
			}
			if again, err := os.ReadFile(path); err != nil || !bytes.Equal(b, again) {
				t.Errorf("the same tensors gave other bytes (%v)", err)
			}
		})
	}
}

func TestWritersRefuse(t *testing.T) {
	many := func(n int) []int { return slices.Repeat([]int{1}, n) }
	for format, write := range writers {
		for name, c := range map[string]struct {
			sources []Source
			want    string
		}{
			"beyond F16":    {[]Source{{"a", []int{3}, values(1, 2, 65520), "F16"}}, "a: element 2 is 65520, which F16 can't hold: its largest is 65504"},
			"beyond -F16":   {[]Source{{"a", []int{3}, values(1, -7e4, 1), "F16"}}, "a: element 1 is -70000, which F16 can't hold"},
			"unknown dtype": {[]Source{{"a", []int{1}, values(1), "I8"}}, "a: dtype I8 to write, want F32, F16 or BF16"},
			"few":           {[]Source{{"a", []int{3}, values(1, 2), "F16"}}, "a: 2 elements given, want 3 of shape [3]"},
			"many":          {[]Source{{"a", []int{3}, values(1, 2, 3, 4), "F16"}}, "a: 4 elements given, want 3 of shape [3]"},
			"negative":      {[]Source{{"a", []int{-1}, values(), ""}}, "a: shape [-1] negative or too large"},
			"twice":         {[]Source{{"a", nil, values(1), ""}, {"a", nil, values(1), ""}}, "a: name given twice"},
			"not UTF-8":     {[]Source{{"\xff", nil, values(1), ""}}, "name is not UTF-8"},
			"axes":          {[]Source{{"a", many(65), values(1), ""}}, "a: 65 axes, want at most"},
			"beyond BF16":   {[]Source{{"a", []int{1}, values(math.MaxFloat32), "BF16"}}, "a: element 0 is 3.4028235e+38, which BF16 can't hold: its largest is 3.3895314e+38"},
		} {
			want := c.want
			if format == NPZ && name == "beyond BF16" {
				want = "a: dtype BF16, which numpy doesn't have"
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "w")
			err := write(path, nil, c.sources)
			if err == nil || !strings.HasPrefix(err.Error(), "weights: "+path+": ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %s: %v, want %q in it", format, name, err, want)
			}
			wantFiles(t, dir)
		}
		err := write(filepath.Join(t.TempDir(), "w"), map[string]string{"k": "\xff"}, nil)
		if err == nil || !strings.Contains(err.Error(), "metadata: k: not UTF-8") {
			t.Errorf("%s: %v", format, err)
		}
	}
	err := WriteNPZ(filepath.Join(t.TempDir(), "w"), map[string]string{"k": strings.Repeat("v", 1<<16)}, nil)
	if err == nil || !strings.Contains(err.Error(), "want at most the 65535 of a zip file's comment") {
		t.Error(err)
	}
}

// Writing any format takes memory for a buffer and the header, not for a second copy of
// the tensors. Opening reads no tensor, and reading a range reads only that.
func TestFormatsMemory(t *testing.T) {
	x := tensor.New(4 << 20) // 16 MiB
	for format, write := range writers {
		path := filepath.Join(t.TempDir(), "w")
		least, leastRead := ^uint64(0), ^uint64(0)
		for range 3 {
			var before, middle, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := write(path, nil, []Source{FromTensor("x", x)}); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&middle)
			f, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			part := make([]float32, 1000)
			if err := f.ReadRange("x", 1<<20, part); err != nil {
				t.Fatal(err)
			}
			f.Close()
			runtime.ReadMemStats(&after)
			least = min(least, middle.TotalAlloc-before.TotalAlloc)
			leastRead = min(leastRead, after.TotalAlloc-middle.TotalAlloc)
		}
		if least > 1<<20 || leastRead > 300<<10 {
			t.Errorf("%s: %d bytes allocated to write %d, %d to read 4000 of it", format, least, 4*x.Len(), leastRead)
		}
	}
}

// The data of a member begins at a multiple of 64 bytes, so that torch.load can map it.
func TestTorchAlignment(t *testing.T) {
	var b bytes.Buffer
	err := encodeTorch(&b, map[string]string{"k": "v"}, []Source{source("a", 3), source("b", 1, 5), source("c"), source("d", 700)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := open(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range f.entries {
		if e.begin%64 != 0 || e.end == 0 {
			t.Errorf("%s lies at %d", e.Name, e.begin)
		}
	}
}

func TestTorchWritesThroughBrokenDisks(t *testing.T) {
	for after := range 40 {
		err := encodeTorch(&torchDisk{after: 60 * after}, nil, []Source{source("a", 100), source("b", 100)})
		if after < 30 && !errors.Is(err, errBroken) {
			t.Fatalf("after %d bytes: %v", 60*after, err)
		}
	}
}

var errBroken = errors.New("broken")

// torchDisk fails after so many bytes.
type torchDisk struct{ after int }

func (f *torchDisk) Write(b []byte) (int, error) {
	if f.after -= len(b); f.after < 0 {
		return 0, errBroken
	}
	return len(b), nil
}

var _ io.Writer = (*torchDisk)(nil)

// What is written is what PyTorch and numpy read.
func TestToolsReadWhatIsWritten(t *testing.T) {
	vggtest.SkipShort(t, "starts Python")
	for _, c := range []struct {
		format         Format
		script, module string
	}{{PyTorch, "pth.py", "torch"}, {NPZ, "npz.py", "numpy"}} {
		t.Run(string(c.format), func(t *testing.T) {
			interpreter := vggtest.Python(t, c.module)
			path := filepath.Join(t.TempDir(), "w.bin")
			sources := []Source{source("features.0.weight", 4, 3, 3, 3), source("0", 300), source("犬 \"x\"", 3, 1, 2), source("scalar"), source("none", 2, 0)}
			sources[0].DType, sources[2].DType = "F16", "F16"
			if c.format == PyTorch {
				sources[1].DType = "BF16"
			}
			if err := writers[c.format](path, map[string]string{"config": "A"}, sources); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(interpreter, filepath.Join("../tools/oracle", c.script), "read", path)
			cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
			out, err := cmd.Output()
			if err != nil {
				if ee, ok := errors.AsType[*exec.ExitError](err); ok {
					t.Fatalf("%v: %s", err, ee.Stderr)
				}
				t.Fatal(err)
			}
			var got []struct {
				Name, DType string
				Shape       []int
				Contiguous  bool
				Values      []float64
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			f, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if len(got) != len(sources) {
				t.Fatalf("%d tensors read, want %d", len(got), len(sources))
			}
			names := map[string]string{"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
			for i, s := range sources {
				g := got[i]
				if g.Name != s.Name || strings.TrimPrefix(g.DType, "torch.") != names[s.dtype()] || !slices.Equal(g.Shape, s.Shape) || !g.Contiguous {
					t.Errorf("read %s %s %v, contiguous %v; want %s %s %v", g.Name, g.DType, g.Shape, g.Contiguous, s.Name, s.dtype(), s.Shape)
				}
				x, err := f.Read(s.Name)
				if err != nil {
					t.Fatal(err)
				}
				for j, v := range x.Data {
					if g.Values[j] != float64(v) || s.DType == "" && v != elements(s)[j] {
						t.Errorf("%s: element %d is %v here, %v there", s.Name, j, v, g.Values[j])
						break
					}
				}
			}
		})
	}
}
