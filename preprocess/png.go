package preprocess

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image/png"

	"golang.org/x/image/bmp"
)

func headerPNG(data []byte) (Header, error) {
	c, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return Header{}, err
	}
	// The first chunk, whose contents were just checked.
	const depthAt, colourAt, interlaceAt = 24, 25, 28
	depth, colour := data[depthAt], data[colourAt]
	each := 4
	if depth == 16 {
		each = 8
	}
	if data[interlaceAt] != 0 { // each pass is an image, too
		each *= 2
	}
	return Header{W: c.Width, H: c.Height, DecodeBytes: pixelBytes(c.Width, c.Height, each+rgb), Grey16: depth == 16 && colour == 0}, nil
}

func decodePNG(_ []byte, r *cancelled, _ Header) (*Image, error) {
	m, err := png.Decode(r)
	if err != nil {
		return nil, err
	}
	return convert(m, jfif)
}

func headerBMP(data []byte) (Header, error) {
	c, err := bmp.DecodeConfig(bytes.NewReader(data))
	if errors.Is(err, bmp.ErrUnsupported) {
		err = unreadBMP(data)
	}
	return Header{W: c.Width, H: c.Height, DecodeBytes: pixelBytes(c.Width, c.Height, 4+rgb)}, err
}

// unreadBMP names the kind of a bitmap that package bmp doesn't read.
func unreadBMP(data []byte) error {
	const headerAt, depthAt, compressionAt, end = 14, 28, 30, 34
	if len(data) < end {
		return bmp.ErrUnsupported
	}
	const want = "want an uncompressed bitmap of 1, 4, 8, 24 or 32 bits: convert it with magick IN OUT.png"
	if n := binary.LittleEndian.Uint32(data[headerAt:]); n < 40 {
		return fmt.Errorf("an OS/2 bitmap, with a header of %d bytes, %s", n, want)
	}
	kind := fmt.Sprintf("%d bits a pixel", binary.LittleEndian.Uint16(data[depthAt:]))
	if c := binary.LittleEndian.Uint32(data[compressionAt:]); c != 0 {
		kind += fmt.Sprintf(" in compression %d", c)
	}
	return fmt.Errorf("%s, %s", kind, want)
}

func decodeBMP(_ []byte, r *cancelled, _ Header) (*Image, error) {
	m, err := bmp.Decode(r)
	if err != nil {
		return nil, err
	}
	return convert(m, jfif)
}
