package hdf5

import (
	"bytes"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

type counted struct {
	io.ReaderAt
	bytes int64
}

func (c *counted) ReadAt(b []byte, at int64) (int, error) {
	c.bytes += int64(len(b))
	return c.ReaderAt.ReadAt(b, at)
}

// Read forwards, element by element, a compressed chunk is decompressed once.
func TestReadsChunksOnce(t *testing.T) {
	for _, path := range []string{"testdata/files/chunks.h5", "testdata/files/new_chunks.h5"} {
		text, err := os.ReadFile(vggtest.Fixture(t, path))
		if err != nil {
			t.Fatal(err)
		}
		c := &counted{ReaderAt: bytes.NewReader(text)}
		f, err := Open(c, int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		root, err := f.Root()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"gzip", "one_gzip", "all", "vector"} {
			o, err := root.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			d, err := o.Dataset()
			if err != nil {
				t.Fatal(err)
			}
			all, got := make([]byte, d.Bytes()), make([]byte, d.Bytes())
			if err := d.ReadAt(all, 0); err != nil {
				t.Fatal(err)
			}
			stored := int64(0)
			for _, chunk := range d.chunks {
				stored += chunk.stored
				if slices.Contains(d.grid.filters, filter{filterFletcher32}) {
					stored -= checksumBytes
				}
			}
			c.bytes = 0
			for at := 0; at < len(got); at += d.Type.Size {
				if err := d.ReadAt(got[at:at+d.Type.Size], int64(at)); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got, all) {
				t.Errorf("%s: %s: other values in pieces", path, name)
			}
			if c.bytes != stored {
				t.Errorf("%s: %s: %d bytes read, want the %d of the chunks", path, name, c.bytes, stored)
			}
			if d.kept != nil {
				t.Errorf("%s: %s: %d chunks are kept at the end", path, name, len(d.kept))
			}
		}
	}
}
