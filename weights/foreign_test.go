package weights

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// message encodes protobuf fields: a number and a uint64, a string or a message.
func message(fields ...any) []byte {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		n := protowire.Number(fields[i].(int))
		switch v := fields[i+1].(type) {
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
		case []byte:
			b = protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
		}
	}
	return b
}

func gzipOf(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.Bytes()
}

func zipOf(names ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, n := range names {
		w, _ := z.Create(n)
		w.Write(bytes.Repeat([]byte{1, 2, 3, 4}, 100))
	}
	z.Close()
	return b.Bytes()
}

// foreignFiles are small files of other formats, laid out as their tools write them.
func foreignFiles() map[string]struct {
	file  []byte
	kind  string
	found string
	way   string // a part of the way to convert it
} {
	type c = struct {
		file             []byte
		kind, found, way string
	}
	u64 := binary.LittleEndian.AppendUint64
	floats := bytes.Repeat([]byte{0x3a, 0x5c, 0x91, 0xbd}, 5000)

	// saved_model.proto, meta_graph.proto: operators, tags, version; then the nodes.
	node := message(1, "serving_default_input", 2, "Placeholder")
	operators := message(1, message(1, "Conv2D", 2, message(1, "input", 4, "T")))
	graph := message(1, message(2, operators, 4, "serve", 5, "2.15.0"), 2, message(1, node))
	large := message(1, message(2, bytes.Repeat(operators, 40), 4, "serve", 5, "2.15.0"), 2, message(1, node))
	// Model.proto: version, description, the network.
	input := message(1, "image", 3, message(4, message(1, 224, 2, 224)))
	described := message(1, input, 10, message(1, "prob"))
	// An array of NDArray.Save: magic, reserved, count, then version, stype, shape, device,
	// type and data; the names at the end.
	params := u64(u64(u64(nil, 0x112), 0), 1)
	params = append(binary.LittleEndian.AppendUint32(params, 0xf993fac9), floats...)
	// A table of LevelDB: blocks, then a footer of 48 bytes.
	table := append(append([]byte("\x00\x00\x08\x01\x1a\x02\x08\x01"), make([]byte, 200)...), 0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb)
	tar := append(append([]byte("vgg16.pth"), make([]byte, 248)...), "ustar\x0000"...)
	tar = append(tar, make([]byte, 1024)...)
	torch := zipOf("archive/data.pkl")

	return map[string]c{
		"SavedModel":          {message(1, 1, 2, graph), "savedmodel", "a SavedModel of TensorFlow", "tf2onnx.convert --saved-model"},
		"SavedModel, larger":  {message(1, 1, 2, large), "savedmodel", "a SavedModel of TensorFlow", "--saved-model"},
		"SavedModel, cut off": {message(1, 1, 2, large)[:600], "savedmodel", "a SavedModel of TensorFlow", "--saved-model"},
		"frozen graph":        {message(1, node, 1, message(1, "conv1_1", 2, "Const", 5, floats), 4, message(1, 1087), 2, message(1, "x")), "graphdef", "a frozen graph of TensorFlow", "--graphdef"},
		"checkpoint index":    {table, "tensorflow-checkpoint", "a TensorFlow checkpoint", "tf.train.load_checkpoint"},
		"checkpoint list":     {[]byte("model_checkpoint_path: \"vgg_16.ckpt\"\nall_model_checkpoint_paths: \"vgg_16.ckpt\"\n"), "tensorflow-checkpoint", "the list of a TensorFlow checkpoint's", "numpy.savez"},
		"TFLite":              {append([]byte("\x1c\x00\x00\x00TFL3\x14\x00\x20\x00"), floats...), "tflite", "a TensorFlow Lite model", "--tflite"},
		"MXNet":               {params, "mxnet", "arrays of MXNet", "mxnet.nd.load"},
		"Core ML":             {message(1, 4, 2, described, 500, message(1, message(1, "conv1_1"))), "coreml", "a Core ML model", "the model that it was made from"},
		"Core ML 1":           {message(1, 1, 2, described, 500, floats), "coreml", "a Core ML model", "made from"},
		"GGUF":                {append([]byte("GGUF\x03\x00\x00\x00"), floats...), "gguf", "a GGUF file", "language models"},
		"LFS pointer":         {[]byte("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 553433881\n"), "lfs-pointer", "a Git LFS pointer", "git lfs pull"},
		"HTML page":           {[]byte("\n<!DOCTYPE html>\n<html lang=\"en\"><head><title>Sign in</title>"), "html", "an HTML page", "download the file itself"},
		"HTML, Latin-1":       {[]byte("<html><title>Acc\xe8s refus\xe9</title>"), "html", "an HTML page", "download the file itself"},
		"XML error":           {[]byte("<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code>"), "html", "an XML page", "download the file itself"},
		"gzip":                {gzipOf(floats), "gzip", "a gzip file", "gunzip"},
		"gzip of PyTorch":     {gzipOf(torch), "gzip", "a gzip file of a zip file (.pth", "gunzip"},
		"gzip of tar":         {gzipOf(tar), "gzip", "a gzip file of a tar archive", "tar -xzf"},
		"gzip of HDF5":        {gzipOf(append([]byte("\x89HDF\r\n\x1a\n"), floats...)), "gzip", "a gzip file of an HDF5 file", "gunzip"},
		"tar":                 {tar, "tar", "a tar archive", "tar -xf"},
		"zip of PyTorch":      {zipOf("README.md", "vgg16/vgg16-397923af.pth"), "zip", "a zip archive that holds vgg16/vgg16-397923af.pth", "unzip"},
		"zip of SavedModel":   {zipOf("vgg/saved_model.pb", "vgg/variables/variables.index"), "savedmodel", "a zip archive of a SavedModel", "--saved-model"},
		"zip of mlpackage":    {zipOf("vgg.mlpackage/Manifest.json", "vgg.mlpackage/Data/com.apple.CoreML/model.mlmodel"), "coreml", "a zip archive of a Core ML package", "made from"},
		"zip of pictures":     {zipOf("a.jpg", "b.jpg"), "zip", "a zip archive that holds no weights", ""},
		"NumPy array":         {append([]byte("\x93NUMPY\x01\x00v\x00{'descr': '<f4'"), floats...), "npy", "a NumPy array", "numpy.savez"},
		"pickle":              {append([]byte("\x80\x02}q\x00(X\x06\x00\x00\x00values"), floats...), "pickle", "a Python pickle", "torch.save"},
		"pickle, protocol 0":  {[]byte("(dp0\nS'param values'\np1\n(lp2\n"), "pickle", "a Python pickle of protocol 0", "torch.save"},
		"Zstandard":           {append([]byte("\x28\xb5\x2f\xfd"), floats...), "archive", "a Zstandard file", "unzstd"},
		"network of Caffe":    {[]byte("name: \"VGG_ILSVRC_16_layers\"\ninput: \"data\"\ninput_dim: 10\n"), "text", "text", ""},
		"list of classes":     {[]byte("{\"0\": \"cat\", \"1\": \"dog\"}"), "json", "JSON text", ""},
		"noise":               {floats, "unknown", "an unknown format", ""},
	}
}

