package weights

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/verydeep/vgg/tensor"
)

// A Caffe model is a NetParameter of caffe.proto
// (https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto) with the
// layers' blobs. Its tensors get the layer's name and their role behind it: conv1_1/weight
// of shape (K,C,R,R), fc6/weight of shape (out,in), conv1_1/bias of shape (K).

// Fields of NetParameter.
const (
	caffeName    = 1
	caffeV1Layer = 2 // V1LayerParameter, as the authors' release has it
	caffeV2Layer = 100
)

// caffeFields are the numbers that LayerParameter and V1LayerParameter give to what they
// have in common; 0 where they haven't.
type caffeFields struct {
	name, typ, bottom, top, blobs                               protowire.Number
	conv, connected, pooling, lrn, dropout, relu, norm, scaling protowire.Number
}

func caffeFieldsOf(layer protowire.Number) caffeFields {
	if layer == caffeV1Layer {
		return caffeFields{name: 4, typ: 5, bottom: 2, top: 3, blobs: 6,
			conv: 10, connected: 17, pooling: 19, lrn: 18, dropout: 12, relu: 30}
	}
	return caffeFields{name: 1, typ: 2, bottom: 3, top: 4, blobs: 7,
		conv: 106, connected: 117, pooling: 121, lrn: 118, dropout: 108, relu: 123, norm: 139, scaling: 142}
}

// caffeV1Types are the values of V1LayerParameter.LayerType, by the names that
// LayerParameter.type has for them.
var caffeV1Types = map[uint64]string{
	1: "Accuracy", 4: "Convolution", 5: "Data", 6: "Dropout", 8: "Flatten", 9: "HDF5Data",
	12: "ImageData", 14: "InnerProduct", 15: "LRN", 16: "MultinomialLogisticLoss",
	17: "Pooling", 18: "ReLU", 20: "Softmax", 21: "SoftmaxWithLoss", 22: "Split",
	24: "WindowData", 29: "MemoryData", 32: "DummyData", 36: "Silence",
}

// caffeLayer is a layer as the file has it.
type caffeLayer struct {
	name, typ    string
	bottoms, top []string
	blobs        []caffeBlob
	// parameters are the numbers of the layer's own parameter message, by field.
	parameters map[protowire.Number][]float64
}

// caffeBlob is a BlobProto.
type caffeBlob struct {
	shape []int
	data  pieces
}

// caffe reads a model.
type caffe struct {
	p       *protoReader
	h       *header
	names   map[string]bool
	current []string // the tops that the next layer may stand on; nil if unknown
}

func readCaffe(r io.ReaderAt, size int64) (*header, error) {
	c := &caffe{p: newProtoReader(r), h: &header{meta: map[string]string{}}, names: map[string]bool{}}
	layers := 0
	err := c.p.fields(span{0, size}, func(f protoField) error {
		switch f.num {
		case caffeName:
			name, err := c.p.text(f, maxProtoName)
			c.h.meta["name"] = name
			return err
		case caffeV1Layer, caffeV2Layer:
			if layers++; layers > maxProtoLayers {
				return malformed("", "more than %d layers", maxProtoLayers)
			}
			l, err := c.readLayer(f)
			if err != nil {
				return err
			}
			return c.add(l)
		}
		return nil
	})
	if err == nil && len(c.h.layers) == 0 {
		err = malformed("", "a Caffe model without layers")
	}
	return c.h, err
}

// readLayer reads the layer that f is.
func (c *caffe) readLayer(f protoField) (l caffeLayer, err error) {
	s, err := f.message()
	if err != nil {
		return l, err
	}
	n := caffeFieldsOf(f.num)
	own := map[protowire.Number]string{n.conv: "Convolution", n.connected: "InnerProduct", n.pooling: "Pooling",
		n.lrn: "LRN", n.dropout: "Dropout", n.relu: "ReLU", n.norm: "BatchNorm", n.scaling: "Scale"}
	parameters := map[string]map[protowire.Number][]float64{}
	err = c.p.fields(s, func(f protoField) (err error) {
		var text string
		switch f.num {
		case n.name:
			l.name, err = c.p.text(f, maxProtoName)
		case n.typ:
			if f.typ == protowire.VarintType {
				if l.typ = caffeV1Types[f.value]; l.typ == "" {
					l.typ = fmt.Sprintf("V1 type %d", f.value)
				}
				return nil
			}
			l.typ, err = c.p.text(f, maxProtoName)
		case n.bottom:
			text, err = c.p.text(f, maxProtoName)
			l.bottoms = append(l.bottoms, text)
		case n.top:
			text, err = c.p.text(f, maxProtoName)
			l.top = append(l.top, text)
		case n.blobs:
			if len(l.blobs) == 3 {
				return malformed(l.name, "more than 3 blobs")
			}
			var b caffeBlob
			b, err = c.readBlob(f)
			l.blobs = append(l.blobs, b)
		default:
			if typ, ok := own[f.num]; ok {
				parameters[typ], err = c.readParameters(f, typ == "Convolution")
			}
		}
		return err
	})
	l.parameters = parameters[l.typ]
	return l, err
}

