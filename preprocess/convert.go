package preprocess

import (
	"fmt"
	"image"
	"image/color"
)

// convert makes an Image of what the decoders return, each by a loop over its
// own bytes. Luma and chroma are converted by matrix.
func convert(m image.Image, matrix yccMatrix) (*Image, error) {
	b := m.Bounds()
	if b.Empty() {
		return nil, fmt.Errorf("image: %d×%d pixels, want at least 1×1", b.Dx(), b.Dy())
	}
	out := NewImage(b.Dx(), b.Dy())
	switch m := m.(type) {
	case *image.Gray:
		eachRow(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 1, func(dst, src []uint8) {
			dst[0], dst[1], dst[2] = src[0], src[0], src[0]
		})
	case *image.Gray16:
		eachRow(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 2, func(dst, src []uint8) {
			dst[0], dst[1], dst[2] = src[0], src[0], src[0]
		})
	case *image.RGBA: // opaque: the decoders return NRGBA where there is alpha
		eachRow(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, copyRGB)
	case *image.NRGBA:
		eachRow(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, copyRGB)
	case *image.RGBA64:
		eachRow(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, copyHighRGB)
	case *image.NRGBA64:
		eachRow(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, copyHighRGB)
	case *image.CMYK:
		eachRow(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, func(dst, src []uint8) {
			light := 255 - uint32(src[3])
			for c := range 3 {
				// light·(255−ink)/255 as PIL rounds it.
				v := uint32(src[c])*light + 128
				dst[c] = uint8(max(int32(light)-int32((v>>8+v)>>8), 0))
			}
		})
	case *image.Paletted:
		table := paletteTable(m.Palette)
		eachRow(out, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 1, func(dst, src []uint8) {
			colour := &table[src[0]]
			dst[0], dst[1], dst[2] = colour[0], colour[1], colour[2]
		})
	case *image.YCbCr:
		convertYCbCr(out, m, matrix)
	case *image.NYCbCrA:
		convertYCbCr(out, &m.YCbCr, matrix)
	default:
		return nil, fmt.Errorf("image: kind %T, want one of package image's", m)
	}
	return out, nil
}

// eachRow calls pixel for each pixel of out and the size bytes of src that
// stand for it.
func eachRow(out *Image, src []uint8, stride, size int, pixel func(dst, src []uint8)) {
	for y := range out.H {
		s := src[y*stride : y*stride+size*out.W]
		d := out.Pix[3*y*out.W : 3*(y+1)*out.W]
		for len(d) >= 3 && len(s) >= size {
			pixel(d[:3:3], s[:size:size])
			d, s = d[3:], s[size:]
		}
	}
}

func copyRGB(dst, src []uint8) { dst[0], dst[1], dst[2] = src[0], src[1], src[2] }

// copyHighRGB takes the high bytes of big-endian 16-bit channels.
func copyHighRGB(dst, src []uint8) { dst[0], dst[1], dst[2] = src[0], src[2], src[4] }

// paletteTable lists the colours of a palette, alpha dropped. Indices beyond
// it are black.
func paletteTable(p color.Palette) (table [256][3]uint8) {
	for i, c := range p[:min(len(p), 256)] {
		n, ok := c.(color.NRGBA)
		if !ok {
			n = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
		table[i] = [3]uint8{n.R, n.G, n.B}
	}
	return table
}
