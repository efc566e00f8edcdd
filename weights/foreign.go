package weights

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/verydeep/vgg/internal/atomicfile"
)

// How formats that are not read become ones that are.
const (
	toNPZ          = "write them with numpy.savez as conv1_1_W of shape (3,3,in,out), conv1_1_b, … to an .npz, which is read"
	fromSavedModel = "python -m tf2onnx.convert --saved-model FOLDER --output vgg.onnx makes an ONNX file of the folder that it lies in"
	fromCheckpoint = "in Python, tf.train.load_checkpoint reads the variables; " + toNPZ
	fromTFLite     = "python -m tf2onnx.convert --tflite FILE --output vgg.onnx makes an ONNX file of it"
	fromGraph      = "python -m tf2onnx.convert --graphdef FILE --inputs INPUT:0 --outputs OUTPUT:0 --output vgg.onnx makes an ONNX file of it"
	fromMXNet      = "in Python, mxnet.nd.load reads the arrays, " + toNPZ + "; mxnet.onnx.export_model makes an ONNX file of it and its -symbol.json"
	fromCoreML     = "no tool makes another format of it: convert the model that it was made from"
	fromPickle     = "in Python, load it and give torch.save the dict of its tensors, or " + toNPZ
	fromLFS        = "git lfs pull fetches it, as does downloading it from the repository's page"
	fromHTML       = "the download went wrong, or the address is that of a page about the file: download the file itself"
)

// magics are the beginnings by which other formats are known. None of them begins a file
// of a format that is read.
var magics = []struct {
	at                             int
	magic, kind, found, conversion string
}{
	{0, "\x93NUMPY", "npy", "a NumPy array (.npy)", "numpy.savez puts arrays under their layers' names into an .npz"},
	{4, "TFL3", "tflite", "a TensorFlow Lite model (.tflite)", fromTFLite},
	{0, "\x12\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "mxnet", "arrays of MXNet (.params)", fromMXNet},
	{0, "GGUF", "gguf", "a GGUF file", "GGUF is for language models: convert the file that it was made from"},
	{0, "\xff\xd8\xff", "image", "a JPEG image", ""},
	{0, "\x89PNG", "image", "a PNG image", ""},
	{257, "ustar", "tar", "a tar archive", "unpack it with tar -xf and open the file of weights in it"},
	{0, "BZh", "archive", "a bzip2 file", "unpack it with bunzip2"},
	{0, "\xfd7zXZ\x00", "archive", "an xz file", "unpack it with unxz"},
	{0, "\x28\xb5\x2f\xfd", "archive", "a Zstandard file", "unpack it with unzstd"},
	{0, "7z\xbc\xaf\x27\x1c", "archive", "a 7z archive", "unpack it"},
	{0, "Rar!", "archive", "a RAR archive", "unpack it"},
	{0, "version https://git-lfs", "lfs-pointer", "a Git LFS pointer in place of the file", fromLFS},
	{0, "model_checkpoint_path:", "tensorflow-checkpoint", "the list of a TensorFlow checkpoint's files (checkpoint)", fromCheckpoint},
}

// foreign returns the error of a file whose beginning is that of another format, nil if
// it isn't known. It is asked before any reader, so that none takes one for its own.
func foreign(head []byte, r io.ReaderAt, size int64) *UnsupportedError {
	if len(head) > lengthBytes && head[lengthBytes] == '{' && headerLength(head) <= maxHeader {
		return nil // safetensors, whose header's length may be any format's magic
	}
	for _, m := range magics {
		if len(head) >= m.at && bytes.HasPrefix(head[m.at:], []byte(m.magic)) {
			return &UnsupportedError{Kind: m.kind, Found: m.found, Convert: m.conversion}
		}
	}
	if bytes.HasPrefix(head, []byte("\x1f\x8b")) {
		return gzipped(head)
	}
	if e := page(head); e != nil {
		return e
	}
	// TensorFlow's checkpoints are tables of LevelDB, whose magic number is at the end.
	if tail := make([]byte, 8); size >= 48 && readFull(r, tail, size-8) == nil && string(tail) == "\x57\xfb\x80\x8b\x24\x75\x47\xdb" {
		return &UnsupportedError{Kind: "tensorflow-checkpoint", Found: "a TensorFlow checkpoint (.index or .ckpt)", Convert: fromCheckpoint}
	}
	return foreignMessage(head)
}

// page recognises an HTML or XML page.
func page(head []byte) *UnsupportedError {
	start := bytes.ToLower(bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))))
	for _, opening := range []string{"<!doctype html", "<html", "<head", "<!--"} {
		if bytes.HasPrefix(start, []byte(opening)) {
			return &UnsupportedError{Kind: "html", Found: "an HTML page in place of the file", Convert: fromHTML}
		}
	}
	if bytes.HasPrefix(start, []byte("<?xml")) {
		return &UnsupportedError{Kind: "html", Found: "an XML page in place of the file", Convert: fromHTML}
	}
	return nil
}

