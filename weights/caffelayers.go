package weights

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// add adds a layer to the chain and lists its blobs as tensors.
func (c *caffe) add(l caffeLayer) error {
	switch l.typ {
	case "Data", "HDF5Data", "ImageData", "WindowData", "MemoryData", "DummyData", "Input", "AnnotatedData":
		c.current = l.top
		return nil
	case "SoftmaxWithLoss", "MultinomialLogisticLoss", "Accuracy", "Silence":
		return nil
	case "":
		return malformed(l.name, "a layer without a type")
	}
	if l.name == "" {
		return malformed("", "layer %d (%s): no name", len(c.h.layers)+1, l.typ)
	}
	if c.names[l.name] {
		return malformed(l.name, "name given to two layers")
	}
	c.names[l.name] = true
	if len(l.bottoms) > 0 && len(c.current) > 0 && !slices.Contains(c.current, l.bottoms[0]) || len(l.bottoms) > 1 {
		return l.refuse("its input is %s, not the layer before it: want a chain of layers", display(strings.Join(l.bottoms, ", ")))
	}
	c.current = l.top
	layer := Layer{Name: l.name, Tensors: map[string]string{}, Attributes: map[string][]float64{}}
	var err error
	switch l.typ {
	case "Split":
		return nil
	case "Convolution":
		err = c.convolution(&layer, l)
	case "InnerProduct":
		err = c.connected(&layer, l)
	case "BatchNorm":
		err = c.batchNorm(&layer, l)
	case "Scale":
		return c.scale(l)
	default:
		if err = l.plain(&layer); err == nil && len(l.blobs) > 0 {
			err = malformed(l.name, "%d blobs of a %s layer, want none", len(l.blobs), l.typ)
		}
	}
	if err != nil {
		return err
	}
	c.h.layers = append(c.h.layers, layer)
	return nil
}

// number returns the parameter of that field, or its default.
func (l *caffeLayer) number(n protowire.Number, otherwise float64) float64 {
	if v := l.parameters[n]; len(v) > 0 {
		return v[len(v)-1]
	}
	return otherwise
}

// pair returns a parameter for height and width. A repeated field gives one number for
// both or two, or each has a field of its own.
func (l *caffeLayer) pair(both, h, w protowire.Number, otherwise float64) []float64 {
	switch v := l.parameters[both]; len(v) {
	case 0:
		return []float64{l.number(h, otherwise), l.number(w, otherwise)}
	case 1:
		return []float64{v[0], v[0]}
	default:
		return v
	}
}

// around returns pads as ONNX has them: top, left, bottom, right.
func around(pads []float64) []float64 { return append(slices.Clone(pads), pads...) }

// tensor lists a blob as a tensor of that role. Leading axes of length one are dropped
// until so many axes are left.
func (c *caffe) tensor(layer *Layer, l caffeLayer, role string, blob, axes int) ([]int, error) {
	name := l.name + "/" + role
	if blob >= len(l.blobs) {
		return nil, malformed(name, "the layer has %d blobs", len(l.blobs))
	}
	b := l.blobs[blob]
	shape := b.shape
	for len(shape) > axes && shape[0] == 1 {
		shape = shape[1:]
	}
	if len(shape) != axes {
		return nil, malformed(name, "shape %v, want %d axes", b.shape, axes)
	}
	e := entry{Entry: Entry{Name: name, Shape: shape}}
	b.data.describe(&e, c.r)
	c.h.entries = append(c.h.entries, e)
	layer.Tensors[role] = name
	return shape, nil
}

// weightAndBias lists the blobs of a layer that has a weight and perhaps a bias. It returns
// the weight's shape.
func (c *caffe) weightAndBias(layer *Layer, l caffeLayer, axes int) ([]int, error) {
	shape, err := c.tensor(layer, l, "weight", 0, axes)
	if err == nil && len(l.blobs) > 1 {
		_, err = c.tensor(layer, l, "bias", 1, 1)
	}
	if err == nil && len(l.blobs) > 2 {
		err = malformed(l.name, "%d blobs of a %s layer, want 1 or 2", len(l.blobs), l.typ)
	}
	return shape, err
}

// convolution adds a Convolution.
func (c *caffe) convolution(layer *Layer, l caffeLayer) error {
	layer.Op = "conv"
	shape, err := c.weightAndBias(layer, l, 4)
	if err != nil {
		return err
	}
	layer.Attributes["kernel_shape"] = []float64{float64(shape[2]), float64(shape[3])}
	if l.parameters == nil { // a file of weights alone
		return nil
	}
	for _, n := range []protowire.Number{3, 4, 6, 18} {
		if len(l.parameters[n]) > 2 {
			return malformed(l.name, "a convolution over %d axes, want 2", len(l.parameters[n]))
		}
	}
	layer.Attributes["strides"] = l.pair(6, 13, 14, 1)
	layer.Attributes["pads"] = around(l.pair(3, 9, 10, 0))
	if g := l.number(5, 1); g != 1 {
		layer.Attributes["group"] = []float64{g}
	}
	if d := l.pair(18, 0, 0, 1); d[0] != 1 || d[len(d)-1] != 1 {
		layer.Attributes["dilations"] = d
	}
	return nil
}

