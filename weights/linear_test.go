package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
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