// gzipped describes a gzip file by what its content begins with.
func gzipped(head []byte) *UnsupportedError {
	e := &UnsupportedError{Kind: "gzip", Found: "a gzip file", Convert: "unpack it with gunzip"}
	z, err := gzip.NewReader(bytes.NewReader(head))
	if err != nil {
		return e
	}
	start := make([]byte, sniffBytes)
	n, _ := io.ReadFull(z, start) // the file's beginning ends within the compressed data
	start = start[:n]
	switch {
	case len(start) > 262 && string(start[257:262]) == "ustar":
		e.Found, e.Convert = "a gzip file of a tar archive", "unpack it with tar -xzf and open the file of weights in it"
	case isZip(start):
		e.Found = "a gzip file of a zip file (.pth, .npz, .keras)"
	case isHDF5(start, nil, 0):
		e.Found = "a gzip file of an HDF5 file (.h5)"
	case len(start) > lengthBytes && start[lengthBytes] == '{':
		e.Found = "a gzip file of a safetensors file"
	}
	return e
}

// foreignMessage recognises other protobuf messages than those of ONNX and Caffe, by
// their first fields.
func foreignMessage(head []byte) *UnsupportedError {
	number, typ, value, body := protoField(head)
	switch {
	case number == 1 && typ == protowire.VarintType && 1 <= value && value < 100:
		// An ONNX model's second field is its producer's name, a text.
		second, typ, _, inner := protoField(body)
		if second != 2 || typ != protowire.BytesType || len(inner) == 0 || inner[0] != 0x0a {
			return nil
		}
		// That of a Core ML model describes the inputs, the first of which begins with its
		// name. That of a SavedModel is a graph, which begins with a list of operators.
		_, _, _, described := protoField(inner)
		if value > 1 || len(described) > 0 && described[0] == 0x0a {
			return &UnsupportedError{Kind: "coreml", Found: "a Core ML model (.mlmodel)", Convert: fromCoreML}
		}
		return &UnsupportedError{Kind: "savedmodel", Found: "a SavedModel of TensorFlow (saved_model.pb)", Convert: fromSavedModel}
	case number == 1 && typ == protowire.BytesType:
		// A graph is a list of nodes, each with a name and an operator.
		name, typ, length, inner := protoField(body)
		if name != 1 || typ != protowire.BytesType || length > uint64(len(inner)) {
			return nil
		}
		op, typ, length, inner := protoField(inner[length:])
		if op != 2 || typ != protowire.BytesType || length > uint64(len(inner)) {
			return nil
		}
		if slices.Contains([]string{"Placeholder", "PlaceholderWithDefault", "Const", "VariableV2", "VarHandleOp", "NoOp", "Identity"}, string(inner[:length])) {
			return &UnsupportedError{Kind: "graphdef", Found: "a frozen graph of TensorFlow (.pb)", Convert: fromGraph}
		}
	}
	return nil
}

// protoField reads a field at the beginning of b: its number, its type, and its value or,
// of bytes, their length and all that follows.
func protoField(b []byte) (protowire.Number, protowire.Type, uint64, []byte) {
	number, typ, n := protowire.ConsumeTag(b)
	if n < 0 || typ != protowire.VarintType && typ != protowire.BytesType {
		return 0, 0, 0, nil
	}
	v, k := protowire.ConsumeVarint(b[n:])
	if k < 0 {
		return 0, 0, 0, nil
	}
	return number, typ, v, b[n+k:]
}

