// Package bfloat16 rounds to the upper half of a float32: 8 significant bits, and its range.
package bfloat16

import "math"

// From rounds f to the nearest value; of two equally near, to the one whose last bit is 0. A NaN
// is made quiet. What is nearer to 2¹²⁸ than to the largest value becomes an infinity.
func From(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// Float32 is the float32 of a value.
func Float32(v uint16) float32 { return math.Float32frombits(uint32(v) << 16) }

// Round rounds every element to the nearest value.
func Round(x []float32) {
	for i, f := range x {
		x[i] = Float32(From(f))
	}
}
