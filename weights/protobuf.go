package weights

import (
	"encoding/binary"
	"io"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits on what describes a network: far more than any has, and few enough that a
// hostile file can't buy much memory with it.
const (
	maxProtoName   = 64 << 10 // bytes of a name
	maxProtoText   = 16 << 20 // bytes of a piece of metadata
	maxProtoLayers = 4000     // layers, nodes and tensors
	maxProtoParts  = 20_000   // inputs, outputs and attributes of all nodes
	maxProtoPieces = 1024     // parts that the data of a tensor come in
)

// span is the bytes [begin, end) of a file.
type span struct{ begin, end int64 }

func (s span) length() int64 { return s.end - s.begin }

// protoReader reads protobuf's wire format (https://protobuf.dev/programming-guides/encoding)
// from a file by place, through a window: what isn't looked at isn't read.
type protoReader struct {
	r      io.ReaderAt
	window []byte
	held   span // what of the file the window holds
}

func newProtoReader(r io.ReaderAt) *protoReader {
	return &protoReader{r: r, window: make([]byte, 4<<10)}
}

// protoField is a field of a message.
type protoField struct {
	num   protowire.Number
	typ   protowire.Type
	value uint64 // of a number
	// span is where the number or the content lies.
	span
}

// fields calls visit for each field of the message at s, in the order of the file. A
// message's fields must lie within it; groups, which no format here has, are an error.
func (p *protoReader) fields(s span, visit func(protoField) error) error {
	for at := s.begin; at < s.end; {
		f, err := p.field(at, s.end)
		if err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
		at = f.end
	}
	return nil
}

// field reads the field at a place in a message that ends at end.
func (p *protoReader) field(at, end int64) (protoField, error) {
	f := protoField{}
	b, err := p.peek(at, end)
	if err != nil {
		return f, err
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, malformed("", "byte %d: no field of a protobuf message: %v", at, protowire.ParseError(n))
	}
	f.num, f.typ = num, typ
	f.begin = at + int64(n)
	b = b[n:]
	switch typ {
	case protowire.VarintType:
		f.value, n = protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(b)
		f.value = uint64(v)
	case protowire.Fixed64Type:
		f.value, n = protowire.ConsumeFixed64(b)
	case protowire.BytesType:
		var length uint64
		length, n = protowire.ConsumeVarint(b)
		if n >= 0 {
			f.begin += int64(n)
			if length > uint64(end-f.begin) {
				return f, malformed("", "byte %d: truncated: field %d of %d bytes, %d follow", at, num, length, end-f.begin)
			}
			f.end = f.begin + int64(length)
			return f, nil
		}
	default:
		return f, malformed("", "byte %d: field %d has the wire type %d, want 0, 1, 2 or 5", at, num, typ)
	}
	if n < 0 {
		return f, malformed("", "byte %d: field %d: %v", at, num, protowire.ParseError(n))
	}
	f.end = f.begin + int64(n)
	return f, nil
}

// peek returns what there is of the file from a place on, before end: at least a tag
// and a number, unless end comes first.
func (p *protoReader) peek(at, end int64) ([]byte, error) {
	const most = 2 * binary.MaxVarintLen64
	if need := min(at+most, end); at < p.held.begin || need > p.held.end {
		n := min(int64(len(p.window)), end-at)
		if err := readFull(p.r, p.window[:n], at); err != nil {
			p.held = span{}
			return nil, err
		}
		p.held = span{at, at + n}
	}
	return p.window[at-p.held.begin : min(p.held.end, end)-p.held.begin], nil
}

// want is an error unless the field is of a wire type.
func (f protoField) want(typ protowire.Type) error {
	if f.typ != typ {
		return malformed("", "byte %d: field %d has the wire type %d, want %d", f.begin, f.num, f.typ, typ)
	}
	return nil
}

// integer is the field's number.
func (f protoField) integer() (int64, error) { return int64(f.value), f.want(protowire.VarintType) }

// float is the field's number.
func (f protoField) float() (float64, error) {
	return float64(math.Float32frombits(uint32(f.value))), f.want(protowire.Fixed32Type)
}

// message is where the field's message lies.
func (f protoField) message() (span, error) { return f.span, f.want(protowire.BytesType) }

// text reads the field's string of at most so many bytes.
func (p *protoReader) text(f protoField, most int64) (string, error) {
	if err := f.want(protowire.BytesType); err != nil {
		return "", err
	}
	if f.length() > most {
		return "", malformed("", "byte %d: a text of %d bytes, want at most %d", f.begin, f.length(), most)
	}
	b := make([]byte, f.length())
	if err := readFull(p.r, b, f.begin); err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", malformed("", "byte %d: a text that is not UTF-8", f.begin)
	}
	return string(b), nil
}

// integers appends the field's numbers, packed or not, to so many at most.
func (p *protoReader) integers(to []int64, f protoField, most int) ([]int64, error) {
	err := p.varints(f, func(v uint64) error {
		if len(to) == most {
			return malformed("", "byte %d: field %d has more than %d numbers", f.begin, f.num, most)
		}
		to = append(to, int64(v))
		return nil
	})
	return to, err
}

