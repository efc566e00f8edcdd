package preprocess

import (
	"fmt"
	"math"
)

// Centre chooses the pixel at which a central crop begins where the margin is odd.
type Centre int

const (
	// Round rounds half the margin, and halves to even, as torchvision's and timm's CenterCrop
	// do.
	Round Centre = iota
	// Floor rounds it down, as the image processors of Hugging Face's Transformers do.
	Floor
)

// String returns the name, "round" or "floor".
func (c Centre) String() string {
	switch c {
	case Round:
		return "round"
	case Floor:
		return "floor"
	}
	return fmt.Sprintf("Centre(%d)", int(c))
}

// MarshalText writes the name.
func (c Centre) MarshalText() ([]byte, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return []byte(c.String()), nil
}

// UnmarshalText reads a name, "round" or "floor".
func (c *Centre) UnmarshalText(text []byte) error {
	for _, known := range []Centre{Round, Floor} {
		if string(text) == known.String() {
			*c = known
			return nil
		}
	}
	return fmt.Errorf("preprocess: centre: %q, want round or floor", text)
}

func (c Centre) validate() error {
	if c != Round && c != Floor {
		return fmt.Errorf("preprocess: centre: %v, want round or floor", c)
	}
	return nil
}

// Crop returns the upper left corner of the central crop×crop square of a w×h image. If the
// image is smaller than the crop, the corner is negative.
func (c Centre) Crop(w, h, crop int) (x0, y0 int) {
	return c.offset(w - crop), c.offset(h - crop)
}

func (c Centre) offset(margin int) int {
	if c == Floor {
		return int(math.Floor(float64(margin) / 2))
	}
	return int(math.RoundToEven(float64(margin) / 2))
}

// CentreWindow returns the central side×side crop of a w×h image that is rescaled as the
// spec says ([Fit.Size]) to scale q, which is at least side.
func (s Spec) CentreWindow(w, h, q, side int) Window {
	c := Window{Side: side}
	c.W, c.H = s.Fit.Size(w, h, q)
	c.X, c.Y = s.Centre.Crop(c.W, c.H, side)
	return c
}
