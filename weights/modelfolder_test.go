package weights

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// shardedFolder writes the tensors a and b into two shards with their index.
func shardedFolder(t testing.TB) fstest.MapFS {
	t.Helper()
	dir := t.TempDir()
	files := fstest.MapFS{}
	for i, name := range []string{"a", "b"} {
		file := filepath.Join(dir, name)
		source := Source{Name: name, Shape: []int{3}, Data: func(yield func([]float32) bool) { yield([]float32{float32(i), 2, 3}) }}
		if err := WriteSafetensors(file, nil, []Source{source}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		files["m/"+name+".safetensors"] = &fstest.MapFile{Data: data}
	}
	files["m/model.safetensors.index.json"] = &fstest.MapFile{Data: []byte(`{"metadata": {"total_size": 24}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}`)}
	return files
}

func TestShards(t *testing.T) {
	files := shardedFolder(t)
	files["m/config.json"] = &fstest.MapFile{Data: []byte(`{}`)}
	files["m/labels.txt"] = &fstest.MapFile{Data: []byte("cat\n")}
	f, err := OpenFS(t.Context(), files, "m")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Format() != Safetensors || f.Name() != "m/model.safetensors.index.json" {
		t.Errorf("%s, format %s", f.Name(), f.Format())
	}
	if got := slices.Sorted(maps.Keys(f.Beside())); !slices.Equal(got, []string{"config.json", "labels.txt"}) {
		t.Errorf("beside it: %v", got)
	}
	for i, name := range []string{"a", "b"} {
		x, err := f.Read(name)
		if err != nil || !slices.Equal(x.Data, []float32{float32(i), 2, 3}) {
			t.Errorf("%s: %v, %v", name, x, err)
		}
		part := make([]float32, 2)
		if err := f.ReadRange(name, 1, part); err != nil || !slices.Equal(part, []float32{2, 3}) {
			t.Errorf("%s: %v, %v", name, part, err)
		}
	}
}

func TestShardErrors(t *testing.T) {
	for _, test := range []struct {
		name, index, want string
		change            func(fstest.MapFS)
	}{
		{"missing shard", `{"weight_map": {"a": "none.safetensors"}}`, "shard none.safetensors: file does not exist", nil},
		{"path", `{"weight_map": {"a": "../a.safetensors"}}`, "want the name of a file beside the index", nil},
		{"tensor elsewhere", `{"weight_map": {"a": "b.safetensors"}}`, "b: in shard b.safetensors, but not by the index", nil},
		{"tensor missing", `{"weight_map": {"a": "a.safetensors", "c": "a.safetensors"}}`, "c: not in shard a.safetensors", nil},
		{"empty", `{"weight_map": {}}`, "index of shards without tensors", nil},
		{"malformed", `{"weight_map": 1}`, "index of shards: ", nil},
		{"truncated", `{"weight_map": {"a": "a.safetensors"}}`, "shard a.safetensors: truncated", func(files fstest.MapFS) {
			data := files["m/a.safetensors"].Data
			files["m/a.safetensors"] = &fstest.MapFile{Data: data[:len(data)-1]}
		}},
		{"index of itself", `{"weight_map": {"a": "model.safetensors.index.json"}}`, "shard model.safetensors.index.json: ", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := shardedFolder(t)
			files["m/model.safetensors.index.json"] = &fstest.MapFile{Data: []byte(test.index)}
			if test.change != nil {
				test.change(files)
			}
			f, err := OpenFS(t.Context(), files, "m")
			if err == nil {
				f.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
	files := shardedFolder(t)
	data := files["m/model.safetensors.index.json"].Data
	if _, err := OpenReader(t.Context(), "index", strings.NewReader(string(data)), int64(len(data))); err == nil || !strings.Contains(err.Error(), "a.safetensors, a file beside it") {
		t.Errorf("from a lone reader: %v", err)
	}
}

func TestModelFolder(t *testing.T) {
	source := func(file string) {
		t.Helper()
		err := WriteSafetensors(file, nil, []Source{{Name: "x", Shape: []int{1}, Data: func(yield func([]float32) bool) { yield([]float32{1}) }}})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Hugging Face's cache has links to files outside the folder.
	dir, blobs := t.TempDir(), t.TempDir()
	source(filepath.Join(blobs, "1234"))
	if err := os.Symlink(filepath.Join(blobs, "1234"), filepath.Join(dir, "model.safetensors")); err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pytorch_model.bin"), []byte("the same weights again"), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if f.Name() != filepath.Join(dir, "model.safetensors") || len(f.Beside()) != 0 {
		t.Errorf("%s, beside it %v", f.Name(), f.Beside())
	}

	two := t.TempDir()
	source(filepath.Join(two, "first.safetensors"))
	if f, err = Open(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	f.Close()
	source(filepath.Join(two, "second.safetensors"))
	if _, err := Open(t.Context(), two); err == nil || !strings.Contains(err.Error(), "a folder with 2 files of weights: name one of first.safetensors, second.safetensors") {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "labels.txt"), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "labels.txt: a folder, want a regular file") {
		t.Error(err)
	}
}

func TestSubset(t *testing.T) {
	f, err := OpenFS(t.Context(), shardedFolder(t), "m")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := f.Subset(func(name string) (string, bool) { return "net." + name, name != "a" })
	if err != nil {
		t.Fatal(err)
	}
	if tensors := v.Tensors(); len(tensors) != 1 || tensors[0].Name != "net.b" {
		t.Errorf("tensors %v", tensors)
	}
	if x, err := v.Read("net.b"); err != nil || x.Data[0] != 1 {
		t.Errorf("%v, %v", x, err)
	}
	if _, err := v.Read("a"); err == nil {
		t.Error("read a tensor that the view left out")
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Read("a"); err != nil {
		t.Errorf("after the view was closed: %v", err)
	}
	if _, err := f.Subset(func(string) (string, bool) { return "same", true }); err == nil || !strings.Contains(err.Error(), "two tensors would get this name") {
		t.Error(err)
	}
}

func FuzzShardIndex(f *testing.F) {
	f.Add([]byte(`{"metadata": {"total_size": 24}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}`))
	f.Add([]byte(`{"weight_map": {"a": "model.safetensors.index.json"}}`))
	f.Add([]byte(`{"weight_map": {"a": "../a", "": ""}}`))
	shards := shardedFolder(f)
	f.Fuzz(func(t *testing.T, index []byte) {
		files := maps.Clone(shards)
		files["m/model.safetensors.index.json"] = &fstest.MapFile{Data: index}
		file, err := OpenFS(t.Context(), files, "m")
		if err != nil {
			return
		}
		defer file.Close()
		for _, e := range file.Tensors() {
			if _, err := file.Read(e.Name); err != nil {
				t.Errorf("%s: %v", e.Name, err)
			}
		}
	})
}
