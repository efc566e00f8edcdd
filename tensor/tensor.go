// Package tensor holds dense float32 arrays: shape, data and indexing, and no
// arithmetic.
package tensor

import (
	"fmt"
	"math"
	"slices"
)

// maxLen is the most elements an array may have: their bytes must still be
// counted by an int.
const maxLen = math.MaxInt / 4

// Tensor is a dense array in row-major order: the last axis is contiguous. An
// empty Shape is a scalar, with one element; an axis of length 0 makes an
// array without elements.
//
// Both fields may be read and Data's elements written by anyone who holds the
// tensor; len(Data) is the product of Shape. Index and Reshape return tensors
// that share Data with the original.
type Tensor struct {
	Shape []int
	Data  []float32
}

// Size returns the number of elements of an array of the given shape, 1 for an
// empty one. It is an error if a length is negative, or if the array would be
// too large to address.
func Size(shape ...int) (int, error) {
	n, empty := 1, false
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("tensor: shape %v: length %d, want 0 or more", shape, d)
		}
		empty = empty || d == 0
	}
	if empty {
		return 0, nil
	}
	for _, d := range shape {
		if d > maxLen/n {
			return 0, fmt.Errorf("tensor: shape %v: too many elements, want at most %d", shape, maxLen)
		}
		n *= d
	}
	return n, nil
}

// New returns a tensor of zeros of the given shape. It panics where Size returns
// an error; check shapes that come from outside with Size.
func New(shape ...int) *Tensor {
	// Size may keep its argument in an error. It gets the copy, so that the caller's
	// arguments need no allocation.
	s := slices.Clone(shape)
	n, err := Size(s...)
	if err != nil {
		panic("tensor: New: negative or too large a shape")
	}
	return &Tensor{Shape: s, Data: make([]float32, n)}
}

// FromSlice returns a tensor of the given shape that shares data. It is an error
// if the number of elements of data isn't that of the shape.
func FromSlice(data []float32, shape ...int) (*Tensor, error) {
	s := slices.Clone(shape)
	n, err := Size(s...)
	if err != nil {
		return nil, err
	}
	if len(data) != n {
		return nil, fmt.Errorf("tensor: shape %v: %d elements given, want %d", s, len(data), n)
	}
	return &Tensor{Shape: s, Data: data[:n:n]}, nil
}

// Len returns the number of elements.
func (t *Tensor) Len() int { return len(t.Data) }

// Dim returns the length of axis i; a negative i counts from the last axis,
// which is -1. It panics if there is no such axis.
func (t *Tensor) Dim(i int) int {
	if i < 0 {
		i += len(t.Shape)
	}
	if i < 0 || i >= len(t.Shape) {
		panic("tensor: Dim: no such axis")
	}
	return t.Shape[i]
}

// At returns the element at idx, one index for each axis. It panics if an
// index is out of range, or if there are more or fewer indices than axes.
func (t *Tensor) At(idx ...int) float32 { return t.Data[t.offset(idx)] }

// Set sets the element at idx, one index for each axis, to v. It panics as At
// does.
func (t *Tensor) Set(v float32, idx ...int) { t.Data[t.offset(idx)] = v }

func (t *Tensor) offset(idx []int) int {
	if len(idx) != len(t.Shape) {
		panic("tensor: number of indices is not the number of axes")
	}
	o := 0
	for a, i := range idx {
		if i < 0 || i >= t.Shape[a] {
			panic("tensor: index out of range")
		}
		o = o*t.Shape[a] + i
	}
	return o
}

// Index returns a view of the i-th part along axis 0: of a tensor of shape
// (N,C,H,W), one of shape (C,H,W) that shares its data. It panics if t is a
// scalar or if i is out of range.
func (t *Tensor) Index(i int) *Tensor {
	if len(t.Shape) == 0 {
		panic("tensor: Index of a scalar")
	}
	if i < 0 || i >= t.Shape[0] {
		panic("tensor: index out of range")
	}
	n := len(t.Data) / t.Shape[0]
	return &Tensor{
		Shape: slices.Clone(t.Shape[1:]),
		Data:  t.Data[i*n : (i+1)*n : (i+1)*n],
	}
}

// Reshape returns a view of t's data in another shape with the same number of
// elements. One length may be -1, and is then derived from the others. It is an
// error if the numbers of elements differ.
func (t *Tensor) Reshape(shape ...int) (*Tensor, error) {
	s := slices.Clone(shape)
	if i := slices.Index(s, -1); i >= 0 {
		rest := slices.Delete(slices.Clone(s), i, i+1)
		n, err := Size(rest...)
		if err != nil || n == 0 || len(t.Data)%n != 0 {
			return nil, fmt.Errorf("tensor: reshape %v to %v: no such length, want %d elements", t.Shape, s, len(t.Data))
		}
		s[i] = len(t.Data) / n
	}
	n, err := Size(s...)
	if err != nil {
		return nil, err
	}
	if n != len(t.Data) {
		return nil, fmt.Errorf("tensor: reshape %v to %v: %d elements, want %d", t.Shape, s, n, len(t.Data))
	}
	return &Tensor{Shape: s, Data: t.Data}, nil
}

// Clone returns a copy of t that shares nothing with it.
func (t *Tensor) Clone() *Tensor {
	return &Tensor{Shape: slices.Clone(t.Shape), Data: slices.Clone(t.Data)}
}

// String returns the shape, such as "[64 3 3 3]".
func (t *Tensor) String() string { return fmt.Sprint(t.Shape) }

// Finite reports whether none of the numbers is a NaN or an infinity.
func Finite(v []float32) bool {
	for _, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}
