package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/scigolib/hdf5"
)

// A compressed array in column-major order is inflated once, however many pieces it is read
// in.
func TestCompressedTransposedReadsOnce(t *testing.T) {
	const rows, columns = 64, 2048
	r := rand.New(rand.NewPCG(1, 2))
	want := make([]float32, rows*columns)
	data := make([]byte, 4*len(want))
	for i := range want {
		want[i] = r.Float32()
		at := i%columns*rows + i/columns
		binary.LittleEndian.PutUint32(data[4*at:], math.Float32bits(want[i]))
	}
	file := npzZip(zip.Deflate, npyOf("<f4", "True", "(64, 2048)", data...), npyOf("<f4", "True", "(64, 2048)", data...))
	c := &counting{ReaderAt: bytes.NewReader(file)}
	f, err := OpenReader(t.Context(), "a.npz", c, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	c.bytes = 0
	for _, name := range []string{"a", "b"} {
		got := make([]float32, len(want))
		const piece = 1000
		for start := 0; start < len(want); start += piece {
			if err := f.ReadRange(name, start, got[start:min(start+piece, len(want))]); err != nil {
				t.Fatal(err)
			}
		}
		for i, v := range got {
			if v != want[i] {
				t.Fatalf("%s: element %d is %v, want %v", name, i, v, want[i])
			}
		}
	}
	if c.bytes > len(file)*5/4 {
		t.Errorf("%d bytes read of a file of %d", c.bytes, len(file))
	}
	if f.last.values != nil {
		t.Error("the values are kept after the last was read")
	}
}

// largeFiles writes files of one tensor whose values are read in another order than they lie
// in, or in one piece: an array of numpy.savez_compressed in column-major order, one of HDF5
// in a single chunk by gzip, and a plain one.
func largeFiles(t testing.TB) map[string]string {
	t.Helper()
	const rows, columns = 512, 2048
	r := rand.New(rand.NewPCG(1, 2))
	values := make([]float32, rows*columns)
	var data []byte
	for i := range values {
		values[i] = r.Float32()
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(values[i]))
	}
	dir := t.TempDir()
	files := map[string]string{}
	path := func(name string) string {
		files[name] = filepath.Join(dir, name)
		return files[name]
	}
	if err := os.WriteFile(path("transposed.npz"), npzZip(zip.Deflate, npyOf("<f4", "True", fmt.Sprintf("(%d, %d)", rows, columns), data...)), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("plain.safetensors"), raw(one("F32", fmt.Sprintf("[%d,%d]", rows, columns), fmt.Sprintf("[0,%d]", len(data))), data...), 0o666); err != nil {
		t.Fatal(err)
	}
	h, err := hdf5.CreateForWrite(path("one-chunk.h5"), hdf5.CreateTruncate)
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range []string{"/layers", "/layers/dense", "/layers/dense/vars"} {
		if _, err := h.CreateGroup(group); err != nil {
			t.Fatal(err)
		}
	}
	shape := []uint64{rows, columns}
	set, err := h.CreateDataset("/layers/dense/vars/0", hdf5.Float32, shape, hdf5.WithChunkDims(shape), hdf5.WithShuffle(), hdf5.WithGZIPCompression(1))
	if err == nil {
		err = set.Write(values)
	}
	if err = errors.Join(err, h.Close()); err != nil {
		t.Fatal(err)
	}
	return files
}

// BenchmarkOrders reads a tensor in the pieces in which a network takes it, from files that
// have it in another order or in one piece. read/byte is the bytes read of the file for each
// byte that it has; it is 1 where reading is linear.
func BenchmarkOrders(b *testing.B) {
	for name, path := range largeFiles(b) {
		b.Run(name, func(b *testing.B) {
			file, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			c := &counting{ReaderAt: bytes.NewReader(file)}
			f, err := OpenReader(b.Context(), name, c, int64(len(file)))
			if err != nil {
				b.Fatal(err)
			}
			e := f.Tensors()[0]
			n := e.Shape[0] * e.Shape[1]
			const piece = 1 << 15
			dst := make([]float32, piece)
			c.bytes = 0
			b.SetBytes(int64(4 * n))
			for b.Loop() {
				for start := 0; start < n; start += piece {
					if err := f.ReadRange(e.Name, start, dst[:min(piece, n-start)]); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(c.bytes)/float64(b.N)/float64(len(file)), "read/byte")
		})
	}
}
