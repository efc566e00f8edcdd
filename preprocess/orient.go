package preprocess

import (
	"bytes"
	"fmt"

	"github.com/bep/imagemeta"
)

// Orient chooses which way up an image file is read.
type Orient int

const (
	// Stored reads the pixels as they are stored, whatever the EXIF data says. Published figures
	// are measured so, and the paper's tables are reproduced so.
	Stored Orient = iota
	// Upright turns and mirrors the image as its EXIF orientation says. Without EXIF data, or
	// with broken EXIF data, the image stays as it is stored.
	Upright
)

// String returns the orientation's name.
func (o Orient) String() string {
	switch o {
	case Stored:
		return "stored"
	case Upright:
		return "upright"
	}
	return fmt.Sprintf("Orient(%d)", int(o))
}

// MarshalText writes the orientation's name.
func (o Orient) MarshalText() ([]byte, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return []byte(o.String()), nil
}

// UnmarshalText reads an orientation's name, "stored" or "upright".
func (o *Orient) UnmarshalText(text []byte) error {
	for _, known := range []Orient{Stored, Upright} {
		if string(text) == known.String() {
			*o = known
			return nil
		}
	}
	return fmt.Errorf("preprocess: orient: %q, want stored or upright", text)
}

func (o Orient) validate() error {
	if o != Stored && o != Upright {
		return fmt.Errorf("preprocess: orient: %v, want stored or upright", o)
	}
	return nil
}

// Orientation returns the EXIF orientation by which [Turn] makes an image file upright, 2 to 8;
// 1 if o is Stored, or if the file has no orientation or none that can be read.
func (o Orient) Orientation(data []byte) int {
	if o == Stored {
		return 1
	}
	codec, ok := codecFor(sniff(data))
	if !ok || codec.metadata == 0 {
		return 1
	}
	return orientation(data, codec.metadata)
}

// TurnSize returns the size of an image that is stored as w×h pixels after [Turn].
func TurnSize(w, h, orientation int) (int, int) {
	if orientation >= 5 {
		return h, w
	}
	return w, h
}

// TurnBox returns a box (x0, y0, x1, y1), in pixels of an image that is stored as w×h pixels,
// in pixels of the image after [Turn].
func TurnBox(b [4]float64, w, h, orientation int) [4]float64 {
	if orientation >= 5 { // rows and columns are exchanged first
		b = [4]float64{b[1], b[0], b[3], b[2]}
		w, h = h, w
	}
	switch orientation {
	case 2, 3, 6, 7:
		b[0], b[2] = float64(w)-b[2], float64(w)-b[0]
	}
	switch orientation {
	case 3, 4, 7, 8:
		b[1], b[3] = float64(h)-b[3], float64(h)-b[1]
	}
	return b
}

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
	rest := data[min(riffHeader, len(data)):]
	for {
		name, body, after, ok := nextChunk(rest)
		if !ok {
			return nil
		}
		if name == "EXIF" {
			return bytes.TrimPrefix(body, []byte("Exif\x00\x00"))
		}
		rest = after
	}
}

// Turn returns im turned upright. Its EXIF orientation is 1 for upright, 2 for
// mirrored, 3 for upside down, 4 for both, and 5 to 8 for the same with rows
// and columns exchanged. An upright image is returned as it is, not copied.
func Turn(im *Image, orientation int) *Image {
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
