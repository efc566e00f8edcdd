package preprocess

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"reflect"
)

// FromImage returns m as 8-bit RGB: the colour that m.At gives for each pixel of its
// bounds, by the rules of [Decode] for what isn't 8-bit RGB already. Grey levels are
// repeated, palettes looked up, and the high byte of 16-bit channels is kept. Alpha is
// dropped: the colour under it shows, which for colours that are multiplied by their
// alpha is the quotient, and black where alpha is 0.
//
// An *Image is returned as it is, not copied.
//
// A decoded image has no EXIF data: m is taken as it is, whatever Spec.Orient says. Package
// image turns nothing, so a photograph that image.Decode returned may lie on its side.
//
// Of a JPEG or lossy WebP that image.Decode returned, the pixels aren't those of Decode:
// package image repeats subsampled chroma and rounds otherwise. Where m comes from a file,
// [DecodeReader] and [DecodeFile] give the pixels that networks were trained on.
//
// Errors: a [*SizeError] for more than [DefaultMaxPixels] pixels, and another error for
// an image that is nil, empty, or shorter than its bounds.
func FromImage(m image.Image) (*Image, error) {
	if v := reflect.ValueOf(m); m == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("preprocess: image: nil, want a picture")
	}
	if im, ok := m.(*Image); ok {
		return im, im.validate()
	}
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	if w < 1 || h < 1 {
		return nil, fmt.Errorf("preprocess: image: %d×%d pixels, want at least 1×1", w, h)
	}
	if tooMany(w, h, DefaultMaxPixels) {
		return nil, &SizeError{What: "image of", W: w, H: h, Limit: DefaultMaxPixels}
	}
	out := NewImage(w, h)
	if known, err := out.fromBytes(m); known {
		if err != nil {
			return nil, fmt.Errorf("preprocess: image: %w", err)
		}
		return out, nil
	}
	for y := range h {
		for x := range w {
			c := straight(m.At(b.Min.X+x, b.Min.Y+y))
			copy(out.Pix[3*(y*w+x):], c[:])
		}
	}
	return out, nil
}

// fromBytes writes m, which has the size of im, into im where m is of a kind whose bytes
// are read faster than its At is called.
func (im *Image) fromBytes(m image.Image) (known bool, err error) {
	b := m.Bounds()
	switch m := m.(type) {
	case *image.RGBA:
		return true, im.fromRows(m.Pix, m.PixOffset(b.Min.X, b.Min.Y), m.Stride, 4, premultipliedRow)
	case *image.NRGBA:
		return true, im.fromRows(m.Pix, m.PixOffset(b.Min.X, b.Min.Y), m.Stride, 4, rgbRow)
	case *image.NRGBA64:
		return true, im.fromRows(m.Pix, m.PixOffset(b.Min.X, b.Min.Y), m.Stride, 8, highRow)
	case *image.Gray:
		return true, im.fromRows(m.Pix, m.PixOffset(b.Min.X, b.Min.Y), m.Stride, 1, greyRow)
	case *image.Gray16:
		return true, im.fromRows(m.Pix, m.PixOffset(b.Min.X, b.Min.Y), m.Stride, 2, greyRow)
	case *image.Paletted:
		return true, im.fromRows(m.Pix, m.PixOffset(b.Min.X, b.Min.Y), m.Stride, 1, paletteRow(m.Palette))
	case *image.YCbCr:
		return true, im.fromYCbCr(m)
	case *image.NYCbCrA:
		return true, im.fromYCbCr(&m.YCbCr)
	}
	return false, nil
}

// fromRows calls row for each row of im with the bytes of pix that stand for it, size to
// a pixel. The first pixel is at first.
func (im *Image) fromRows(pix []uint8, first, stride, size int, row func(dst, src []uint8, size int)) error {
	spare := len(pix) - first - size*im.W // bytes that the other rows may lie in
	if first < 0 || stride < size*im.W || spare < 0 || stride > spare/max(im.H-1, 1) && im.H > 1 {
		return fmt.Errorf("%d bytes in rows of %d for %d×%d pixels of %d bytes", len(pix), stride, im.W, im.H, size)
	}
	rows(im, pix[first:], stride, size, row)
	return nil
}

// fromYCbCr writes m into im as color.YCbCrToRGB has it.
func (im *Image) fromYCbCr(m *image.YCbCr) error {
	x0, y0 := m.Rect.Min.X, m.Rect.Min.Y
	x1, y1 := x0+im.W-1, y0+im.H-1
	if m.YOffset(x0, y0) < 0 || m.COffset(x0, y0) < 0 || m.YStride < im.W || m.CStride < 0 ||
		m.YOffset(x1, y1) >= len(m.Y) || m.COffset(x1, y1) >= min(len(m.Cb), len(m.Cr)) {
		return fmt.Errorf("%d bytes of luma, %d and %d of chroma for %d×%d pixels", len(m.Y), len(m.Cb), len(m.Cr), im.W, im.H)
	}
	dst := im.Pix
	for y := y0; y <= y1; y++ {
		for x := x0; x <= x1; x++ {
			c := m.COffset(x, y)
			dst[0], dst[1], dst[2] = color.YCbCrToRGB(m.Y[m.YOffset(x, y)], m.Cb[c], m.Cr[c])
			dst = dst[3:]
		}
	}
	return nil
}

// straight returns the 8-bit channels of a colour without its alpha.
func straight(c color.Color) [3]uint8 {
	switch c := c.(type) {
	case nil:
		return [3]uint8{}
	case color.NRGBA:
		return [3]uint8{c.R, c.G, c.B}
	case color.NRGBA64:
		return [3]uint8{uint8(c.R >> 8), uint8(c.G >> 8), uint8(c.B >> 8)}
	case color.NYCbCrA:
		r, g, b := color.YCbCrToRGB(c.Y, c.Cb, c.Cr)
		return [3]uint8{r, g, b}
	}
	r, g, b, a := c.RGBA()
	if a == 0 {
		return [3]uint8{}
	}
	// A colour that breaks its contract has channels over its alpha.
	channel := func(v uint32) uint8 { return uint8(min(v, a) * 0xffff / a >> 8) }
	return [3]uint8{channel(r), channel(g), channel(b)}
}

// premultipliedRow takes bytes R, G, B, A, of which the first three are multiplied by the
// alpha.
func premultipliedRow(dst, src []uint8, _ int) {
	for d, s := 0, 0; s < len(src); d, s = d+3, s+4 {
		p, q := dst[d:d+3:d+3], src[s:s+4:s+4]
		if q[3] == 0xff {
			p[0], p[1], p[2] = q[0], q[1], q[2]
			continue
		}
		c := straight(color.RGBA{q[0], q[1], q[2], q[3]})
		p[0], p[1], p[2] = c[0], c[1], c[2]
	}
}

// ColorModel implements [image.Image].
func (im *Image) ColorModel() color.Model { return color.RGBAModel }

// Bounds implements [image.Image]: the pixels [0,W)×[0,H).
func (im *Image) Bounds() image.Rectangle { return image.Rect(0, 0, im.W, im.H) }

// At implements [image.Image]: the colour of pixel (x, y), opaque, as a [color.RGBA];
// transparent black outside the bounds.
func (im *Image) At(x, y int) color.Color {
	if x < 0 || y < 0 || x >= im.W || y >= im.H {
		return color.RGBA{}
	}
	p := im.Pix[3*(y*im.W+x):]
	return color.RGBA{R: p[0], G: p[1], B: p[2], A: 0xff}
}
