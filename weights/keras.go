package weights

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/hdf5"
)

// Keras has three layouts in HDF5, and reads them as
// https://keras.io/guides/serialization_and_saving names them:
//
//   - weights of Keras 1 and 2 (.h5): the attribute layer_names lists groups, and the
//     attribute weight_names of each group lists the paths of its datasets, such as
//     block1_conv1/kernel:0;
//   - whole models of Keras 1 and 2 (.h5): the same in the group model_weights, with the
//     layers as JSON in the attribute model_config;
//   - weights of Keras 3 (.weights.h5): datasets layers/conv2d_1/vars/0, without the
//     layers' order. A .keras file has these and the layers (keraszip.go). Layers that are
//     attributes of a subclassed model, or in lists, are under the attribute's name:
//     block1/layers/conv2d/vars/0, convs/conv2d_1/vars/0, fc/vars/0.

// isHDF5 reports whether a file is HDF5.
func isHDF5(head []byte, _ io.ReaderAt, _ int64) bool {
	return strings.HasPrefix(string(head), hdf5.Signature)
}

func readKerasHDF5(r io.ReaderAt, size int64, _ *folder) (*header, error) {
	h := &header{meta: make(map[string]string)}
	k := &kerasFile{h: h, size: size, paths: make(map[string]int)}
	if err := k.read(r, nil); err != nil {
		return nil, hdf5Error(err)
	}
	return h, nil
}

// hdf5Error turns an error of package hdf5 into a *FormatError.
func hdf5Error(err error) error {
	if e, ok := errors.AsType[*hdf5.FormatError](err); ok {
		return &FormatError{Reason: e.Reason}
	}
	return err
}

// inLayer adds to an error the layer or tensor that it is of, unless it names one.
func inLayer(name string, err error) error {
	if e, ok := hdf5Error(err).(*FormatError); ok {
		if e.Tensor == "" {
			e.Tensor = name
		}
		return e
	}
	return fmt.Errorf("%s: %w", display(name), err)
}

// kerasFile gathers the tensors of a file, layer by layer.
type kerasFile struct {
	h      *header
	r      io.ReaderAt
	size   int64
	bytes  int64 // of all tensors so far
	layers []kerasGroup
	paths  map[string]int // index in layers
	silent []string       // names of layers without weights
	full   bool           // tensors have their layers' whole paths as names
}

// kerasGroup is a layer and its tensors.
type kerasGroup struct {
	path    []string // kerasLayer.path
	stored  string   // kerasLayer.stored, joined
	tensors []kerasTensor
}

type kerasTensor struct {
	name string // kernel, bias …
	data *hdf5.Dataset
	bf16 bool
}

// read reads an HDF5 file into k.h. chain is the model's config, if another file has it.
func (k *kerasFile) read(r io.ReaderAt, chain []kerasLayer) error {
	f, err := hdf5.Open(r, k.size)
	if err != nil {
		return err
	}
	k.r = r
	root, err := f.Root()
	if err != nil {
		return err
	}
	for _, name := range []string{"keras_version", "backend"} {
		if err := k.note(root, name); err != nil {
			return err
		}
	}
	if err := k.readMeta(root); err != nil {
		return err
	}
	models := root
	if ok, err := root.Has("model_weights"); err != nil {
		return err
	} else if ok {
		if models, err = root.Child("model_weights"); err != nil {
			return err
		}
	}
	names, old, err := longStrings(models, "layer_names")
	if err != nil {
		return err
	}
	if old {
		if err := k.readOld(models, names); err != nil {
			return err
		}
		config, ok, err := longStrings(root, "model_config")
		if err != nil {
			return err
		}
		if err := k.finish(); err != nil {
			return err
		}
		if ok && len(config) == 1 {
			if training, ok, err := longStrings(root, "training_config"); err != nil {
				return err
			} else if ok && len(training) == 1 {
				if err := noteLoss(k.h, []byte(training[0])); err != nil {
					return err
				}
			}
			return describeConfig(k.h, []byte(config[0]))
		}
		if err := k.noteLayerKinds(); err != nil {
			return err
		}
		return k.noteLayerNames(names)
	}
	found, err := k.readVariables(root, chain)
	if err != nil {
		return err
	}
	if !found {
		return malformed("", "HDF5 without the attribute layer_names or the group layers, want a file of Keras")
	}
	if len(chain) == 0 {
		if err := k.noteLayerKinds(); err != nil {
			return err
		}
	}
	return k.finish()
}

