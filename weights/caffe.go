package weights

import (
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/verydeep/vgg/internal/protoscan"
	"github.com/verydeep/vgg/tensor"
)

// A Caffe model is a NetParameter of caffe.proto
// (https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto) with the
// layers' blobs. A tensor is named after its layer and its role: conv1_1/weight of shape
// (K,C,R,R), fc6/weight of shape (out,in), conv1_1/bias of shape (K).

// Fields of NetParameter.
const (
	caffeName    = 1
	caffeV1Layer = 2 // V1LayerParameter, which the authors' release has
	caffeV2Layer = 100
)

// caffeFields are the numbers of the fields that both LayerParameter and V1LayerParameter
// have. A number is 0 if one of them lacks the field.
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

// caffeV1Types maps values of V1LayerParameter.LayerType to the names that
// LayerParameter.type has.
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
	r       io.ReaderAt
	p       *protoscan.Scanner
	h       *header
	names   map[string]bool
	current []string // the tops that the next layer may take; nil if unknown
}

func readCaffe(r io.ReaderAt, size int64, _ *folder) (*header, error) {
	c := &caffe{r: r, p: protoscan.New(r), h: &header{meta: map[string]string{}}, names: map[string]bool{}}
	layers := 0
	err := c.p.Fields(protoscan.Span{End: size}, func(f protoscan.Field) error {
		switch f.Num {
		case caffeName:
			name, err := c.p.Text(f, maxProtoName)
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

// readLayer reads a layer.
func (c *caffe) readLayer(f protoscan.Field) (l caffeLayer, err error) {
	s, err := f.Message()
	if err != nil {
		return l, err
	}
	n := caffeFieldsOf(f.Num)
	own := map[protowire.Number]string{n.conv: "Convolution", n.connected: "InnerProduct", n.pooling: "Pooling",
		n.lrn: "LRN", n.dropout: "Dropout", n.relu: "ReLU", n.norm: "BatchNorm", n.scaling: "Scale"}
	parameters := map[string]map[protowire.Number][]float64{}
	err = c.p.Fields(s, func(f protoscan.Field) (err error) {
		var text string
		switch f.Num {
		case n.name:
			l.name, err = c.p.Text(f, maxProtoName)
		case n.typ:
			if f.Type == protowire.VarintType {
				if l.typ = caffeV1Types[f.Value]; l.typ == "" {
					l.typ = fmt.Sprintf("V1 type %d", f.Value)
				}
				return nil
			}
			l.typ, err = c.p.Text(f, maxProtoName)
		case n.bottom:
			text, err = c.p.Text(f, maxProtoName)
			l.bottoms = append(l.bottoms, text)
		case n.top:
			text, err = c.p.Text(f, maxProtoName)
			l.top = append(l.top, text)
		case n.blobs:
			if len(l.blobs) == 3 {
				return malformed(l.name, "more than 3 blobs")
			}
			var b caffeBlob
			b, err = c.readBlob(f)
			l.blobs = append(l.blobs, b)
		default:
			if typ, ok := own[f.Num]; ok {
				parameters[typ], err = c.readParameters(f, typ == "Convolution")
			}
		}
		return err
	})
	l.parameters = parameters[l.typ]
	return l, err
}

// readParameters reads the numbers of a layer's own message by field, whatever they mean,
// and skips fields that aren't numbers (fillers). Those of a convolution are repeated and
// may be packed.
func (c *caffe) readParameters(f protoscan.Field, convolution bool) (map[protowire.Number][]float64, error) {
	s, err := f.Message()
	if err != nil {
		return nil, err
	}
	numbers, count := map[protowire.Number][]float64{}, 0
	err = c.p.Fields(s, func(f protoscan.Field) error {
		if count++; count > 256 {
			return malformed("", "byte %d: more than 256 parameters of a layer", f.Begin)
		}
		switch f.Type {
		case protowire.VarintType:
			numbers[f.Num] = append(numbers[f.Num], float64(int64(f.Value)))
		case protowire.Fixed32Type:
			v, _ := f.Float()
			numbers[f.Num] = append(numbers[f.Num], v)
		case protowire.BytesType:
			if convolution && (f.Num == 3 || f.Num == 4 || f.Num == 6 || f.Num == 18) { // pad, kernel_size, stride, dilation
				packed, err := c.p.Integers(nil, f, 16)
				for _, v := range packed {
					numbers[f.Num] = append(numbers[f.Num], float64(v))
				}
				return err
			}
		}
		return nil
	})
	return numbers, err
}

// readBlob reads a blob's shape and where its data is. The legacy fields give the shape if
// there is no BlobShape.
func (c *caffe) readBlob(f protoscan.Field) (b caffeBlob, err error) {
	s, err := f.Message()
	if err != nil {
		return b, err
	}
	b.data.dtype = "F32"
	doubles := pieces{dtype: "F64"}
	var legacy, shape []int64
	shaped := false
	err = c.p.Fields(s, func(f protoscan.Field) (err error) {
		switch f.Num {
		case 1, 2, 3, 4: // num, channels, height, width
			v, err := f.Integer()
			if legacy == nil {
				legacy = make([]int64, 4)
			}
			legacy[f.Num-1] = v
			return err
		case 5:
			return b.data.add(f)
		case 8: // double_data
			return doubles.add(f)
		case 7:
			s, err := f.Message()
			if err != nil {
				return err
			}
			shaped = true
			return c.p.Fields(s, func(f protoscan.Field) (err error) {
				if f.Num == 1 {
					shape, err = c.p.Integers(shape, f, maxAxes)
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
			return b, malformed("", "byte %d: a blob with both data and double_data", s.Begin)
		}
		b.data = doubles
	}
	if !shaped {
		shape = legacy
	}
	if b.shape, err = checkedShape(shape); err != nil {
		return b, malformed("", "byte %d: blob: %v", s.Begin, err)
	}
	if n, _ := tensor.Size(b.shape...); n != b.data.count {
		return b, malformed("", "byte %d: a blob of shape %v has %d elements, its data %d", s.Begin, b.shape, n, b.data.count)
	}
	return b, nil
}

// checkedShape returns dims as a shape. It is an error if a length is negative or the
// product overflows.
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

// isCaffe reports whether a file looks like a NetParameter: its first fields are all known
// and of their types, and one is a layer.
func isCaffe(head []byte, r io.ReaderAt, size int64) bool {
	layers := false
	ok := plausible(head, r, size, func(f protoscan.Field) bool {
		switch f.Num {
		case caffeName, 3, 6, 8: // input, state, input_shape
			return f.Type == protowire.BytesType
		case 4: // input_dim
			return f.Type == protowire.VarintType || f.Type == protowire.BytesType
		case 5, 7: // force_backward, debug_info
			return f.Type == protowire.VarintType && f.Value <= 1
		case caffeV1Layer, caffeV2Layer:
			layers = true
			return f.Type == protowire.BytesType
		}
		return false
	})
	return ok && layers
}

// plausible reports whether a file may be a protobuf message: whether its first fields are
// all as expected. The last may be cut off, since a truncated file is still one of its
// kind.
func plausible(head []byte, r io.ReaderAt, size int64, expected func(protoscan.Field) bool) bool {
	if len(head) > lengthBytes && head[lengthBytes] == '{' && headerLength(head) <= maxHeader {
		return false // safetensors
	}
	p := protoscan.New(r)
	at := int64(0)
	for range 64 {
		if at == size {
			break
		}
		f, err := p.Field(protoscan.Span{Begin: at, End: size})
		if err != nil {
			return f.Num > 0 && f.Type == protowire.BytesType && expected(f)
		}
		if !expected(f) {
			return false
		}
		at = f.End
	}
	return true
}
