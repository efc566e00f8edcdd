package hdf5

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// object is what h5py found at a path.
type object struct {
	Attributes map[string][]string
	Links      []string
	Type       string
	Shape      []int
	Data       string
}

func open(t testing.TB, path string) *File {
	t.Helper()
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	info, err := r.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(r, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Files of h5py are read as h5py reads them.
func TestReadsAsH5py(t *testing.T) {
	paths, err := filepath.Glob(vggtest.Fixture(t, "testdata/files/*.h5"))
	if err != nil || len(paths) < 7 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(strings.TrimSuffix(path, ".h5") + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var all map[string]object
			if err := json.Unmarshal(text, &all); err != nil {
				t.Fatal(err)
			}
			root, err := open(t, path).Root()
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range all {
				o := root
				if name != "" {
					if o, err = root.Lookup(strings.Split(name, "/")...); err != nil {
						t.Fatal(err)
					}
				}
				want.check(t, name, o)
			}
		})
	}
}

func (want *object) check(t *testing.T, name string, o *Object) {
	for key, values := range want.Attributes {
		got, ok, err := o.Strings(key)
		if err != nil || !ok || !slices.Equal(got, values) {
			t.Errorf("%s: attribute %s is %q, %t, %v; want %q", name, key, got, ok, err, values)
		}
	}
	if _, ok, err := o.Strings("no such"); ok || err != nil {
		t.Errorf("%s: an attribute that isn't there: %t, %v", name, ok, err)
	}
	if want.Type == "" {
		got, err := o.Sorted()
		if err != nil || !slices.Equal(got, want.Links) || o.IsDataset() {
			t.Errorf("%s: links %q, %v; want %q", name, got, err, want.Links)
		}
		return
	}
	d, err := o.Dataset()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	kind := want.Type
	if kind == "void16" {
		kind = "opaque"
	}
	if d.Type.Name != kind || !slices.Equal(d.Shape, want.Shape) || d.Type.BigEndian != strings.HasPrefix(name, "big_") {
		t.Errorf("%s: %+v %v, want %s %v", name, d.Type, d.Shape, kind, want.Shape)
	}
	data, err := hex.DecodeString(want.Data)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, d.Bytes())
	if err := d.ReadAt(got, 0); err != nil || !slices.Equal(got, data) {
		t.Errorf("%s: %x, %v; want %x", name, got, err, data)
	}
	// Reading in pieces gives the same.
	for size := int64(d.Type.Size); size < int64(len(data)); size += size + int64(d.Type.Size) {
		for at := int64(0); at < int64(len(data)); at += size {
			piece := make([]byte, min(size, int64(len(data))-at))
			if err := d.ReadAt(piece, at); err != nil || !slices.Equal(piece, data[at:at+int64(len(piece))]) {
				t.Fatalf("%s: %d bytes from %d on: %x, %v", name, size, at, piece, err)
			}
		}
	}
	if err := d.ReadAt(make([]byte, 1), d.Bytes()); err == nil {
		t.Errorf("%s: read past the end", name)
	}
}
