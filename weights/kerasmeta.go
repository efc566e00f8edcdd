package weights

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/hdf5"
)

// note adds an attribute to the metadata.
func (k *kerasFile) note(o *hdf5.Object, name string) error {
	values, ok, err := o.Strings(name)
	if ok && len(values) == 1 {
		k.h.meta[name] = values[0]
	}
	return err
}

// kerasMeta is the group of a file's own metadata, which Keras ignores: arrays of bytes by
// their keys.
const kerasMeta = "metadata"

// readMeta adds the metadata that [WriteKeras] wrote.
func (k *kerasFile) readMeta(root *hdf5.Object) error {
	const most = 16 << 20 // bytes of all
	if ok, err := root.Has(kerasMeta); !ok || err != nil {
		return err
	}
	group, err := root.Child(kerasMeta)
	if err != nil || group.IsDataset() {
		return err
	}
	keys, err := group.Sorted()
	if err != nil {
		return err
	}
	total := int64(0)
	for _, key := range keys {
		o, err := group.Child(key)
		if err != nil {
			return inLayer(kerasMeta+"/"+key, err)
		}
		if !o.IsDataset() {
			return nil // a layer of that name
		}
		d, err := o.Dataset()
		if err != nil {
			return inLayer(kerasMeta+"/"+key, err)
		}
		if d.Type.Size != 1 || len(d.Shape) != 1 {
			return nil
		}
		if total += d.Bytes(); total > most || d.Bytes() > k.size {
			return malformed("", "metadata of over %d bytes", min(most, k.size))
		}
		text := make([]byte, d.Bytes())
		if err := d.ReadAt(text, 0); err != nil {
			return inLayer(kerasMeta+"/"+key, err)
		}
		k.h.meta[key] = string(text)
	}
	return nil
}

// MetaLayerNames is the key of the metadata that has, as a JSON list, the names of all layers
// of a file of Keras 1 or 2 that holds only weights, in their order. Names that Keras gave
// tell the kinds of layers without weights: max_pooling2d_1.
const MetaLayerNames = "keras.layer_names"

// noteLayerNames adds the names of the layers to the metadata, if Keras gave those of the
// convolutions.
func (k *kerasFile) noteLayerNames(names []string) error {
	automatic := func(name string) bool {
		return strings.HasPrefix(name, "conv2d") || strings.HasPrefix(name, "convolution2d")
	}
	if !slices.ContainsFunc(names, automatic) {
		return nil
	}
	text, err := json.Marshal(names)
	k.h.meta[MetaLayerNames] = string(text)
	return err
}

// MetaLayerKinds is the key of the metadata that has, as a JSON list, the names of the layers
// without weights in a file of Keras that holds only weights, sorted. Those that Keras gave tell
// what kinds of layers there are, and not where: average_pooling2d_1.
const MetaLayerKinds = "keras.layer_kinds"

// noteLayerKinds adds the names of the layers without weights to the metadata.
func (k *kerasFile) noteLayerKinds() error {
	if len(k.silent) == 0 {
		return nil
	}
	slices.Sort(k.silent)
	text, err := json.Marshal(k.silent)
	k.h.meta[MetaLayerKinds] = string(text)
	return err
}
