// Package protoscan reads protobuf's wire format by place, out of files that are much
// larger than what is wanted of them: fields that aren't asked for are passed over
// without being read.
//
// The format is that of https://protobuf.dev/programming-guides/encoding. Groups are an
// error. Any file is met without a panic; memory is taken for what the caller bounds.
package protoscan

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// FormatError says what is wrong in a message, and at which byte of the file.
type FormatError struct {
	Offset int64
	Reason string
}

func (e *FormatError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason) }

func malformed(at int64, format string, args ...any) error {
	return &FormatError{at, fmt.Sprintf(format, args...)}
}

// Span is the bytes [Begin, End) of a file.
type Span struct{ Begin, End int64 }

// Length is the number of bytes.
func (s Span) Length() int64 { return s.End - s.Begin }

// Packed returns the span as a field of packed numbers.
func (s Span) Packed() Field { return Field{Type: protowire.BytesType, Span: s} }

// Field is a field of a message.
type Field struct {
	Num   protowire.Number
	Type  protowire.Type
	Value uint64 // of a number
	// Span is where the number or the content lies.
	Span
}

// want is an error unless the field is of a wire type.
func (f Field) want(typ protowire.Type) error {
	if f.Type != typ {
		return malformed(f.Begin, "field %d has the wire type %d, want %d", f.Num, f.Type, typ)
	}
	return nil
}

// Integer returns the field's varint.
func (f Field) Integer() (int64, error) { return int64(f.Value), f.want(protowire.VarintType) }

// Float returns the field's 32-bit number.
func (f Field) Float() (float64, error) {
	return float64(math.Float32frombits(uint32(f.Value))), f.want(protowire.Fixed32Type)
}

// Message returns where the message lies that the field is.
func (f Field) Message() (Span, error) { return f.Span, f.want(protowire.BytesType) }

// Scanner reads a file through a window. Its errors are those of the file's reader and
// *FormatErrors. Only one goroutine at a time may use it.
type Scanner struct {
	r      io.ReaderAt
	window []byte
	held   Span // what of the file the window holds
}

// New returns a Scanner of r.
func New(r io.ReaderAt) *Scanner {
	return &Scanner{r: r, window: make([]byte, 4<<10)}
}

// Fields calls visit for each field of the message at m, in the order of the file, and
// returns its first error. A field that reaches past the message is an error.
func (s *Scanner) Fields(m Span, visit func(Field) error) error {
	for at := m.Begin; at < m.End; {
		f, err := s.Field(Span{at, m.End})
		if err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
		at = f.End
	}
	return nil
}

// Field reads the field that the rest of a message begins with. Of a field that is cut
// off, Num and Type come with the error.
func (s *Scanner) Field(rest Span) (Field, error) {
	f := Field{}
	at, end := rest.Begin, rest.End
	b, err := s.peek(at, end)
	if err != nil {
		return f, err
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, malformed(at, "no field of a protobuf message: %v", protowire.ParseError(n))
	}
	f.Num, f.Type = num, typ
	f.Begin = at + int64(n)
	b = b[n:]
	switch typ {
	case protowire.VarintType:
		f.Value, n = protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(b)
		f.Value = uint64(v)
	case protowire.Fixed64Type:
		f.Value, n = protowire.ConsumeFixed64(b)
	case protowire.BytesType:
		var length uint64
		length, n = protowire.ConsumeVarint(b)
		if n >= 0 {
			f.Begin += int64(n)
			if length > uint64(end-f.Begin) {
				return f, malformed(at, "truncated: field %d of %d bytes, %d follow", num, length, end-f.Begin)
			}
			f.End = f.Begin + int64(length)
			return f, nil
		}
	default:
		return f, malformed(at, "field %d has the wire type %d, want 0, 1, 2 or 5", num, typ)
	}
	if n < 0 {
		return f, malformed(at, "field %d: %v", num, protowire.ParseError(n))
	}
	f.End = f.Begin + int64(n)
	return f, nil
}

// peek returns bytes of the file from a place on, before end: at least a tag and a
// number, unless end comes first.
func (s *Scanner) peek(at, end int64) ([]byte, error) {
	const most = 2 * binary.MaxVarintLen64
	if need := min(at+most, end); at < s.held.Begin || need > s.held.End {
		n := min(int64(len(s.window)), end-at)
		if err := s.readFull(s.window[:n], at); err != nil {
			s.held = Span{}
			return nil, err
		}
		s.held = Span{at, at + n}
	}
	return s.window[at-s.held.Begin : min(s.held.End, end)-s.held.Begin], nil
}

// Text reads the field's string of at most so many bytes.
func (s *Scanner) Text(f Field, most int64) (string, error) {
	if err := f.want(protowire.BytesType); err != nil {
		return "", err
	}
	if f.Length() > most {
		return "", malformed(f.Begin, "a text of %d bytes, want at most %d", f.Length(), most)
	}
	b := make([]byte, f.Length())
	if err := s.readFull(b, f.Begin); err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", malformed(f.Begin, "a text that is not UTF-8")
	}
	return string(b), nil
}

// Varints calls visit for each varint of the field, packed or not, and returns its first
// error.
func (s *Scanner) Varints(f Field, visit func(uint64) error) error {
	if f.Type == protowire.VarintType {
		return visit(f.Value)
	}
	if err := f.want(protowire.BytesType); err != nil {
		return err
	}
	for at := f.Begin; at < f.End; {
		b, err := s.peek(at, f.End)
		if err != nil {
			return err
		}
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return malformed(at, "field %d: %v", f.Num, protowire.ParseError(n))
		}
		if err := visit(v); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// Integers appends the field's varints, packed or not, to so many at most.
func (s *Scanner) Integers(to []int64, f Field, most int) ([]int64, error) {
	err := s.Varints(f, func(v uint64) error {
		if len(to) == most {
			return malformed(f.Begin, "field %d has more than %d numbers", f.Num, most)
		}
		to = append(to, int64(v))
		return nil
	})
	return to, err
}

// Floats appends the field's 32-bit numbers, packed or not, to so many at most.
func (s *Scanner) Floats(to []float64, f Field, most int) ([]float64, error) {
	if f.Type == protowire.Fixed32Type {
		v, err := f.Float()
		if len(to) == most {
			return nil, malformed(f.Begin, "field %d has more than %d numbers", f.Num, most)
		}
		return append(to, v), err
	}
	if err := f.want(protowire.BytesType); err != nil {
		return nil, err
	}
	if f.Length()%4 != 0 || f.Length()/4 > int64(most-len(to)) {
		return nil, malformed(f.Begin, "field %d of %d bytes, want at most %d numbers of 4", f.Num, f.Length(), most)
	}
	b := make([]byte, f.Length())
	if err := s.readFull(b, f.Begin); err != nil {
		return nil, err
	}
	for ; len(b) > 0; b = b[4:] {
		to = append(to, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
	}
	return to, nil
}

// readFull reads len(b) bytes at a place; the file's end before that is an
// io.ErrUnexpectedEOF.
func (s *Scanner) readFull(b []byte, at int64) error {
	if n, err := s.r.ReadAt(b, at); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}