// longStrings returns the strings of an attribute, which Keras cuts into name0, name1, …
// where it would be too long for an object header.
func longStrings(o *hdf5.Object, name string) ([]string, bool, error) {
	values, ok, err := o.Strings(name)
	if ok || err != nil {
		return values, ok, err
	}
	for i := 0; ; i++ {
		part, more, err := o.Strings(name + strconv.Itoa(i))
		if !more || err != nil {
			return values, i > 0, err
		}
		values = append(values, part...)
	}
}

// add adds a tensor of the layer at a path.
func (k *kerasFile) add(path []string, stored, name string, o *hdf5.Object) error {
	d, err := o.Dataset()
	if err != nil {
		return err
	}
	// Tensors may share their data, but in no sound file do they exceed this limit.
	if k.bytes += d.Bytes(); d.Bytes() > math.MaxInt64-k.bytes || k.bytes > maxShared*k.size+1<<20 {
		return malformed("", "tensors of more than %d times the file's %d bytes", maxShared, k.size)
	}
	t := kerasTensor{name: name, data: d}
	// A type that NumPy doesn't have is written as bytes, with its name as an attribute.
	if d.Type.Name == "opaque" && d.Type.Size == 2 {
		kind, _, err := o.Strings("dtype")
		if err != nil {
			return err
		}
		t.bf16 = len(kind) == 1 && kind[0] == "bfloat16"
	}
	key := strings.Join(path, "/") + "\x00" + stored
	i, ok := k.paths[key]
	if !ok {
		i = len(k.layers)
		k.paths[key] = i
		k.layers = append(k.layers, kerasGroup{path: path, stored: stored})
	}
	k.layers[i].tensors = append(k.layers[i].tensors, t)
	return nil
}

// maxShared limits the bytes of all tensors together, as a multiple of the file's.
const maxShared = 32

// finish lists the tensors in the header.
func (k *kerasFile) finish() error {
	paths := make([][]string, len(k.layers))
	for i, l := range k.layers {
		paths[i] = l.path
	}
	names := shortNames(paths)
	if k.full {
		for i, path := range paths {
			names[i] = strings.Join(path, "/")
		}
	}
	seen := make(map[string]bool)
	for i, l := range k.layers {
		for _, t := range l.tensors {
			name := names[i] + "/" + t.name
			if seen[name] {
				return malformed(name, "name given twice")
			}
			seen[name] = true
			k.h.entries = append(k.h.entries, k.entry(name, t))
		}
	}
	return nil
}

// entry describes a tensor.
func (k *kerasFile) entry(name string, t kerasTensor) entry {
	d := t.data
	dtype, ok := map[string]string{
		"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64", "bool": "BOOL",
		"int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
		"uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64",
	}[d.Type.Name]
	if t.bf16 {
		dtype, ok = "BF16", true
	}
	if !ok {
		dtype = d.Type.Name
	}
	e := entry{Entry: Entry{Name: name, DType: dtype, Shape: d.Shape}}
	if at, ok := d.Contiguous(); ok && !d.Type.BigEndian {
		e.begin, e.end = at, at+d.Bytes()
		return e
	}
	e.read = func(start int, dst []float32) error { return readDataset(d, dtype, start, dst) }
	return e
}

// readDataset reads the elements of a dataset of a readable type from start on.
func readDataset(d *hdf5.Dataset, dtype string, start int, dst []float32) error {
	width := d.Type.Size
	// A chunk is decompressed again for every piece that it is part of, so pieces are large.
	b := make([]byte, min(16*chunk, len(dst)*width))
	for len(dst) > 0 {
		n := min(len(dst), len(b)/width)
		piece := b[:n*width]
		if err := d.ReadAt(piece, int64(start)*int64(width)); err != nil {
			return hdf5Error(err)
		}
		if d.Type.BigEndian {
			for element := range slices.Chunk(piece, width) {
				slices.Reverse(element)
			}
		}
		convert(dst[:n], piece, dtype)
		dst = dst[n:]
		start += n
	}
	return nil
}
