package weights

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/tensor"
)

// doorsFolder makes a folder with the fixtures of every format and, beside them, a
// TensorFlow.js model, and returns the files to open.
func doorsFolder(t *testing.T) (folder string, names []string) {
	t.Helper()
	model := tfjsFolder(t, `[{"paths":["a.bin","b.bin"],"weights":[{"name":"x","shape":[3],"dtype":"float32"}]},
		{"paths":["b.bin"],"weights":[{"name":"y","shape":[2],"dtype":"float32","quantization":{"dtype":"uint16","min":1,"scale":0.5}}]}]`,
		map[string][]byte{"a.bin": {0, 0, 0x80, 0x3f, 1, 2, 3, 4}, "b.bin": {5, 6, 7, 8}})
	folder = filepath.Dir(model)
	for name, dir := range map[string]string{"fixtures": "testdata", "caffe": "testdata/caffe", "keras": "testdata/keras", "mat": "testdata/mat", "npz": "testdata/npz", "onnx": "testdata/onnx", "torch": "testdata/torch"} {
		if err := os.CopyFS(filepath.Join(folder, name), os.DirFS(vggtest.Fixture(t, dir))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(folder, "fixtures", "example")); err != nil { // copies
		t.Fatal(err)
	}
	err := fs.WalkDir(os.DirFS(folder), ".", func(name string, d fs.DirEntry, err error) error {
		switch path.Ext(name) {
		case ".mat":
			if unread := path.Base(name); strings.HasPrefix(unread, "cnn_") || unread == "dagnn.mat" {
				return err
			}
			fallthrough
		case ".safetensors", ".pth", ".npz", ".onnx", ".caffemodel", ".h5", ".keras":
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return folder, append(names, "model.json")
}

// A file has the same content whichever way it is opened.
func TestDoors(t *testing.T) {
	folder, names := doorsFolder(t)
	inMemory := make(fstest.MapFS)
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	if err := z.AddFS(os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	zipped, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		t.Fatal(err)
	}
	formats := make(map[Format]bool)
	apart := 0 // files with data in others
	for _, name := range names {
		file := filepath.Join(folder, filepath.FromSlash(name))
		for _, n := range []string{name, name + "_data", path.Join(path.Dir(name), "a.bin"), path.Join(path.Dir(name), "b.bin")} {
			if b, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(n))); err == nil {
				inMemory[n] = &fstest.MapFile{Data: b}
			}
		}
		want, err := Open(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		defer want.Close()
		formats[want.Format()] = true
		data := inMemory[name].Data
		for door, open := range map[string]func() (*File, error){
			"reader": func() (*File, error) { return OpenReader(t.Context(), name, bytes.NewReader(data), int64(len(data))) },
			"part of a reader": func() (*File, error) {
				longer := append(slices.Clone(data), "more"...)
				return OpenReader(t.Context(), name, bytes.NewReader(longer), int64(len(data)))
			},
			"folder":  func() (*File, error) { return OpenFS(t.Context(), os.DirFS(folder), name) },
			"memory":  func() (*File, error) { return OpenFS(t.Context(), inMemory, name) },
			"archive": func() (*File, error) { return OpenFS(t.Context(), zipped, name) }, // without io.ReaderAt
		} {
			got, err := open()
			if apartError, ok := errors.AsType[*FolderError](err); ok && strings.HasSuffix(door, "reader") {
				if apartError.File != name || apartError.Beside == "" || !strings.Contains(err.Error(), "open it by its path or from an fs.FS") {
					t.Errorf("%s: %#v", name, apartError)
				}
				apart++
				continue
			}
			if err != nil {
				t.Errorf("%s: %s: %v", door, name, err)
				continue
			}
			if got.Name() != name || got.Size() != int64(len(data)) {
				t.Errorf("%s: %s: named %s, of %d bytes", door, name, got.Name(), got.Size())
			}
			sameFile(t, door, got, want)
			if err := got.Close(); err != nil {
				t.Errorf("%s: %s: %v", door, name, err)
			}
		}
	}
	for _, f := range Formats() {
		if !formats[f] {
			t.Errorf("no fixture of %s", f)
		}
	}
	if apart != 4 { // one ONNX model and one of TensorFlow.js, by two doors
		t.Errorf("%d times a lone reader of a file with data in others, want 4", apart)
	}
}

// sameFile reports where two files differ.
func sameFile(t *testing.T, door string, got, want *File) {
	t.Helper()
	if got.Format() != want.Format() || !maps.Equal(got.Metadata(), want.Metadata()) || !reflect.DeepEqual(got.Layers(), want.Layers()) {
		t.Errorf("%s: %s: another format, metadata or layers", door, got.Name())
	}
	if !reflect.DeepEqual(got.Tensors(), want.Tensors()) {
		t.Fatalf("%s: %s: tensors %v, want %v", door, got.Name(), got.Tensors(), want.Tensors())
	}
	for _, e := range want.Tensors() {
		x, wantErr := want.Read(e.Name)
		y, err := got.Read(e.Name)
		if (err == nil) != (wantErr == nil) {
			t.Errorf("%s: %s: %v, by its path %v", door, e.Name, err, wantErr)
			continue
		}
		if err != nil {
			continue
		}
		for i, v := range x.Data {
			if math.Float32bits(y.Data[i]) != math.Float32bits(v) {
				t.Errorf("%s: %s: %s: element %d is %v, want %v", door, got.Name(), e.Name, i, y.Data[i], v)
				break
			}
		}
	}
}

func TestOpenReaderErrors(t *testing.T) {
	if _, err := OpenReader(t.Context(), "f", nil, 8); err == nil {
		t.Error("a nil reader was opened")
	}
	if _, err := OpenReader(t.Context(), "f", strings.NewReader("text"), -1); err == nil || !strings.HasPrefix(err.Error(), "weights: f: ") {
		t.Errorf("a negative size: %v", err)
	}
	if _, err := OpenReader(t.Context(), "f", strings.NewReader("text"), 5); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reader shorter than its size: %v", err)
	}
}

// What an fs.FS can't give is an error that names the file once and keeps its cause.
func TestOpenFSErrors(t *testing.T) {
	shard := tfjsFolder(t, `[{"paths":["none.bin"],"weights":[{"name":"x","shape":[1],"dtype":"float32"}]}]`, nil)
	for name, fsys := range map[string]fs.FS{
		"none":       os.DirFS(t.TempDir()),
		"model.json": os.DirFS(filepath.Dir(shard)),
	} {
		_, err := OpenFS(t.Context(), fsys, name)
		if !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), name) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenFS(t.Context(), os.DirFS("."), "testdata"); err == nil || !strings.HasPrefix(err.Error(), "weights: testdata: a folder with 3 files of weights: name one of ") {
		t.Errorf("directory: %v", err)
	}
	if _, err := OpenFS(t.Context(), os.DirFS("."), "../go.mod"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("path out of the file system: %v", err)
	}
}

// After Close, a file that was read into memory can't be read any more.
func TestOpenFSClose(t *testing.T) {
	b, err := os.ReadFile("testdata/f32.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	w, err := z.Create("f32.safetensors")
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	zipped, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for _, fsys := range []fs.FS{zipped, os.DirFS("testdata")} {
		f, err := OpenFS(t.Context(), fsys, "f32.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		name := f.Tensors()[0].Name
		if _, err := f.Read(name); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := f.Read(name); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%T: read of a closed file: %v", fsys, err)
		}
		if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%T: second Close: %v", fsys, err)
		}
	}
}

func TestReadBuffered(t *testing.T) {
	content := strings.Repeat("0123456789", 20)
	for _, size := range []int64{0, 1, 199, 200} {
		got, err := readBuffered(iotest.OneByteReader(strings.NewReader(content)), size, 200)
		if err != nil || string(got) != content[:size] {
			t.Errorf("%d bytes: %q, %v", size, got, err)
		}
	}
	if _, err := readBuffered(strings.NewReader(content), 201, 1000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a byte too few: %v", err)
	}
	for _, size := range []int64{-1, 201} {
		if _, err := readBuffered(strings.NewReader(content), size, 200); err == nil || !strings.Contains(err.Error(), "want at most 200") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	// Memory is taken for what is there, not for what is claimed.
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := readBuffered(strings.NewReader(content), MaxBuffered, MaxBuffered); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a size that isn't there: %v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("%d bytes allocated for a file of 200", n)
	}
	bad := errors.New("bad")
	if _, err := readBuffered(iotest.ErrReader(bad), 1, 1); !errors.Is(err, bad) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// A file whose data is in very many files is refused.
func TestManyFilesBeside(t *testing.T) {
	fsys := make(fstest.MapFS)
	var paths []string
	for i := range maxFolderFiles + 1 {
		paths = append(paths, fmt.Sprintf(`"%d.bin"`, i))
		fsys[fmt.Sprintf("%d.bin", i)] = &fstest.MapFile{}
	}
	fsys["model.json"] = &fstest.MapFile{Data: []byte(`{"weightsManifest":[{"paths":[` + strings.Join(paths, ",") + `]}]}`)}
	if _, err := OpenFS(t.Context(), fsys, "model.json"); err == nil || !strings.Contains(err.Error(), "data in more than 1024 files") {
		t.Errorf("%v", err)
	}
}

// Each kind of failure has a type of its own, which errors.As finds under a wrapper.
func TestTypedErrors(t *testing.T) {
	b := raw(`{"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, 1, 2, 3, 4, 5, 6)
	f, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	opened := func(b []byte) error { _, err := open(b); return err }
	read := func(name string) error { _, err := f.Read(name); return err }
	model := []byte(`{"weightsManifest":[{"paths":["s.bin"]}]}`)
	branches := pbModel(pbIn, pbNode("Relu", "r", []string{"x"}, []string{"a"}), pbNode("Add", "s", []string{"a", "x"}, []string{"y"}), pbOut)
	for name, c := range map[string]struct {
		err error
		is  func(error) bool
	}{
		"another format": {opened([]byte("\x89PNG\r\n\x1a\n.")), isError[*UnsupportedError]},
		"cut short":      {opened(b[:len(b)-1]), isError[*FormatError]},
		"a lone reader":  {opened(model), isError[*FolderError]},
		"no tensor":      {read("c"), isError[*NotFoundError]},
		"integers":       {read("a"), isError[*DTypeError]},
		"another shape":  {f.ReadTensor("b", tensor.New(2)), isError[*ShapeError]},
		"branches":       {opened(branches), isError[*LayerError]},
		"other layer":    {opened(pbLayer("c", "Deconvolution")), isError[*LayerError]},
	} {
		kinds := 0
		wrapped := fmt.Errorf("opening: %w", c.err)
		for _, is := range []func(error) bool{isError[*UnsupportedError], isError[*FormatError], isError[*FolderError],
			isError[*NotFoundError], isError[*DTypeError], isError[*ShapeError], isError[*LayerError]} {
			if is(wrapped) {
				kinds++
			}
		}
		if !c.is(wrapped) || kinds != 1 {
			t.Errorf("%s: %T %v, of %d kinds", name, c.err, c.err, kinds)
		}
		if c.err != nil && !strings.HasPrefix(c.err.Error(), "weights: t.safetensors: ") {
			t.Errorf("%s: %q doesn't name the file", name, c.err)
		}
	}
}

func isError[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
