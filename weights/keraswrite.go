package weights

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/scigolib/hdf5"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/tensor"
)

// kerasOrder is the order of a layer's variables in Keras's files.
var kerasOrder = []string{"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"}

// WriteKeras writes tensors, as F32, to a file at path that Keras 3 reads by
// Model.load_weights. The layout is that of .weights.h5, and the name must end in this.
//
// Tensors are named layer/kernel, layer/bias, layer/gamma, layer/beta, layer/moving_mean
// or layer/moving_variance, and come in the order of the model's layers. Their shapes are
// Keras's: (R,S,C,K) for a convolution, (C,K) for a fully connected layer, whose inputs
// are in the order rows, columns, channels. The tensors of a layer tell whether it is a
// convolution, a fully connected layer or a batch normalisation.
//
// The metadata are arrays of bytes in a group of their own, [kerasMeta], which Keras ignores.
// The file appears as that of [WriteSafetensors] does, and the errors are the same.
// WriteKeras needs memory for the largest tensor.
func WriteKeras(path string, metadata map[string]string, tensors []Source) error {
	if !strings.HasSuffix(path, ".weights.h5") {
		return fmt.Errorf("weights: %s: want a name that ends in .weights.h5, as Keras does", path)
	}
	return writeKerasFile(path, tensors, func(layers []kerasWriteLayer) error {
		return atomicfile.WriteNamed(path, func(name string) error { return writeKeras(name, metadata, layers) })
	})
}

// WriteKerasModel writes a .keras file at path, which keras.saving.load_model reads: config is
// the model as Keras 3 describes it in JSON, and the rest is as in [WriteKeras]. The layers
// that have tensors are those of the model, which is Sequential, in its order.
func WriteKerasModel(path string, metadata map[string]string, config []byte, tensors []Source) error {
	return writeKerasFile(path, tensors, func(layers []kerasWriteLayer) error {
		// The HDF5 file is complete before it becomes a member of the zip file.
		return atomicfile.Scratch(path+".weights.h5", func(name string) error {
			if err := writeKeras(name, metadata, layers); err != nil {
				return err
			}
			inner, err := os.Open(name)
			if err != nil {
				return err
			}
			defer inner.Close()
			return atomicfile.Write(path, func(w io.Writer) error { return zipKeras(w, config, inner) })
		})
	})
}

// kerasVersion is the version of Keras whose formats are written.
const kerasVersion = "3.0.0"

// zipKeras writes a .keras file with the HDF5 file of its weights.
func zipKeras(w io.Writer, config []byte, inner io.Reader) error {
	z := newZipEncoder(w)
	if err := z.text(kerasZipMetadata, 0, []byte(`{"keras_version": "`+kerasVersion+`"}`)); err != nil {
		return err
	}
	if err := z.text(kerasZipConfig, 0, config); err != nil {
		return err
	}
	m, err := z.member(kerasZipWeights, 0)
	if err != nil {
		return err
	}
	if _, err := io.Copy(m, inner); err != nil {
		return err
	}
	return z.Close()
}

// writeKerasFile checks the tensors and writes a file of them, which appears when it is
// complete.
func writeKerasFile(path string, tensors []Source, write func(layers []kerasWriteLayer) error) error {
	layers, err := kerasWriteLayers(tensors)
	if err != nil {
		return fmt.Errorf("weights: %s: %w", path, err)
	}
	if err := write(layers); err != nil {
		return fmt.Errorf("weights: %s: %w", path, pathless(err))
	}
	return nil
}

// kerasWriteLayer is a layer with its variables in order.
type kerasWriteLayer struct {
	name, class string
	variables   []Source
}

