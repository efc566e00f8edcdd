package preprocess

import (
	"errors"
	"fmt"
	"image"
)

// DefaultMaxPixels is the most pixels of a decoded or rescaled image, unless an
// option gives another limit: 178,956,970, half a gigabyte of RGB. Above this size PIL
// refuses an image as a decompression bomb.
const DefaultMaxPixels = 2 * (1 << 30 / 4 / 3)

// Image is a picture of W by H pixels, 8 bits a channel. Pix holds the rows
// from top to bottom, each pixel as R, G, B: pixel (x, y) starts at
// 3·(y·W + x), and len(Pix) is 3·W·H. An *Image is an [image.Image].
type Image struct {
	W, H int
	Pix  []uint8
}

// NewImage returns a black image of w by h pixels. Both must be at least 1.
func NewImage(w, h int) *Image {
	return &Image{W: w, H: h, Pix: make([]uint8, 3*w*h)}
}

// Crop returns a copy of the region [x0,x1)×[y0,y1) of im, which must lie
// inside im and hold at least one pixel.
func Crop(im *Image, x0, y0, x1, y1 int) (*Image, error) {
	if err := im.validate(); err != nil {
		return nil, err
	}
	if err := checkRegion(im.W, im.H, x0, y0, x1, y1); err != nil {
		return nil, err
	}
	out := NewImage(x1-x0, y1-y0)
	for y := range out.H {
		src := 3 * ((y0+y)*im.W + x0)
		copy(out.Pix[3*y*out.W:], im.Pix[src:src+3*out.W])
	}
	return out, nil
}

// FlipH returns im flipped horizontally: left and right are exchanged.
func FlipH(im *Image) *Image {
	out := NewImage(im.W, im.H)
	stride := 3 * im.W
	for y := range im.H {
		src := im.Pix[y*stride : (y+1)*stride]
		dst := out.Pix[y*stride : (y+1)*stride]
		for i, j := 0, stride-3; j >= 0; i, j = i+3, j-3 {
			dst[i], dst[i+1], dst[i+2] = src[j], src[j+1], src[j+2]
		}
	}
	return out
}

func (im *Image) validate() error {
	if im == nil {
		return errors.New("preprocess: image: nil, want a picture")
	}
	if im.W < 1 || im.H < 1 || len(im.Pix) != 3*im.W*im.H {
		return fmt.Errorf("preprocess: image: %d×%d pixels in %d bytes, want at least 1×1 and 3 bytes a pixel", im.W, im.H, len(im.Pix))
	}
	return nil
}

func checkRegion(w, h, x0, y0, x1, y1 int) error {
	if x0 < 0 || y0 < 0 || x1 > w || y1 > h || x0 >= x1 || y0 >= y1 {
		return fmt.Errorf("preprocess: region: [%d,%d)×[%d,%d), want a part of the %d×%d image", x0, x1, y0, y1, w, h)
	}
	return nil
}

// SizeError reports an image that has, or after rescaling would have, more
// pixels than the limit.
type SizeError struct {
	What  string // the operation and the sizes, as "PNG image of" or "1×20000 rescaled to"
	W, H  int    // the size that was refused
	Limit int    // the most pixels allowed
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("preprocess: %s %d×%d pixels, want at most %d in all", e.What, e.W, e.H, e.Limit)
}

// tooMany reports whether w·h > limit, without overflowing; w is at least 1.
func tooMany(w, h, limit int) bool { return h > limit/w }

// paste writes part into im with its upper left corner at p. It must lie inside im.
func (im *Image) paste(part *Image, p image.Point) {
	for y := range part.H {
		copy(im.Pix[3*((p.Y+y)*im.W+p.X):], part.Pix[3*y*part.W:3*(y+1)*part.W])
	}
}
