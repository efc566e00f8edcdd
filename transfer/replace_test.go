package transfer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/internal/vggtest"
)

// made returns descriptors of n images, of three numbers each; all of them are first.
func made(n int, first float32) *Descriptors {
	h := Header{
		Format: fileFormat, Data: eval.DataID{Name: "d", Images: n, Classes: []string{"a", "b"}}, Layout: oneClass,
		Nets: []NetID{{Weights: "w", Scales: []int{40}, Channels: 3}}, Regions: []Region{WholeImage}, Shard: eval.Shard{Index: 1, Count: 1}, Dim: 3,
	}
	d := &Descriptors{Header: h, Rows: make([]Row, n)}
	for i := range d.Rows {
		d.Rows[i] = Row{Image: i, File: "f", Labels: []int{i % 2}}
	}
	d.read = func(_ int, dst []float32) error {
		for i := range dst {
			dst[i] = first
		}
		return nil
	}
	return d
}

// wantDescriptors fails unless the file holds those of made(n, first).
func wantDescriptors(t *testing.T, what, path string, n int, first float32) {
	t.Helper()
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	defer d.Close()
	x, err := d.Load(t.Context())
	if err != nil || len(x) != 3*n || x[0] != first || x[3*n-1] != first {
		t.Errorf("%s: %d numbers, %v to %v, %v; want %d of %v", what, len(x), x[0], x[len(x)-1], err, 3*n, first)
	}
}

var errRead = errors.New("can't be read")

// An error in the middle of a file leaves the earlier one, and nothing else.
func TestWriteKeepsTheEarlierFile(t *testing.T) {
	for _, name := range []string{"f.npy", "f.safetensors", "f.jsonl"} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := made(1000, 1).Write(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		files := func() map[string]string {
			texts := map[string]string{}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				b, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				texts[e.Name()] = string(b)
			}
			return texts
		}
		before := files()
		broken := made(200_000, 2) // several pieces
		read := broken.read
		broken.read = func(start int, dst []float32) error {
			if start > 0 {
				return errRead
			}
			return read(start, dst)
		}
		if err := broken.Write(t.Context(), path); !errors.Is(err, errRead) {
			t.Errorf("%s: %v, want %v", name, err, errRead)
		}
		after := files()
		for file, text := range before {
			if after[file] != text {
				t.Errorf("%s: %s has changed, from %d bytes to %d", name, file, len(text), len(after[file]))
			}
		}
		if len(after) != len(before) {
			t.Errorf("%s: %d files, want %d", name, len(after), len(before))
		}
	}
}

