package preprocess

import "image"

// yccMatrix chooses how luma and chroma are converted and how chroma is
// interpolated. An image.YCbCr doesn't tell.
type yccMatrix int

const (
	jfif yccMatrix = iota // JPEG: full range; interpolated and rounded as libjpeg does
	vp8                   // WebP: BT.601's 16 … 235; interpolated and rounded as libwebp does
)

// convertYCbCr writes m into out row by row. Chroma subsampled by two is
// interpolated along each axis with the weights 3/4 for the nearer sample and
// 1/4 for the other ("fancy upsampling"). Chroma subsampled by other ratios is
// repeated, as libjpeg does.
func convertYCbCr(out *Image, m *image.YCbCr, matrix yccMatrix) {
	width, chromaW, chromaH := out.W, out.W, out.H
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420:
		chromaW = (width + 1) / 2
	case image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410:
		chromaW = (width + 3) / 4
	}
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio420, image.YCbCrSubsampleRatio440, image.YCbCrSubsampleRatio410:
		chromaH = (out.H + 1) / 2
	}
	cb, cr := make([]uint8, 4*chromaW), make([]uint8, 4*chromaW)
	start := m.COffset(m.Rect.Min.X, m.Rect.Min.Y)
	for y := range out.H {
		near, far := y, y
		if chromaH < out.H {
			near = y / 2
			far = min(max(near-1+2*(y&1), 0), chromaH-1)
		}
		n := start + near*m.CStride
		f := start + far*m.CStride
		odd := y & 1
		up := func(dst, plane []uint8) {
			upsample(dst, plane[n:n+chromaW], plane[f:f+chromaW], m.SubsampleRatio, odd, matrix)
		}
		up(cb, m.Cb)
		up(cr, m.Cr)
		luma := m.Y[m.YOffset(m.Rect.Min.X, m.Rect.Min.Y+y):]
		dst := out.Pix[3*y*width : 3*(y+1)*width]
		if matrix == vp8 {
			vp8Row(dst, luma[:width], cb[:width], cr[:width])
		} else {
			jfifRow(dst, luma[:width], cb[:width], cr[:width])
		}
	}
}

// upsample writes the full-width chroma of one row into dst, which holds at
// least len(near) times the ratio. near is the row of samples nearest to it, and
// far the next nearest.
func upsample(dst, near, far []uint8, ratio image.YCbCrSubsampleRatio, odd int, matrix yccMatrix) {
	switch ratio {
	case image.YCbCrSubsampleRatio422:
		upsampleAcross(dst, near)
	case image.YCbCrSubsampleRatio420:
		if matrix == vp8 {
			upsampleVP8(dst, near, far)
		} else {
			upsampleBoth(dst, near, far)
		}
	case image.YCbCrSubsampleRatio440:
		for i := range near {
			dst[i] = uint8((3*int(near[i]) + int(far[i]) + 1 + odd) >> 2)
		}
	case image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410:
		for i, v := range near {
			dst[4*i], dst[4*i+1], dst[4*i+2], dst[4*i+3] = v, v, v, v
		}
	default:
		copy(dst, near)
	}
}

// narrow is the most chroma samples of a row that libjpeg repeats instead of
// interpolating.
const narrow = 2

// repeatTwice writes each sample twice.
func repeatTwice(dst, src []uint8) {
	for i, v := range src {
		dst[2*i], dst[2*i+1] = v, v
	}
}

// upsampleAcross is libjpeg's h2v1_fancy_upsample. The two roundings
// alternate, so that there is no bias.
func upsampleAcross(dst, src []uint8) {
	if len(src) <= narrow {
		repeatTwice(dst, src)
		return
	}
	last := len(src) - 1
	for i, v := range src {
		left, right := src[max(i-1, 0)], src[min(i+1, last)]
		dst[2*i] = uint8((3*int(v) + int(left) + 1) >> 2)
		dst[2*i+1] = uint8((3*int(v) + int(right) + 2) >> 2)
	}
}

// upsampleBoth is libjpeg's h2v2_fancy_upsample.
func upsampleBoth(dst, near, far []uint8) {
	if len(near) <= narrow {
		repeatTwice(dst, near)
		return
	}
	far = far[:len(near)]
	column := func(i int) int { return 3*int(near[i]) + int(far[i]) }
	this := column(0)
	left := this
	for i := range near {
		right := this
		if i+1 < len(near) {
			right = column(i + 1)
		}
		dst[2*i] = uint8((3*this + left + 8) >> 4)
		dst[2*i+1] = uint8((3*this + right + 7) >> 4)
		left, this = this, right
	}
}

// upsampleVP8 is the interpolation of libwebp's upsampling.c, which rounds down
// when it halves in between.
func upsampleVP8(dst, near, far []uint8) {
	last := len(near) - 1
	edge := func(i int) uint8 { return uint8((3*int(near[i]) + int(far[i]) + 2) >> 2) }
	dst[0] = edge(0)
	for i := range last {
		a, b := int(near[i]), int(near[i+1])
		c, d := int(far[i]), int(far[i+1])
		all := a + b + c + d + 8
		acrossBC := (all + 2*(b+c)) >> 3
		acrossAD := (all + 2*(a+d)) >> 3
		dst[2*i+1] = uint8((acrossBC + a) >> 1)
		dst[2*i+2] = uint8((acrossAD + b) >> 1)
	}
	dst[2*last+1] = edge(last)
}

// jfifRow converts a row by libjpeg's fixed-point form of
//
//	R = Y + 1.40200·(Cr−128)
//	G = Y − 0.34414·(Cb−128) − 0.71414·(Cr−128)
//	B = Y + 1.77200·(Cb−128)
func jfifRow(dst, luma, cb, cr []uint8) {
	const round = 1 << 15
	cb, cr = cb[:len(luma)], cr[:len(luma)]
	for i, l := range luma {
		y, u, v := int32(l), int32(cb[i])-128, int32(cr[i])-128
		p := dst[3*i : 3*i+3 : 3*i+3]
		p[0] = clip(y + (91881*v+round)>>16)
		p[1] = clip(y + (-22554*u-46802*v+round)>>16)
		p[2] = clip(y + (116130*u+round)>>16)
	}
}

// vp8Row converts a row by libwebp's fixed-point form of
//
//	R = 1.164·(Y−16) + 1.596·(V−128)
//	G = 1.164·(Y−16) − 0.391·(U−128) − 0.813·(V−128)
//	B = 1.164·(Y−16) + 2.018·(U−128)
func vp8Row(dst, luma, cb, cr []uint8) {
	cb, cr = cb[:len(luma)], cr[:len(luma)]
	for i, l := range luma {
		y, u, v := int32(l)*19077>>8, int32(cb[i]), int32(cr[i])
		p := dst[3*i : 3*i+3 : 3*i+3]
		p[0] = clip((y + v*26149>>8 - 14234) >> 6)
		p[1] = clip((y - u*6419>>8 - v*13320>>8 + 8708) >> 6)
		p[2] = clip((y + u*33050>>8 - 17685) >> 6)
	}
}
