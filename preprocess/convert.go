package preprocess

import (
	"fmt"
	"image"
	"image/color"
)

// convert makes an Image of an image that a decoder returned. Each kind has a
// loop over its own bytes. matrix converts luma and chroma.
func convert(m image.Image, matrix yccMatrix) (*Image, error) {
	b := m.Bounds()
	if b.Empty() {
		return nil, fmt.Errorf("image: %d×%d pixels, want at least 1×1", b.Dx(), b.Dy())
	}
	out := NewImage(b.Dx(), b.Dy())
	switch m := m.(type) {
	case *image.Gray:
		rows(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 1, greyRow)
	case *image.Gray16:
		rows(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 2, greyRow)
	case *image.RGBA: // opaque: the decoders return NRGBA where there is alpha
		rows(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, rgbRow)
	case *image.NRGBA:
		rows(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, rgbRow)
	case *image.RGBA64:
		rows(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, highRow)
	case *image.NRGBA64:
		rows(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, highRow)
	case *image.CMYK:
		rows(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, cmykRow)
	case *image.Paletted:
		rows(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 1, paletteRow(m.Palette))
	case *image.YCbCr:
		convertYCbCr(out, m, matrix)
	case *image.NYCbCrA:
		convertYCbCr(out, &m.YCbCr, matrix)
	default:
		return nil, fmt.Errorf("image: kind %T, want one of package image's", m)
	}
	return out, nil
}

// rows calls row for each row of out with that row's bytes in src, size to a
// pixel.
func rows(out *Image, src []uint8, stride, size int, row func(dst, src []uint8, size int)) {
	for y := range out.H {
		row(out.Pix[3*y*out.W:3*(y+1)*out.W], src[y*stride:y*stride+size*out.W], size)
	}
}

// greyRow converts 8-bit grey levels, or the high bytes of big-endian 16-bit
// ones.
func greyRow(dst, src []uint8, size int) {
	for d, s := 0, 0; s < len(src); d, s = d+3, s+size {
		p := dst[d : d+3 : d+3]
		p[0], p[1], p[2] = src[s], src[s], src[s]
	}
}

// rgbRow converts bytes R, G, B, A by dropping A.
func rgbRow(dst, src []uint8, _ int) {
	for d, s := 0, 0; s < len(src); d, s = d+3, s+4 {
		p, q := dst[d:d+3:d+3], src[s:s+3:s+3]
		p[0], p[1], p[2] = q[0], q[1], q[2]
	}
}

// highRow converts big-endian 16-bit channels R, G, B, A to their high bytes,
// and drops A.
func highRow(dst, src []uint8, _ int) {
	for d, s := 0, 0; s < len(src); d, s = d+3, s+8 {
		p, q := dst[d:d+3:d+3], src[s:s+5:s+5]
		p[0], p[1], p[2] = q[0], q[2], q[4]
	}
}

// cmykRow converts C, M, Y, K: red is (255−K)·(255−C)/255, and so on, rounded
// as PIL does.
func cmykRow(dst, src []uint8, _ int) {
	for d, s := 0, 0; s < len(src); d, s = d+3, s+4 {
		p, q := dst[d:d+3:d+3], src[s:s+4:s+4]
		light := 255 - int32(q[3])
		for c := range p {
			v := int32(q[c])*light + 128
			p[c] = clip(light - (v>>8+v)>>8)
		}
	}
}

// paletteRow returns a function that converts indices of a palette.
func paletteRow(p color.Palette) func(dst, src []uint8, _ int) {
	table := paletteTable(p)
	return func(dst, src []uint8, _ int) {
		for i, v := range src {
			p := dst[3*i : 3*i+3 : 3*i+3]
			p[0], p[1], p[2] = table[v][0], table[v][1], table[v][2]
		}
	}
}

// paletteTable returns the colours of a palette without alpha. Indices past its
// end are black.
func paletteTable(p color.Palette) (table [256][3]uint8) {
	for i, c := range p[:min(len(p), 256)] {
		table[i] = straight(c)
	}
	return table
}
