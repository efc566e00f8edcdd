package preprocess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	text := "preprocess: image: " + e.Found + ", want JPEG, PNG, GIF, WebP, BMP, TIFF or PNM"
	if advice := e.Advice(); advice != "" {
		text += ": " + advice
	}
	return text
}

// Advice returns how what was found is made an image that is read, "" if it is none.
func (e *FormatError) Advice() string { return adviceFor(e.Found) }

// DecodeError reports a damaged image file: it is truncated, malformed, or of a kind that
// its format has and this package doesn't read.
type DecodeError struct {
	Format string // "JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF" or "PNM"
	Err    error  // the decoder's
}

func (e *DecodeError) Error() string { return "preprocess: decode " + e.Format + ": " + e.Err.Error() }

func (e *DecodeError) Unwrap() error { return e.Err }

// Decode reads an image file, whatever its name: JPEG (baseline and
// progressive), PNG, GIF and animated WebP (the first frame), WebP, BMP, TIFF (the
// first page) or PNM. Every image becomes 8-bit RGB:
//
//   - Grey levels are repeated, palettes looked up.
//   - Alpha is dropped, not composited, as by PIL's convert("RGB"): a
//     transparent pixel has the colour stored for it.
//   - Of a 16-bit channel the high byte is kept, as by OpenCV. PIL does so for RGB,
//     but its convert("RGB") clips 16-bit grey levels at 255; [Header].Grey16 tells
//     where the two differ.
//   - CMYK and YCCK JPEGs, in Adobe's inverted form even where Adobe's marker is
//     missing, are converted without a colour profile, as by PIL. No embedded
//     profile is applied.
//   - Chroma subsampled by two is interpolated as libjpeg and libwebp do by
//     default; package image repeats it. A WebP is decoded to the same bits as
//     by libwebp. A JPEG differs from libjpeg by the rounding of the inverse
//     DCT.
//   - Levels of a PNM up to another maximum than 255 are scaled and rounded as by PIL.
//   - The pixels of PNG, BMP, lossless WebP and grey JPEG files, and of a GIF
//     whose first frame is opaque and fills the screen, are those of package
//     image: [FromImage] makes the same of what image.Decode returns.
//
// Errors: a [*FormatError] if the data is no image, a [*SizeError] if the image
// is too large, and otherwise a [*DecodeError]. A truncated or damaged file is an
// error; the part of it that can be read is not returned.
func Decode(data []byte, o DecodeOptions) (*Image, error) {
	return DecodeContext(context.Background(), data, o)
}

// DecodeContext is [Decode] until ctx is done, with whose cause it then ends.
func DecodeContext(ctx context.Context, data []byte, o DecodeOptions) (*Image, error) {
	h, err := ReadHeader(data)
	if err != nil {
		return nil, err
	}
	if err := h.Check(o.MaxPixels); err != nil {
		return nil, err
	}
	im, err := h.decode(ctx, data)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, decodeError(h.Format, err)
	}
	return Turn(im, o.Orient.Orientation(data)), nil
}

// Header is what the header of an image file tells. Nothing is decoded for it.
type Header struct {
	Format string // as in [DecodeError]
	W, H   int    // of the pixels as they are stored, at least 1×1
	// DecodeBytes is the most memory, in bytes, that decoding takes beside the file: what
	// the decoder holds, and the image. Turning it upright takes as much as the image again.
	DecodeBytes int64
	// Grey16 tells that the image has grey levels of 16 bits, whose high bytes [Decode] keeps,
	// as OpenCV does, where PIL's convert("RGB") clips them at 255.
	Grey16 bool
}

// Grey16Remark says what [Decode] does with 16-bit grey levels, and who else does what.
const Grey16Remark = "of 16-bit grey levels the high byte is taken, as OpenCV does; PIL's convert(\"RGB\") would clip them at 255"

// Check returns a [*SizeError] if the image has more than maxPixels pixels; 0 means
// [DefaultMaxPixels].
func (h Header) Check(maxPixels int) error {
	if maxPixels == 0 {
		maxPixels = DefaultMaxPixels
	}
	if tooMany(h.W, h.H, maxPixels) {
		return &SizeError{What: h.Format + " image of", W: h.W, H: h.H, Limit: maxPixels}
	}
	return nil
}

// ReadHeader returns the header of an image file. The errors are [Decode]'s, except that
// no size is too large.
func ReadHeader(data []byte) (h Header, err error) {
	format := sniff(data)
	codec, ok := codecFor(format)
	if !ok {
		return h, &FormatError{Found: format}
	}
	defer func() {
		if r := recover(); r != nil {
			h, err = Header{}, &DecodeError{format, fmt.Errorf("malformed: the decoder failed with: %v", r)}
		}
	}()
	if h, err = codec.header(data); err != nil {
		return Header{}, decodeError(format, err)
	}
	if h.W < 1 || h.H < 1 {
		return Header{}, &DecodeError{format, fmt.Errorf("header: %d×%d pixels, want at least 1×1", h.W, h.H)}
	}
	h.Format = format
	return h, nil
}

// decodeError returns a decoder's error with the format.
func decodeError(format string, err error) error {
	if other, ok := errors.AsType[*FormatError](err); ok {
		return other
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &DecodeError{format, err}
}

// Size returns the width and height that the header of an image file gives, for
// the pixels as they are stored. The errors are those of [ReadHeader].
func Size(data []byte) (w, h int, err error) {
	header, err := ReadHeader(data)
	return header.W, header.H, err
}

// decode decodes the image of a header. If a decoder panics on a malformed file, that is an
// error.
func (h Header) decode(ctx context.Context, data []byte) (im *Image, err error) {
	defer func() {
		if r := recover(); r != nil {
			im, err = nil, fmt.Errorf("malformed: the decoder failed with: %v", r)
		}
	}()
	codec, _ := codecFor(h.Format)
	return codec.pixels(data, &cancelled{ctx, bytes.NewReader(data)}, h)
}

// cancelled reads a file for a decoder until ctx is done. It gives little at a time, so
// that it is asked often.
type cancelled struct {
	ctx  context.Context
	data *bytes.Reader
}

// readStep is the most bytes between two looks at the context.
const readStep = 512

// Read implements [io.Reader].
func (c *cancelled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.data.Read(p[:min(len(p), readStep)])
}

// ReadAt implements [io.ReaderAt].
func (c *cancelled) ReadAt(p []byte, at int64) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.data.ReadAt(p, at)
}