// readParameters reads the numbers of a message, of whatever meaning; fields of other
// kinds than numbers (fillers) are passed over. Those of a convolution are repeated, and
// may come packed.
func (c *caffe) readParameters(f protoField, convolution bool) (map[protowire.Number][]float64, error) {
	s, err := f.message()
	if err != nil {
		return nil, err
	}
	numbers, count := map[protowire.Number][]float64{}, 0
	err = c.p.fields(s, func(f protoField) error {
		if count++; count > 256 {
			return malformed("", "byte %d: more than 256 parameters of a layer", f.begin)
		}
		switch f.typ {
		case protowire.VarintType:
			numbers[f.num] = append(numbers[f.num], float64(int64(f.value)))
		case protowire.Fixed32Type:
			v, _ := f.float()
			numbers[f.num] = append(numbers[f.num], v)
		case protowire.BytesType:
			if convolution && (f.num == 3 || f.num == 4 || f.num == 6 || f.num == 18) { // pad, kernel_size, stride, dilation
				packed, err := c.p.integers(nil, f, 16)
				for _, v := range packed {
					numbers[f.num] = append(numbers[f.num], float64(v))
				}
				return err
			}
		}
		return nil
	})
	return numbers, err
}

// readBlob reads where a blob's data lie and of what shape they are; its shape is that
// of the legacy fields unless there is a BlobShape.
func (c *caffe) readBlob(f protoField) (b caffeBlob, err error) {
	s, err := f.message()
	if err != nil {
		return b, err
	}
	b.data.dtype = "F32"
	doubles := pieces{dtype: "F64"}
	var legacy, shape []int64
	shaped := false
	err = c.p.fields(s, func(f protoField) (err error) {
		switch f.num {
		case 1, 2, 3, 4: // num, channels, height, width
			v, err := f.integer()
			if legacy == nil {
				legacy = make([]int64, 4)
			}
			legacy[f.num-1] = v
			return err
		case 5:
			return b.data.add(f)
		case 8: // double_data
			return doubles.add(f)
		case 7:
			s, err := f.message()
			if err != nil {
				return err
			}
			shaped = true
			return c.p.fields(s, func(f protoField) (err error) {
				if f.num == 1 {
					shape, err = c.p.integers(shape, f, maxAxes)
				}
				return err
			})
		}
		return nil
	})
	if err != nil {
		return b, err
	}
	if doubles.count > 0 {
		if b.data.count > 0 {
			return b, malformed("", "byte %d: a blob with both data and double_data", s.begin)
		}
		b.data = doubles
	}
	if !shaped {
		shape = legacy
	}
	if b.shape, err = checkedShape(shape); err != nil {
		return b, malformed("", "byte %d: blob: %v", s.begin, err)
	}
	if n, _ := tensor.Size(b.shape...); n != b.data.count {
		return b, malformed("", "byte %d: a blob of shape %v has %d elements, its data %d", s.begin, b.shape, n, b.data.count)
	}
	return b, nil
}

// checkedShape is an error where a length is negative or the product overflows.
func checkedShape(dims []int64) ([]int, error) {
	shape := make([]int, len(dims))
	for i, d := range dims {
		if d < 0 || int64(int(d)) != d {
			return nil, fmt.Errorf("shape %v: length %d", dims, d)
		}
		shape[i] = int(d)
	}
	if _, err := byteSize("F64", shape); err != nil {
		return nil, err
	}
	return shape, nil
}

// add turns a layer into one of the chain, and its blobs into tensors.
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
		return fmt.Errorf("layer %s (%s): stands on %s, not on the layer before it: want a chain of layers",
			display(l.name), l.typ, display(strings.Join(l.bottoms, ", ")))
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

// number is the parameter of that field, or its default.
func (l *caffeLayer) number(n protowire.Number, otherwise float64) float64 {
	if v := l.parameters[n]; len(v) > 0 {
		return v[len(v)-1]
	}
	return otherwise
}

// pair is height and width of what is given by a repeated field (once for both) or by
// one field each.
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

// around is pads as ONNX has them: before and after, height and width.
func around(pads []float64) []float64 { return append(slices.Clone(pads), pads...) }

