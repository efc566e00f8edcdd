package preprocess

import (
	"bytes"
	"encoding/binary"

	"github.com/bep/imagemeta"
)

// orientation returns the EXIF orientation of an image file, 1 to 8. It is 1,
// upright, if there is none or it can't be read.
func orientation(data []byte, format imagemeta.ImageFormat) (value int) {
	defer func() {
		if recover() != nil {
			value = 1
		}
	}()
	value = 1
	if format == imagemeta.WebP {
		data, format = webpEXIF(data), imagemeta.TIFF
	}
	_, err := imagemeta.Decode(imagemeta.Options{
		R:           bytes.NewReader(data),
		ImageFormat: format,
		Sources:     imagemeta.EXIF,
		ShouldHandleTag: func(t imagemeta.TagInfo) bool {
			return t.Tag == "Orientation" && t.Namespace == "IFD0"
		},
		HandleTag: func(t imagemeta.TagInfo) error {
			if v, ok := t.Value.(uint16); ok && 1 <= v && v <= 8 {
				value = int(v)
			}
			return imagemeta.ErrStopWalking
		},
	})
	if err != nil {
		return 1
	}
	return value
}

// webpEXIF returns the EXIF block of a WebP file, which is a TIFF; nil if there
// is none. It replaces imagemeta's own search, which fails after a chunk of odd
// length.
func webpEXIF(data []byte) []byte {
	const riffHeader, chunkHeader = 12, 8
	for at := riffHeader; at+chunkHeader <= len(data); {
		size := int64(binary.LittleEndian.Uint32(data[at+4:]))
		body := data[at+chunkHeader:]
		if size > int64(len(body)) {
			return nil
		}
		if string(data[at:at+4]) == "EXIF" {
			return bytes.TrimPrefix(body[:size], []byte("Exif\x00\x00"))
		}
		at += chunkHeader + int(size+size&1)
	}
	return nil
}

// orient returns im turned upright. Its EXIF orientation is 1 for upright, 2 for
// mirrored, 3 for upside down, 4 for both, and 5 to 8 for the same with rows
// and columns exchanged.
func orient(im *Image, orientation int) *Image {
	if orientation < 2 {
		return im
	}
	out := NewImage(im.W, im.H)
	if orientation >= 5 {
		out = NewImage(im.H, im.W)
	}
	// Pixel (x, y) of the result lies at origin + x·dx + y·dy of the source.
	pixel, row := 3, 3*im.W
	right, bottom := pixel*(im.W-1), row*(im.H-1)
	var origin, dx, dy int
	switch orientation {
	case 2:
		origin, dx, dy = right, -pixel, row
	case 3:
		origin, dx, dy = right+bottom, -pixel, -row
	case 4:
		origin, dx, dy = bottom, pixel, -row
	case 5:
		origin, dx, dy = 0, row, pixel
	case 6:
		origin, dx, dy = bottom, -row, pixel
	case 7:
		origin, dx, dy = right+bottom, -row, -pixel
	case 8:
		origin, dx, dy = right, row, -pixel
	}
	dst := out.Pix
	for y := range out.H {
		from := origin + y*dy
		for range out.W {
			copy(dst[:3], im.Pix[from:from+3])
			dst, from = dst[3:], from+dx
		}
	}
	return out
}