// Files of other formats are called what they are, whatever their names, with the way to
// make one of them that can be read.
func TestForeignFiles(t *testing.T) {
	for name, c := range foreignFiles() {
		t.Run(name, func(t *testing.T) {
			for _, ending := range []string{"safetensors", "onnx", "h5"} {
				path := filepath.Join(t.TempDir(), "w."+ending)
				if err := os.WriteFile(path, c.file, 0o644); err != nil {
					t.Fatal(err)
				}
				_, err := Open(t.Context(), path)
				e, ok := errors.AsType[*UnsupportedError](err)
				if !ok {
					t.Fatalf("%v, want an *UnsupportedError", err)
				}
				if e.File != path || e.Kind != c.kind || !strings.HasPrefix(e.Found, c.found) {
					t.Errorf("%s: kind %s, found %q, want %s, %q", e.File, e.Kind, e.Found, c.kind, c.found)
				}
				if !strings.Contains(e.Convert, c.way) || c.way == "" && e.Convert != "" || !strings.Contains(err.Error(), e.Convert) {
					t.Errorf("%v, want the way %q", err, c.way)
				}
			}
		})
	}
}

// Folders that are models of other formats.
func TestForeignFolders(t *testing.T) {
	for name, c := range map[string]struct {
		files       []string
		kind, found string
	}{
		"SavedModel": {[]string{"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"}, "savedmodel", "a SavedModel of TensorFlow"},
		"mlpackage":  {[]string{"Manifest.json", "Data/com.apple.CoreML/model.mlmodel"}, "coreml", "a Core ML package"},
		"checkpoint": {[]string{"checkpoint", "vgg_16.ckpt.index", "vgg_16.ckpt.data-00000-of-00001"}, "tensorflow-checkpoint", "a folder of TensorFlow checkpoints"},
	} {
		folder := t.TempDir()
		for _, file := range c.files {
			path := filepath.Join(folder, filepath.FromSlash(file))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("x"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(t.Context(), folder)
		e, ok := errors.AsType[*UnsupportedError](err)
		if !ok || e.File != folder || e.Kind != c.kind || !strings.HasPrefix(e.Found, c.found) || e.Convert == "" {
			t.Errorf("%s: %#v, %v, want %s", name, e, err, c.found)
		}
	}
	// The data of a checkpoint are known by their name alone.
	path := filepath.Join(t.TempDir(), "vgg_16.ckpt.data-00000-of-00001")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0x3a, 0x5c, 0x91, 0xbd}, 500), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), path)
	if e, ok := errors.AsType[*UnsupportedError](err); !ok || e.Kind != "tensorflow-checkpoint" {
		t.Errorf("%v, want an *UnsupportedError", err)
	}
}

// A download that broke off is an error, which is that of the file's own format or says
// that it is truncated. What is left of a file is never taken for another format.
func TestTruncatedDownloads(t *testing.T) {
	folder, names := doorsFolder(t)
	for _, name := range names {
		b, err := fs.ReadFile(os.DirFS(folder), name)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := OpenFS(t.Context(), os.DirFS(folder), name)
		if err != nil {
			t.Fatal(err)
		}
		whole.Close()
		for _, share := range []float64{0.1, 0.3, 0.5, 0.9, 0.99} {
			part := b[:int(float64(len(b))*share)]
			f, err := OpenReader(t.Context(), name, bytes.NewReader(part), int64(len(part)))
			if err == nil { // protobuf and MAT-files may end after any whole field
				if f.Format() != whole.Format() {
					t.Errorf("%.0f %% of %s: taken for %s", 100*share, name, f.Format())
				}
				continue
			}
			if _, ok := errors.AsType[*UnsupportedError](err); ok && !strings.HasSuffix(name, ".json") {
				t.Errorf("%.0f %% of %s: %v", 100*share, name, err)
			}
		}
	}
}
