package preprocess

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"
)

// DecodeOptions chooses how an image file is decoded.
type DecodeOptions struct {
	// Orient is Spec.Orient of the network that the image is for: Stored, as in the
	// paper's evaluation, or Upright, as people's photographs want it.
	Orient Orient
	// MaxPixels is the most pixels that an image may have. The header tells, so
	// larger images are refused without being decoded. 0 means
	// [DefaultMaxPixels].
	MaxPixels int
}

// FormatError reports bytes that aren't an image of a known format.
type FormatError struct {
	Found string // what they look like: "empty", "text", "PDF" …
}

func (e *FormatError) Error() string {
	return "preprocess: image: " + e.Found + ", want JPEG, PNG, GIF, WebP or BMP"
}

// DecodeError reports a damaged image file: it is truncated, malformed, or of a kind that
// its format has and this package doesn't read.
type DecodeError struct {
	Format string // "JPEG", "PNG", "GIF", "WebP" or "BMP"
	Err    error  // the decoder's
}

func (e *DecodeError) Error() string { return "preprocess: decode " + e.Format + ": " + e.Err.Error() }

func (e *DecodeError) Unwrap() error { return e.Err }

// Decode reads an image file, whatever its name: JPEG (baseline and
// progressive), PNG, GIF (the first frame), WebP (not animated) or BMP. Every
// image becomes 8-bit RGB:
//
//   - Grey levels are repeated, palettes looked up.
//   - Alpha is dropped, not composited, as by PIL's convert("RGB"): a
//     transparent pixel has the colour stored for it.
//   - Of a 16-bit channel the high byte is kept. (PIL does so for RGB, but
//     clips 16-bit grey levels to 255.)
//   - CMYK and YCCK JPEGs, in Adobe's inverted form, are converted without a
//     colour profile, as by PIL. No embedded profile is applied.
//   - Chroma subsampled by two is interpolated as libjpeg and libwebp do by
//     default; package image repeats it. A WebP is decoded to the same bits as
//     by libwebp. A JPEG differs from libjpeg by the rounding of the inverse
//     DCT.
//   - The pixels of PNG, BMP, lossless WebP and grey JPEG files, and of a GIF
//     whose first frame is opaque and fills the screen, are those of package
//     image: [FromImage] makes the same of what image.Decode returns.
//
// Errors: a [*FormatError] if the data is no image, a [*SizeError] if the image
// is too large, and otherwise a [*DecodeError]. A truncated or damaged file is an
// error; the part of it that can be read is not returned.
func Decode(data []byte, o DecodeOptions) (*Image, error) {
	format := sniff(data)
	codec, ok := codecFor(format)
	if !ok {
		return nil, &FormatError{Found: format}
	}
	limit := o.MaxPixels
	if limit == 0 {
		limit = DefaultMaxPixels
	}
	im, err := codec.decode(data, limit)
	if err != nil {
		var size *SizeError
		if errors.As(err, &size) {
			size.What = format + " image of"
			return nil, err
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, &DecodeError{format, err}
	}
	return Turn(im, o.Orient.Orientation(data)), nil
}

// Size returns the width and height that the header of an image file gives, for
// the pixels as they are stored. The errors are [Decode]'s, except that no size
// is too large.
func Size(data []byte) (w, h int, err error) {
	format := sniff(data)
	codec, ok := codecFor(format)
	if !ok {
		return 0, 0, &FormatError{Found: format}
	}
	defer func() {
		if r := recover(); r != nil {
			w, h, err = 0, 0, &DecodeError{format, fmt.Errorf("malformed: the decoder failed with: %v", r)}
		}
	}()
	header, err := codec.config(bytes.NewReader(data))
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, &DecodeError{format, err}
	}
	return header.Width, header.Height, nil
}

// decode reads the header, then the image. If a decoder panics on a malformed
// file, that is an error.
func (c codec) decode(data []byte, limit int) (im *Image, err error) {
	defer func() {
		if r := recover(); r != nil {
			im, err = nil, fmt.Errorf("malformed: the decoder failed with: %v", r)
		}
	}()
	header, err := c.config(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if header.Width < 1 || header.Height < 1 {
		return nil, fmt.Errorf("header: %d×%d pixels, want at least 1×1", header.Width, header.Height)
	}
	if tooMany(header.Width, header.Height, limit) {
		return nil, &SizeError{W: header.Width, H: header.Height, Limit: limit}
	}
	return c.pixels(data, header)
}

func decodeJPEG(data []byte, _ image.Config) (*Image, error) {
	m, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return convert(m, jfif)
}

func decodePNG(data []byte, _ image.Config) (*Image, error) {
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return convert(m, jfif)
}

func decodeWebP(data []byte, _ image.Config) (*Image, error) {
	m, err := webp.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return convert(m, vp8)
}

func decodeBMP(data []byte, _ image.Config) (*Image, error) {
	m, err := bmp.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return convert(m, jfif)
}

// decodeGIF draws the first frame on the logical screen. The rest of the screen
// has the transparent colour or, if there is none, the palette's first, as in
// PIL.
func decodeGIF(data []byte, screen image.Config) (*Image, error) {
	data, background := opaqueGIF(data)
	m, err := gif.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	frame, err := convert(m, jfif)
	if err != nil {
		return nil, err
	}
	at := m.Bounds()
	if at == image.Rect(0, 0, screen.Width, screen.Height) {
		return frame, nil
	}
	out := NewImage(screen.Width, screen.Height)
	if p, ok := m.(*image.Paletted); ok {
		colour := paletteTable(p.Palette)[background]
		for i := 0; i < len(out.Pix); i += 3 {
			copy(out.Pix[i:], colour[:])
		}
	}
	for y := range frame.H {
		copy(out.Pix[3*((at.Min.Y+y)*out.W+at.Min.X):], frame.Pix[3*y*frame.W:3*(y+1)*frame.W])
	}
	return out, nil
}

// opaqueGIF returns the file without the transparency of its first frame, and
// the index of the colour that was transparent. Package gif would replace that
// colour by black. Malformed data is returned unchanged; the decoder reports
// it.
func opaqueGIF(data []byte) ([]byte, uint8) {
	const (
		headerLen     = 13
		hasTable      = 0x80
		extension     = 0x21
		control       = 0xf9
		isTransparent = 1
	)
	if len(data) < headerLen {
		return data, 0
	}
	at := headerLen
	if flags := data[10]; flags&hasTable != 0 {
		at += 3 << (flags&7 + 1)
	}
	var background uint8
	for at+7 < len(data) && data[at] == extension {
		if data[at+1] == control && data[at+2] == 4 {
			background = 0
			if data[at+3]&isTransparent != 0 {
				background = data[at+6]
				data = bytes.Clone(data)
				data[at+3] &^= isTransparent
			}
		}
		for at += 2; at < len(data) && data[at] != 0; {
			at += 1 + int(data[at])
		}
		at++
	}
	return data, background
}
