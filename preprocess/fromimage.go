package preprocess

import (
	"fmt"
	"image"
	"image/color"
)

// FromImage converts a decoded picture to 8-bit RGB by the rules of [Decode], so that a
// file decoded by package image gives the pixels that Decode gives. The result shares no
// memory with m. Pictures of a kind of the caller's own are read pixel by pixel.
//
// It is an error if m is nil or has no pixels, and a [*SizeError] if it has more than
// [DefaultMaxPixels].
func FromImage(m image.Image) (*Image, error) {
	if m == nil {
		return nil, fmt.Errorf("preprocess: image: nil, want a picture")
	}
	b := m.Bounds()
	if b.Empty() {
		return nil, fmt.Errorf("preprocess: image: %d×%d pixels, want at least 1×1", b.Dx(), b.Dy())
	}
	if tooMany(b.Dx(), b.Dy(), DefaultMaxPixels) {
		return nil, &SizeError{What: "image of", W: b.Dx(), H: b.Dy(), Limit: DefaultMaxPixels}
	}
	switch kind := m.(type) {
	case *image.RGBA: // has alpha multiplied in, which Decode's pictures never have
		if kind.Opaque() {
			return convert(m, jfif)
		}
	case *image.RGBA64:
		if kind.Opaque() {
			return convert(m, jfif)
		}
	case *image.Gray, *image.Gray16, *image.NRGBA, *image.NRGBA64, *image.CMYK, *image.Paletted, *image.YCbCr, *image.NYCbCrA:
		return convert(m, jfif)
	}
	out := NewImage(b.Dx(), b.Dy())
	at := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
			out.Pix[at], out.Pix[at+1], out.Pix[at+2] = c.R, c.G, c.B
			at += 3
		}
	}
	return out, nil
}
