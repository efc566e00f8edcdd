package kernel

import (
	"math"
	"unsafe"

	"github.com/verydeep/vgg/internal/bfloat16"
)

// Half is a 16-bit format in which weights can be stored.
type Half int

const (
	// F16 is IEEE half precision: 11 significant bits, at most 65504.
	F16 Half = iota + 1
	// BF16 is the upper half of a float32: 8 significant bits.
	BF16
)

// narrow rounds x to the nearest value of the format, ties to even.
func (h Half) narrow(x float32) uint16 {
	if h == BF16 {
		return bfloat16.From(x)
	}
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // NaN
		return sign | 0x7e00
	case b >= 0x477ff000: // rounds beyond 65504
		return sign | 0x7c00
	case b < 0x38800000: // below 2⁻¹⁴: a multiple of 2⁻²⁴, by an addition that rounds there
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3f000000)
	default: // rebias the exponent, round the 13 bits that go
		return sign | uint16((b-0x38000000+0xfff+b>>13&1)>>13)
	}
}

// widen is the float32 of a value in the format.
func (h Half) widen(v uint16) float32 {
	if h == BF16 {
		return bfloat16.Float32(v)
	}
	sign, mag := uint32(v&0x8000)<<16, uint32(v&0x7fff)
	switch {
	case mag >= 0x7c00: // infinity, NaN
		return math.Float32frombits(sign | 0x7f800000 | mag<<13&0x7fffff)
	case mag < 0x400: // subnormal
		f := float32(mag) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(f))
	default:
		return math.Float32frombits(sign | (mag<<13 + 0x38000000))
	}
}

// widenTwin converts n blocks of 16 stored weights.
func widenTwin(h Half, n int, src []uint16, dst []float32) {
	for i, v := range src[:n*Block] {
		dst[i] = h.widen(v)
	}
}

// HalfWeights are packed weights stored in 16 bits.
type HalfWeights struct {
	Format Half
	Data   []uint16
}

// NewHalfWeights returns n weights, all zero.
func NewHalfWeights(format Half, n int) *HalfWeights {
	buf := Alloc((n + 1) / 2)
	return &HalfWeights{Format: format, Data: unsafe.Slice((*uint16)(unsafe.Pointer(&buf[0])), n)}
}

// halfSteps is the number of blocks of 16 of the reduction that are widened at a time: few
// enough for the first-level cache, so that only the 16 bits come from memory.
const halfSteps = 8

// widen widens the weights of steps k … end−1 of panel p into buf.
func (h *HalfWeights) widen(s *ISA, g Conv, p, k, end int, buf []float32) []float32 {
	buf = buf[:(end-k)*Block*Panel]
	s.widen(h.Format, len(buf)/Block, h.Data[(p*g.depth()+k*Block)*Panel:], buf)
	return buf
}

type narrowTask struct {
	h   *HalfWeights
	src []float32
}

// narrowLen is the number of weights that a part converts.
const narrowLen = 1 << 16

// narrow rounds packed weights to 16 bits.
func Narrow(t *Team, format Half, src []float32) *HalfWeights {
	h := NewHalfWeights(format, len(src))
	t.Run((len(src)+narrowLen-1)/narrowLen, &narrowTask{h, src})
	return h
}

func (t *narrowTask) Part(_, i int) {
	end := min(len(t.src), (i+1)*narrowLen)
	for j := i * narrowLen; j < end; j++ {
		t.h.Data[j] = t.h.Format.narrow(t.src[j])
	}
}

// UnpackHalfRows is [Conv.UnpackRows] for weights stored in 16 bits.
func (g Conv) UnpackHalfRows(dst []float32, src *HalfWeights, k0 int) {
	g.each(k0, len(dst), func(packed, canonical int) { dst[canonical] = src.Format.widen(src.Data[packed]) })
}

// PackHalfRows is [Conv.PackRows] for weights stored in 16 bits.
func (g Conv) PackHalfRows(dst *HalfWeights, src []float32, k0 int) {
	g.eachLane(k0, len(src), func(packed, canonical, n, stride int) {
		lane := dst.Data[packed : packed+n]
		for i := range lane {
			lane[i] = dst.Format.narrow(src[canonical])
			canonical += stride
		}
	})
}

// PackHalfInput is [Conv.PackInput] for weights stored in 16 bits.
func (g Conv) PackHalfInput(dst *HalfWeights, src []float32, c, r, s int) {
	at := g.index(0, c, r, s)
	for k := 0; k < g.K; k += Panel {
		for i, v := range src[k:min(k+Panel, g.K)] {
			dst.Data[at+i] = dst.Format.narrow(v)
		}
		at += g.depth() * Panel
	}
}

// UnpackHalfInput is the inverse of [Conv.PackHalfInput].
func (g Conv) UnpackHalfInput(dst []float32, src *HalfWeights, c, r, s int) {
	at := g.index(0, c, r, s)
	for k := 0; k < g.K; k += Panel {
		to := dst[k:min(k+Panel, g.K)]
		for i := range to {
			to[i] = src.Format.widen(src.Data[at+i])
		}
		at += g.depth() * Panel
	}
}
