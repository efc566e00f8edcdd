package weights

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/verydeep/vgg/internal/protoscan"
	"github.com/verydeep/vgg/tensor"
)

// onnxTypes maps values of TensorProto.DataType to safetensors' names of types.
var onnxTypes = map[int64]string{
	1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL",
	10: "F16", 11: "F64", 12: "U32", 13: "U64", 14: "C64", 16: "BF16",
}

// onnxTensor is a TensorProto.
type onnxTensor struct {
	entry
	// ints are the elements of a short vector of integers, such as a shape; nil for any
	// other tensor.
	ints []int64
	// data is the file of which the data is bytes [begin, end); nil for the model itself.
	data io.ReaderAt
	// varints are the elements of whole numbers that aren't bytes of the file.
	varints []protoscan.Span
	// rounded: the elements are numbers that a QuantizeLinear made.
	rounded bool
}

// onnxData is the fields of a TensorProto that are, or point to, its data.
type onnxData struct {
	raw            *protoscan.Span
	floats, double pieces
	halves         []protoscan.Span // packed varints of 16 bits each
	location       string
	external       bool
	offset, length int64
}

// readTensor reads a TensorProto without its data.
func (m *onnxModel) readTensor(f protoscan.Field) (*onnxTensor, error) {
	s, err := f.Message()
	if err != nil {
		return nil, err
	}
	t := &onnxTensor{}
	var dims, ints []int64
	typ := int64(0)
	d := onnxData{floats: pieces{dtype: "F32"}, double: pieces{dtype: "F64"}, length: -1}
	err = m.p.Fields(s, func(f protoscan.Field) (err error) {
		switch f.Num {
		case 1:
			dims, err = m.p.Integers(dims, f, maxAxes)
		case 2:
			typ, err = f.Integer()
		case 3:
			return malformed(t.Name, "a tensor in segments")
		case 4:
			err = d.floats.add(f)
		case 5, 7: // int32_data, int64_data
			if len(d.halves) == maxProtoPieces {
				return malformed(t.Name, "data in more than %d pieces", maxProtoPieces)
			}
			d.halves = append(d.halves, f.Span)
			if f.Length() <= maxAxes*10 && len(ints) < maxAxes {
				ints, err = m.p.Integers(ints, f, maxAxes*10)
			}
		case 8:
			t.Name, err = m.p.Text(f, maxProtoName)
		case 9:
			var raw protoscan.Span
			raw, err = f.Message()
			d.raw = &raw
		case 10:
			err = d.double.add(f)
		case 13:
			err = m.readLocation(&d, f)
		case 14:
			var location int64
			location, err = f.Integer()
			d.external = location == 1
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if t.Shape, err = checkedShape(dims); err != nil {
		return nil, malformed(t.Name, "%v", err)
	}
	if t.DType = onnxTypes[typ]; t.DType == "" {
		t.DType = fmt.Sprintf("ONNX type %d", typ)
		return t, nil // an error where it is used
	}
	return t, m.setData(t, d, ints)
}

// setData checks the data of t against its shape and sets where it is.
func (m *onnxModel) setData(t *onnxTensor, d onnxData, ints []int64) error {
	want, _ := tensor.Size(t.Shape...)
	size, err := byteSize(t.DType, t.Shape)
	if err != nil {
		return malformed(t.Name, "%v", err)
	}
	integer := t.DType == "I64" || t.DType == "I32"
	switch {
	case d.external:
		return m.setExternal(t, d, size)
	case d.raw != nil:
		if d.raw.Length() != size {
			return malformed(t.Name, "%s of shape %v is %d bytes, but raw_data holds %d", t.DType, t.Shape, size, d.raw.Length())
		}
		t.begin, t.end = d.raw.Begin, d.raw.End
		if integer && want <= maxAxes {
			return m.shortInts(t, size)
		}
	case t.DType == "F32":
		if d.floats.count != want {
			return malformed(t.Name, "shape %v has %d elements, but float_data %d", t.Shape, want, d.floats.count)
		}
		d.floats.describe(&t.entry, m.r)
	case t.DType == "F64":
		if d.double.count != want {
			return malformed(t.Name, "shape %v has %d elements, but double_data %d", t.Shape, want, d.double.count)
		}
		d.double.describe(&t.entry, m.r)
	case t.DType == "F16" || t.DType == "BF16":
		return m.setHalves(t, d.halves, want)
	case integer && want > maxAxes, slices.Contains([]string{"U8", "I8", "U16", "I16", "BOOL"}, t.DType):
		return m.setVarints(t, d.halves, want)
	case integer && want <= maxAxes:
		if len(ints) != want {
			return malformed(t.Name, "shape %v has %d elements, but the data %d", t.Shape, want, len(ints))
		}
		t.ints = ints
	}
	return nil
}

// shortInts reads the elements of a short vector of integers.
func (m *onnxModel) shortInts(t *onnxTensor, size int64) error {
	b := make([]byte, size)
	if err := readFull(m.r, b, t.begin); err != nil {
		return err
	}
	t.ints = []int64{}
	for width := dtypeBits(t.DType) / 8; len(b) > 0; b = b[width:] {
		v := int64(0)
		for i := width - 1; i >= 0; i-- {
			v = v<<8 | int64(b[i])
		}
		if width == 4 {
			v = int64(int32(v))
		}
		t.ints = append(t.ints, v)
	}
	return nil
}

// setVarints sets data that is one varint for each element.
func (m *onnxModel) setVarints(t *onnxTensor, parts []protoscan.Span, want int) error {
	count := 0
	for _, s := range parts {
		if err := m.p.Varints(s.Packed(), func(uint64) error { count++; return nil }); err != nil {
			return err
		}
	}
	if count != want {
		return malformed(t.Name, "shape %v has %d elements, but the data %d", t.Shape, want, count)
	}
	t.varints, t.whole = append([]protoscan.Span{}, parts...), true
	return nil
}

// setHalves sets data that is varints, each of which is the bits of one element.
func (m *onnxModel) setHalves(t *onnxTensor, parts []protoscan.Span, want int) error {
	count := 0
	for _, s := range parts {
		err := m.p.Varints(s.Packed(), func(v uint64) error {
			if count++; v > math.MaxUint16 {
				return malformed(t.Name, "element %d of %d bits and more, want 16", count-1, 17)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if count != want {
		return malformed(t.Name, "shape %v has %d elements, but int32_data %d", t.Shape, want, count)
	}
	r, dtype := m.r, t.DType
	t.whole = true
	t.read = func(start int, dst []float32) error {
		p := protoscan.New(r)
		for _, s := range parts {
			err := p.Varints(s.Packed(), func(v uint64) error {
				if start > 0 {
					start--
				} else if len(dst) > 0 {
					convert(dst[:1], []byte{byte(v), byte(v >> 8)}, dtype)
					dst = dst[1:]
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

// readLocation reads a StringStringEntryProto of external_data.
func (m *onnxModel) readLocation(d *onnxData, f protoscan.Field) error {
	key, value, err := m.readPair(f)
	if err != nil {
		return err
	}
	switch key {
	case "location":
		d.location = value
	case "offset":
		d.offset, err = strconv.ParseInt(value, 10, 64)
	case "length":
		d.length, err = strconv.ParseInt(value, 10, 64)
	}
	if err != nil || d.offset < 0 || d.length < -1 {
		return malformed("", "byte %d: external_data %s %s, want a whole number, 0 or more", f.Begin, key, display(value))
	}
	return nil
}

// setExternal sets data that is in another file beside the model. Files in other folders
// are refused.
func (m *onnxModel) setExternal(t *onnxTensor, d onnxData, size int64) error {
	name := d.location
	if !isFileName(name) {
		return malformed(t.Name, "external data in %s, want the name of a file beside the model", display(name))
	}
	if d.length >= 0 && d.length != size {
		return malformed(t.Name, "%s of shape %v is %d bytes, but its external data %d", t.DType, t.Shape, size, d.length)
	}
	f, err := m.beside.file(name)
	if _, ok := err.(*FolderError); ok {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s: external data: %s: %w", display(t.Name), display(name), pathless(err))
	}
	if d.offset > f.size-size {
		return malformed(t.Name, "external data of %d bytes from byte %d of %s, which has %d", size, d.offset, display(name), f.size)
	}
	m.external = max(m.external, f.size)
	t.data = f
	t.begin, t.end = d.offset, d.offset+size
	dtype, width := t.DType, int64(dtypeBits(t.DType)/8)
	t.read = func(start int, dst []float32) error {
		return readPieces(f, dtype, []piece{{d.offset, int(size / width), width}}, start, dst)
	}
	return nil
}

// transposed returns t with its axes in another order, under another name. Reading it
// gathers the elements.
func (t *onnxTensor) transposed(name string, file io.ReaderAt, perm []int) (*onnxTensor, error) {
	if !readable(t.DType) {
		return nil, fmt.Errorf("%s: dtype %s, want F32, F16, BF16 or F64", display(t.Name), t.DType)
	}
	r := file
	if t.data != nil {
		r = t.data
	} else if t.read != nil {
		return nil, fmt.Errorf("%s: transposed, but its data isn't in one piece of the file", display(t.Name))
	}
	strides := make([]int, len(t.Shape))
	step := 1
	for a := len(strides) - 1; a >= 0; a-- {
		strides[a] = step
		step *= t.Shape[a]
	}
	v := &view{r: r, begin: t.begin, end: t.end, dtype: t.DType}
	for _, a := range perm {
		v.shape, v.strides = append(v.shape, t.Shape[a]), append(v.strides, strides[a])
	}
	return &onnxTensor{entry: v.entry(name, t.data == nil)}, nil
}

// reshaped returns t with another shape for the same number of elements.
func (t *onnxTensor) reshaped(shape []int) *onnxTensor {
	e := *t
	e.Shape = slices.Clone(shape)
	return &e
}