// connected adds an InnerProduct.
func (c *caffe) connected(layer *Layer, l caffeLayer) error {
	layer.Op = "fc"
	layer.Attributes["transB"] = []float64{1}
	if l.number(6, 0) != 0 { // transpose: the weight is (in,out)
		layer.Attributes["transB"] = []float64{0}
	}
	_, err := c.weightAndBias(layer, l, 2)
	return err
}

// batchNorm adds a BatchNorm. The file has the statistics multiplied by a number, the
// third blob.
func (c *caffe) batchNorm(layer *Layer, l caffeLayer) error {
	layer.Op = "batchnorm"
	layer.Attributes["epsilon"] = []float64{l.number(3, 1e-5)}
	if len(l.blobs) != 3 || l.blobs[2].data.count != 1 {
		return malformed(l.name, "%d blobs of a BatchNorm layer, want mean, variance and one number", len(l.blobs))
	}
	for i, role := range []string{"mean", "variance"} {
		if _, err := c.tensor(layer, l, role, i, 1); err != nil {
			return err
		}
		e := &c.h.entries[len(c.h.entries)-1]
		sums := l.blobs[i].data
		e.read = func(start int, dst []float32) error {
			var f [1]float32
			if err := readPieces(c.r, l.blobs[2].data.dtype, l.blobs[2].data.all, 0, f[:]); err != nil {
				return err
			}
			if err := readPieces(c.r, sums.dtype, sums.all, start, dst); err != nil {
				return err
			}
			for i := range dst {
				if f[0] == 0 {
					dst[i] = 0
				} else {
					dst[i] /= f[0]
				}
			}
			return nil
		}
	}
	return nil
}

// scale adds a Scale: the scale and shift of the batch normalisation before it.
func (c *caffe) scale(l caffeLayer) error {
	if n := len(c.h.layers); n > 0 && c.h.layers[n-1].Op == "batchnorm" && c.h.layers[n-1].Tensors["scale"] == "" {
		before := &c.h.layers[n-1]
		_, err := c.tensor(before, l, "scale", 0, 1)
		if err == nil && len(l.blobs) > 1 {
			_, err = c.tensor(before, l, "shift", 1, 1)
		}
		return err
	}
	return l.refuse("want it after a BatchNorm layer")
}

// refuse returns the error of a layer that is no part of a chain.
func (l *caffeLayer) refuse(format string, args ...any) error {
	return refused(fmt.Sprintf("layer %s (%s)", display(l.name), display(l.typ)), format, args...)
}

// plain describes a layer without tensors.
func (l *caffeLayer) plain(layer *Layer) error {
	a := layer.Attributes
	switch l.typ {
	case "ReLU":
		layer.Op = "relu"
		if s := l.number(1, 0); s != 0 {
			return l.refuse("negative_slope %v, want 0", s)
		}
	case "Pooling":
		layer.Op = "maxpool"
		switch l.number(1, 0) {
		case 0:
		case 1:
			layer.Op = "avgpool"
		default:
			return l.refuse("stochastic pooling, want MAX or AVE")
		}
		if l.parameters == nil {
			break
		}
		if l.number(12, 0) != 0 {
			layer.Op = "global" + layer.Op
			break
		}
		// Caffe rounds sizes up, where ONNX rounds down unless told.
		a["kernel_shape"], a["strides"] = l.pair(2, 5, 6, 1), l.pair(3, 7, 8, 1)
		a["pads"], a["ceil_mode"] = around(l.pair(4, 9, 10, 0)), []float64{1 - l.number(13, 0)}
	case "LRN":
		layer.Op = "lrn"
		if l.number(4, 0) != 0 {
			return l.refuse("normalises within channels, want ACROSS_CHANNELS")
		}
		a["size"], a["alpha"] = []float64{l.number(1, 5)}, []float64{l.number(2, 1)}
		a["beta"], a["bias"] = []float64{l.number(3, 0.75)}, []float64{l.number(5, 1)}
	case "Dropout":
		layer.Op = "dropout"
		a["ratio"] = []float64{l.number(1, 0.5)}
	case "Softmax":
		layer.Op = "softmax"
	case "Flatten":
		layer.Op = "flatten"
	default:
		return l.refuse("not a layer of a chain of Convolution, ReLU, Pooling, LRN, BatchNorm, Scale, InnerProduct, Dropout, Flatten and Softmax")
	}
	return nil
}