// tensor adds a blob as a tensor of that role, with its axes of length one dropped from
// the front until so many are left.
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
	b.data.place(&e, c.p.r)
	c.h.entries = append(c.h.entries, e)
	layer.Tensors[role] = name
	return shape, nil
}

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

func (c *caffe) connected(layer *Layer, l caffeLayer) error {
	layer.Op = "fc"
	layer.Attributes["transB"] = []float64{1}
	if l.number(6, 0) != 0 { // transpose: the weight is (in,out)
		layer.Attributes["transB"] = []float64{0}
	}
	_, err := c.weightAndBias(layer, l, 2)
	return err
}

// batchNorm adds the statistics, which the file has as sums over a weight, its third
// blob.
func (c *caffe) batchNorm(layer *Layer, l caffeLayer) error {
	layer.Op = "batchnorm"
	layer.Attributes["epsilon"] = []float64{l.number(3, 1e-5)}
	if len(l.blobs) != 3 || l.blobs[2].data.count != 1 {
		return malformed(l.name, "%d blobs of a BatchNorm layer, want mean, variance and one number", len(l.blobs))
	}
	var factor entry
	l.blobs[2].data.place(&factor, c.p.r)
	for i, role := range []string{"mean", "variance"} {
		if _, err := c.tensor(layer, l, role, i, 1); err != nil {
			return err
		}
		e := &c.h.entries[len(c.h.entries)-1]
		sums := l.blobs[i].data
		e.read = func(start int, dst []float32) error {
			var f [1]float32
			if err := readPieces(c.p.r, l.blobs[2].data.dtype, l.blobs[2].data.all, 0, f[:]); err != nil {
				return err
			}
			if err := readPieces(c.p.r, sums.dtype, sums.all, start, dst); err != nil {
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

// scale gives the batch normalisation before it its scale and shift.
func (c *caffe) scale(l caffeLayer) error {
	if n := len(c.h.layers); n > 0 && c.h.layers[n-1].Op == "batchnorm" && c.h.layers[n-1].Tensors["scale"] == "" {
		before := &c.h.layers[n-1]
		_, err := c.tensor(before, l, "scale", 0, 1)
		if err == nil && len(l.blobs) > 1 {
			_, err = c.tensor(before, l, "shift", 1, 1)
		}
		return err
	}
	return fmt.Errorf("layer %s (Scale): want it after a BatchNorm layer", display(l.name))
}

// plain is a layer without tensors.
func (l *caffeLayer) plain(layer *Layer) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("layer %s (%s): %s", display(l.name), display(l.typ), fmt.Sprintf(format, args...))
	}
	a := layer.Attributes
	switch l.typ {
	case "ReLU":
		layer.Op = "relu"
		if s := l.number(1, 0); s != 0 {
			return refuse("negative_slope %v, want 0", s)
		}
	case "Pooling":
		layer.Op = "maxpool"
		switch l.number(1, 0) {
		case 0:
		case 1:
			layer.Op = "avgpool"
		default:
			return refuse("stochastic pooling, want MAX or AVE")
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
			return refuse("normalises within channels, want ACROSS_CHANNELS")
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
		return refuse("not a layer of a chain of Convolution, ReLU, Pooling, LRN, BatchNorm, Scale, InnerProduct, Dropout, Flatten and Softmax")
	}
	return nil
}

// isCaffe reports whether a file is a NetParameter: nothing but its fields, of their
// types, and among the first a layer.
func isCaffe(head []byte, r io.ReaderAt, size int64) bool {
	layers := false
	ok := plausible(head, r, size, func(f protoField) bool {
		switch f.num {
		case caffeName, 3, 6, 8: // input, state, input_shape
			return f.typ == protowire.BytesType
		case 4: // input_dim
			return f.typ == protowire.VarintType || f.typ == protowire.BytesType
		case 5, 7: // force_backward, debug_info
			return f.typ == protowire.VarintType && f.value <= 1
		case caffeV1Layer, caffeV2Layer:
			layers = true
			return f.typ == protowire.BytesType
		}
		return false
	})
	return ok && layers
}

// plausible reports whether a file may be a protobuf message: whether its first fields,
// as far as they are whole, are all as they should be. The last field may be cut off: a
// truncated file is still one of its kind.
func plausible(head []byte, r io.ReaderAt, size int64, expected func(protoField) bool) bool {
	if len(head) > lengthBytes && head[lengthBytes] == '{' && headerLength(head) <= maxHeader {
		return false // safetensors
	}
	p := newProtoReader(r)
	at := int64(0)
	for range 64 {
		if at == size {
			break
		}
		f, err := p.field(at, size)
		if err != nil {
			return f.num > 0 && f.typ == protowire.BytesType && expected(f)
		}
		if !expected(f) {
			return false
		}
		at = f.end
	}
	return true
}
