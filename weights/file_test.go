package weights

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/verydeep/vgg/internal/vggtest"

	"github.com/verydeep/vgg/tensor"
)

// source returns a tensor of that shape with pseudo-random values that depend on its name.
func source(name string, shape ...int) Source {
	x := tensor.New(shape...)
	r := rand.New(rand.NewPCG(uint64(len(name)), uint64(x.Len())))
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	return FromTensor(name, x)
}

// raw returns a file with this header and this data.
func raw(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func open(b []byte) (*File, error) {
	return OpenReader(context.Background(), "t.safetensors", bytes.NewReader(b), int64(len(b)))
}

func written(t *testing.T, meta map[string]string, sources ...Source) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w.safetensors")
	if err := WriteSafetensors(path, meta, sources); err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestTensorsAreInFileOrder(t *testing.T) {
	f, err := open(raw(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},`+
		`"a":{"shape":[2],"data_offsets":[0,2],"dtype":"I8"}}`, 1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{{"a", "I8", []int{2}}, {"b", "U8", []int{1}}}
	got := f.Tensors()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("Tensors = %v, want %v", got, want)
	}
	got[0].Shape[0] = 9
	f.Metadata()["x"] = "y"
	if f.Tensors()[0].Shape[0] != 2 || len(f.Metadata()) != 0 {
		t.Error("a caller can change the file's own description")
	}
}

// Chunks are converted independently: lengths around the chunk's, in every type, at an odd
// offset of the file.
func TestChunks(t *testing.T) {
	for dtype, size := range map[string]int{"F16": 2, "BF16": 2, "F32": 4, "F64": 8} {
		for _, n := range []int{0, 1, chunk/size - 1, chunk / size, chunk/size + 1, 2*chunk/size + 3} {
			data := make([]byte, 1+n*size)
			r := rand.NewChaCha8([32]byte{byte(n)})
			r.Read(data)
			f, err := open(raw(fmt.Sprintf(`{"odd":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},`+
				`"x":{"dtype":%q,"shape":[%d],"data_offsets":[1,%d]}}`, dtype, n, 1+n*size), data...))
			if err != nil {
				t.Fatal(err)
			}
			got, want := make([]float32, n), make([]float32, n)
			if err := f.ReadInto("x", got); err != nil {
				t.Fatal(err)
			}
			convert(want, data[1:], dtype)
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%s: element %d of %d is %v, want %v", dtype, i, n, got[i], want[i])
				}
			}
		}
	}
}

func TestHalf(t *testing.T) {
	for h := range 1 << 16 {
		got := float64(fromHalf(uint16(h)))
		exponent, fraction := h>>10&0x1f, float64(h&0x3ff)
		var want float64
		switch {
		case exponent == 0x1f && fraction == 0:
			want = math.Inf(1)
		case exponent == 0x1f:
			want = math.NaN()
		case exponent == 0:
			want = math.Ldexp(fraction, -24)
		default:
			want = math.Ldexp(1024+fraction, exponent-25)
		}
		if h>>15 == 1 {
			want = math.Copysign(want, -1)
		}
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != math.Signbit(want) {
			t.Fatalf("half %#04x is %v, want %v", h, got, want)
		}
	}
}

func TestReadErrors(t *testing.T) {
	f := written(t, nil, source("conv1_1.weight", 64, 3, 3, 3), source("conv1_1.bias", 64), source("fc6.weight", 4, 5))

	_, err := f.Read("conv1_1.weigth")
	nf, ok := errors.AsType[*NotFoundError](err)
	if !ok || nf.Count != 3 || len(nf.Near) != 3 || nf.Near[0] != "conv1_1.weight" || nf.Tensor != "conv1_1.weigth" {
		t.Errorf("misspelt name: %#v", err)
	}
	if want := "conv1_1.weigth: no such tensor among 3; nearest: conv1_1.weight, "; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("%v, want %s…", err, want)
	}

	err = f.ReadTensor("conv1_1.weight", tensor.New(64, 4, 3, 3))
	se, ok := errors.AsType[*ShapeError](err)
	if want := "weights: " + f.Name() + ": conv1_1.weight: shape [64 3 3 3], want [64 4 3 3]"; !ok || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	} else if !slices.Equal(se.Shape, []int{64, 3, 3, 3}) {
		t.Errorf("%#v", se)
	}
	// The same number of elements is not the same shape.
	if err := f.ReadTensor("fc6.weight", tensor.New(5, 4)); err == nil {
		t.Error("a tensor of shape [4 5] was read as [5 4]")
	}
	if err := f.ReadTensor("fc6.weight", tensor.New(4, 5)); err != nil {
		t.Error(err)
	}
	for _, n := range []int{0, 63, 65} {
		if err := f.ReadInto("conv1_1.bias", make([]float32, n)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("shape [64] has 64 elements, want %d", n)) {
			t.Errorf("64 elements into %d: %v", n, err)
		}
	}
	for what, err := range map[string]error{
		"ReadInto":   f.ReadInto("x", nil),
		"ReadTensor": f.ReadTensor("x", tensor.New()),
		"Lookup":     func() error { _, err := f.Lookup("x"); return err }(),
	} {
		if _, ok := errors.AsType[*NotFoundError](err); !ok {
			t.Errorf("%s of no tensor: %v", what, err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), "none") != 1 {
		t.Errorf("no such file: %v", err)
	}
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "a directory, want a file") {
		t.Errorf("directory: %v", err)
	}
}

// failing serves n bytes of its reader and then has an error.
type failing struct {
	io.ReaderAt
	n   int64
	err error
}

func (f failing) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) <= f.n {
		return f.ReaderAt.ReadAt(b, at)
	}
	n, _ := f.ReaderAt.ReadAt(b[:max(0, f.n-at)], at)
	return n, f.err
}

// A file that shrinks after it was opened, or a disk that fails, gives an error that names
// the tensor, or the file if the header can't be read.
func TestReadFails(t *testing.T) {
	var b bytes.Buffer
	if err := EncodeSafetensors(&b, nil, []Source{source("a", 200), source("b", 3)}); err != nil {
		t.Fatal(err)
	}
	bad := errors.New("bad sector")
	headers, data := 0, 0
	for n := range b.Len() {
		for _, cause := range []error{bad, io.EOF, nil} {
			want := cause
			if cause != bad {
				want = io.ErrUnexpectedEOF
			}
			r := failing{bytes.NewReader(b.Bytes()), int64(n), cause}
			f, err := OpenReader(t.Context(), "f", r, int64(b.Len()))
			if f == nil {
				if !errors.Is(err, want) {
					t.Fatalf("header cut at %d: %v, want %v", n, err, want)
				}
				headers++
				continue
			}
			data++
			if _, err := f.Read("b"); !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "weights: f: b: ") {
				t.Fatalf("data cut at %d: %v, want %v", n, err, want)
			}
			if cause == nil {
				continue // short without an error: against io.ReaderAt's contract
			}
			if _, err := f.SHA256(t.Context()); !errors.Is(err, want) {
				t.Fatalf("SHA256 of a file cut at %d: %v, want %v", n, err, want)
			}
		}
	}
	if headers == 0 || data == 0 {
		t.Errorf("%d cuts in the header, %d in the data, want some of both", headers, data)
	}
}

// A header that is longer than the first read takes a second.
func TestLongHeaderFails(t *testing.T) {
	b := raw("{}" + strings.Repeat(" ", 2*sniffBytes))
	if _, err := open(b); err != nil {
		t.Fatal(err)
	}
	_, err := OpenReader(t.Context(), "f", failing{bytes.NewReader(b), sniffBytes + 1, io.EOF}, int64(len(b)))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestReadIntoRefusesIntegers(t *testing.T) {
	f, err := open(raw(one("I64", "[1]", "[0,8]"), 1, 2, 3, 4, 5, 6, 7, 8))
	if err != nil {
		t.Fatal(err)
	}
	want := "weights: t.safetensors: a: dtype I64, want F32, F16, BF16 or F64"
	if err := f.ReadInto("a", make([]float32, 1)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestSHA256(t *testing.T) {
	f := written(t, map[string]string{"a": "b"}, source("x", 7))
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	if got, err := f.SHA256(t.Context()); err != nil || got != hex.EncodeToString(sum[:]) {
		t.Errorf("SHA256 = %s, %v; want %x", got, err, sum)
	}
	if f.Size() != int64(len(b)) {
		t.Errorf("Size = %d, want %d", f.Size(), len(b))
	}
}

func TestClose(t *testing.T) {
	f := written(t, nil, source("x", 7))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read("x"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Read of a closed file: %v", err)
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Close of a closed file: %v", err)
	}
}

func TestConcurrentReads(t *testing.T) {
	var sources []Source
	for i := range 8 {
		sources = append(sources, source(strings.Repeat("x", i+1), 1000+i))
	}
	f := written(t, nil, sources...)
	var wg sync.WaitGroup
	for _, s := range sources {
		wg.Go(func() {
			for range 20 {
				if x, err := f.Read(s.Name); err != nil || !slices.Equal(x.Data, elements(s)) {
					t.Errorf("%s: %v, or other data", s.Name, err)
				}
			}
		})
	}
	wg.Wait()
}

// Reading gives what was written: names, shapes, every bit of the data, metadata.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		meta := rapid.MapOfN(rapid.String(), rapid.String(), 0, 4).Draw(t, "metadata")
		names := rapid.SliceOfNDistinct(
			rapid.String().Filter(func(s string) bool { return s != metadataKey }), 0, 6, rapid.ID).Draw(t, "names")
		var sources []Source
		for _, name := range names {
			x := tensor.New(rapid.SliceOfN(rapid.IntRange(0, 5), 0, 4).Draw(t, "shape")...)
			for i := range x.Data {
				x.Data[i] = math.Float32frombits(rapid.Uint32().Draw(t, "bits"))
			}
			sources = append(sources, FromTensor(name, x))
		}
		var b, again bytes.Buffer
		if err := EncodeSafetensors(&b, meta, sources); err != nil {
			t.Fatal(err)
		}
		if err := EncodeSafetensors(&again, meta, sources); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Fatalf("the same tensors gave other bytes (%v)", err)
		}
		if n := binary.LittleEndian.Uint64(b.Bytes()); n%8 != 0 {
			t.Fatalf("header of %d bytes, want a multiple of 8", n)
		}
		f, err := open(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Metadata(); len(got) != len(meta) {
			t.Fatalf("metadata %q, want %q", got, meta)
		}
		for k, v := range meta {
			if f.Metadata()[k] != v {
				t.Fatalf("metadata %q is %q, want %q", k, f.Metadata()[k], v)
			}
		}
		if len(f.Tensors()) != len(sources) {
			t.Fatalf("%d tensors, want %d", len(f.Tensors()), len(sources))
		}
		for _, s := range sources {
			x, err := f.Read(s.Name)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(x.Shape, s.Shape) {
				t.Fatalf("%q: shape %v, want %v", s.Name, x.Shape, s.Shape)
			}
			for i, v := range elements(s) {
				if math.Float32bits(x.Data[i]) != math.Float32bits(v) {
					t.Fatalf("%q: element %d is %x, want %x", s.Name, i, x.Data[i], v)
				}
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	const n = 4 << 20
	for dtype, size := range map[string]int{"F32": 4, "F16": 2, "BF16": 2, "F64": 8} {
		b.Run(dtype, func(b *testing.B) {
			f, err := open(raw(one(dtype, fmt.Sprintf("[%d]", n), fmt.Sprintf("[0,%d]", n*size)), make([]byte, n*size)...))
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]float32, n)
			b.SetBytes(int64(n * size))
			b.ReportAllocs()
			for b.Loop() {
				if err := f.ReadInto("a", dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// elements returns all that s yields.
func elements(s Source) []float32 {
	var all []float32
	for piece := range s.Data {
		all = append(all, piece...)
	}
	return all
}

func TestSHA256Cancelled(t *testing.T) {
	f := written(t, nil, source("x", 1<<16))
	vggtest.Cancel(t, 2, func(ctx context.Context) error { _, err := f.SHA256(ctx); return err })
}
