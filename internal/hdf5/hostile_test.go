package hdf5

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// readAll reads every object of a file. It returns their number and the first error.
func readAll(b []byte) (objects int, err error) {
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return 0, err
	}
	root, err := f.Root()
	if err != nil {
		return 0, err
	}
	note := func(e error) {
		if err == nil {
			err = e
		}
	}
	visited := map[*Object]bool{root: true}
	for open := []*Object{root}; len(open) > 0; open = open[1:] {
		o := open[0]
		for _, name := range []string{"fixed", "variable", "scalar", "extra3", "name"} {
			_, _, e := o.Strings(name)
			note(e)
		}
		if o.IsDataset() {
			d, e := o.Dataset()
			note(e)
			if e == nil {
				if d.Bytes() > maxExpansion*int64(len(b))+smallEnough {
					return len(visited), errors.New("a dataset larger than it may be")
				}
				note(d.ReadAt(make([]byte, d.Bytes()), 0))
			}
		}
		names, e := o.Names()
		note(e)
		for _, name := range names {
			child, e := o.Child(name)
			note(e)
			if e == nil && !visited[child] {
				visited[child] = true
				open = append(open, child)
			}
		}
	}
	return len(visited), err
}

func fixtures(t testing.TB) map[string][]byte {
	paths, err := filepath.Glob(vggtest.Fixture(t, "testdata/files/*.h5"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(p)] = b
	}
	if len(all) < 7 {
		t.Fatalf("%d fixtures", len(all))
	}
	return all
}

// A group that contains itself counts as one object.
func TestCyclicGroups(t *testing.T) {
	for _, name := range []string{"cycle_old.h5", "cycle_new.h5"} {
		b := fixtures(t)[name]
		if n, err := readAll(b); n != 2 || err != nil {
			t.Errorf("%s: %d objects, %v; want the root and one in it", name, n, err)
		}
	}
}

// A truncated file doesn't open.
func TestTruncated(t *testing.T) {
	for name, b := range fixtures(t) {
		step := max(1, len(b)/500)
		for n := 0; n < len(b); n += step {
			_, err := Open(bytes.NewReader(b[:n]), int64(n))
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Fatalf("%s cut at %d of %d bytes: %v, want a *FormatError", name, n, len(b), err)
			}
		}
	}
}

// A file with a changed byte is read or gives an error, in little memory.
func TestChangedBytes(t *testing.T) {
	for name, original := range fixtures(t) {
		step := max(1, len(original)/100)
		if testing.Short() {
			step *= 10
		}
		bad := 0
		for at := 0; at < len(original); at += step {
			for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff} {
				b := bytes.Clone(original)
				b[at] = v
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := readAll(b)
				runtime.ReadMemStats(&after)
				if _, ok := errors.AsType[*FormatError](err); err != nil && !ok {
					t.Fatalf("%s with byte %d = %#x: %v, want a *FormatError", name, at, v, err)
				}
				if err != nil {
					bad++
				}
				if used := after.TotalAlloc - before.TotalAlloc; used > 256*uint64(len(b))+16<<20 {
					t.Fatalf("%s with byte %d = %#x: %d bytes allocated for %d", name, at, v, used, len(b))
				}
			}
		}
		if bad == 0 {
			t.Errorf("%s: no change was noticed", name)
		}
	}
}

// Sizes, offsets, axes and other numbers are replaced by very large ones.
func TestAbsurdNumbers(t *testing.T) {
	for name, original := range fixtures(t) {
		step := 8 * max(1, len(original)/2000)
		if testing.Short() {
			step *= 10
		}
		for at := 8; at+8 <= len(original); at += step {
			for _, v := range [][]byte{
				bytes.Repeat([]byte{0xff}, 8),
				{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
				{0, 0, 0, 0, 0, 0, 0, 1},
			} {
				b := bytes.Clone(original)
				copy(b[at:], v)
				if _, err := readAll(b); err != nil {
					if _, ok := errors.AsType[*FormatError](err); !ok {
						t.Fatalf("%s with %x at %d: %v, want a *FormatError", name, v, at, err)
					}
				}
			}
		}
	}
}

type failing struct{ after int64 }

func (f failing) ReadAt(b []byte, at int64) (int, error) {
	if at >= f.after {
		return 0, errors.New("bad sector")
	}
	return copy(b, Signature), io.EOF
}

// An error of the reader isn't taken for a malformed file.
func TestReadFails(t *testing.T) {
	_, err := Open(failing{0}, 1000)
	if err == nil || err.Error() != "bad sector" {
		t.Errorf("%v, want the reader's own error", err)
	}
	if _, err := Open(failing{1}, 1000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestErrors(t *testing.T) {
	types := fixtures(t)["types.h5"]
	f, err := Open(bytes.NewReader(types), int64(len(types)))
	if err != nil {
		t.Fatal(err)
	}
	root, err := f.Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.Child("no such"); err == nil || err.Error() != `"no such": not there` {
		t.Errorf("%v", err)
	}
	if _, err := root.Dataset(); err == nil || err.Error() != "no dataset" {
		t.Errorf("%v", err)
	}
	for _, c := range []struct {
		at   int
		b    string
		want string
	}{
		{0, "HDF", "no HDF5 file"},
		{8, "\x07", "superblock of version 7"},
		{13, "\x05", "addresses of 5 bytes"},
		{24, "\x01", "base address 1"},
		{40, "\xff\xff", "truncated: the superblock claims"},
	} {
		b := bytes.Clone(types)
		copy(b[c.at:], c.b)
		if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q at %d: %v, want %q in it", c.b, c.at, err, c.want)
		}
	}
}

func FuzzHDF5(f *testing.F) {
	for _, b := range fixtures(f) {
		if len(b) < 32<<10 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := readAll(b); err != nil {
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Fatalf("%v, want a *FormatError", err)
			}
		}
	})
}

// manyMessages is a file whose root group has n empty messages of a kind.
func manyMessages(kind byte, n int) []byte {
	b := []byte(Signature)
	b = append(b, 2, 8, 8, 0)
	for _, address := range []uint64{0, 1<<64 - 1, 0, 48} { // base, extension, end, root
		b = binary.LittleEndian.AppendUint64(b, address)
	}
	b = append(b, 0, 0, 0, 0)
	b = append(b, "OHDR\x02\x02"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(4*n))
	return append(append(b, bytes.Repeat([]byte{kind, 0, 0, 0}, n)...), 0, 0, 0, 0)
}

// Messages that take four bytes in the file take little memory.
func TestManyMessages(t *testing.T) {
	for kind, want := range map[byte]string{0: "", messageLink: "more than 131072 messages", messageAttribute: "more than 131072 messages"} {
		b := manyMessages(kind, 10<<18)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := Open(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			_, err = f.Root()
		}
		runtime.ReadMemStats(&after)
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("kind %#x: %v, want %q", kind, err, want)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 5*uint64(len(b)) {
			t.Errorf("kind %#x: %d bytes allocated for %d", kind, used, len(b))
		}
	}
}
