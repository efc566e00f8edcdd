package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// Pictures of every form of Parquet that pyarrow writes are read byte for byte, each in its
// part and class.
func TestParquetPictures(t *testing.T) {
	type row struct{ Part, Class, Path, SHA256 string }
	var layouts map[string][]row
	data, err := os.ReadFile("testdata/parquet/expected.json")
	if err == nil {
		err = json.Unmarshal(data, &layouts)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(layouts) != 9 {
		t.Fatalf("%d layouts, want 9", len(layouts))
	}
	for layout, want := range layouts {
		t.Run(layout, func(t *testing.T) {
			train, val, err := Open(t.Context(), filepath.Join("testdata/parquet", layout), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var got []row
			for _, d := range []*Dataset{train, val} {
				for i := range d.samples() {
					data, err := d.Read(i)
					if err != nil {
						t.Fatal(err)
					}
					sum := sha256.Sum256(data)
					var classes []string
					for _, l := range d.LabelsOf(i) {
						classes = append(classes, d.Classes[l])
					}
					_, path, _ := strings.Cut(filepath.Base(d.Samples[i].Name), "-")
					got = append(got, row{d.part, strings.Join(classes, "+"), path, hex.EncodeToString(sum[:])})
				}
			}
			order := func(a, b row) int { return strings.Compare(a.SHA256, b.SHA256) }
			slices.SortFunc(got, order)
			slices.SortFunc(want, order)
			if !slices.Equal(got, want) {
				t.Errorf("%v\nwant %v", got, want)
			}
			if want := []string{"cat", "dog", "bird"}; layout != "text" && layout != "several" && !slices.Equal(train.Classes, want) {
				t.Errorf("classes %v, want %v", train.Classes, want)
			}
		})
	}
}

// samples yields the indices of d's samples, none of nil.
func (d *Dataset) samples() []Sample {
	if d == nil {
		return nil
	}
	return d.Samples
}

// Bytes of a Parquet file may be anything: reading ends in an error that names the file, or
// in other pictures, never in a panic.
func TestBrokenParquet(t *testing.T) {
	files := []string{"dictionary/train.parquet", "v2/train.parquet", "several/train.parquet", "fallback/train.parquet"}
	for _, file := range files {
		whole, err := os.ReadFile(filepath.Join("testdata/parquet", file))
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		try := func(what string, data []byte) {
			err := readWhole(t, data)
			if err != nil {
				refused++
				if !strings.Contains(err.Error(), "x.parquet") {
					t.Errorf("%s: %s: %v, want an error that names the file", file, what, err)
				}
			}
		}
		if err := readWhole(t, whole); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		tries := 400
		if testing.Short() {
			tries = 100
		}
		for range tries {
			data := slices.Clone(whole)
			for range 1 + rng.IntN(3) {
				at := rng.IntN(len(data))
				if rng.IntN(2) == 0 { // more often in the footer
					at = len(data) - 1 - rng.IntN(min(2500, len(data)))
				}
				data[at] ^= byte(1 + rng.IntN(255))
			}
			try("changed", data)
			try("cut", whole[:rng.IntN(len(whole))])
		}
		if refused < tries {
			t.Errorf("%s: %d of %d broken files were refused", file, refused, 2*tries)
		}
	}
}

// readWhole opens a file and reads every picture.
func readWhole(t *testing.T, data []byte) error {
	d, _, err := Open(t.Context(), "x.parquet", OpenOptions{FS: onlyFile{"x.parquet", data}})
	if err != nil {
		return err
	}
	for i := range d.Samples {
		if _, e := d.Read(i); e != nil && err == nil {
			err = e
		}
	}
	return err
}

// onlyFile is a file system of one file that can be read at any place.
type onlyFile struct {
	name string
	data []byte
}

func (f onlyFile) Open(name string) (fs.File, error) {
	if name != f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memoryFile{bytes.NewReader(f.data), newMemoryInfo(name, f.data)}, nil
}

func TestParquetRefuses(t *testing.T) {
	hub := func(t *testing.T, file string) []byte {
		data, err := os.ReadFile(filepath.Join("testdata/parquet", file))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, c := range []struct {
		name, want string
		files      map[string]string // of the fixtures
	}{
		{"a part of a series", "files are missing: data/train-00001-of-00002.parquet", map[string]string{"data/train-00000-of-00002.parquet": "hub/data/train-00000-of-00002.parquet"}},
		{"two sets", "folders of Parquet files: a and b", map[string]string{"a/x.parquet": "lz4/train.parquet", "b/x.parquet": "v2/train.parquet"}},
		{"paths without files", "no images beside train.parquet", map[string]string{"train.parquet": "paths/train.parquet"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for file, from := range c.files {
				vggtest.WriteFiles(t, dir, map[string][]byte{file: hub(t, from)})
			}
			if _, _, err := Open(t.Context(), dir, OpenOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A table of paths in Parquet is a table like others.
func TestParquetOfPaths(t *testing.T) {
	dir := layout(t, "a/1.png", "", "a/2.png", "", "b/3.png", "", "b/4.png", "")
	data, err := os.ReadFile("testdata/parquet/paths/train.parquet")
	if err != nil {
		t.Fatal(err)
	}
	vggtest.WriteFiles(t, dir, map[string][]byte{"train.parquet": data})
	d, _, err := Open(t.Context(), dir, OpenOptions{Columns: Columns{Image: "image"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(names(d), " "), "a/1.png=cat a/2.png=cat b/3.png=dog b/4.png=dog"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Reading a picture reads its page and the page's dictionary, wherever in the file it lies.
func TestParquetReadsOnePage(t *testing.T) {
	for _, c := range []struct {
		file string
		most int64 // bytes
	}{
		{"pages/train.parquet", 2000},
		{"hub/data/train-00000-of-00002.parquet", 3000},
	} {
		data, err := os.ReadFile(filepath.Join("testdata/parquet", c.file))
		if err != nil {
			t.Fatal(err)
		}
		p, err := openParquet(onlyFile{"x.parquet", data}, "x.parquet")
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.setPictures(Columns{}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		read := &countingReader{ReaderAt: p.r}
		p.r = read
		for row := range int(p.file.NumRows()) {
			read.bytes = 0
			if _, err := p.pictures.read(row); err != nil {
				t.Fatal(err)
			}
			if read.bytes == 0 || read.bytes > c.most {
				t.Errorf("%s: row %d: %d bytes were read of %d, want at most %d", c.file, row, read.bytes, len(data), c.most)
			}
		}
	}
}

// countingReader counts the bytes that are read.
type countingReader struct {
	io.ReaderAt
	bytes int64
}

func (r *countingReader) ReadAt(b []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(b, at)
	r.bytes += int64(n)
	return n, err
}
