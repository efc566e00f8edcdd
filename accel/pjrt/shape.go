package pjrt

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Type is the type of an array's elements, by PJRT's numbers.
type Type int32

// The types of PJRT_Buffer_Type that programs here use.
const (
	Pred Type = 1 // one byte, 0 or 1
	S8   Type = 2
	S16  Type = 3
	S32  Type = 4
	S64  Type = 5
	U8   Type = 6
	U16  Type = 7
	U32  Type = 8
	U64  Type = 9
	F16  Type = 10
	F32  Type = 11
	F64  Type = 12
	BF16 Type = 13
)

var types = [...]struct {
	name string // StableHLO's
	size int    // bytes
}{
	Pred: {"i1", 1}, S8: {"i8", 1}, S16: {"i16", 2}, S32: {"i32", 4}, S64: {"i64", 8},
	U8: {"ui8", 1}, U16: {"ui16", 2}, U32: {"ui32", 4}, U64: {"ui64", 8},
	F16: {"f16", 2}, F32: {"f32", 4}, F64: {"f64", 8}, BF16: {"bf16", 2},
}

func (t Type) valid() bool { return t > 0 && int(t) < len(types) }

// String returns StableHLO's name of the type, such as f32.
func (t Type) String() string {
	if !t.valid() {
		return fmt.Sprintf("type%d", int32(t))
	}
	return types[t].name
}

// Size returns the bytes of an element.
func (t Type) Size() int {
	if !t.valid() {
		return 0
	}
	return types[t].size
}

// Element is what Go has of these types.
type Element interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64
}

// TypeOf returns the type of a Go type's values.
func TypeOf[T Element]() Type {
	var zero T
	switch any(zero).(type) {
	case int8:
		return S8
	case int16:
		return S16
	case int32:
		return S32
	case int64:
		return S64
	case uint8:
		return U8
	case uint16:
		return U16
	case uint32:
		return U32
	case uint64:
		return U64
	case float32:
		return F32
	}
	return F64
}

// Shape is the type and the dimensions of an array; a scalar has none. Arrays are in row-major
// order on the host.
type Shape struct {
	Type Type
	Dims []int
}

// NewShape returns a shape.
func NewShape(t Type, dims ...int) Shape { return Shape{t, slices.Clone(dims)} }

// String writes a shape as StableHLO does: tensor<2x3xf32>.
func (s Shape) String() string {
	var b strings.Builder
	b.WriteString("tensor<")
	for _, d := range s.Dims {
		fmt.Fprintf(&b, "%dx", d)
	}
	b.WriteString(s.Type.String() + ">")
	return b.String()
}

// Equal reports whether two shapes are the same.
func (s Shape) Equal(o Shape) bool { return s.Type == o.Type && slices.Equal(s.Dims, o.Dims) }

// Count returns the number of elements, 1 for a scalar.
func (s Shape) Count() int {
	n := 1
	for _, d := range s.Dims {
		n *= d
	}
	return n
}

// Bytes returns the bytes of all elements without padding.
func (s Shape) Bytes() int { return s.Count() * s.Type.Size() }

// check refuses what XLA would abort on: unknown types, and arrays that are empty or too large
// to count.
func (s Shape) check() error {
	if !s.Type.valid() {
		return fmt.Errorf("%v: unknown type of element", s)
	}
	n := s.Type.Size()
	for _, d := range s.Dims {
		if d < 1 {
			return fmt.Errorf("%v: want dimensions of at least 1", s)
		}
		if n > math.MaxInt/d {
			return fmt.Errorf("%v: too large", s)
		}
		n *= d
	}
	return nil
}

// int64s returns the dimensions as PJRT takes them, with room so that there is an address.
func (s Shape) int64s() []int64 {
	dims := make([]int64, len(s.Dims), len(s.Dims)+1)
	for i, d := range s.Dims {
		dims[i] = int64(d)
	}
	return dims
}