// kerasWriteLayers gathers the tensors by layer. Layers are in the order of their first
// tensors.
func kerasWriteLayers(tensors []Source) ([]kerasWriteLayer, error) {
	var layers []kerasWriteLayer
	index := make(map[string]int) // in layers
	seen := make(map[string]bool)
	for _, t := range tensors {
		slash := strings.LastIndexByte(t.Name, '/')
		if slash <= 0 || !slices.Contains(kerasOrder, t.Name[slash+1:]) {
			return nil, fmt.Errorf("%s: want layer/ and one of %s", display(t.Name), strings.Join(kerasOrder, ", "))
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("%s: name given twice", display(t.Name))
		}
		seen[t.Name] = true
		layer := t.Name[:slash]
		i, ok := index[layer]
		if !ok {
			i = len(layers)
			index[layer] = i
			layers = append(layers, kerasWriteLayer{name: layer, class: "batch_normalization"})
		}
		if t.Name[slash+1:] == "kernel" {
			switch len(t.Shape) {
			case 4:
				layers[i].class = "conv2d"
			case 2:
				layers[i].class = "dense"
			default:
				return nil, fmt.Errorf("%s: shape %v, want 4 axes of a convolution or 2 of a fully connected layer", display(t.Name), t.Shape)
			}
		}
		layers[i].variables = append(layers[i].variables, t)
	}
	role := func(t Source) int { return slices.Index(kerasOrder, t.Name[strings.LastIndexByte(t.Name, '/')+1:]) }
	for _, l := range layers {
		slices.SortFunc(l.variables, func(a, b Source) int { return cmp.Compare(role(a), role(b)) })
		first, last := role(l.variables[0]), role(l.variables[len(l.variables)-1])
		if normal := l.class == "batch_normalization"; normal != (first >= 2) || normal != (last >= 2) {
			return nil, fmt.Errorf("layer %s: tensors of different kinds of layer, or no kernel", display(l.name))
		}
	}
	return layers, nil
}

// writeKeras writes an HDF5 file of the layers.
func writeKeras(path string, metadata map[string]string, layers []kerasWriteLayer) (err error) {
	w, err := hdf5.CreateForWrite(path, hdf5.CreateTruncate)
	if err != nil {
		return err
	}
	defer func() {
		if e := w.Close(); err == nil {
			err = e
		}
	}()
	if err := writeKerasMeta(w, metadata); err != nil {
		return err
	}
	if _, err := w.CreateGroup("/layers"); err != nil {
		return err
	}
	counts := make(map[string]int)
	for _, l := range layers {
		group := "/layers/" + l.class
		if n := counts[l.class]; n > 0 {
			group = fmt.Sprintf("%s_%d", group, n)
		}
		counts[l.class]++
		if _, err := w.CreateGroup(group); err != nil {
			return err
		}
		vars, err := w.CreateGroup(group + "/vars")
		if err != nil {
			return err
		}
		if err := vars.WriteAttribute("name", l.name); err != nil {
			return err
		}
		for i, v := range l.variables {
			if err := writeKerasVariable(w, fmt.Sprintf("%s/vars/%d", group, i), v); err != nil {
				return fmt.Errorf("%s: %w", display(v.Name), err)
			}
		}
	}
	return nil
}

// writeKerasMeta writes the metadata as arrays of bytes, each under its key.
func writeKerasMeta(w *hdf5.FileWriter, metadata map[string]string) error {
	if len(metadata) == 0 {
		return nil
	}
	if _, err := w.CreateGroup("/" + kerasMeta); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if key == "" || strings.ContainsAny(key, "/\x00") {
			return fmt.Errorf("metadata %s: want a key without slashes", display(key))
		}
		text := metadata[key]
		if text == "" {
			continue // HDF5 has no arrays of no bytes
		}
		set, err := w.CreateDataset("/"+kerasMeta+"/"+key, hdf5.Uint8, []uint64{uint64(len(text))})
		if err == nil {
			err = set.WriteRaw([]byte(text))
		}
		if err != nil {
			return fmt.Errorf("metadata %s: %w", display(key), err)
		}
	}
	return nil
}

func writeKerasVariable(w *hdf5.FileWriter, path string, v Source) error {
	n, err := tensor.Size(v.Shape...)
	if err != nil {
		return err
	}
	data := make([]byte, 0, 4*n)
	given := 0
	for piece := range v.Data {
		if given += len(piece); given > n {
			break
		}
		for _, x := range piece {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
	}
	if given != n {
		return fmt.Errorf("%d elements given, want %d of shape %v", given, n, v.Shape)
	}
	dims := make([]uint64, len(v.Shape))
	for i, s := range v.Shape {
		dims[i] = uint64(s)
	}
	set, err := w.CreateDataset(path, hdf5.Float32, dims)
	if err != nil {
		return err
	}
	return set.WriteRaw(data)
}