// varints calls visit for each number of the field, packed or not.
func (p *protoReader) varints(f protoField, visit func(uint64) error) error {
	if f.typ == protowire.VarintType {
		return visit(f.value)
	}
	if err := f.want(protowire.BytesType); err != nil {
		return err
	}
	for at := f.begin; at < f.end; {
		b, err := p.peek(at, f.end)
		if err != nil {
			return err
		}
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return malformed("", "byte %d: field %d: %v", at, f.num, protowire.ParseError(n))
		}
		if err := visit(v); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// floats appends the field's 32-bit numbers, packed or not, to so many at most.
func (p *protoReader) floats(to []float64, f protoField, most int) ([]float64, error) {
	if f.typ == protowire.Fixed32Type {
		v, err := f.float()
		if len(to) == most {
			return nil, malformed("", "byte %d: field %d has more than %d numbers", f.begin, f.num, most)
		}
		return append(to, v), err
	}
	if err := f.want(protowire.BytesType); err != nil {
		return nil, err
	}
	if f.length()%4 != 0 || f.length()/4 > int64(most-len(to)) {
		return nil, malformed("", "byte %d: field %d of %d bytes, want at most %d numbers of 4", f.begin, f.num, f.length(), most)
	}
	b := make([]byte, f.length())
	if err := readFull(p.r, b, f.begin); err != nil {
		return nil, err
	}
	for ; len(b) > 0; b = b[4:] {
		to = append(to, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
	}
	return to, nil
}

// piece is a stretch of a tensor's data: count elements, the first at a place, one
// every stride bytes.
type piece struct {
	at     int64
	count  int
	stride int64
}

// pieces are the data of a repeated float or double: packed, or each behind a tag of its
// own, or any mixture of them, as the wire format allows.
type pieces struct {
	dtype string
	all   []piece
	count int
}

func (d *pieces) width() int64 { return int64(dtypeBits(d.dtype) / 8) }

// add appends the field's elements.
func (d *pieces) add(f protoField) error {
	width := d.width()
	next := piece{at: f.begin, count: 1, stride: width + int64(protowire.SizeTag(f.num))}
	switch {
	case f.typ == protowire.Fixed32Type && width == 4, f.typ == protowire.Fixed64Type && width == 8:
		if n := len(d.all); n > 0 {
			last := &d.all[n-1]
			if last.stride == next.stride && last.at+int64(last.count)*last.stride == next.at {
				last.count++
				d.count++
				return nil
			}
		}
	case f.typ == protowire.BytesType && f.length()%width == 0 && f.length()/width <= math.MaxInt/16:
		if f.length() == 0 {
			return nil
		}
		next.count, next.stride = int(f.length()/width), width
	default:
		return malformed("", "byte %d: field %d isn't one of elements of %d bytes", f.begin, f.num, width)
	}
	if len(d.all) == maxProtoPieces {
		return malformed("", "byte %d: data in more than %d pieces", f.begin, maxProtoPieces)
	}
	d.all = append(d.all, next)
	d.count += next.count
	return nil
}

// place says in e where the data are.
func (d *pieces) place(e *entry, r io.ReaderAt) {
	e.DType = d.dtype
	if len(d.all) == 0 {
		return
	}
	e.begin = d.all[0].at
	if first := d.all[0]; len(d.all) == 1 && first.stride == d.width() {
		e.end = first.at + int64(first.count)*first.stride
		return
	}
	last := d.all[len(d.all)-1]
	e.end = last.at + int64(last.count-1)*last.stride + d.width()
	all, dtype := d.all, d.dtype
	e.read = func(start int, dst []float32) error { return readPieces(r, dtype, all, start, dst) }
}

// readPieces reads elements from the start-th on.
func readPieces(r io.ReaderAt, dtype string, all []piece, start int, dst []float32) error {
	width := int64(dtypeBits(dtype) / 8)
	buf := make([]byte, min(chunk, 16*int64(len(dst))))
	for _, p := range all {
		if start >= p.count {
			start -= p.count
			continue
		}
		for at := p.at + int64(start)*p.stride; start < p.count && len(dst) > 0; {
			n := min(p.count-start, len(dst), int(int64(len(buf))/p.stride))
			b := buf[:int64(n-1)*p.stride+width]
			if err := readFull(r, b, at); err != nil {
				return err
			}
			if p.stride > width { // close the gaps
				for i := int64(1); i < int64(n); i++ {
					copy(b[i*width:(i+1)*width], b[i*p.stride:])
				}
			}
			convert(dst[:n], b, dtype)
			dst = dst[n:]
			start += n
			at += int64(n) * p.stride
		}
		start = 0
		if len(dst) == 0 {
			return nil
		}
	}
	if len(dst) > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// packed is the span as a field of packed numbers.
func (s span) packed() protoField { return protoField{typ: protowire.BytesType, span: s} }
