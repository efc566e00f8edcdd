package dataset

import (
	"bytes"
	"context"
	"os"
	"testing"
	"testing/fstest"
)

// TestParquetDamagedPages: a file with any bytes of its pages changed takes little memory. The
// library unpacks a damaged LZ4 page into more and more memory, without end.
func TestParquetDamagedPages(t *testing.T) {
	for _, name := range []string{"lz4", "v2", "dictionary", "pages"} {
		whole, err := os.ReadFile("testdata/parquet/" + name + "/train.parquet")
		if err != nil {
			t.Fatal(err)
		}
		read := func(file []byte) error {
			d, _, err := Open(context.Background(), ".", OpenOptions{FS: fstest.MapFS{"train.parquet": {Data: file}}})
			if err != nil {
				return err
			}
			for i := range d.Samples {
				if _, err := d.Read(i); err != nil {
					return err
				}
			}
			return nil
		}
		if err := read(whole); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		bad := 0
		for at := 4; at < len(whole)-8; at += len(whole) / 60 {
			damaged := bytes.Clone(whole)
			for i := at; i < min(at+6, len(whole)-8); i++ {
				damaged[i] ^= 0xff
			}
			if used := heapPeak(func() {
				if read(damaged) != nil {
					bad++
				}
			}); used > 64<<20 {
				t.Fatalf("%s with bytes %d on changed: %d MiB of memory", name, at, used>>20)
			}
		}
		if bad == 0 {
			t.Errorf("%s: no change was noticed", name)
		}
	}
}