// otherFormat returns the error of a file that no reader takes for its own, nil if nothing
// is known of it.
func otherFormat(head []byte, r io.ReaderAt, size int64) error {
	if e := foreign(head, r, size); e != nil {
		return e
	}
	switch {
	case len(head) > 1 && head[0] == 0x80 && 2 <= head[1] && head[1] <= 5:
		return &UnsupportedError{Kind: "pickle", Found: "a Python pickle that isn't torch.save's", Convert: fromPickle}
	case isZip(head):
		return zipped(r, size)
	case !isText(head):
		return nil
	}
	start := string(bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))))
	switch {
	case strings.HasPrefix(start, "{"):
		return &UnsupportedError{Kind: "json", Found: "JSON text"}
	case strings.HasPrefix(start, "(dp") || strings.HasPrefix(start, "(lp") || strings.HasPrefix(start, "ccopy_reg") || strings.HasPrefix(start, "cnumpy"):
		return &UnsupportedError{Kind: "pickle", Found: "a Python pickle of protocol 0", Convert: fromPickle}
	}
	return &UnsupportedError{Kind: "text", Found: "text"}
}

// weightNames are the endings of files of weights.
var weightNames = regexp.MustCompile(`\.(?:safetensors|pth|pt|bin|h5|hdf5|keras|npz|onnx|caffemodel|mat|mlmodel|tflite|params|pb|ckpt)$`)

// zipped describes a zip file by the names of its members.
func zipped(r io.ReaderAt, size int64) error {
	e := &UnsupportedError{Kind: "zip", Found: "a zip archive that holds no weights"}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return malformed("", "truncated or damaged: want a zip file's directory at its end; download it again")
	}
	for _, f := range z.File {
		switch {
		case path.Base(f.Name) == "saved_model.pb":
			return &UnsupportedError{Kind: "savedmodel", Found: "a zip archive of a SavedModel of TensorFlow", Convert: "unpack it; " + fromSavedModel}
		case strings.Contains(f.Name, "com.apple.CoreML/"):
			return &UnsupportedError{Kind: "coreml", Found: "a zip archive of a Core ML package (.mlpackage)", Convert: fromCoreML}
		}
	}
	for _, f := range z.File {
		if weightNames.MatchString(strings.ToLower(f.Name)) {
			e.Found, e.Convert = "a zip archive that holds "+display(f.Name), "unpack it with unzip and open that file"
			return e
		}
	}
	return e
}

// checkpointShard matches the names of the files that hold a TensorFlow checkpoint's data.
// Their content has no form by which to know it.
var checkpointShard = regexp.MustCompile(`\.data-\d{5}-of-\d{5}$`)

// otherFolder describes a folder that is a model of another format, nil if nothing is
// known of it.
func otherFolder(fsys fs.FS) *UnsupportedError {
	has := func(pattern string) bool {
		names, err := fs.Glob(fsys, pattern)
		return err == nil && len(names) > 0
	}
	switch {
	case has("saved_model.pb"):
		return &UnsupportedError{Kind: "savedmodel", Found: "a SavedModel of TensorFlow", Convert: strings.Replace(fromSavedModel, " of the folder that it lies in", " of it", 1)}
	case has("Data/com.apple.CoreML") || has("Manifest.json") && has("Data"):
		return &UnsupportedError{Kind: "coreml", Found: "a Core ML package (.mlpackage)", Convert: fromCoreML}
	case has("*.index") && has("*.data-?????-of-?????"), has("checkpoint") && has("*.ckpt*"):
		return &UnsupportedError{Kind: "tensorflow-checkpoint", Found: "a folder of TensorFlow checkpoints", Convert: fromCheckpoint}
	}
	return nil
}

// notFile returns the error of a path that is no file.
func notFile(name string, m fs.FileMode) error {
	return openError(name, &kindError{m})
}

// kindError says that something is no file.
type kindError struct{ fs.FileMode }

func (e *kindError) Error() string { return atomicfile.Kind(e.FileMode) + ", want a file" }