// However far the renaming of a pair has come, the pair is whole, and the next write ends it.
func TestPairIsWholeAtEveryStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.npy")
	fresh := path + newSuffix
	write := func(d *Descriptors, path string) {
		t.Helper()
		if err := d.Write(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	write(made(5, 1), path)
	write(made(5, 2), fresh) // as Write leaves it before it renames
	wantDescriptors(t, "before", path, 5, 1)
	if err := os.Rename(fresh+indexSuffix, path+indexSuffix); err != nil {
		t.Fatal(err)
	}
	wantDescriptors(t, "the index renamed", path, 5, 2)
	if err := settle(path); err != nil {
		t.Fatal(err)
	}
	wantDescriptors(t, "settled", path, 5, 2)

	// A pair that never got into its place goes, whole or not.
	write(made(5, 3), fresh)
	write(made(5, 4), path)
	wantDescriptors(t, "written again", path, 5, 4)
	if left, _ := filepath.Glob(path + ".*.*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestWriteThroughLinks(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "f.npy"), filepath.Join(dir, "link.npy")
	if err := os.Symlink("f.npy", link); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	if err := made(5, 1).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := made(6, 2).Write(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	wantDescriptors(t, "by the link", link, 6, 2)
}

// A file that another run writes is refused, and stays.
func TestWriteIsRefused(t *testing.T) {
	for _, name := range []string{"f.npy", "f.safetensors", "f.jsonl"} {
		path := filepath.Join(t.TempDir(), name)
		release, err := lockfile.Beside(path)
		if err != nil {
			t.Fatal(err)
		}
		held, ok := errors.AsType[*HeldError](made(5, 1).Write(t.Context(), path))
		if !ok || *held != (HeldError{Path: path, PID: os.Getpid()}) || exists(path) {
			t.Errorf("%s: %v, want a HeldError", name, held)
		}
		release()
		if err := made(5, 1).Write(t.Context(), path); err != nil {
			t.Error(err)
		}
	}
}

// A run that was killed when it had just made its files goes on; a file that isn't the run's
// stays.
func TestBeginning(t *testing.T) {
	images := open(t, Auto, folder(t))
	out, _ := extract(t, []Net{smallNet(1)}, images, "f.npy", Options{})
	_, want := contents(t, out)
	npy, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(out + indexSuffix)
	if err != nil {
		t.Fatal(err)
	}
	header := string(index[:strings.IndexByte(string(index), '\n')])
	for what, files := range map[string]map[string][]byte{
		"index":               {"f.npy.jsonl": nil},
		"index, numbers":      {"f.npy.jsonl": nil, "f.npy": nil},
		"index, some numbers": {"f.npy.jsonl": []byte(header[:9]), "f.npy": npy[:len(npy)/2]},
		"numbers, no header":  {"f.npy.jsonl": []byte(header), "f.npy": npy},
		"work":                {"f.npy.part.npy.jsonl": index[:len(index)/2], "f.npy.part.npy": npy},
		"work's index alone":  {"f.npy.part.npy.jsonl": index}, // its numbers were removed before
		"renamed in part":     {"f.npy.jsonl": index, "f.npy.part.npy": npy},
		"of earlier versions": {"f.npy.jsonl": index[:len(index)/2], "f.npy": npy},
	} {
		path := filepath.Join(t.TempDir(), "f.npy")
		vggtest.WriteFiles(t, filepath.Dir(path), files)
		if _, err := Extract(t.Context(), []Net{smallNet(1)}, images, path, Options{}); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		_, got := contents(t, path)
		sameBits(t, what, got, want)
	}
	for want, files := range map[string]map[string][]byte{
		"but not its index":               {"f.npy": npy},
		"is there, but not its":           {"f.npy": []byte("mine"), "f.npy.jsonl": nil},
		"is missing, but its index":       {"f.npy.jsonl": index},
		"not the array of 14×24 numbers":  {"f.npy.jsonl": index, "f.npy": []byte("mine")},
		"line 1: not an index of descrip": {"f.npy.jsonl": []byte("mine"), "f.npy": npy},
	} {
		path := filepath.Join(t.TempDir(), "f.npy")
		vggtest.WriteFiles(t, filepath.Dir(path), files)
		for range 2 { // a refused run changes nothing
			if _, err := Extract(t.Context(), []Net{smallNet(1)}, images, path, Options{}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		for name, text := range files {
			if got, err := os.ReadFile(filepath.Join(filepath.Dir(path), name)); err != nil || string(got) != string(text) {
				t.Errorf("%s: %s is %.20q, %v", want, name, got, err)
			}
		}
	}
}

// A file of the first version still opens, and comes out as it went in.
func TestFirstVersion(t *testing.T) {
	const first = "testdata/version1.npy"
	d, err := Open(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if s := d.Summary(); s.Images != 4 || len(s.Unreadable) != 1 || s.Dim != 8 || d.Rows[3].File != "data/val/red/0.png" || d.Header.Nets[0].Layer != "fc7" {
		t.Errorf("%+v, %+v", s, d.Header)
	}
	path := filepath.Join(t.TempDir(), "f.npy")
	if err := d.Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	want, errA := os.ReadFile(first)
	got, errB := os.ReadFile(path)
	if errA != nil || errB != nil || string(got) != string(want) {
		t.Errorf("%d bytes, want the %d of the file (%v, %v)", len(got), len(want), errA, errB)
	}
	header := func(path string) string {
		text, err := os.ReadFile(path + indexSuffix)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		return line
	}
	if got, want := header(path), header(first); got != want {
		t.Errorf("header\n%s\nwant\n%s", got, want)
	}
}
