package preprocess

import "math/rand/v2"

// ShortSide returns the size of a w×h image rescaled isotropically so that its
// smallest side is s (section 3.1's S, section 3.2's Q). The other side is
// s·long/short rounded down, as torchvision's Resize has it. w, h and s must
// be at least 1.
func ShortSide(w, h, s int) (int, int) {
	if w <= h {
		return s, int(float64(s) * float64(h) / float64(w))
	}
	return int(float64(s) * float64(w) / float64(h)), s
}

// CentreCrop returns the upper left corner of the central crop×crop square of
// a w×h image. Halves are rounded to even, as torchvision's CenterCrop does.
// If the image is smaller than the crop, the corner is negative.
func CentreCrop(w, h, crop int) (x0, y0 int) {
	return Round.Crop(w, h, crop)
}

// RandomCrop returns the upper left corner of a crop×crop square, drawn
// uniformly from those inside a w×h image. w and h must be at least crop. It
// draws from rng twice, whatever the sizes.
func RandomCrop(w, h, crop int, rng *rand.Rand) (x0, y0 int) {
	u, v := rng.Float64(), rng.Float64()
	return int(u * float64(w-crop+1)), int(v * float64(h-crop+1))
}

// Window is a square crop of a rescaled image, in pixels.
type Window struct {
	W, H int // size of the rescaled image
	X, Y int // upper left corner of the crop
	Side int // of the crop
}

// Cut returns the window's crop of an image, rescaled with a filter: the bits of [Resize]
// followed by [Crop], at the cost of the crop alone.
func (c Window) Cut(im *Image, f Filter) (*Image, error) {
	return ResizeRegion(im, c.W, c.H, f, c.X, c.Y, c.X+c.Side, c.Y+c.Side)
}
