package weights

import "math"

// toHalf rounds f to the nearest IEEE 754 half; of two equally near, to the one whose last
// bit is 0. From 65520 on it gives an infinity. It is the inverse of fromHalf.
func toHalf(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	b &= 1<<31 - 1
	switch {
	case b > 0xff<<23: // NaN, made quiet
		return sign | 0x7e00 | uint16(b>>13&0x3ff)
	case b >= (127+16)<<23: // 2¹⁶ and more
		return sign | 0x7c00
	case b < (127-14)<<23: // below 2⁻¹⁴: a multiple of 2⁻²⁴, where the product is exact
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(b))*0x1p24))
	}
	b -= (127 - 15) << 23
	b += 1<<12 - 1 + b>>13&1
	return sign | uint16(b>>13)
}
