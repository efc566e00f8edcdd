package weights

import (
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/hdf5"
)

// readOld reads the layouts of Keras 1 and 2.
func (k *kerasFile) readOld(models *hdf5.Object, layers []string) error {
	if _, ok := k.h.meta["keras_version"]; !ok {
		for _, name := range []string{"keras_version", "backend"} {
			if err := k.note(models, name); err != nil {
				return err
			}
		}
	}
	for _, layer := range layers {
		group, err := models.Child(layer)
		if err != nil {
			return inLayer(layer, err)
		}
		names, _, err := longStrings(group, "weight_names")
		if err != nil {
			return inLayer(layer, err)
		}
		if len(names) == 0 {
			k.silent = append(k.silent, layer)
		}
		// If the layer is a model, its weights have one parent for each of its own layers.
		parents := make(map[string]bool)
		for _, name := range names {
			parents[parentOf(name)] = true
		}
		for _, name := range names {
			o, err := group.Lookup(strings.Split(name, "/")...)
			if err != nil {
				return inLayer(layer, err)
			}
			path := []string{layer}
			if parent := parentOf(name); len(parents) > 1 && parent != "" {
				path = append(path, parent[strings.LastIndexByte(parent, '/')+1:])
			}
			if err := k.add(path, "", oldTensorName(path[len(path)-1], name), o); err != nil {
				return inLayer(layer+"/"+name, err)
			}
		}
	}
	return nil
}

func parentOf(name string) string {
	return name[:max(0, strings.LastIndexByte(name, '/'))]
}

// oldTensorName returns kernel for conv1/kernel:0, and for Keras 1's conv1_W_1:0.
func oldTensorName(layer, name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	if base, number, ok := strings.Cut(name, ":"); ok && isNumber(number) {
		name = base
	}
	switch name {
	case "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance":
		return name
	}
	short := strings.TrimPrefix(name, layer+"_")
	if i := strings.LastIndexByte(short, '_'); i > 0 && isNumber(short[i+1:]) {
		short = short[:i]
	}
	switch short {
	case "W", "kernel":
		return "kernel"
	case "b", "bias":
		return "bias"
	case "gamma", "beta", "moving_mean", "moving_variance":
		return short
	case "running_mean":
		return "moving_mean"
	case "running_std": // the variance, whatever its name
		return "moving_variance"
	}
	return name
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}
