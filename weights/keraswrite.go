package weights

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
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
// The file appears as that of [WriteSafetensors] does, and the errors are the same.
// WriteKeras needs memory for the largest tensor.
func WriteKeras(path string, tensors []Source) error {
	if !strings.HasSuffix(path, ".weights.h5") {
		return fmt.Errorf("weights: %s: want a name that ends in .weights.h5, as Keras does", path)
	}
	layers, err := kerasWriteLayers(tensors)
	if err != nil {
		return fmt.Errorf("weights: %s: %w", path, err)
	}
	if err := atomicfile.WriteNamed(path, func(name string) error { return writeKeras(name, layers) }); err != nil {
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
func writeKeras(path string, layers []kerasWriteLayer) (err error) {
	w, err := hdf5.CreateForWrite(path, hdf5.CreateTruncate)
	if err != nil {
		return err
	}
	defer func() {
		if e := w.Close(); err == nil {
			err = e
		}
	}()
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
