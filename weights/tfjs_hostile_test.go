package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// tfjsFolder makes a folder with a model.json and shards.
func tfjsFolder(t testing.TB, manifest string, shards map[string][]byte) string {
	t.Helper()
	folder := t.TempDir()
	model := `{"format":"layers-model","modelTopology":{"keras_version":"3.0.0"},"weightsManifest":` + manifest + `}`
	if err := os.WriteFile(filepath.Join(folder, "model.json"), []byte(model), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, b := range shards {
		if err := os.WriteFile(filepath.Join(folder, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "model.json")
}

// Tensors that lie across shards, and the quantised ones: value = q·scale + min.
func TestTFJSShards(t *testing.T) {
	var data []byte
	for _, v := range []float32{1, -2, 0.5} {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	data = append(data, 0, 255, 3)
	data = binary.LittleEndian.AppendUint16(data, 0)
	data = binary.LittleEndian.AppendUint16(data, 0xabcd)
	data = binary.LittleEndian.AppendUint16(data, 0x3c00) // 1 of float16
	path := tfjsFolder(t, `[{"paths":["a.bin","b.bin"],"weights":[
		{"name":"f32","shape":[3],"dtype":"float32"},
		{"name":"u8","shape":[3],"dtype":"float32","quantization":{"dtype":"uint8","min":-1.5,"scale":0.25}},
		{"name":"u16","shape":[2],"dtype":"float32","quantization":{"dtype":"uint16","min":2,"scale":0.5}},
		{"name":"f16","shape":[],"dtype":"float32","quantization":{"dtype":"float16","original_dtype":"float32"}}]},
		{"paths":["c.bin"],"weights":[{"name":"second","shape":[1],"dtype":"float32"}]}]`,
		map[string][]byte{"a.bin": data[:9], "b.bin": data[9:], "c.bin": {0, 0, 0, 0x40}})
	f, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string][]float32{
		"f32": {1, -2, 0.5}, "u8": {-1.5, 62.25, -0.75}, "u16": {2, 21992.5}, "f16": {1}, "second": {2},
	} {
		x, err := f.Read(name)
		if err != nil || !slices.Equal(x.Data, want) {
			t.Errorf("%s: %v, %v; want %v", name, x, err, want)
		}
		if n := len(want); n > 1 {
			part := make([]float32, 1)
			if err := f.ReadRange(name, n-1, part); err != nil || part[0] != want[n-1] {
				t.Errorf("%s: the last is %v, %v; want %v", name, part, err, want[n-1])
			}
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Read("f32"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read of a closed file: %v", err)
	}
}

func TestTFJSHostile(t *testing.T) {
	const one = `"weights":[{"name":"w","shape":[1],"dtype":"float32"}]`
	shard := map[string][]byte{"s.bin": {1, 2, 3, 4}}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte{1, 2, 3, 4}, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, manifest, want string }{
		{"above", `[{"paths":["../secret"],` + one + `}]`, "shard ../secret: want the name of a file in the same folder"},
		{"absolute", `[{"paths":["/etc/passwd"],` + one + `}]`, "shard /etc/passwd: want the name"},
		{"parent", `[{"paths":[".."],` + one + `}]`, "shard ..: want the name"},
		{"backslash", `[{"paths":["..\\secret"],` + one + `}]`, "want the name of a file in the same folder"},
		{"link", `[{"paths":["link"],` + one + `}]`, "shard link: path escapes from parent"},
		{"missing", `[{"paths":["none.bin"],` + one + `}]`, "shard none.bin: no such file"},
		{"directory", `[{"paths":["folder"],` + one + `}]`, "shard folder: a directory, want a file"},
		{"short", `[{"paths":["s.bin"],"weights":[{"name":"w","shape":[2],"dtype":"float32"}]}]`, "shards of group 0 hold 4 bytes, want 8"},
		{"long", `[{"paths":["s.bin","s.bin"],` + one + `}]`, "shards of group 0 hold 8 bytes, want 4"},
		{"huge", `[{"paths":["s.bin"],"weights":[{"name":"w","shape":[4294967296,4294967296],"dtype":"float32"}]}]`, "w: shape [4294967296 4294967296] has too many elements"},
		{"huge together", `[{"paths":["s.bin"],"weights":[{"name":"v","shape":[2305843009213693951],"dtype":"float32"},{"name":"w","shape":[1],"dtype":"float32"}]}]`, "v: shape [2305843009213693951] has too many elements"},
		{"negative", `[{"paths":["s.bin"],"weights":[{"name":"w","shape":[-1],"dtype":"float32"}]}]`, "w: shape [-1]"},
		{"twice", `[{"paths":["s.bin"],"weights":[{"name":"w","shape":[],"dtype":"float32"},{"name":"w","shape":[],"dtype":"float32"}]}]`, "w: name given twice"},
		{"type", `[{"paths":["s.bin"],"weights":[{"name":"w","shape":[],"dtype":"string"}]}]`, "w: dtype string, want float32"},
		{"quantised to a float", `[{"paths":["s.bin"],"weights":[{"name":"w","shape":[],"dtype":"float32","quantization":{"dtype":"int32"}}]}]`, "w: quantised to int32"},
		{"malformed", `[{"paths":7}]`, "model.json: json"},
		{"a shape of text", `[{"paths":["s.bin"],"weights":[{"name":"w","shape":["1"]}]}]`, "model.json: json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := tfjsFolder(t, c.manifest, shard)
			folder := filepath.Dir(path)
			if err := os.Symlink(secret, filepath.Join(folder, "link")); err != nil {
				vggtest.Skip(t, "symbolic links")
			}
			if err := os.Mkdir(filepath.Join(folder, "folder"), 0o755); err != nil {
				t.Fatal(err)
			}
			f, err := Open(t.Context(), path)
			if err == nil {
				t.Fatalf("opened, with %v", f.Tensors())
			}
			if !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), path) != 1 {
				t.Errorf("%q, want %q in it", err, c.want)
			}
		})
	}
	b := []byte(`{"weightsManifest":[{"paths":["s.bin"],` + one + `}]}`)
	_, err := OpenReader(t.Context(), "model.json", bytes.NewReader(b), int64(len(b)))
	if err == nil || err.Error() != "weights: model.json: its data is in s.bin, a file beside it: open it by its path or from an fs.FS" {
		t.Errorf("from a reader: %v", err)
	}
}

func FuzzTFJS(f *testing.F) {
	shards := map[string][]byte{"s.bin": make([]byte, 64), "t.bin": {1, 2, 3, 4, 5}}
	model := tfjsFolder(f, "[]", shards)
	for _, manifest := range []string{
		`[]`,
		`[{"paths":["s.bin"],"weights":[{"name":"a/kernel","shape":[4,4],"dtype":"float32"}]}]`,
		`[{"paths":["s.bin","t.bin"],"weights":[{"name":"q","shape":[69],"dtype":"float32","quantization":{"dtype":"uint8","min":0,"scale":1}}]}]`,
		`[{"paths":["../s.bin"],"weights":[]}]`,
	} {
		f.Add([]byte(`{"format":"layers-model","weightsManifest":` + manifest + `,"modelTopology":{"model_config":` +
			`{"class_name":"Sequential","config":{"layers":[{"class_name":"Dense","config":{"name":"a","activation":"relu"}}]}}}}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !isTFJS(b, bytes.NewReader(b), int64(len(b))) {
			return
		}
		beside := folderOf(t.Context(), model)
		defer beside.Close()
		h, err := readTFJS(bytes.NewReader(b), int64(len(b)), beside)
		if err != nil {
			return
		}
		for _, e := range h.entries {
			n, err := byteSize(e.DType, e.Shape)
			if err != nil || n > 4*1<<20 {
				t.Fatalf("%s: %s %v of shards that aren't as large", e.Name, e.DType, e.Shape)
			}
			if !readable(e.DType) {
				continue
			}
			dst := make([]float32, n*8/int64(dtypeBits(e.DType)))
			if err := e.read(0, dst); err != nil {
				t.Fatalf("%s: %v", fmt.Sprint(e.Entry), err)
			}
		}
	})
}
